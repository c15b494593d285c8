"""Where results go: whether they can, before work starts."""

import os
from pathlib import Path

from fedma.errors import InputError


def check_place(folder: Path, *, flag: str = "--out") -> None:
    """Refuse a folder that cannot be written to, or not be made.

    Args:
        folder: it; those above it may be missing too.
        flag: names another.

    Raises:
        InputError: what is in the way.
    """
    above = next(there for there in (folder, *folder.parents) if os.path.lexists(there))
    if not above.is_dir():
        raise InputError(f"nothing can be written to {folder}: {above} is no folder; name another with {flag}")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"nothing can be written to {folder}: {above} is read-only; name another with {flag}")

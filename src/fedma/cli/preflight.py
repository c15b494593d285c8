"""Whether results can be written where they go, and drawn, before work starts."""

import os
from importlib.util import find_spec
from pathlib import Path

from fedma.errors import InputError
from fedma.optional_dependencies import missing


def check_writable(folder: Path, *, flag: str = "--out") -> None:
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


def check_figures() -> None:
    """Refuse work that ends in figures where nothing can draw them; what draws takes long to import, so it is not.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise missing("matplotlib", extra="report")

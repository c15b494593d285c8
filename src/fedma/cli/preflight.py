"""Checks before work starts that results can be written and drawn."""

import os
from importlib.util import find_spec
from pathlib import Path

from fedma.errors import InputError
from fedma.optional_dependencies import missing


def check_writable(folder: Path, *, flag: str = "--out") -> None:
    """Refuse a folder that cannot be made or written to.

    Args:
        folder: the folder; its parents may be missing too.
        flag: the option that chooses another folder, for the message.

    Raises:
        InputError: it cannot be made or written to; the message says why.
    """
    above = next(there for there in (folder, *folder.parents) if os.path.lexists(there))
    if not above.is_dir():
        raise InputError(f"nothing can be written to {folder}: {above} is no folder; name another with {flag}")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"nothing can be written to {folder}: {above} is read-only; name another with {flag}")


def check_figures() -> None:
    """Refuse work that ends in figures if matplotlib is missing. It is not imported here, because that takes long.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise missing("matplotlib", extra="report")

"""Optional dependencies of this room, imported where they are needed and nowhere else."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from fedma.errors import MissingExtra


def imported(module: str) -> Any:
    """The module of that dotted name.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(module, f"cannot be imported ({error})") from error


def folder_of(package: str) -> Path:
    """Where a package lies, without importing it.

    Raises:
        MissingExtra: it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise _missing(package, "is not installed")
    return Path(found.origin).parent


def _missing(module: str, why: str) -> MissingExtra:
    package = module.partition(".")[0]
    return MissingExtra(f"reading and dividing data needs {package!r}, which {why}; pip install 'fedma[data]'")

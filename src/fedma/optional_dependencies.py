"""Optional dependencies: packages that one extra of the installation brings, imported only where they are needed."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from fedma.errors import MissingExtra

_PURPOSE = {
    "data": "reading and dividing data",
    "flower": "fedma.engines.flower",
    "privacy": "the privacy accountant",
    "report": "drawing figures",
    "tensorboard": "--tensorboard",
}
"""What each extra is for."""


def imported(module: str, *, extra: str) -> Any:
    """The module of that dotted name.

    Args:
        module: its name, "package.module".
        extra: the extra of `fedma` that brings the package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(module, extra=extra, why=f"cannot be imported ({error})") from error


def folder_of(package: str, *, extra: str) -> Path:
    """The folder of a package, without importing it.

    Raises:
        MissingExtra: it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise missing(package, extra=extra)
    return Path(found.origin).parent


def missing(module: str, *, extra: str, why: str = "is not installed") -> MissingExtra:
    """The error to raise when a package is missing: it names the package, its purpose and the extra to install."""
    package = "tensorboard" if extra == "tensorboard" else module.partition(".")[0]
    return MissingExtra(f"{_PURPOSE[extra]} needs {package}, which {why}; pip install 'fedma[{extra}]'")

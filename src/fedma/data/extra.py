"""Optional dependencies of this room, imported where they are needed and nowhere else."""

import importlib
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
        package = module.partition(".")[0]
        raise MissingExtra(
            f"reading and dividing data needs {package!r}, which cannot be imported ({error}); "
            "pip install 'fedma[data]'"
        ) from error

"""`fedma app new`: a Flower app to start from."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from fedma.errors import InputError

_SUFFIX = ".in"


@dataclass(frozen=True)
class App:
    """Write a complete Flower app that trains by matched averaging: `fedma app new FOLDER`, then `flwr run FOLDER`.

    Attributes:
        what: new.
        folder: where to; it must not exist yet.
    """

    what: Positional[Literal["new"]]
    folder: Positional[Path]

    def run(self) -> None:
        """Write it."""
        if self.folder.exists():
            raise InputError(f"{self.folder} exists already; name a folder that does not")
        try:
            write(self.folder)
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise InputError(f"{self.folder} cannot be written: {error.strerror}") from error
        sys.stdout.write(
            f"{self.folder} is a Flower app. Put your model and data into {self.folder / 'fedma_app' / 'task.py'}; "
            f"{self.folder / 'README.md'} says how to run it, here and on many machines.\n"
        )


def write(folder: Path) -> None:
    """Write the app into a folder; scripts can be executed."""
    for name, text in files(resources.files("fedma.cli") / "template"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if path.suffix == ".sh" else 0o644)


def files(folder: Traversable, above: str = "") -> Iterator[tuple[str, str]]:
    """The path and the contents of each of the app's files."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from files(entry, f"{above}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield above + entry.name.removesuffix(_SUFFIX), entry.read_text(encoding="utf-8")

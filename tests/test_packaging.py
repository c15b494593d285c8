"""What the package says of itself, and of what it needs."""

import re
import tomllib
from pathlib import Path

import fedma

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fedma"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMED = re.compile(r"fedma\[([a-z,]+)\]|extra=\"([a-z]+)\"")


def test_the_version_stands_in_the_package_alone() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT
    assert not re.search("^version:", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+", fedma.__version__)


def test_types_go_with_the_package() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_every_extra_that_is_named_exists() -> None:
    files = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.in"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    found = [own for file in files for pair in NAMED.findall(file.read_text("utf-8")) for own in pair if own]
    named = {extra for names in found for extra in names.split(",")}
    assert named >= {"cli", "data", "report", "flower", "ot", "privacy", "tensorboard"}
    assert named <= set(PROJECT["optional-dependencies"])

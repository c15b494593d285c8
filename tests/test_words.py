"""One word per thing: names that came to mean two things, or that say nothing, do not come back."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fedma"
FILES = sorted(SOURCE.rglob("*.py"))
BANNED = {
    "settling": "FedMA's server work: Aggregation",
    "standing": "run state",
    "membership": "participation",
    "roster": "node registry",
    "errand": "request",
    "parcel": "request",
    "presence": "availability",
    "so-manieth": "n-th",
    "watcher": "callback",
}
ALLOWED = {
    ("records.py", "parcel"),  # names in messages and checkpoints, which other versions read
    ("run.py", "standing"),
}


def test_words_that_were_given_up_stay_away() -> None:
    texts = {
        path: path.read_text("utf-8").lower()
        for path in [*FILES, *(ROOT / "docs").rglob("*.md")]
        if "decisions" not in path.parts
    }
    found = [
        f"{path.relative_to(ROOT)}: {word} (say {better})"
        for path, text in texts.items()
        for word, better in BANNED.items()
        if re.search(rf"\b{word}s?\b", text) and (path.name, word) not in ALLOWED
    ]
    assert not found


def test_no_public_name_is_defined_in_two_rooms() -> None:
    rooms: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        for name in defined(ast.parse(path.read_text("utf-8"))):
            rooms[name].add(path.relative_to(SOURCE).parts[0])
    assert not {name: own for name, own in rooms.items() if len(own) > 1 and not name.startswith("_")}


def defined(tree: ast.Module) -> Iterator[str]:
    """The classes, aliases and constants of a module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("package", [path for path in FILES if path.name == "__init__.py"], ids=lambda p: p.parent.name)
def test_no_module_is_shadowed_by_a_function_of_its_name(package: Path) -> None:
    modules = {path.stem for path in package.parent.glob("*.py")} | {p.name for p in package.parent.iterdir()}
    name = ".".join(package.parent.relative_to(SOURCE.parent).parts)
    nodes = [node for node in ast.parse(package.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
    given = {alias.asname or alias.name for node in nodes if node.module != name for alias in node.names}
    assert not given & modules


def test_every_word_of_the_glossary_stands_once() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    words = [
        word for line in text.splitlines() if line.startswith("| **") for word in re.findall(r"\*\*(.+?)\*\*", line)
    ]
    assert len(words) > 40
    assert len(set(words)) == len(words)

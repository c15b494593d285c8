"""Imports run downhill: a room may use only the rooms to its left."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fedma"
ROOMS = [
    {"errors", "seeds"},
    {"registry", "optional_dependencies"},
    {"methods"},
    {"result_line"},
    {"units"},
    {"matching"},
    {"norms"},
    {"fusion"},
    {"models", "data"},
    {"tasks"},
    {"training"},
    {"algorithms"},
    {"engines"},
    {"report"},
    {"experiments"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
PURE = {"units", "matching", "norms", "fusion", "algorithms"}
FORBIDDEN_IN_PURE = {"pathlib", "os", "random", "io", "rich", "tyro", "flwr", "datasets", "matplotlib"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path.name != "__init__.py" or path.parent != SOURCE]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_downhill(path: Path) -> None:
    own = room_of(path)
    for name in imports(path):
        if name.startswith("fedma.") and (other := name.split(".")[1]) in LEVEL:
            assert other == own or LEVEL[other] < LEVEL[own], f"{own} imports {other}, which is not to its left"


def test_every_room_is_listed() -> None:
    assert {room_of(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) in PURE], ids=lambda p: str(p.relative_to(SOURCE)))
def test_pure_rooms_touch_nothing_outside(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & FORBIDDEN_IN_PURE


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_flower_engine_knows_flower(path: Path) -> None:
    if path.relative_to(SOURCE).parts[:2] != ("engines", "flower"):
        assert "flwr" not in {name.split(".")[0] for name in imports(path)}


def test_report_reads_files_only() -> None:
    known = {
        name.split(".")[1]
        for path in FILES
        if room_of(path) == "report"
        for name in imports(path)
        if name.startswith("fedma.")
    }
    assert known <= {"report", "errors", "methods", "result_line", "optional_dependencies"}

"""Nothing that comes from a file or from a network is unpickled."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fedma"
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "_pickle"}
UNSAFE_CALLS = {("torch", "load"), ("torch", "save"), ("jit", "load"), ("torch", "hub")}
OWN_PROCESSES = {"engines/memory.py", "engines/pool.py"}
"""The local engine speaks so to processes that it has forked itself, over pipes without a name."""


def unsafe(path: Path) -> set[str]:
    """What a module imports or calls that could run what it reads."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if name.split(".")[0] in UNSAFE or tuple(name.split(".")) in UNSAFE_CALLS}
        elif isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", getattr(node.value, "attr", None))
            found |= {f"{owner}.{node.attr}"} if (owner, node.attr) in UNSAFE_CALLS else set()
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found |= {"allow_pickle"} if not isinstance(node.value, ast.Constant) or node.value.value else set()
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_is_unpickled(path: Path) -> None:
    if path.relative_to(SOURCE).as_posix() not in OWN_PROCESSES:
        assert not unsafe(path)


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    lines = ["import pickle", "from torch import load", "torch.load(x)", "torch.jit.load(x)", "f(allow_pickle=True)"]
    for line in lines:
        module.write_text(line)
        assert unsafe(module), line
    module.write_text("from torch import nn\n")
    assert not unsafe(module)

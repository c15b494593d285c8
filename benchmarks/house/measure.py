"""Measures how the code is built, so that two versions can be compared.

    python benchmarks/house/measure.py [SRC ...]

prints a table with a column for each source folder (by default src). A folder is read, and its package is run in a
process of its own to walk three routes: a client's weights to the average, models to `fuse`, a model to `units`.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

LONG_SENTENCE = 30
"""Words; a longer sentence in a docstring is counted."""
RUN = 6
"""Lines; as many equal ones in a row, in two places, are a duplicated run."""
SHADOWED = "modules that a function of the same name shadows"

ROUTES = {
    "a client's weights to the average": """
from fedma.algorithms import Client, FedMA
from fedma.data import Split
from fedma.training import Schedule
import torch
data = Split(torch.rand(12, 1, 8, 8), torch.arange(12) % 3)
template = networks[0]
graph = fedma.units(template, x)
none = Schedule(epochs=0)
algorithm = FedMA(graph, range(2), none, none, none, 1)
clients = [Client(j, data, template, graph, 3, 0) for j in range(2)]
def walk():
    state = algorithm.start()
    held = {j: {n: t.detach().clone() for n, t in own.state_dict().items()} for j, own in enumerate(networks)}
    while asks := algorithm.asks(state):
        replies = []
        for ask in asks:
            reply, held[ask.client] = clients[ask.client].answer(ask, held[ask.client])
            replies.append(reply)
        state = algorithm.absorb(state, replies)
""",
    "models to fuse": "def walk(): fedma.fuse(networks, x)",
    "a model to units": "def walk(): fedma.units(networks[0], x)",
}
PREPARE = """
import json, sys, torch, fedma
from torch import nn
networks = [nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))
            for _ in range(2)]
x = torch.rand(2, 1, 8, 8)
"""
WALK = """
walk()
edges = set()
def profile(frame, event, argument):
    begins = event == "call" and frame.f_lineno == frame.f_code.co_firstlineno
    if begins and "/fedma/" in frame.f_code.co_filename and not frame.f_code.co_name.startswith("<"):
        caller = frame.f_back
        while caller is not None and "/fedma/" not in caller.f_code.co_filename:
            caller = caller.f_back
        edges.add((caller.f_code.co_filename if caller else "", frame.f_code.co_filename))
sys.setprofile(profile)
walk()
sys.setprofile(None)
print(json.dumps(sorted(edges)))
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, default=[Path("src")])
    columns = [measured(source) for source in parser.parse_args().sources]
    print("| | " + " | ".join(str(source) for source in parser.parse_args().sources) + " |")
    print("| :-- |" + " --: |" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


def measured(source: Path) -> dict[str, str]:
    """All measures of one source folder, by name."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted((source / "fedma").rglob("*.py"))}
    names = {path: module_name(path, source) for path in trees}
    graph = {names[path]: imported(tree, set(names.values())) - {names[path]} for path, tree in trees.items()}
    lengths = sorted(lines for tree in trees.values() for lines in function_lines(tree))
    sentences = [words for tree in trees.values() for words in sentence_lengths(tree)]
    twice = defined_twice(trees, names)
    folders = Counter(path.parent for path in trees)
    return {
        "files": str(len(trees)),
        "folders": str(len(folders)),
        "most files in a folder": str(max(folders.values())),
        "modules in import circles": str(sum(len(circle) for circle in circles(graph))),
        "arrows (imports between modules)": str(sum(map(len, graph.values()))),
        "functions": str(len(lengths)),
        "lines of a function: median, p90, max": f"{quantile(lengths, 0.5)}, {quantile(lengths, 0.9)}, {lengths[-1]}",
        f"duplicated runs of {RUN} lines": str(duplicated(trees)),
        f"sentences over {LONG_SENTENCE} words in docstrings": str(sum(words > LONG_SENTENCE for words in sentences)),
        "longest sentence, words": str(max(sentences)),
        SHADOWED: str(len(shadowed(trees, names))),
        "public names defined in two rooms": f"{len(twice)} ({', '.join(sorted(twice))})",
        **{f"route, {route}: files, climbs": walked(source, code, graph) for route, code in ROUTES.items()},
    }


def module_name(path: Path, source: Path) -> str:
    """The dotted name of a module."""
    return ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.Module, known: set[str]) -> set[str]:
    """The modules of the package that a module imports when it is imported itself; packages only lead to modules."""
    found = set()
    for node in runtime(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known or {str(node.module)}
    return found & known


def runtime(tree: ast.Module) -> Iterator[ast.AST]:
    """The statements outside functions and `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        yield node
        waiting += list(ast.iter_child_nodes(node))


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The groups of modules that reach each other."""
    reach = {name: reachable(graph, name) for name in graph}
    found = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph}
    return [set(circle) for circle in found if len(circle) > 1]


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """The modules that one imports, directly or not; itself only if it is in a circle."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def function_lines(tree: ast.Module) -> Iterator[int]:
    """Lines of each function, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                yield (body[-1].end_lineno or 0) - body[0].lineno + 1


def sentence_lengths(tree: ast.Module) -> Iterator[int]:
    """Words of each sentence in docstrings; an argument begins one. Tables, diagrams and examples do not count."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            paragraphs = re.split(r"\n\s*\n|\n\s*(?=[\w`*]+(?: \([^)]*\))?: )|\n\s*[-*|] ", text)
            prose = [part for part in paragraphs if not re.search(r"\S {3,}\S|[├│]|>>>", part)]
            for sentence in (s for part in prose for s in re.split(r"(?<=[.!?;:])\s+", part)):
                yield len(re.findall(r"[\w'’`./-]+", sentence))


def duplicated(trees: Mapping[Path, ast.Module]) -> int:
    """Runs of equal lines that stand in two places; blank lines, imports and docstrings do not count."""
    places: dict[tuple[str, ...], set[tuple[Path, int]]] = defaultdict(set)
    for path, tree in trees.items():
        skipped = {n for node in ast.walk(tree) if skip(node) for n in range(node.lineno, node.end_lineno + 1)}  # type: ignore[attr-defined]
        text = path.read_text("utf-8").splitlines()
        lines = [(n, line.strip()) for n, line in enumerate(text, 1) if len(line.strip()) > 1 and n not in skipped]
        for first in range(len(lines) - RUN + 1):
            window = lines[first : first + RUN]
            places[tuple(line for _, line in window)].add((path, window[0][0]))
    return sum(len(found) > 1 for found in places.values())


def skip(node: ast.AST) -> bool:
    """Imports and strings that stand alone."""
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return text or isinstance(node, (ast.Import, ast.ImportFrom))


def shadowed(trees: Mapping[Path, ast.Module], names: Mapping[Path, str]) -> set[str]:
    """Modules whose package holds a function of the same name."""
    found = set()
    for path, tree in trees.items():
        if path.name == "__init__.py":
            inner = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module != names[path]]
            given = {alias.asname or alias.name for node in inner for alias in node.names}
            found |= {f"{names[path]}.{name}" for name in given} & set(names.values())
    return found


def defined_twice(trees: Mapping[Path, ast.Module], names: Mapping[Path, str]) -> set[str]:
    """Public classes, aliases and constants that two rooms define."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for path, tree in trees.items():
        room = [*names[path].split("."), ""][1]
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                rooms[node.name].add(room)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        rooms[target.id].add(room)
    return {name for name, own in rooms.items() if len(own) > 1 and not name.startswith("_")}


def walked(source: Path, code: str, graph: Mapping[str, set[str]]) -> str:
    """Files that a call enters, and its climbs: calls from a file into one that imports it, directly or not.

    Lambdas and generators that a function runs for its caller are no calls.
    """
    text = PREPARE + code + WALK
    run = subprocess.run(
        [sys.executable, "-c", text], env={"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        return run.stderr.strip().splitlines()[-1]
    package = source.resolve() / "fedma"
    edges = [
        tuple(module_name(Path(end), package.parent) for end in edge)
        for edge in json.loads(run.stdout)
        if all(Path(end).is_relative_to(package) for end in edge)
    ]
    reach = {name: reachable(graph, name) for name in graph}
    climbs = {(a, b) for a, b in edges if a != b and a in reach.get(b, ()) and b not in reach.get(a, ())}
    return f"{len({end for edge in edges for end in edge})}, {len(climbs)}"


def quantile(values: Sequence[int], share: float) -> int:
    """Of sorted values."""
    return values[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()

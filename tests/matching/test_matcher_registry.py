"""The registry of matchers: the one place where they are named, and where a user's own is added."""

import ast
import doctest
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fedma
from fedma.cli import main
from fedma.errors import InputError, MatchingError
from fedma.matching import MATCHERS, Matcher, match, register
from fedma.matching.registry import DEFAULT, Entry
from fedma.models import build
from fedma.units import weights
from matching.matcher_laws import LAWS

BUILT_IN = set(MATCHERS.names)
ROOT = Path(__file__).parents[2]
INPUTS = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def models(number: int = 2) -> list[torch.nn.Module]:
    return [build("mlp-6", (1, 8, 8), 10, seed=j) for j in range(number)]


def backwards(rows: list[Tensor], most: int | None) -> list[Tensor]:
    """All units but the first client's in reverse: no good, but it may be used."""
    return [torch.arange(len(own)).flip(0) if j else torch.arange(len(own)) for j, own in enumerate(rows)]


@pytest.fixture
def own() -> Iterator[str]:
    register("backwards", summary="in reverse", grows=False)(backwards)
    yield "backwards"
    MATCHERS.remove("backwards")


def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def test_every_entry_says_what_it_does_and_is_there() -> None:
    assert MATCHERS.names[0] == DEFAULT
    for entry in MATCHERS:
        assert callable(entry.call)
        assert entry.summary
        assert "\n" not in entry.summary


def test_the_default_takes_the_options_of_match() -> None:
    known = set(inspect.signature(match).parameters) - {"clients", "grow"}
    assert set(MATCHERS.get(DEFAULT).options) == known


def test_a_registered_matcher_is_taken_by_name_wherever_one_is(own: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    wanted = fedma.fuse(models(), INPUTS, matcher=backwards)
    torch.testing.assert_close(state(fedma.fuse(models(), INPUTS, matcher=own).model), state(wanted.model))
    assert Matcher(own).entry.by_steps
    for number, model in enumerate(models()):
        save_file(weights(model), tmp_path / f"{number}.safetensors")
    files = [str(tmp_path / f"{number}.safetensors") for number in range(2)]
    out = tmp_path / "out.safetensors"
    main(["fuse", *files, *f"--model mlp-6 --input-shape 1 8 8 --matcher {own} --out {out}".split()])
    assert out.exists()


def test_a_matcher_of_a_module_is_taken_by_its_path() -> None:
    wanted = fedma.fuse(models(), INPUTS, matcher=backwards)
    found = fedma.fuse(models(), INPUTS, matcher="matching.test_matcher_registry:backwards")
    torch.testing.assert_close(state(found.model), state(wanted.model))


def test_options_are_the_keyword_arguments_and_the_generator_comes_from_the_seed() -> None:
    seen = []

    def drawn(rows, most, *, shift=0, generator=None):
        seen.append((shift, int(torch.randint(10**9, (), generator=generator))))
        return [torch.arange(len(own)).roll(shift) for own in rows]

    register("drawn")(drawn)
    try:
        for seed, shift in ((0, 1), (0, 2), (1, 1)):
            fedma.fuse(models(), INPUTS, matcher="drawn", seed=seed, shift=shift)
        with pytest.raises(InputError, match="mean nothing to 'drawn'"):
            fedma.fuse(models(), INPUTS, matcher="drawn", gamma=1.0)
        with pytest.raises(InputError, match="shift: options of the matcher 'drawn', which mean nothing to 'bbp'"):
            fedma.fuse(models(), INPUTS, shift=1)
    finally:
        MATCHERS.remove("drawn")
    assert [shift for shift, _ in seen] == [1, 2, 1]
    assert seen[0][1] == seen[1][1] != seen[2][1]


def test_a_matcher_of_whole_models_is_registered_too_and_checked() -> None:
    answer: dict[str, list[Tensor]] = {}

    @register("whole", kind="model", grows=False)
    def whole(models, graph, *, widths, seed):
        return answer

    try:
        for bad, says in {
            "missing": {},
            "one client": {"fc1": [torch.arange(6)]},
            "twice": {"fc1": [torch.arange(6), torch.zeros(6, dtype=torch.long)]},
            "text": {"fc1": ["a", "b"]},
        }.items():
            answer.clear()
            answer.update(says)
            with pytest.raises(MatchingError, match="group 'fc1': the matcher"):
                fedma.fuse(models(), INPUTS, matcher="whole")
            assert bad
        answer.update(fc1=[torch.arange(6), torch.arange(6)])
        found = fedma.fuse(models(), INPUTS, matcher="whole")
        torch.testing.assert_close(state(found.model), state(fedma.fuse(models(), INPUTS, matcher="identity").model))
        with pytest.raises(InputError, match="matches whole models"):
            Matcher("whole").check_by_steps()
    finally:
        MATCHERS.remove("whole")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rebasinn", "'rebasinn' is not known; did you mean 'rebasin'"),
        ("matching.test_matcher_registry:ROOT", "is PosixPath; give a function"),
        ("matching.test_matcher_registry:Matcher", "is type; give a function"),
        ("matching.test_matcher_registry:none", "has no 'none'"),
    ],
)
def test_what_is_no_matcher_is_refused_before_work(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fedma.fuse(models(), INPUTS, matcher=name)
    with pytest.raises(InputError, match="kind is 'layer'"):
        Entry("own", backwards, kind="layer")  # type: ignore[arg-type]


def literals(path: Path) -> set[str]:
    """The names of matchers that stand in a file as text, but for the names of random numbers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = [node for call in ast.walk(tree) if isinstance(call, ast.Call) and _draws(call) for node in call.args]
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in MATCHERS and node not in named
    }


def _draws(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "generator"


def test_no_other_file_names_a_matcher() -> None:
    source = ROOT / "src" / "fedma"
    files = [path for path in source.rglob("*.py") if path != source / "matching" / "registry.py"]
    assert literals(source / "matching" / "registry.py") == set(MATCHERS.names)
    assert {path.name: found for path in files if (found := literals(path))} == {}


def table() -> str:
    """The table of matchers for docs/matching.md."""
    rows = [["matcher", "what it does", "used for", "width", "source"], ["---"] * 5]
    for entry in MATCHERS:
        used = "FedMA, one-shot fusion" if entry.by_steps else "one-shot fusion"
        rows.append([f"`{entry.name}`", entry.summary, used, "may grow" if entry.grows else "kept", entry.source])
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows).replace(
        "| --- | --- | --- | --- | --- |", "|---|---|---|---|---|"
    )


def test_the_table_of_the_documentation_is_the_registry() -> None:
    assert table() in (ROOT / "docs" / "matching.md").read_text(encoding="utf-8")


NEAREST = """
import torch
from scipy.optimize import linear_sum_assignment


def nearest(rows, most):
    widest = max(rows, key=len)
    return [torch.as_tensor(linear_sum_assignment(torch.cdist(own, widest))[1]) for own in rows]
"""


def test_the_recipe_for_a_matcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONTRIBUTING: a file, an entry, a row; the laws hold, and the command line knows it."""
    (tmp_path / "matching_by_distance.py").write_text(NEAREST)
    monkeypatch.syspath_prepend(tmp_path)
    entry = Entry("nearest", "matching_by_distance:nearest", "to the nearest of the widest client", grows=False)
    MATCHERS.register(entry)
    try:
        for law, kind in LAWS:
            if kind in ("mlp", "cnn"):
                law(entry, kind)
        row = "| `nearest` | to the nearest of the widest client | FedMA, one-shot fusion | kept | |"
        assert row in table().splitlines()
        assert fedma.fuse(models(), INPUTS, matcher="nearest").widths == {"fc1": 6}
    finally:
        MATCHERS.remove("nearest")


@pytest.mark.parametrize("name", ["fedma.matching.registry", "fedma.matching.bbp.bbp_map", "fedma.fusion"])
def test_examples_in_docstrings_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    for registered in set(MATCHERS.names) - BUILT_IN:
        MATCHERS.remove(registered)
    assert found.failed == 0

"""Registries: what is registered is found, what is not is refused with a hint, and a user's own object is loaded."""

import string
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedma.errors import InputError
from fedma.registry import Registry, load

LAW = settings(max_examples=50, deadline=None, derandomize=True)
NAMES = st.lists(
    st.text(string.ascii_lowercase + string.digits + "-_.", min_size=1, max_size=8), min_size=1, unique=True
)


@dataclass(frozen=True)
class Thing:
    name: str
    found: object = None


def adopt(name: str, found: object) -> Thing:
    if not callable(found):
        raise InputError(f"thing {name!r} cannot be called")
    return Thing(name, found)


def things(*names: str) -> Registry[Thing]:
    registry = Registry("thing", adopt)
    for name in names:
        registry.register(Thing(name))
    return registry


@LAW
@given(NAMES)
def test_entries_are_found_by_name_in_their_order(names: list[str]) -> None:
    registry = things(*names)
    assert registry.names == tuple(names)
    assert [entry.name for entry in registry] == names
    assert len(registry) == len(names)
    assert all(name in registry and registry.get(name).name == name for name in names)


@LAW
@given(NAMES, st.data())
def test_a_removed_entry_is_gone_and_the_others_stay(names: list[str], data: st.DataObject) -> None:
    registry, gone = things(*names), data.draw(st.sampled_from(names))
    registry.remove(gone)
    assert registry.names == tuple(name for name in names if name != gone)
    with pytest.raises(InputError, match="is not known"):
        registry.get(gone)
    with pytest.raises(InputError, match="is not known"):
        registry.remove(gone)


@LAW
@given(st.text(string.ascii_lowercase, min_size=4, max_size=9), st.integers(0, 8))
def test_a_letter_left_out_is_guessed(name: str, at: int) -> None:
    assume(at < len(name))
    slip = name[:at] + name[at + 1 :]
    with pytest.raises(InputError, match=f"did you mean '{name}'"):
        things(name, "1234567").get(slip)


def test_a_name_is_taken_once_unless_replaced() -> None:
    registry = things("one")
    with pytest.raises(InputError, match="'one' is registered already; give another name, or replace=True"):
        registry.register(Thing("one"))
    registry.register(Thing("one", 1), replace=True)
    assert registry.get("one").found == 1


@pytest.mark.parametrize("name", ["", "two words", "a:b", "tab\t", None, 3])
def test_what_cannot_be_a_name_is_refused(name: object) -> None:
    with pytest.raises(InputError, match="cannot be registered"):
        things().register(Thing(name))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, 3, ["one"], "", "magic"])
def test_what_is_not_known_is_refused_whatever_it_is(name: object) -> None:
    with pytest.raises(InputError, match="is not known; known are one, two, or give package"):
        things("one", "two").get(name)


def test_an_object_of_ones_own_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_things.py").write_text("class Box:\n    @staticmethod\n    def part(): return 7\n\nnumber = 3\n")
    (tmp_path / "broken_things.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = things()
    assert registry.get("own_things:Box.part").found() == 7  # type: ignore[operator]
    assert len(registry) == 0
    for name, says in {
        "own_things:number": "cannot be called",
        "own_things:missing": "'own_things' has no 'missing'",
        "own_things:Box.missing": "'own_things' has no 'Box.missing'",
        "no_such_module:f": "'no_such_module' cannot be imported .ModuleNotFoundError",
        "broken_things:f": "cannot be imported .SystemExit: 3",
        "own_things:": "names no module and object",
        ":f": "names no module and object",
        "own things:f": "cannot be imported",
        ".own_things:f": "cannot be imported",
    }.items():
        with pytest.raises(InputError, match=says):
            registry.get(name)
    assert load("own_things:number", kind="thing") == 3

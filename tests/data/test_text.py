"""Text to be continued: read as one would read it row by row, and no character in common of training and test."""

from itertools import pairwise
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.data import Dataset, Split, load, partition, shared_test
from fedma.data.samples import Samples, Tables
from fedma.data.text import windows
from fedma.errors import InputError

SHAKESPEARE = Path(__file__).parents[2] / "../shared/data/shakespeare"

Rows = dict[str, list[str]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def rows(texts: dict[str, str], length: int) -> Rows:
    """The table of these roles' texts, row by row."""
    table: Rows = {"character_id": [], "x": [], "y": []}
    for role, text in texts.items():
        for start in range(len(text) - length):
            table["character_id"].append(role)
            table["x"].append(text[start : start + length])
            table["y"].append(text[start + length])
    return table


def tables(train: Rows, test: Rows | None = None) -> Tables:
    made = [None if part is None else datasets.Dataset.from_dict(part) for part in (train, test)]
    return Tables("plays", made[0], made[1])


def folder(path: Path, train: Rows) -> Path:
    path.mkdir()
    datasets.Dataset.from_dict(train).to_parquet(path / "train-00000-of-00001.parquet")
    return path


def spelt(samples: Samples | Split, alphabet: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Role, window and next character of each sample."""
    owners = samples.owners or ()
    inputs, labels = torch.as_tensor(samples.inputs).tolist(), samples.labels.tolist()
    return [
        (owner, "".join(alphabet[token] for token in window), alphabet[label])
        for owner, window, label in zip(owners, inputs, labels, strict=True)
    ]


@st.composite
def plays(draw: st.DrawFn) -> tuple[dict[str, str], int]:
    """Texts of some roles, and the length of windows."""
    length = draw(st.integers(1, 6))
    text = st.text(st.characters(codec="utf-8"), min_size=length + 1, max_size=60)
    return draw(st.dictionaries(st.text(min_size=1, max_size=5), text, min_size=1, max_size=4)), length


@given(plays(), st.floats(0.1, 0.6))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_windows_are_the_rows_of_the_table(play: tuple[dict[str, str], int], fraction: float) -> None:
    texts, length = play
    table = rows(texts, length)
    source = windows(tables(table), test_fraction=fraction, min_windows=1)
    assert source.test is not None
    assert source.classes == tuple(sorted(set("".join(texts.values()))))
    every = list(zip(*table.values(), strict=True))
    of_role = {role: [row for row in every if row[0] == role] for role in texts}
    cuts = {role: round((1 - fraction) * len(own)) for role, own in of_role.items()}
    train = [row for role, own in of_role.items() for row in own[: cuts[role]]]
    test = [row for role, own in of_role.items() for row in own[cuts[role] + length :]]
    assert spelt(source.train, source.classes) == train
    assert spelt(source.test, source.classes) == test


@given(st.lists(st.integers(8, 80), min_size=1, max_size=3), st.integers(1, 6), st.floats(0.1, 0.6))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_training_and_test_have_no_character_in_common(sizes: list[int], length: int, fraction: float) -> None:
    """Every character of these texts occurs once, so one in common would be seen."""
    starts = np.cumsum([0x4E00, *sizes])
    texts = {f"role {a}": "".join(map(chr, range(a, b))) for a, b in pairwise(starts)}
    source = windows(tables(rows(texts, length)), test_fraction=fraction, min_windows=1)
    assert source.test is not None
    seen, unseen = (
        {character for _, window, following in spelt(part, source.classes) for character in window + following}
        for part in (source.train, source.test)
    )
    assert not seen & unseen
    assert len(seen) + len(unseen) + len(texts) * (length - 1) >= len(set("".join(texts.values()))) - len(texts)


def test_many_characters_need_more_than_a_byte() -> None:
    few, many = "ab" * 200, "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    kinds = [
        torch.as_tensor(windows(tables(rows({"a": text}, 2)), test_fraction=0.2, min_windows=1).train.inputs).dtype
        for text in (few, many)
    ]
    assert kinds == [torch.uint8, torch.int32]


def test_a_test_split_of_its_own_is_taken_whole() -> None:
    source = windows(tables(rows({"a": "abcab"}, 2), rows({"b": "cbd"}, 2)), test_fraction=0.2, min_windows=1)
    assert source.test is not None
    assert source.classes == tuple("abcd")
    assert spelt(source.train, source.classes) == [("a", "ab", "c"), ("a", "bc", "a"), ("a", "ca", "b")]
    assert spelt(source.test, source.classes) == [("b", "cb", "d")]


def some(tmp_path: Path, **more: int) -> Dataset:
    """Four roles of 100 windows of 5 characters, and one of 3 windows; the text of role i is in its own letter."""
    texts = {name: name * 105 for name in "abcd"} | {"e": "e" * 8}
    return load(
        folder(tmp_path / f"plays{len(list(tmp_path.iterdir()))}", rows(texts, 5)), **({"min_windows": 10} | more)
    )


def test_a_folder_of_text_becomes_a_data_set_and_short_roles_are_left_out(tmp_path: Path) -> None:
    data = some(tmp_path)
    assert (data.input_shape, data.vocabulary, data.classes) == ((5,), 5, tuple("abcde"))
    assert (len(data.train), len(data.test)) == (4 * 80, 4 * 15)
    assert data.train.labels.dtype == torch.int64
    assert set(data.train.owners or ()) == set(data.test.owners or ()) == set("abcd")
    assert len(some(tmp_path, min_windows=1).train) == 4 * 80 + 2


def test_limits_are_for_each_role(tmp_path: Path) -> None:
    data = some(tmp_path, limit=20, test_limit=3)
    assert (data.train.owners or ()).count("c") == 20
    assert (data.test.owners or ()).count("a") == 3
    assert (len(data.train), len(data.test)) == (80, 12)
    assert data.train.owners == some(tmp_path, limit=20, test_limit=3).train.owners
    assert data.train.owners != some(tmp_path, limit=20, seed=1).train.owners


def test_the_test_split_is_that_of_the_roles_that_take_part(tmp_path: Path) -> None:
    data = some(tmp_path)
    drawn = set()
    for seed in range(8):
        parts = partition(data.train, 2, scheme="natural", seed=seed)
        present = {(data.train.owners or ())[row] for part in parts for row in part.tolist()}
        test = shared_test(data, parts)
        assert (len(present), set(test.owners or ())) == (2, present)
        assert len(test) == 2 * 15
        drawn |= present
    assert drawn == set("abcd")
    assert len(shared_test(data, partition(data.train, 2, scheme="iid"))) == 4 * 15


def test_all_are_judged_by_the_whole_test_split_where_its_owners_are_others() -> None:
    labels = torch.tensor([0, 1])
    train, test, unowned = (Split(torch.zeros(2, 1), labels, owners) for owners in (("a", "b"), ("c", "d"), None))
    for held_out in (test, unowned):
        assert shared_test(Dataset("d", train, held_out, ("0", "1")), [torch.tensor([0])]) is held_out


def test_rows_out_of_order_are_refused() -> None:
    table = rows({"ann": "to be or not", "bob": "good night"}, 3)
    swapped = {name: [*column[:2], column[3], column[2], *column[4:]] for name, column in table.items()}
    apart = {name: [*column[:5], *column[-3:], *column[5:-3]] for name, column in table.items()}
    for wrong in (swapped, apart):
        with pytest.raises(InputError, match="rows of role 'ann' in 'plays' do not follow each other"):
            windows(tables(wrong), test_fraction=0.2, min_windows=1)


@pytest.mark.parametrize(
    ("column", "values"), [("x", ["ab", "bcd", "cd"]), ("y", ["c", "d", "ee"]), ("y", ["c", "", "e"])]
)
def test_windows_of_other_forms_are_refused(column: str, values: list[str]) -> None:
    table = rows({"ann": "abcde"}, 2) | {column: values}
    with pytest.raises(InputError, match="make all of one length, with one character to come"):
        windows(tables(table), test_fraction=0.2, min_windows=1)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    texts = folder(tmp_path / "short", rows({"ann": "to be or not to be"}, 3))
    with pytest.raises(InputError, match=r"10000 windows or more \(the longest has 15\); lower min_windows"):
        load(texts)
    with pytest.raises(InputError, match="12 training and 0 test samples; both are needed"):
        load(texts, min_windows=1)
    with pytest.raises(InputError, match="owners of 'short', which is text, are in its column 'character_id'"):
        load(texts, min_windows=1, natural="writer")
    for word in ("min_windows", "test_limit"):
        with pytest.raises(InputError, match=f"{word} is 0; it must be 1 or more"):
            load(texts, **{word: 0})


@pytest.mark.skipif(not SHAKESPEARE.is_dir(), reason="needs ../shared/data/shakespeare beside the project")
def test_real_shakespeare_is_read() -> None:
    data = load(SHAKESPEARE)
    assert (data.input_shape, data.vocabulary, len(data.classes)) == ((80,), 65, 65)
    assert len(set(data.train.owners or ())) == 134
    table = datasets.load_dataset(str(SHAKESPEARE), split="train")
    cut = round(0.8 * table["character_id"][:70_000].count(table[0]["character_id"]))
    few = [0, 1, cut - 1]
    expected = [tuple(table[row].values()) for row in few]
    assert spelt(data.train.select(few), data.classes) == expected
    assert spelt(data.test.select([0]), data.classes) == [tuple(table[cut + 80].values())]
    assert data.test.owners is not None
    assert spelt(data.test.select([-1]), data.classes) == [tuple(table[-1].values())]

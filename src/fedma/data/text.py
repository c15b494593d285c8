"""Text to be continued: windows of each speaking role's text, with the character that follows as their class."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fedma.data.samples import Samples, Source, Tables
from fedma.errors import InputError
from fedma.optional_dependencies import imported

OWNER, WINDOW, NEXT = COLUMNS = ("character_id", "x", "y")
"""The columns of `flwrlabs/shakespeare`: a role, some characters of its text in a row, and the one after them."""


@dataclass(frozen=True)
class _Role:
    """What one role says, and how many characters a window has."""

    name: str
    text: str
    length: int

    def __len__(self) -> int:
        return len(self.text) - self.length


def is_text(tables: Tables) -> bool:
    """Whether these tables have the columns of text to be continued."""
    return set(COLUMNS) <= set(tables.train.features)


def windows(tables: Tables, *, test_fraction: float, min_windows: int) -> Source:
    """The windows of all roles, tokens of a byte each; classes are the characters that occur, sorted.

    The table has a row for each window, at stride 1, so that two rows share all characters but one. A role's text is
    its first window and the next characters of all its rows, joined: these are read, and not each window.

    The first part of each role's windows is for training. After it, as many windows are left out as a window has
    characters. So no training window has a character of a test window, or the character after it.

    Args:
        tables: of the data set; where it has no test split, `test_fraction` of each role becomes one.
        test_fraction: the last part of each role's windows.
        min_windows: roles with fewer windows are left out.

    Raises:
        InputError: rows out of order, windows of different lengths, no role with enough of them.
    Source: FedMA, section 4 and appendix (Shakespeare): roles of 10 000 windows or more, 80 % of each for training,
        the rest of all of them together for testing. Departures: the gap; characters are those that occur (65 in the
        plays), where LEAF's alphabet has 80.
    """
    roles = _roles(tables.name, tables.train)
    tests = [] if tables.test is None else _roles(tables.name, tables.test)
    alphabet = "".join(sorted(set().union(*(role.text for role in [*roles, *tests]))))
    kept = [role for role in roles if len(role) >= min_windows]
    if not kept:
        raise InputError(
            f"no role of {tables.name!r} has {min_windows} windows or more (the longest has "
            f"{max(map(len, roles), default=0)}); lower min_windows"
        )
    ends = [len(role) if tests else round((1 - test_fraction) * len(role)) for role in kept]
    train = _samples(kept, alphabet, [range(end) for end in ends])
    if tests:
        test = _samples(tests, alphabet, [range(len(role)) for role in tests])
    else:
        rests = [range(end + role.length, len(role)) for role, end in zip(kept, ends, strict=True)]
        test = _samples(kept, alphabet, rests)
    return Source(tables.name, tuple(alphabet), train, test, vocabulary=len(alphabet))


def _roles(title: str, table: Any) -> list[_Role]:
    """Each role's text, from rows that follow each other.

    Raises:
        InputError: they do not.
    """
    arrow = imported("pyarrow.compute", extra="data")
    owners, inputs, labels = (table.with_format("arrow")[column][:] for column in COLUMNS)
    lengths = arrow.min_max(arrow.utf8_length(inputs)).as_py()
    following, ending = ("".join(column.to_pylist()) for column in (labels, arrow.utf8_slice_codeunits(inputs, -1)))
    if lengths["min"] != lengths["max"] or not len(following) == len(ending) == len(table):
        raise InputError(
            f"windows of {title!r} have {lengths['min']} to {lengths['max']} characters in column {WINDOW!r}, or not "
            f"one each in column {NEXT!r}; make all of one length, with one character to come"
        )
    runs = arrow.run_end_encode(owners.combine_chunks())
    names, ends = runs.values.to_pylist(), runs.run_ends.to_pylist()
    roles, start = [], 0
    for name, end in zip(names, ends, strict=True):
        text = inputs[start].as_py() + following[start:end]
        if ending[start + 1 : end] != following[start : end - 1] or names.count(name) > 1:
            raise InputError(
                f"rows of role {name!r} in {title!r} do not follow each other: each window must be the one before it, "
                "moved on by one character; put the rows in order"
            )
        roles.append(_Role(name, text, lengths["max"]))
        start = end
    return roles


def _samples(roles: Sequence[_Role], alphabet: str, rows: Sequence[range]) -> Samples:
    """These windows of each role."""
    codes = _codes("".join(role.text for role in roles), alphabet)
    starts = np.cumsum([0, *(len(role.text) for role in roles)])[:-1]
    begin = np.concatenate([start + np.arange(own.start, own.stop) for start, own in zip(starts, rows, strict=True)])
    owners = tuple(role.name for role, own in zip(roles, rows, strict=True) for _ in own)
    length = roles[0].length
    inputs = torch.from_numpy(codes).unfold(0, length, 1)[torch.from_numpy(begin)]
    return Samples(inputs, codes[begin + length].astype(np.int64), owners)


def _codes(text: str, alphabet: str) -> NDArray[np.uint8 | np.int32]:
    """Each character's place in the sorted alphabet, in a byte if that is enough."""
    characters, known = (np.frombuffer(part.encode("utf-32-le"), dtype=np.uint32) for part in (text, alphabet))
    return np.searchsorted(known, characters).astype(np.uint8 if len(alphabet) <= 256 else np.int32)

"""When clients are there: who joins in a later round, who leaves, who comes back."""

import itertools
from collections.abc import Sequence

from fedma.errors import InputError

_FOR_EVER = 10**9


def availability(
    join: Sequence[str], leave: Sequence[str], *, clients: int, rounds: int
) -> dict[int, tuple[range, ...]]:
    """The rounds, from 0, in which the clients named are there; the others always are.

    Args:
        join: "CLIENT:ROUND", there from this round on; clients are counted from 0, rounds from 1, as in results.
        leave: "CLIENT:ROUND", away from this round on. Who leaves before it joins was there at first.
        clients: how many there are.
        rounds: how many there will be.

    Raises:
        InputError: an entry that cannot be read, a client that joins or leaves twice in a row, a round without clients.
    """
    turns: dict[int, list[tuple[int, str]]] = {}
    for word, entries in (("join", join), ("leave", leave)):
        for entry in entries:
            client, round_ = _read(word, entry, clients)
            turns.setdefault(client, []).append((round_, word))
    found = {client: _spans(client, sorted(own)) for client, own in turns.items()}
    if len(found) == clients:
        for round_ in {0, *(round_ - 1 for own in turns.values() for round_, _ in own)}:
            if round_ < rounds and not any(round_ in span for spans in found.values() for span in spans):
                raise InputError(f"join and leave: no client is there in round {round_ + 1}")
    return found


def _read(word: str, entry: str, clients: int) -> tuple[int, int]:
    client, colon, round_ = entry.partition(":")
    if not (colon and client.isdecimal() and round_.isdecimal() and int(client) < clients and int(round_) >= 1):
        raise InputError(
            f"{word} {entry!r} cannot be read: write CLIENT:ROUND, such as 3:2, with clients from 0 to {clients - 1} "
            "and rounds from 1"
        )
    return int(client), int(round_)


def _spans(client: int, turns: Sequence[tuple[int, str]]) -> tuple[range, ...]:
    """The rounds of one client, from 0, whose turns are in order."""
    for (_, before), (round_, word) in itertools.pairwise(turns):
        if before == word:
            raise InputError(f"client {client} would {word} twice in a row, the second time in round {round_}")
    edges = [round_ - 1 for round_, _ in turns]
    edges = [*([0] if turns[0][1] == "leave" else []), *edges, *([_FOR_EVER] if turns[-1][1] == "join" else [])]
    return tuple(map(range, edges[::2], edges[1::2]))

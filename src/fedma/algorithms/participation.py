"""Who takes part in a round, and the slots from which a client without slots of its own starts."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fedma.errors import InputError
from fedma.seeds import generator

Availability = Mapping[int, Sequence[range]]
"""For clients that join late or leave, the rounds (from 0) in which they are available; the others always are."""


def participating(
    clients: Sequence[int], round_: int, *, present: Availability, participants: int | None, seed: int
) -> list[int]:
    """The clients of a round, in order: the available ones, or `participants` of them, drawn anew for each round.

    Raises:
        InputError: no client is available.
    """
    here = [client for client in clients if client not in present or any(round_ in span for span in present[client])]
    if not here:
        raise InputError(f"no client is there in round {round_ + 1}; let one of them join earlier, or leave later")
    if participants is None or participants >= len(here):
        return here
    drawn = torch.randperm(len(here), generator=generator(seed, "participants", round_))[:participants]
    return [here[position] for position in drawn.sort().values.tolist()]


def most_owned_slots(assignments: Iterable[Tensor], slots: int, width: int | None = None) -> Tensor:
    """The slots of a group that most clients own, in order, ties by their number: LongTensor (…, width).

    Args:
        assignments: the clients' slots, (units) or (blocks…, units); at least one.
        slots: how many there are.
        width: how many to take at most; None for all.
    """
    own = list(assignments)
    if width is None or width >= slots:
        return torch.arange(slots).expand(*own[0].shape[:-1], -1)
    owners = torch.zeros(*own[0].shape[:-1], slots, dtype=torch.long)
    for units in own:
        owners.scatter_add_(-1, units, torch.ones_like(units))
    return owners.argsort(dim=-1, descending=True, stable=True)[..., :width].sort(dim=-1).values

"""Clients made for the laws of matching, and what is asked of a matching in them."""

from itertools import combinations

import torch
from hypothesis import strategies as st
from torch import Tensor

from fedma.matching import Matching
from fedma.seeds import generator

seeds = st.integers(0, 10_000)


def gauss(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator(seed, "gauss"), dtype=torch.float64)


def planted(
    seed: int, *, clients: int, common: int, private: int, features: int = 12, noise: float = 0.05
) -> tuple[list[Tensor], list[list[int]]]:
    """Clients that share `common` units and have `private` ones each, shuffled; and the true slot of every unit."""
    draw = generator(seed, "planted")
    truth = torch.randn(common + clients * private, features, generator=draw, dtype=torch.float64)
    rows, names = [], []
    for j in range(clients):
        own = [*range(common), *range(common + j * private, common + (j + 1) * private)]
        picked = [own[i] for i in torch.randperm(len(own), generator=draw)]
        fuzz = noise * torch.randn(len(own), features, generator=draw, dtype=torch.float64)
        rows.append(truth[picked] + fuzz)
        names.append(picked)
    return rows, names


def pairs(assignments: object) -> set[frozenset[tuple[int, int]]]:
    """Which (client, unit) share a slot: what a matching says, whatever its slots are called."""
    owners: dict[int, list[tuple[int, int]]] = {}
    for j, slots in enumerate(assignments):  # type: ignore[call-overload]
        for unit, slot in enumerate(slots):
            owners.setdefault(int(slot), []).append((j, unit))
    return {frozenset(pair) for together in owners.values() for pair in combinations(together, 2)}


def check(matching: Matching, clients: list[Tensor]) -> None:
    """What holds of every matching: injective, every slot owned, counted and numbered without gaps."""
    slots = torch.cat(matching.assignments)
    assert [len(a) for a in matching.assignments] == [len(w) for w in clients]
    assert all(len(set(a.tolist())) == len(a) for a in matching.assignments)
    assert torch.bincount(slots).tolist() == matching.counts.tolist()
    assert min(matching.counts) > 0
    assert matching.slots.shape == (len(matching.counts), clients[0].shape[1])
    assert matching.objective == matching.history[-1]

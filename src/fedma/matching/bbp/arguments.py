"""The arguments of `match`, checked, and the orders in which clients are assigned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from fedma.errors import InputError
from fedma.matching.bbp.slots import Scoring
from fedma.seeds import generator as named_generator

Hyper = Literal["empirical", "fixed", "reference"]
Order = tuple[int, ...]

_REFERENCE_GAMMA = 7.0
_REFERENCE_SWEEPS, _SWEEPS = 5, 20


@dataclass(frozen=True)
class Arguments:
    """The arguments of `match` with defaults filled in.

    Attributes:
        hyper: how hyper-parameters are treated.
        gamma: mass of the beta process.
        widths: the units of each client that is matched.
        limit: the most slots there may be; None for any number.
        sweeps: how many sweeps at most.
        orders: the order of the clients in each sweep; None for random orders.
        init_order: their order in the first pass; None for the widest first.
        restarts: how many times to match.
        generator: draws random orders.
    """

    hyper: Hyper
    gamma: float
    widths: tuple[int, ...]
    limit: int | None
    sweeps: int
    orders: tuple[Order, ...] | None
    init_order: Order | None
    restarts: int
    generator: torch.Generator

    @staticmethod
    def read(
        widths: Mapping[int, int],
        *,
        clients: int,
        hyper: Hyper,
        gamma: float | None,
        sweeps: int | None,
        orders: Sequence[Sequence[int]] | None,
        init_order: Sequence[int] | None,
        grow: bool,
        max_slots: int | None,
        restarts: int | None,
        generator: torch.Generator | None,
    ) -> "Arguments":
        """Check the arguments of `match` and fill in the defaults.

        Args:
            widths: the units of each client that is matched, by its number. Inside, these clients count from 0.
            clients: how many clients there are, those that are left out included. The orders hold them all.

        Raises:
            InputError: an argument is out of its range.
        """
        if hyper not in get_args(Hyper):
            raise InputError(f"hyper={hyper!r} is not known; it must be one of {', '.join(map(repr, get_args(Hyper)))}")
        reference = hyper == "reference"
        if reference and restarts not in (None, 1):
            raise InputError('hyper="reference" matches once; leave out restarts')
        if max_slots is not None and max_slots < max(widths.values()):
            raise InputError(
                f"max_slots is {max_slots}, but a client has {max(widths.values())} units, each for a slot of its own"
            )
        gamma = (_REFERENCE_GAMMA if reference else _mass(list(widths.values()))) if gamma is None else float(gamma)
        if not (0 < gamma < float("inf")):
            raise InputError(f"gamma is {gamma}; the mass of the beta process must be above 0 and finite")
        chosen = None
        if orders is not None:
            chosen = tuple(_order(f"orders[{n}]", order, list(widths), clients) for n, order in enumerate(orders))
        if sweeps is None:
            sweeps = len(chosen) if chosen is not None else (_REFERENCE_SWEEPS if reference else _SWEEPS)
        if sweeps < 0 or (chosen is not None and sweeps > len(chosen)):
            raise InputError(f"sweeps is {sweeps}; it must be at least 0 and at most the number of orders given")
        if restarts is None:
            restarts = 1
        if restarts < 1:
            raise InputError(f"restarts is {restarts}; matching once is restarts=1")
        return Arguments(
            hyper=hyper,
            gamma=gamma,
            widths=tuple(widths.values()),
            limit=max_slots if grow else max(widths.values()),
            sweeps=sweeps,
            orders=chosen,
            init_order=None if init_order is None else _order("init_order", init_order, list(widths), clients),
            restarts=restarts,
            generator=generator if generator is not None else named_generator(0, "matching"),
        )

    def scoring(self, *, fixed_width: bool = False) -> Scoring:
        """How to score. At a fixed width there are as many slots as the widest client has units."""
        limit = max(self.widths) if fixed_width else self.limit
        return Scoring(
            self.gamma,
            len(self.widths),
            reference=self.hyper == "reference",
            limit=limit,
            rough=self.hyper == "empirical",
        )

    def first_order(self, attempt: int) -> Order:
        """The clients' order in the first pass: the widest first, from the second attempt on at random."""
        if self.init_order is not None:
            return self.init_order
        if attempt:
            return self._shuffled()
        return tuple(sorted(range(len(self.widths)), key=lambda client: -self.widths[client]))

    def order(self, sweep: int) -> Order:
        """The clients' order in one sweep."""
        return self._shuffled() if self.orders is None else self.orders[sweep]

    def _shuffled(self) -> Order:
        return tuple(torch.randperm(len(self.widths), generator=self.generator).tolist())


def _mass(widths: Sequence[int]) -> float:
    """The mass under which the process expects as many slots as the widest client has units.

    It expects gamma (1 + 1/2 + ... + 1/J) slots for J clients.
    """
    return max(widths) / sum(1 / client for client in range(1, len(widths) + 1))


def _order(name: str, order: Sequence[int], matched: Sequence[int], clients: int) -> Order:
    """The matched clients in this order, counted from 0."""
    found = tuple(int(client) for client in order)
    if sorted(found) != list(range(clients)):
        raise InputError(f"{name} is {found}; it must hold each client 0 to {clients - 1} once")
    return tuple(matched.index(client) for client in found if client in matched)

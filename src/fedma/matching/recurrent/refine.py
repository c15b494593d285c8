"""Matching of recurrent units: the linear assignment refined by the hidden-to-hidden matrices."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedma.errors import InputError, MatchingError
from fedma.matching.arrays import Index
from fedma.matching.bbp.empirical_bayes import centred
from fedma.matching.bbp.prior import Variance, read_prior
from fedma.matching.recurrent.pair_slots import Block, Seating
from fedma.seeds import generator as named_generator
from fedma.units import UnitGraph
from fedma.units.layout import Widths, positions

_SWEEPS = 10
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Refinement:
    """Assignments of a recurrent group.

    Attributes:
        assignments: one LongTensor per client, unit → slot; slots are numbered as the units come, client 0 first.
        history: the objective of the assignments that were given, then of the best known before the first sweep and
            after each one. Never falls.
    """

    assignments: tuple[Tensor, ...]
    history: tuple[float, ...]


def refine(
    inputs: Sequence[Tensor],
    recurrent: Sequence[Tensor],
    assignments: Sequence[Tensor],
    *,
    mu0: float | Tensor | None = None,
    sigma: Variance | None = None,
    sigma0: float | Tensor | None = None,
    gamma: float | None = None,
    slots: int | None = None,
    sweeps: int = _SWEEPS,
    generator: torch.Generator | None = None,
) -> Refinement:
    """Better slots for the units of a recurrent group, by what they read of each other.

    The objective is that of `fedma.match` with hyper="empirical" and one more term of the same kind. A recurrent
    weight joins two slots: for each pair (slot to, slot from) and each gate, a value is drawn from N(mean, spread),
    and the weight of a client that owns both slots from N(that value, noise). Mean (one per gate), spread and noise
    are learnt as mu0, sigma0 and sigma are; the values are integrated out.

    Clients are seated afresh, one after the other, each by a quadratic assignment against those seated before; if
    the assignments given score better, these are kept instead. Then sweeps over all clients in random order, until
    nobody moves: one is taken out and seated again, where that raises the objective.

    Args:
        inputs: units × features of each client: input-to-hidden weights and biases, as given to `match`.
        recurrent: gates × units × units of each client: weight of gate g, *to* the unit, *from* the unit.
        assignments: unit → slot, from `match`.
        mu0, sigma, sigma0: of the inputs, as for `match` with hyper="empirical": of variances only ratios are kept.
        gamma: mass of the beta process, as for `match`.
        slots: how many slots there may be, at least those that are in use; by default no more than those. The time
            grows with its square.
        sweeps: at most.
        generator: for the random orders.

    Raises:
        MatchingError: clients whose tensors do not fit each other; the message names the client.
        InputError: fewer slots than are in use, a gamma that is not positive.

    Source: the paper matches recurrent units by their input weights alone (Wang et al. 2020, section 3) and leaves
        the quadratic assignment to future work. Departure: this is it.
    """
    _check(inputs, recurrent, assignments)
    used = 1 + max(int(own.max()) for own in assignments)
    if slots is not None and slots < used:
        raise InputError(f"slots is {slots}, but the assignments use {used}")
    clients = len(inputs)
    prior = read_prior(mu0, sigma, sigma0, clients=clients, features=inputs[0].shape[1])
    pairs = [own.detach().cpu().flatten(1).T for own in recurrent]
    even = read_prior(None, None, None, clients=clients, features=pairs[0].shape[1])
    seating = Seating(
        Block(inputs, prior if mu0 is not None else centred(prior, inputs)),
        Block(pairs, centred(even, pairs)),
        slots=used if slots is None else slots,
        gamma=max(map(len, inputs)) / sum(1 / (j + 1) for j in range(clients)) if gamma is None else float(gamma),
    )
    history = _begin(seating, [own.numpy() for own in assignments])
    generator = named_generator(0, "refine") if generator is None else generator
    for number in range(sweeps):
        order = torch.randperm(clients, generator=generator).tolist()
        moved = [_reseat(seating, client, starts=1 if number else 2) for client in order]
        seating.learn()
        history.append(seating.objective())
        if not any(moved):
            break
    return Refinement(_numbered(seating.places), tuple(history))


def gates(
    weights: Mapping[str, Tensor], graph: UnitGraph, group: str, *, names: Iterable[str], widths: Widths
) -> Tensor:
    """The recurrent weights of a group: gates × units (to) × units (from); no gates where there are none.

    Args:
        weights: one client's tensors, the group's units in its own order.
        graph: the model's unit graph.
        group: whose units; not one that is ordered separately inside blocks.
        names: which tensors to read. Recurrent are those that make units of this group along one axis and read
            them along another; each segment of the former (a gate) and step of other axes counts as one gate.
        widths: the client's present widths.
    """
    found = [torch.zeros(0, widths[group], widths[group])]
    for name in names:
        axes = {place.role: place.axis for place in graph.places(group) if place.tensor == name}
        if len(axes) < 2 or graph.groups[group].per:
            continue
        to, source = (positions(graph.layouts[name][axes[role]], group, widths) for role in ("out", "in"))
        tensor = weights[name].movedim((axes["out"], axes["in"]), (0, 1))
        cut = tensor[to.T[:, None, :, None], source.T[None, :, None, :]]  # gates × steps × to × from × other axes
        found.append(cut.flatten(4).movedim(-1, 2).flatten(0, 2) if tensor.dim() > 2 else cut.flatten(0, 1))
    return torch.cat(found)


def _begin(seating: Seating, given: Sequence[Index]) -> list[float]:
    """Seat the clients afresh, or as given if that is worth more; the objectives of the latter and of the choice."""
    for client, places in enumerate(given):
        seating.seat(client, places)
    seating.learn()
    before = seating.objective()
    seating.clear()
    # As in `match`, new slots open only once the variances are known.
    for client in sorted(range(len(given)), key=lambda j: -seating.widths[j]):
        if not seating.places:
            seating.seat(client, np.arange(seating.widths[client]))
        else:
            seating.seat(client, seating.worth(client, max(seating.widths)).maximise()[0])
    seating.learn()
    after = seating.objective()
    if after < before:
        seating.clear()
        for client, places in enumerate(given):
            seating.seat(client, places)
        seating.learn()
    return [before, max(before, after)]


def _reseat(seating: Seating, client: int, *, starts: int) -> bool:
    """Seat one client again, all others being seated; whether it moved, which raises the objective.

    Climbs from where it sits, and with two starts from the middle of all maps too: the longer way, which pays once.
    """
    before = seating.leave(client)
    worth = seating.worth(client, seating.slots)
    now = worth.value(before)
    after, value = max((worth.maximise(start) for start in (before, None)[:starts]), key=lambda found: found[1])
    moved = value > now + _ROUNDING * (1 + abs(now))
    seating.seat(client, after if moved else before)
    return moved


def _numbered(places: Mapping[int, Index]) -> tuple[Tensor, ...]:
    """The same slots, numbered as the clients' units come, without the empty ones."""
    everyone = np.concatenate([places[client] for client in range(len(places))])
    slots, first = np.unique(everyone, return_index=True)
    number = np.zeros(slots.max() + 1, dtype=np.int64)
    number[slots[first.argsort()]] = np.arange(len(slots))
    return tuple(torch.from_numpy(number[places[client]]) for client in range(len(places)))


def _check(inputs: Sequence[Tensor], recurrent: Sequence[Tensor], assignments: Sequence[Tensor]) -> None:
    if not len(inputs) == len(recurrent) == len(assignments) > 0:
        raise MatchingError(
            f"found inputs of {len(inputs)} clients, recurrent weights of {len(recurrent)} and assignments of "
            f"{len(assignments)}; give one of each for every client"
        )
    kind = (inputs[0].shape[1], len(recurrent[0]))
    for j, (own, matrices, places) in enumerate(zip(inputs, recurrent, assignments, strict=True)):
        units = len(own)
        if matrices.shape[1:] != (units, units) or (own.shape[1], len(matrices)) != kind:
            raise MatchingError(
                f"client {j} has inputs of shape {tuple(own.shape)} and recurrent weights of shape "
                f"{tuple(matrices.shape)}; expected units × {kind[0]} and {kind[1]} × units × units"
            )
        if not (own.isfinite().all() and matrices.isfinite().all()):
            raise MatchingError(f"client {j} has weights that are not finite: its training diverged")
        if len(places) != units or len(places.unique()) != units or int(places.min()) < 0:
            raise MatchingError(
                f"client {j} has {units} units, but its assignment does not give each a slot of its own"
            )

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
from fedma.matching.recurrent.pair_slots import PairSlots, SlotSums
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
    """Better slots for the units of a recurrent group, by their recurrent weights.

    The objective is that of `fedma.match` with hyper="empirical", with one more term of the same kind. A recurrent
    weight joins two slots. For each pair (slot to, slot from) and each gate, a value is drawn from N(mean, spread). The
    weight of a client that owns both slots is drawn from N(that value, noise). Mean (one per gate), spread and noise
    are learnt as mu0, sigma0 and sigma are. The values are integrated out.

    Clients are first assigned one after the other, each by a quadratic assignment against those before it. If the given
    assignments score better, they are kept instead. Then sweeps in random order follow until no client moves: each
    client is taken out, and assigned where that raises the objective.

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
    pair_slots = PairSlots(
        SlotSums(inputs, prior if mu0 is not None else centred(prior, inputs)),
        SlotSums(pairs, centred(even, pairs)),
        slots=used if slots is None else slots,
        gamma=max(map(len, inputs)) / sum(1 / (j + 1) for j in range(clients)) if gamma is None else float(gamma),
    )
    history = _begin(pair_slots, [own.numpy() for own in assignments])
    generator = named_generator(0, "refine") if generator is None else generator
    for number in range(sweeps):
        order = torch.randperm(clients, generator=generator).tolist()
        moved = [_reassign(pair_slots, client, starts=1 if number else 2) for client in order]
        pair_slots.learn()
        history.append(pair_slots.objective())
        if not any(moved):
            break
    return Refinement(_numbered(pair_slots.assignments), tuple(history))


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


def _begin(pair_slots: PairSlots, given: Sequence[Index]) -> list[float]:
    """Assign the clients from nothing, or as given if that scores better; returns the objectives given and chosen."""
    for client, slots_of in enumerate(given):
        pair_slots.assign(client, slots_of)
    pair_slots.learn()
    before = pair_slots.objective()
    pair_slots.clear()
    # As in `match`, new slots open only once the variances are known.
    for client in sorted(range(len(given)), key=lambda j: -pair_slots.widths[j]):
        if not pair_slots.assignments:
            pair_slots.assign(client, np.arange(pair_slots.widths[client]))
        else:
            pair_slots.assign(client, pair_slots.problem(client, max(pair_slots.widths)).maximise()[0])
    pair_slots.learn()
    after = pair_slots.objective()
    if after < before:
        pair_slots.clear()
        for client, slots_of in enumerate(given):
            pair_slots.assign(client, slots_of)
        pair_slots.learn()
    return [before, max(before, after)]


def _reassign(pair_slots: PairSlots, client: int, *, starts: int) -> bool:
    """Reassign one client, given all others; returns whether it moved, which raises the objective.

    It climbs from its present assignment. With two starts it also climbs from the middle of all assignments: that takes
    longer, and pays once.
    """
    before = pair_slots.release(client)
    problem = pair_slots.problem(client, pair_slots.slots)
    now = problem.value(before)
    after, value = max((problem.maximise(start) for start in (before, None)[:starts]), key=lambda found: found[1])
    moved = value > now + _ROUNDING * (1 + abs(now))
    pair_slots.assign(client, after if moved else before)
    return moved


def _numbered(slots_of: Mapping[int, Index]) -> tuple[Tensor, ...]:
    """The same slots, numbered as the clients' units come, without the empty ones."""
    everyone = np.concatenate([slots_of[client] for client in range(len(slots_of))])
    slots, first = np.unique(everyone, return_index=True)
    number = np.zeros(slots.max() + 1, dtype=np.int64)
    number[slots[first.argsort()]] = np.arange(len(slots))
    return tuple(torch.from_numpy(number[slots_of[client]]) for client in range(len(slots_of)))


def _check(inputs: Sequence[Tensor], recurrent: Sequence[Tensor], assignments: Sequence[Tensor]) -> None:
    if not len(inputs) == len(recurrent) == len(assignments) > 0:
        raise MatchingError(
            f"found inputs of {len(inputs)} clients, recurrent weights of {len(recurrent)} and assignments of "
            f"{len(assignments)}; give one of each for every client"
        )
    kind = (inputs[0].shape[1], len(recurrent[0]))
    for j, (own, matrices, slots_of) in enumerate(zip(inputs, recurrent, assignments, strict=True)):
        units = len(own)
        if matrices.shape[1:] != (units, units) or (own.shape[1], len(matrices)) != kind:
            raise MatchingError(
                f"client {j} has inputs of shape {tuple(own.shape)} and recurrent weights of shape "
                f"{tuple(matrices.shape)}; expected units × {kind[0]} and {kind[1]} × units × units"
            )
        if not (own.isfinite().all() and matrices.isfinite().all()):
            raise MatchingError(f"client {j} has weights that are not finite: its training diverged")
        if len(slots_of) != units or len(slots_of.unique()) != units or int(slots_of.min()) < 0:
            raise MatchingError(
                f"client {j} has {units} units, but its assignment does not give each a slot of its own"
            )

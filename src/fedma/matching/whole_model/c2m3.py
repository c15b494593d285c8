"""Cycle-consistent matching (C2M3): all clients and all groups at once, by Frank–Wolfe on soft permutations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from fedma.errors import MatchingError
from fedma.matching.arrays import Array
from fedma.matching.assignment import own_numbers
from fedma.matching.slices import inner, rows, transform
from fedma.matching.whole_model.git_rebasin import Aligned, layerwise
from fedma.matching.whole_model.weights import agreement, assign, checked
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Maps, Widths


def c2m3(
    models: Sequence[Weights], graph: UnitGraph, *, widths: Sequence[Widths], seed: int = 0, sweeps: int = 100
) -> dict[str, tuple[Tensor, ...]]:
    """Per group, for each client the slot of each of its units: LongTensor (units), or (blocks…, units).

    Maximises Σ_{j<k} ⟨P_j w_j, P_k w_k⟩ over the clients' permutations of all groups together. A common order of slots
    makes every composition of two clients' permutations agree. Permutations are relaxed to doubly stochastic matrices.
    An assignment for each client and group gives the direction. The step along it is the exact maximum of the
    objective, which is a polynomial. In the end an assignment rounds the matrices.

    Args:
        models: each client's tensors.
        graph: the model's unit graph.
        widths: each client's units per group; all alike.
        seed: not used, for one signature with the other matchers: nothing is random here.
        sweeps: Frank–Wolfe steps at most; ends when no step gains.

    Returns:
        Assignments as those of `match_group`: blocks in global order.

    Raises:
        MatchingError: no client; weights that are not finite; clients of different widths.

    Source: C2M3 (Crisostomi et al., NeurIPS 2024), algorithm 1. Departures: the first client's order is that of the
        slots, which costs nothing (a common permutation changes nothing) and keeps two clients from swapping places;
        blocks.
    """
    tensors = checked(models, graph)
    _check_widths(widths)
    here = [_Soft.of(client) for client in _start(tensors, graph, widths[0])]
    for _ in range(sweeps):
        there = _ahead(tensors, here, graph)
        line = _Line.between(tensors, graph, here, there)
        step, gain = line.best()
        if gain <= 0:
            break
        here = line.at(step)
    rounded = [{group: assign(matrix.mT) for group, matrix in own.matrices.items()} for own in here]
    return {group: tuple(own[group] for own in rounded) for group in graph.groups}


_ENOUGH = 1e-6
"""A step that gains less than this share of the clients' squared norm ends the ascent."""


def _start(tensors: Sequence[Weights], graph: UnitGraph, widths: Widths) -> list[Aligned]:
    """The clients in their own order, or assigned to the first one layer by layer: those that agree more."""
    here = [Aligned.at(own, own_numbers(graph, widths, widths), graph, widths) for own in tensors]
    there = [here[0], *(layerwise(client, here[0].aligned, graph) for client in here[1:])]
    return max(here, there, key=lambda clients: agreement([client.aligned for client in clients]))


def _check_widths(widths: Sequence[Widths]) -> None:
    for number, own in enumerate(widths):
        for group, width in own.items():
            if width != widths[0][group]:
                raise MatchingError(
                    f"group {group!r}: cycle-consistent matching needs clients of one width, but client 0 has "
                    f"{widths[0][group]} units and client {number} has {width}; use the matcher 'rebasin' or 'bbp'"
                )


def _matrices(maps: Maps, widths: Widths) -> dict[str, Tensor]:
    """Assignments as matrices of zeros and ones: (blocks…, slots, units)."""
    return {group: torch.nn.functional.one_hot(own, widths[group]).mT.to(torch.float64) for group, own in maps.items()}


def _mixed(own: Maps, goal: Maps, step: float) -> dict[str, Tensor]:
    """The matrices a part of the way from one to the other."""
    return {group: torch.lerp(matrix, goal[group], step) for group, matrix in own.items()}


@dataclass(frozen=True)
class _Soft:
    """One client under soft permutations.

    Attributes:
        matrices: per group a doubly stochastic matrix (blocks…, slots, units).
        aligned: its tensors, these matrices applied.
    """

    matrices: Maps
    aligned: Weights

    @classmethod
    def of(cls, client: Aligned) -> "_Soft":
        return cls(_matrices(client.assignments, client.wide), client.aligned)


def _others(clients: Sequence[_Soft]) -> Iterator[Weights]:
    """For each client but the first the sum of all others: of those before it and those after it, so that nothing is
    subtracted.
    """
    aligned = [client.aligned for client in clients]
    zero = {name: torch.zeros_like(tensor) for name, tensor in aligned[0].items()}
    after = list(accumulate(aligned[:1:-1], _sum, initial=zero))
    for before in accumulate(aligned[:-1], _sum):
        yield _sum(before, after.pop())


def _sum(left: Weights, right: Weights) -> Weights:
    return {name: tensor + right[name] for name, tensor in left.items()}


def _ahead(tensors: Sequence[Weights], clients: Sequence[_Soft], graph: UnitGraph) -> list[_Soft]:
    """Each client under the permutation, for each group, of largest inner product with the objective's gradient; the
    first client stays.
    """
    widths = {group: matrix.shape[-1] for group, matrix in clients[0].matrices.items()}
    ahead = [clients[0]]
    for own, client, others in zip(tensors[1:], clients[1:], _others(clients), strict=True):
        maps = {group: assign(_gradient(own, others, client.matrices, graph, group).mT) for group in graph.groups}
        ahead.append(_Soft.of(Aligned.at(own, maps, graph, widths)))
    return ahead


def _gradient(tensors: Weights, others: Weights, soft: Maps, graph: UnitGraph, group: str) -> Tensor:
    """The objective's derivative by one client's matrix of one group: (blocks…, slots, units).

    A block's inner units are ordered after the block is, so there the other clients are brought back to inner units.
    """
    widths, inside = graph.widths | {g: m.shape[-1] for g, m in soft.items()}, inner(graph, group)
    back = {name: soft[name].mT for name in inside}
    before = {name: matrix for name, matrix in soft.items() if name not in inside}
    total = torch.zeros_like(soft[group])
    for place in graph.places(group):
        name = place.tensor
        if name in tensors:
            mine = transform(tensors[name], graph, name, matrices=before, widths=widths, skip=(place.axis, group))
            theirs = transform(others[name], graph, name, matrices=back, widths=widths)
            mine, theirs = (rows(t, graph, place, group=group, widths=widths) for t in (mine, theirs))
            total += theirs @ mine.mT
    return total


@dataclass(frozen=True)
class _Line:
    """All clients' tensors on the way from one set of matrices to another: polynomials of the step.

    Attributes:
        values: per tensor its values at evenly spaced steps from 0 to 1, as many as the polynomial needs, each for all
            clients.
        here: the clients at step 0.
        there: at step 1.
    """

    values: Mapping[str, Sequence[Sequence[Tensor]]]
    here: Sequence[_Soft]
    there: Sequence[_Soft]

    @classmethod
    def between(
        cls, tensors: Sequence[Weights], graph: UnitGraph, here: Sequence[_Soft], there: Sequence[_Soft]
    ) -> "_Line":
        """The line from here to there; a client that is the same at both ends stays.

        A tensor's values at the two ends are known.
        """
        widths = {group: matrix.shape[-1] for group, matrix in here[0].matrices.items()}
        values = {}
        for name in tensors[0]:
            degree = _degree(graph, name)
            between = [
                [
                    transform(
                        own[name], graph, name, matrices=_mixed(a.matrices, b.matrices, node / degree), widths=widths
                    )
                    if a is not b
                    else a.aligned[name]
                    for own, a, b in zip(tensors, here, there, strict=True)
                ]
                for node in range(1, degree)
            ]
            values[name] = [[own.aligned[name] for own in here], *between, [own.aligned[name] for own in there]]
        return cls(values, here, there)

    def best(self) -> tuple[float, float]:
        """The step in [0, 1] of largest objective, and its gain; none where it is too small to count."""
        total = np.polynomial.Polynomial([0.0])
        norm = 0.0
        for values in self.values.values():
            joint, own = _products(values)
            norm += float(own[0, 0])
            powers = _powers(len(values))
            products = powers @ ((joint - own) / 2) @ powers.T
            sums = [products[::-1].diagonal(k).sum() for k in range(1 - len(products), len(products))]
            total += np.polynomial.Polynomial(sums)
        slope = np.asarray(total.deriv().roots(), dtype=np.complex128)
        steps = [1.0, *(float(r.real) for r in slope if abs(r.imag) < 1e-9 and 0 < r.real < 1)]
        step = max(steps, key=lambda at: float(total(at)))
        gain = float(total(step) - total(0.0))
        return step, gain if gain > _ENOUGH * norm else 0.0

    def at(self, step: float) -> list[_Soft]:
        """The clients at this step."""
        if step == 1:
            return list(self.there)
        shares = {name: step ** np.arange(len(v)) @ _powers(len(v)) for name, v in self.values.items()}
        clients = []
        for j, (a, b) in enumerate(zip(self.here, self.there, strict=True)):
            if a is not b:
                aligned = {name: _weighted([each[j] for each in v], shares[name]) for name, v in self.values.items()}
                a = _Soft(_mixed(a.matrices, b.matrices, step), aligned)
            clients.append(a)
        return clients


def _between(
    tensor: Tensor, graph: UnitGraph, name: str, ends: tuple[_Soft, _Soft], step: float, *, widths: Widths
) -> Tensor:
    """A client's tensor at a step between two ends; where they are the same, as it is there."""
    here, there = ends
    if here is there:
        return here.aligned[name]
    return transform(tensor, graph, name, matrices=_mixed(here.matrices, there.matrices, step), widths=widths)


def _degree(graph: UnitGraph, name: str) -> int:
    """How many matrices an entry of a tensor meets at most: of each axis those of one segment."""
    segments = [[{factor.group for factor in segment} - {None} for segment in axis] for axis in graph.layouts[name]]
    return sum(max(map(len, axis), default=0) for axis in segments)


def _weighted(values: Sequence[Tensor], shares: Array) -> Tensor:
    total = torch.zeros_like(values[0])
    for value, share in zip(values, shares.tolist(), strict=True):
        total.add_(value, alpha=share)
    return total


def _products(values: Sequence[Sequence[Tensor]]) -> tuple[Array, Array]:
    """Of a tensor at several steps, steps × steps: inner products of the clients' sum, and the sum of each client's."""
    steps = len(values)
    joint = torch.zeros(steps, values[0][0].numel(), dtype=torch.float64)
    own = torch.zeros(steps, steps, dtype=torch.float64)
    for client in zip(*values, strict=True):
        rows = torch.stack([tensor.flatten() for tensor in client]).double()
        joint += rows
        own += rows @ rows.T
    return (joint @ joint.T).numpy(), own.numpy()


def _powers(steps: int) -> Array:
    """A polynomial's coefficients from its values at as many evenly spaced steps from 0 to 1."""
    return np.asarray(np.linalg.inv(np.vander(np.linspace(0, 1, steps), increasing=True)), dtype=np.float64)

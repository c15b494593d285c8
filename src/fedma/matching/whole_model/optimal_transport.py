"""Optimal transport: each client's units are spread over those of an anchor, layer by layer."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedma.errors import MatchingError, MissingExtra
from fedma.matching.features import incoming, left_in_place
from fedma.matching.slices import blocks_first, comparable, inner, rows, transform
from fedma.matching.whole_model.weights import checked, compared
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Widths


def transport(anchor: Tensor, client: Tensor) -> Tensor:
    """How much of each of a client's units goes into each of the anchor's: (anchor units, client units), rows sum to 1.

    Every unit has the same mass, and the plan moves it at the least total of squared distances; units of one width
    give a permutation, others a many-to-one or one-to-many coupling, its columns' sums anchor units / client units.

    Args:
        anchor: (units, features).
        client: (units, features).

    Raises:
        MissingExtra: POT is not installed.

    Source: OT fusion (Singh & Jaggi, NeurIPS 2020), section 4, weights variant, exact plan: diag(1/β) Tᵀ.
    """
    return _coupling(_distances(anchor, client))


def transported(
    models: Sequence[Weights], graph: UnitGraph, *, widths: Sequence[Widths], seed: int = 0
) -> list[Weights]:
    """The matcher "ot": each model's tensors on the units of the first model, ready to be averaged.

    Args:
        models: each client's tensors; the first client is the anchor.
        graph: the models' unit graph.
        widths: each client's units per group.
        seed: not used: nothing is random here.

    Returns:
        Tensors of the first client's widths and in its order.

    Raises:
        MatchingError: no client; weights that are not finite; a group of different widths that no tensor tells apart.
        MissingExtra: POT is not installed.

    Source: OT fusion (Singh & Jaggi, NeurIPS 2020), algorithm 1. Departures: where widths differ, what makes a
        unit is averaged (rows sum to 1). What reads it is divided among its parts (columns sum to 1). The paper
        averages both, and so shrinks or inflates sums. Running statistics are averaged like the weights that make a
        unit. Blocks are compared by the best that their inner units can do. Units that only tensors of several
        unmatched groups distinguish are compared by second moments, as in `incoming`.
    """
    checked(models, graph)
    moved = [dict(models[0])]
    for number, (model, own) in enumerate(zip(models[1:], widths[1:], strict=True), 1):
        found = couplings(models[0], model, graph, widths=(widths[0], own), client=number)
        reading = {group: matrix * (matrix.shape[-1] / matrix.shape[-2]) for group, matrix in found.items()}
        moved.append(
            {
                name: transform(tensor, graph, name, matrices=found, incoming=reading, widths=own)
                if tensor.is_floating_point()
                else tensor
                for name, tensor in model.items()
            }
        )
    return moved


def couplings(
    anchor: Weights, model: Weights, graph: UnitGraph, *, widths: tuple[Widths, Widths], client: int = 1
) -> dict[str, Tensor]:
    """Per group the coupling of a client's units with the anchor's: (anchor's blocks…, anchor units, client units).

    Args:
        anchor: the anchor's tensors.
        model: the client's tensors.
        graph: the model's unit graph.
        widths: the anchor's units per group, and the client's.
        client: its number, for messages.
    """
    found: dict[str, Tensor] = {}
    names = compared(anchor, graph)
    for group in blocks_first(graph):
        known = [name for name in names if group in graph.groups_of(name)]
        present = {**widths[1], **{name: widths[0][name] for name in found}}
        moved = {name: transform(model[name], graph, name, matrices=found, widths=widths[1]) for name in known}
        cost = _costs(anchor, moved, graph, group, settled=found, widths=(widths[0], present))
        if cost is not None:
            found[group] = _batched(cost)
        elif widths[0][group] == widths[1][group]:
            left_in_place(group)
            lead = [widths[0][block] for block in graph.groups[group].per]
            found[group] = torch.eye(widths[0][group], dtype=torch.float64).expand(*lead, -1, -1)
        else:
            raise MatchingError(
                f"group {group!r}: the anchor has {widths[0][group]} units and client {client} has "
                f"{widths[1][group]}, and no tensor tells them apart; use clients of one width"
            )
    return found


def _costs(
    anchor: Weights,
    moved: Weights,
    graph: UnitGraph,
    group: str,
    *,
    settled: Collection[str],
    widths: tuple[Widths, Widths],
) -> Tensor | None:
    """Squared distances of incoming vectors, (blocks…, anchor units, client units); with the best of inner units.

    Where unsettled groups index all tensors, those of second moments; None where no tensor has a say.
    """
    pair = _incoming((anchor, moved), graph, group, settled=settled, widths=widths)
    cost = _distances(*pair) if pair else None
    for name in [] if graph.groups[group].per else inner(graph, group):
        if pair := _incoming((anchor, moved), graph, name, settled={*settled, group}, widths=widths):
            dim = graph.groups[name].per.index(group)
            each = _distances(pair[0].movedim(dim, 0).unsqueeze(1), pair[1].movedim(dim, 0))
            best = (_batched(each) * each).flatten(2).sum(-1)
            cost = best if cost is None else cost + best
    if cost is None:
        later = graph.groups.keys() - {*settled, group}
        one, other = (
            incoming(model, graph, group, names=moved, widths=own, later=later)
            for model, own in zip((anchor, moved), widths, strict=True)
        )
        cost = _distances(one, other) if one.shape[-1] else None
    return cost


def _incoming(
    pair: tuple[Weights, Weights],
    graph: UnitGraph,
    group: str,
    *,
    settled: Collection[str],
    widths: tuple[Widths, Widths],
) -> list[Tensor]:
    """Each model's rows of units at the places that make them (that read them where no other is known), or nothing."""
    places = comparable(graph, group, names=pair[1], settled=settled)
    made = [place for place in places if place.role == "out"] or places
    return [
        torch.cat([rows(model[p.tensor], graph, p, group=group, widths=own) for p in made], dim=-1)
        for model, own in zip(pair, widths, strict=True)
        if made
    ]


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """Squared distances between rows: (…, rows, rows), float64."""
    left, right = left.double(), right.double()
    square = left.square().sum(-1).unsqueeze(-1) + right.square().sum(-1).unsqueeze(-2)
    return (square - 2 * left @ right.mT).clamp(min=0)


def _batched(cost: Tensor) -> Tensor:
    """The coupling of each of several cost matrices."""
    flat = cost.reshape(-1, *cost.shape[-2:])
    return torch.stack([_coupling(matrix) for matrix in flat]).view(cost.shape)


def _coupling(cost: Tensor) -> Tensor:
    """The exact plan between uniform masses, its rows scaled to sum to 1."""
    left, right = cost.shape
    plan = _ot().emd(np.full(left, 1 / left), np.full(right, 1 / right), cost.numpy(), numItermax=_ITERATIONS)
    return torch.from_numpy(plan) * left


_ITERATIONS = 100_000_000
"""Of the network simplex, at most: far more than it needs, so that a plan is always optimal."""


def _ot() -> Any:
    """The POT package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import ot
    except ImportError as error:
        raise MissingExtra(
            f"fusion by optimal transport needs POT, which cannot be imported ({error}); pip install 'fedma[ot]'"
        ) from error
    return ot

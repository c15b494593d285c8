"""A client's weights on their way between its own units and the slots of the global model."""

from collections.abc import Collection, Mapping
from itertools import groupby

import torch
from torch import Tensor

from fedma.matching.averaging.fit_readers import fitted
from fedma.matching.features import incoming
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Maps, Widths


def moved(
    own: Mapping[str, Tensor],
    graph: UnitGraph,
    *,
    maps: Maps,
    widths: Widths,
    slots: Mapping[str, Tensor],
    fit: Collection[str] = (),
) -> Weights:
    """A client's weights with its units in the places of their slots.

    Args:
        own: its tensors, or some of them.
        graph: the model's unit graph.
        maps: unit → slot for groups in the client's own order, in the order of the steps.
        widths: the client's widths afterwards.
        slots: the global tensors that make these groups' units.
        fit: those of the groups whose readers are fitted to the slots (`fedma.matching.averaging.fit_readers`).
    """
    held, waiting = dict(own), dict(maps)
    for fits, run in groupby(maps, key=lambda group: group if group in fit else None):
        now = {group: waiting.pop(group) for group in run}
        after = {**widths, **{group: units.shape[-1] for group, units in waiting.items()}}
        before = {**after, **{group: units.shape[-1] for group, units in now.items()}}
        readers = fitted(held, dict(slots), graph, fits, now[fits], widths=(before, after)) if fits else {}
        held = {**graph.scatter(held, now, after), **readers}
    return held


def laid(
    own: Mapping[str, Tensor], under: Mapping[str, Tensor], graph: UnitGraph, maps: Maps, widths: Widths
) -> Weights:
    """The global weights with a client's sub-network laid over them.

    Args: `own` are the client's tensors, `under` the global ones, `maps` its unit → slot, `widths` the global ones.
    """
    wide: Weights = {}
    for name, tensor in own.items():
        if not graph.groups_of(name) & set(maps):
            wide[name] = tensor
            continue
        wide[name] = under[name].clone()
        wide[name][graph.index(name, maps, widths)] = tensor
    return wide


def nearest(
    own: Mapping[str, Tensor],
    under: Mapping[str, Tensor],
    graph: UnitGraph,
    group: str,
    *,
    names: Collection[str],
    units: Tensor,
    widths: Widths,
) -> float:
    """The share of a client's units that are still nearer to their own slot than to any other, in [0, 1].

    Args: `own` as from `laid` over the global tensors `under`; `names` are the tensors to compare by, `units` the
        slots that the client owns, `widths` the global ones.
    """
    rows, slots = (incoming(weights, graph, group, names=names, widths=widths).double() for weights in (own, under))
    if not rows.shape[-1]:
        return 1.0
    found = torch.cdist(rows, slots).argmin(-1)
    return float((found.gather(-1, units) == units).double().mean())

"""Matching the units of one group of a model across its clients."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fedma.errors import MatchingError
from fedma.matching.assignment import checked_slots, same_number, slots
from fedma.matching.features import incoming, left_in_place, outgoing, recurrent_alone
from fedma.matching.matcher import Matcher
from fedma.matching.recurrent.refine import gates, refine
from fedma.seeds import generator
from fedma.units import UnitGraph
from fedma.units.layout import Widths


def match_group(
    clients: Sequence[Mapping[str, Tensor]],
    graph: UnitGraph,
    group: str,
    *,
    names: Iterable[str],
    widths: Sequence[Widths],
    matcher: Matcher,
    class_counts: Tensor | None = None,
    later: Collection[str] = (),
) -> tuple[Tensor, ...]:
    """For each client the slot of each of its units: LongTensor (units), or (blocks…, units).

    Args:
        clients: each client's tensors; axes of groups matched before are in global order.
        graph: the model's unit graph.
        group: whose units.
        names: which tensors may enter a unit's vector.
        widths: each client's present widths.
        matcher: how to match.
        class_counts: (clients, classes) training samples, for a matcher with `outgoing`.
        later: groups that are matched after this one, in whose order the clients still differ.

    Raises:
        MatchingError: units that cannot be matched, naming the group.

    Source: FedMA, Algorithm 1, the matching of one layer.
    """
    matcher.check_by_steps()
    names = list(names)
    rows = [incoming(c, graph, group, names=names, widths=w, later=later) for c, w in zip(clients, widths, strict=True)]
    try:
        if rows[0].shape[-1] == 0:
            left_in_place(group)
            return _by_blocks(rows, lambda block: same_number(block, None))
        most = matcher.most(max(own.shape[-2] for own in rows), growable=graph.groups[group].growable)
        options = {name: value for name, value in matcher.options.items() if name != "max_slots"}
        if matcher.outgoing and class_counts is not None and "sigma" in matcher.entry.options:
            out = [outgoing(c, graph, group, widths=w) for c, w in zip(clients, widths, strict=True)]
            options["sigma"] = _class_variances(rows, out, class_counts)
            rows = [torch.cat(pair, dim=-1) for pair in zip(rows, out, strict=True)]
        matched = _by_blocks(rows, partial(_called, matcher, group=group, most=most, options=options))
        if not (matcher.recurrent or _recurrent_alone(matcher, graph, group)):
            return matched
        matrices = [gates(c, graph, group, names=names, widths=w) for c, w in zip(clients, widths, strict=True)]
        if not len(matrices[0]):
            return matched
        priors = {name: options[name] for name in ("mu0", "sigma", "sigma0", "gamma") if name in options}
        room = max(slots(matched), most or 0)
        return refine(rows, matrices, matched, **priors, slots=room, generator=_orders(matcher.seed, group)).assignments
    except MatchingError as error:
        raise MatchingError(f"group {group!r}: {error}") from error


def _recurrent_alone(matcher: Matcher, graph: UnitGraph, group: str) -> bool:
    """Whether only recurrent weights tell these units apart, and this matcher can use them."""
    reference = matcher.options.get("hyper") == "reference"
    return matcher.entry.recurrent and not reference and recurrent_alone(graph, group)


def _called(
    matcher: Matcher, rows: Sequence[Tensor], *, group: str, most: int | None, options: Mapping[str, Any]
) -> tuple[Tensor, ...]:
    """What the matcher gives for one block, if it can be used."""
    entry = matcher.entry
    if "on_bad" not in entry.options:  # a matcher that has it judges the clients itself
        _check_finite(rows)
    drawn = {"generator": _orders(matcher.seed, group)} if "generator" in entry.options else {}
    return checked_slots(entry.call(rows, most, **{**drawn, **options}), [len(own) for own in rows], most=most)


def _check_finite(rows: Sequence[Tensor]) -> None:
    """Refuse clients with weights that are not finite."""
    for client, own in enumerate(rows):
        if not bool(own.isfinite().all()):
            raise MatchingError(f"client {client} has values that are not finite: its training diverged")


def _by_blocks(rows: Sequence[Tensor], matched: Callable[[Sequence[Tensor]], Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """One matching for each block, all in the same orders, since blocks have none themselves; without blocks, one."""
    blocks = rows[0].shape[:-2]
    if not blocks:
        return tuple(matched(rows))
    flat = [r.flatten(0, -3) for r in rows]
    found = [matched([r[b] for r in flat]) for b in range(len(flat[0]))]
    return tuple(torch.stack([own[j] for own in found]).view(*blocks, -1) for j in range(len(rows)))


def _orders(seed: int, group: str) -> torch.Generator:
    """What decides the orders in which the clients are visited."""
    return generator(seed, "match", group)


def _class_variances(rows: Sequence[Tensor], out: Sequence[Tensor], class_counts: Tensor) -> list[Tensor]:
    """Relative variances: one for incoming features, 1 / class proportion for outgoing ones.

    Source: PFNM's code, where the precision of an outgoing weight is the client's share of that class's samples.
    """
    counts = class_counts.double()
    proportions = counts / counts.sum(0).clamp(min=1)
    repeats = out[0].shape[-1] // counts.shape[1]
    return [
        torch.cat([torch.ones(r.shape[-1], dtype=torch.float64), (1 / p).repeat(repeats)])
        for r, p in zip(rows, proportions, strict=True)
    ]

"""Matching the units of one group of a model across its clients."""

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fedma.errors import InputError, MatchingError
from fedma.matching.alignment import blocks_first
from fedma.matching.bbp import match
from fedma.matching.features import incoming, left_in_place, outgoing, recurrent_alone
from fedma.matching.recurrent import gates, refine
from fedma.seeds import generator
from fedma.units import UnitGraph
from fedma.units.layout import Maps, Widths

MATCHERS = ("bbp", "rebasin", "c2m3", "ot", "identity")
BY_STEPS = ("bbp", "identity")

Function = Callable[[Sequence[Tensor], int | None], Sequence[Tensor]]
"""A matching of one's own: of the clients' units × features, into at most so many slots (None: any number). It gives
for each client a LongTensor, the slot of each unit: no slot twice for one client, and none up to the highest unused."""


@dataclass(frozen=True)
class Matcher:
    """How units are matched.

    Attributes:
        name: "bbp", the Bayesian nonparametric matching of the paper; "rebasin", Git Re-Basin's weight matching;
            "c2m3", the cycle-consistent Frank-Wolfe algorithm; "ot", optimal transport; or "identity", which leaves
            every unit where it is (plain averaging). Those from "rebasin" to "ot" match whole models at fixed width,
            so they serve one-shot fusion only.
        grow: whether a group that can grow may.
        max_growth: the most slots of a group, as a multiple of the widest client's units, at least 1. Not for
            hyper="reference", whose code has no such bound; there `max_slots` among the options is one.
        outgoing: a unit's vector also holds its weights into the model's outputs, with the clients' class
            proportions as precisions (PFNM, for networks with one hidden layer).
        recurrent: the matching of recurrent units by their input weights is refined by their recurrent weights
            (see `fedma.matching.recurrent`), within the same bound on growth.
        options: further arguments of `fedma.match`: hyper, gamma, sigma, sigma0, mu0, sweeps, ...
        seed: decides the order in which clients are visited.
        function: a matching of one's own, used instead of the named one.

    Raises:
        InputError: an unknown name or option, an option that this matcher does not have, a growth below 1.
    """

    name: str = "bbp"
    grow: bool = True
    max_growth: float = 1.5
    outgoing: bool = False
    recurrent: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    function: Function | None = None

    def __post_init__(self) -> None:
        if self.name not in MATCHERS:
            raise InputError(f"matcher {self.name!r} is not known; known are {', '.join(MATCHERS)}")
        known = sorted(inspect.signature(match).parameters.keys() - {"clients"})
        if odd := sorted(set(self.options) - set(known)):
            raise InputError(
                f"{', '.join(odd)}: no such option; beside those of the call itself there are {', '.join(known)}"
            )
        if (self.name != "bbp" or self.function) and (self.options or self.recurrent):
            odd = sorted({*self.options, *(["recurrent"] if self.recurrent else [])})
            other = "a matching of one's own" if self.function else repr(self.name)
            raise InputError(f'{", ".join(odd)}: options of the matcher "bbp", which mean nothing to {other}')
        if self.recurrent and self.options.get("hyper") == "reference":
            raise InputError('recurrent: hyper="reference" matches by input weights alone; leave one of them out')
        if not self.max_growth >= 1:
            raise InputError(f"max_growth must be at least 1, the widest client's own width; got {self.max_growth}")


def slots(assignments: Sequence[Tensor]) -> int:
    """The number of slots that these assignments use."""
    return max(int(own.max()) for own in assignments) + 1


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
    if matcher.name not in BY_STEPS:
        raise InputError(
            f"matcher {matcher.name!r} matches whole models, not one group after the other; "
            f"FedMA needs one of {', '.join(BY_STEPS)}"
        )
    names = list(names)
    rows = [incoming(c, graph, group, names=names, widths=w, later=later) for c, w in zip(clients, widths, strict=True)]
    if rows[0].shape[-1] == 0:
        left_in_place(group)
    if matcher.name == "identity" or rows[0].shape[-1] == 0:
        return _in_place(rows, group)
    grow, width = matcher.grow and graph.groups[group].growable, max(r.shape[-2] for r in rows)
    most = int(matcher.max_growth * width + 1e-9) if math.isfinite(matcher.max_growth) else None
    if matcher.function is not None:
        return _by_blocks(rows, partial(_own, matcher.function, group=group, most=most if grow else width))
    options = {**matcher.options, "grow": grow}
    if most is not None and options.get("hyper") != "reference":
        options.setdefault("max_slots", most)
    if matcher.outgoing and class_counts is not None:
        out = [outgoing(c, graph, group, widths=w) for c, w in zip(clients, widths, strict=True)]
        options["sigma"] = _class_variances(rows, out, class_counts)
        rows = [torch.cat(pair, dim=-1) for pair in zip(rows, out, strict=True)]
    try:
        matched = _by_blocks(
            rows, lambda block: match(block, **{"generator": _orders(matcher.seed, group), **options}).assignments
        )
        if not (matcher.recurrent or recurrent_alone(graph, group)) or options.get("hyper") == "reference":
            return matched
        matrices = [gates(c, graph, group, names=names, widths=w) for c, w in zip(clients, widths, strict=True)]
        if not len(matrices[0]):
            return matched
        priors = {name: options[name] for name in ("mu0", "sigma", "sigma0", "gamma") if name in options}
        room = max(slots(matched), options.get("max_slots") or 0) if grow else None
        return refine(rows, matrices, matched, **priors, slots=room, generator=_orders(matcher.seed, group)).assignments
    except MatchingError as error:
        raise MatchingError(f"group {group!r}: {error}") from error


def original_order(maps: Maps, graph: UnitGraph) -> dict[str, Tensor]:
    """A client's assignments with blocks in its own order, where `match_group` has them in the global one.

    Only blocks of the groups in `maps` are in an order of its own.
    """
    own: dict[str, Tensor] = {}
    for group in blocks_first(graph):
        if group in maps:
            own[group] = maps[group][_blocks(maps[group], group, own, graph)]
    return {group: own[group] for group in maps}


def _blocks(units: Tensor, group: str, own: Maps, graph: UnitGraph) -> tuple[Tensor, ...]:
    """Where the client's blocks lie in the global order, ready to index: one tensor for each group of blocks.

    Args: `own` are the assignments of the client's blocks, those inside other blocks with these in its own order.
    """
    per = graph.groups[group].per
    orders = [own.get(block, torch.arange(size)) for block, size in zip(per, units.shape, strict=False)]
    return tuple(_laid(order, block, per, graph) for order, block in zip(orders, per, strict=True))


def _laid(order: Tensor, block: str, per: Sequence[str], graph: UnitGraph) -> Tensor:
    """The slots of a group of blocks, along its own dimension and those of the blocks around it."""
    names = (*graph.groups[block].per, block) if order.dim() > 1 else (block,)
    held = [name for name in per if name in names]
    shape = iter((laid := order.permute([names.index(name) for name in held])).shape)
    return laid.reshape([next(shape) if name in held else 1 for name in per])


def _by_blocks(rows: Sequence[Tensor], matched: Callable[[Sequence[Tensor]], Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """One matching for each block, all in the same orders, since blocks have none themselves; without blocks, one."""
    blocks = rows[0].shape[:-2]
    if not blocks:
        return tuple(matched(rows))
    flat = [r.flatten(0, -3) for r in rows]
    found = [matched([r[b] for r in flat]) for b in range(len(flat[0]))]
    return tuple(torch.stack([own[j] for own in found]).view(*blocks, -1) for j in range(len(rows)))


def _own(function: Function, rows: Sequence[Tensor], *, group: str, most: int | None) -> tuple[Tensor, ...]:
    """What a matching of the user's own gives, if it can be used."""
    found = tuple(torch.as_tensor(own) for own in function(rows, most))
    if len(found) != len(rows) or any(own.shape != r.shape[:1] for own, r in zip(found, rows, strict=True)):
        raise MatchingError(
            f"group {group!r}: the matching gives tensors of shapes {[tuple(own.shape) for own in found]}; it must "
            f"give one slot for each unit of each client: {[tuple(r.shape[:1]) for r in rows]}"
        )
    used = torch.cat(found)
    if used.is_floating_point() or used.unique().tolist() != list(range(int(used.max()) + 1)):
        raise MatchingError(f"group {group!r}: the matching must number its slots 0, 1, 2, … and leave none empty")
    for client, own in enumerate(found):
        if len(own.unique()) < len(own):
            raise MatchingError(f"group {group!r}: the matching puts two units of client {client} into one slot")
    if most is not None and int(used.max()) >= most:
        raise MatchingError(f"group {group!r}: the matching uses {int(used.max()) + 1} slots; here are at most {most}")
    return tuple(own.long() for own in found)


def _orders(seed: int, group: str) -> torch.Generator:
    """What decides the orders in which the clients are visited."""
    return generator(seed, "match", group)


def _in_place(rows: Sequence[Tensor], group: str) -> tuple[Tensor, ...]:
    """Every unit in the slot of its own number."""
    if len({r.shape[:-1] for r in rows}) > 1:
        found = ", ".join(str(r.shape[-2]) for r in rows)
        raise MatchingError(f"group {group!r}: without matching all clients need one width, found {found}")
    return tuple(torch.arange(r.shape[-2]).expand(r.shape[:-1]) for r in rows)


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

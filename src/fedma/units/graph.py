"""The unit graph: which weights of a model move together when the units of a layer are reordered."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fedma.errors import GraphError
from fedma.units import layout, measure, show
from fedma.units.inputs import Examples, Inputs
from fedma.units.layout import Axis, Factor, Maps, Widths
from fedma.units.resize import rebuild
from fedma.units.state import weights as weights_of

Weights = dict[str, Tensor]
"""A model's parameters and buffers by name, each tensor once (see `fedma.units.state.weights`)."""


@dataclass(frozen=True)
class Group:
    """Units that share one order.

    Attributes:
        name: unique; the path of the module that makes the units, where there is one.
        size: number of units (of units in each block, for a group with `per`).
        growable: whether adding units of zero weights leaves the function unchanged.
        reason: why not growable; empty when it is.
        per: the groups of the blocks inside which these units are ordered separately (a head's dimensions).
    """

    name: str
    size: int
    growable: bool = True
    reason: str = ""
    per: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """One axis of one tensor that a group's order indexes.

    `role` is "in" where the model sums over the axis (the tensor reads the units), "out" where it makes or
    decorates the units (rows of a weight matrix, a bias, a normalisation's scale and shift).
    """

    tensor: str
    axis: int
    role: Literal["in", "out"]


UNUSED = "not used in the forward pass"
"""By these inputs, in evaluation mode."""
SINGLE = "a single unit"
UNINDEXED = "indexes no parameter"
CONSTANT = ("constant", SINGLE, UNINDEXED)
"""Why the axes of a tensor stay that is a constant of the model."""
HARMLESS = ("input", "output", "constant", "position", "time", "convolution kernel", "vocabulary", SINGLE, UNUSED)
"""Reasons to stay in place that say nothing against the units of a model."""


@dataclass(frozen=True)
class UnitGraph:
    """The unit groups of a model, as data: printable, comparable, serialisable, editable by hand.

    Attributes:
        groups: by name, in the order in which the model's forward pass first meets them.
        layouts: for every parameter and buffer, by name, the layout of each of its axes; in the order of their first
            use in the forward pass.
        incoming: the (tensor, axis) pairs that the model sums over.
        fixed: for (tensor, axis) pairs with a part that must stay in place, why; "output" marks the model's outputs.
        statistics: (mean, variance) buffers of normalisation layers that keep running statistics.
    """

    groups: Mapping[str, Group]
    layouts: Mapping[str, tuple[Axis, ...]]
    incoming: frozenset[tuple[str, int]] = frozenset()
    fixed: Mapping[tuple[str, int], str] = field(default_factory=dict)
    statistics: tuple[tuple[str, str], ...] = ()

    @property
    def widths(self) -> dict[str, int]:
        """Units per group."""
        return {name: group.size for name, group in self.groups.items()}

    @property
    def per(self) -> dict[str, tuple[str, ...]]:
        """The block groups of every group that is ordered separately inside blocks."""
        return {name: group.per for name, group in self.groups.items() if group.per}

    def places(self, group: str) -> Iterator[Place]:
        """Every axis that this group's order indexes, in the order of the model's tensors."""
        yield from self._places.get(group, ())

    @cached_property
    def _places(self) -> dict[str, list[Place]]:
        """The places of every group."""
        places: dict[str, list[Place]] = {}
        for tensor, axes in self.layouts.items():
            for a, axis in enumerate(axes):
                for group in layout.groups_of((axis,)):
                    places.setdefault(group, []).append(
                        Place(tensor, a, "in" if (tensor, a) in self.incoming else "out")
                    )
        return places

    def groups_of(self, tensor: str) -> set[str]:
        """The groups that index some axis of this tensor."""
        return layout.groups_of(self.layouts[tensor])

    def made_by(self, tensor: str) -> set[str]:
        """The groups whose units this tensor makes or decorates: those on axes that the model does not sum over."""
        axes = (a for a in range(len(self.layouts[tensor])) if (tensor, a) not in self.incoming)
        return set().union(*(self.groups_on(tensor, axis) for axis in axes))

    def groups_on(self, tensor: str, axis: int) -> set[str]:
        """The groups that index this axis of this tensor."""
        return layout.groups_of((self.layouts[tensor][axis],))

    def shape(self, tensor: str, widths: Widths) -> tuple[int, ...]:
        """The tensor's shape at these widths; a group not named keeps its own."""
        return layout.shape(self.layouts[tensor], widths)

    def widths_in(self, weights: Mapping[str, Tensor]) -> dict[str, int]:
        """The units per group of a model with these weights, read off their shapes.

        Raises:
            GraphError: the shapes fit no widths, or leave some open (two groups that only ever stand side by side).
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        rigid = {name for name, group in self.groups.items() if not group.growable}
        return measure.widths(self.widths, self.layouts, shapes, rigid=rigid)

    def index(self, tensor: str, maps: Maps, widths: Widths) -> tuple[Tensor, ...]:
        """Where each entry of the narrow tensor lies in the wide one; see `fedma.units.layout.index`."""
        return layout.index(self.layouts[tensor], maps, widths, per=self.per)

    def gather(self, weights: Mapping[str, Tensor], maps: Maps, widths: Widths | None = None) -> Weights:
        """The narrow weights out of wide ones: a permutation, a slice, a client's own sub-network.

        Args:
            weights: wide tensors by name (any of the model's tensors; others are refused).
            maps: narrow unit → wide unit; a group not named keeps all its units in order.
            widths: the wide model's widths; a group not named has the graph's own.
        """
        return {name: self._moved(name, maps, tensor, widths or {}) for name, tensor in weights.items()}

    def scatter(self, weights: Mapping[str, Tensor], maps: Maps, widths: Widths) -> Weights:
        """Wide weights that hold the narrow ones: places of no narrow unit are zero, a running variance there is one.

        Args: as for `gather`, with narrow tensors.

        Raises:
            GraphError: a tensor is of another shape than its layout has at the widths of `maps`.
        """
        variances = {variance for _, variance in self.statistics}
        wide: Weights = {}
        for name, tensor in weights.items():
            if not self.groups_of(name) & set(maps):
                wide[name] = tensor.clone()
                continue
            narrow = self.shape(name, {**widths, **{group: units.shape[-1] for group, units in maps.items()}})
            if tuple(tensor.shape) != narrow:
                raise GraphError(
                    f"tensor {name!r} has shape {tuple(tensor.shape)}, its layout at these widths {narrow}"
                )
            shape, filler = self.shape(name, widths), float(name in variances)
            wide[name] = layout.put(tensor, self.index(name, maps, widths), shape, filler)
        return wide

    def permute(self, model: nn.Module, orders: Maps) -> nn.Module:
        """A new model with the same function whose units stand in these orders (new place → old unit)."""
        return self.slice(model, orders)

    def slice(self, model: nn.Module, keep: Maps, *, widths: Widths | None = None) -> nn.Module:
        """A new model with only these units of every group named, in this order.

        Args:
            model: of the graph's own widths or of others.
            keep: numbers of the units to keep, by group; a group not named keeps all.
            widths: the model's, where its shapes do not tell.
        """
        own = weights_of(model)
        widths = widths or self.widths_in(own)
        return rebuild(model, self.gather(own, self._per_block(keep, widths), widths))

    def widen(self, model: nn.Module, widths: Widths) -> nn.Module:
        """A new model at these widths: the old units first, then units of zero weights.

        Raises:
            GraphError: a group is not there, cannot grow, or would shrink.
        """
        narrow = self.widths_in(weights_of(model))
        for name, width in widths.items():
            group = self.groups.get(name)
            if group is None:
                raise GraphError(f"there is no group {name!r}; the groups are {', '.join(self.groups)}")
            if width < narrow[name]:
                raise GraphError(
                    f"group {name} has {narrow[name]} units, {width} are wanted: use `slice` to drop units"
                )
            if width > narrow[name] and not group.growable:
                raise GraphError(f"group {name} cannot grow: {group.reason}")
        return self.resized(model, widths)

    def resized(self, model: nn.Module, widths: Widths) -> nn.Module:
        """As `widen`, whether or not the groups can grow: to find out."""
        own = weights_of(model)
        narrow = self.widths_in(own)
        first = {name: torch.arange(size) for name, size in narrow.items()}
        return rebuild(model, self.scatter(own, self._per_block(first, narrow), {**narrow, **widths}))

    def _per_block(self, maps: Maps, widths: Widths) -> dict[str, Tensor]:
        """Maps with a leading dimension for each block group; one map for all blocks is repeated."""
        full = {}
        for name, units in maps.items():
            blocks = [maps[b].shape[-1] if b in maps else widths[b] for b in self.groups[name].per]
            full[name] = units.expand(*blocks, -1) if units.dim() == 1 else units
        return full

    def pin(self, group: str, why: str) -> "UnitGraph":
        """The graph without one group, whose units stay in place."""
        groups = {
            name: replace(own, per=tuple(block for block in own.per if block != group))
            for name, own in self.groups.items()
            if name != group
        }
        fixed = {(place.tensor, place.axis): why for place in self.places(group)}
        layouts = {name: tuple(layout.without(axis, group) for axis in axes) for name, axes in self.layouts.items()}
        return replace(self, groups=groups, layouts=layouts, fixed={**fixed, **self.fixed})

    def check_movable(self) -> None:
        """Refuse a model whose hidden units all stay in place: matching could do nothing for it.

        Raises:
            GraphError: naming the first tensor with hidden units, and the operation that keeps them in place.
        """
        if self.groups:
            return
        for (tensor, _), why in self.fixed.items():
            if why not in HARMLESS:
                raise GraphError(
                    f"no units of this model can be matched: those of {tensor!r} stay in place ({why}). "
                    "If that operation keeps units apart, teach it (fedma.units.rule); else average models as they are"
                )

    def check(self, model: nn.Module, example_inputs: Examples) -> None:
        """Test this graph against a model by the permutation law.

        Raises:
            GraphError: a tensor is missing or of another shape, or a group is wrong (named, with its places).
        """
        from fedma.units import verify

        verify.check(self, model, Inputs.of(example_inputs))

    @property
    def coverage(self) -> float:
        """Share of the entries that move with some group, of all tensors but constants and running statistics."""
        aside = {name for pair in self.statistics for name in pair}
        moving = total = 0.0
        for name, axes in self.layouts.items():
            constant = all(self.fixed.get((name, a)) in CONSTANT for a in range(len(axes)))
            if name not in aside and not constant:
                size = math.prod(layout.extent(axis, {}) for axis in axes)
                still = math.prod(
                    layout.extent(tuple(s for s in axis if not layout.groups_of(((s,),))), {}) for axis in axes
                )
                moving, total = moving + size - still, total + size
        return moving / total if total else 0.0

    def __str__(self) -> str:
        return show.table(self)

    def _moved(self, name: str, maps: Maps, tensor: Tensor, widths: Widths) -> Tensor:
        if not self.groups_of(name) & set(maps):
            return tensor.clone()
        return layout.take(tensor, self.index(name, maps, widths))

    def random_orders(self, generator: torch.Generator) -> dict[str, Tensor]:
        """A random order of the units of every group, drawn separately inside each block."""
        orders = {}
        for name, group in self.groups.items():
            blocks = [self.groups[block].size for block in group.per]
            keys = torch.rand([*blocks, group.size], generator=generator, dtype=torch.float64)
            orders[name] = keys.argsort(dim=-1)
        return orders

    def to_dict(self) -> dict[str, Any]:
        """The graph as plain lists, numbers and strings, fit for JSON."""
        return {
            "groups": [asdict(group) for group in self.groups.values()],
            "layouts": {
                name: [[[[f.size, f.group] for f in segment] for segment in axis] for axis in axes]
                for name, axes in self.layouts.items()
            },
            "incoming": sorted([tensor, axis] for tensor, axis in self.incoming),
            "fixed": [[tensor, axis, why] for (tensor, axis), why in self.fixed.items()],
            "statistics": [list(pair) for pair in self.statistics],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "UnitGraph":
        """The graph that `to_dict` wrote down."""
        groups = [Group(**{**group, "per": tuple(group["per"])}) for group in data["groups"]]
        return cls(
            groups={group.name: group for group in groups},
            layouts={
                name: tuple(
                    tuple(tuple(Factor(size, group) for size, group in segment) for segment in axis) for axis in axes
                )
                for name, axes in data["layouts"].items()
            },
            incoming=frozenset((tensor, axis) for tensor, axis in data["incoming"]),
            fixed={(tensor, axis): why for tensor, axis, why in data["fixed"]},
            statistics=tuple((mean, variance) for mean, variance in data["statistics"]),
        )

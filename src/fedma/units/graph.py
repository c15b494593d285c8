"""The unit graph: which weights of a model move together when the units of a layer are reordered."""

import math
from collections.abc import Collection, Iterator, Mapping
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
        name: unique; the path of the module that makes the units, if there is one.
        size: number of units (of units in each block, for a group with `per`).
        growable: whether adding units of zero weights leaves the function unchanged.
        reason: why it cannot grow; empty if it can.
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

    `role` is "in" if the model sums over the axis: the tensor reads the units. It is "out" if the tensor makes or
    decorates them: rows of a weight matrix, a bias, a normalisation's scale and shift.
    """

    tensor: str
    axis: int
    role: Literal["in", "out"]


UNUSED = "not used in the forward pass"
"""Why parameters that these inputs do not reach, in evaluation mode, stay in place."""
SINGLE = "a single unit"
UNINDEXED = "indexes no parameter"
CONSTANT = ("constant", SINGLE, UNINDEXED)
"""Why the axes of a tensor stay that is a constant of the model."""
HARMLESS = ("input", "output", "constant", "position", "time", "convolution kernel", "vocabulary", SINGLE, UNUSED)
"""Reasons to stay in place that do not concern hidden units."""


@dataclass(frozen=True)
class UnitGraph:
    """The unit groups of a model, as data: printable, comparable, serialisable, editable by hand.

    Attributes:
        groups: by name, in the order in which the model's forward pass first meets them.
        layouts: for every parameter and buffer, by name, the layout of each of its axes. They stand in the order of
            first use in the forward pass.
        incoming: the (tensor, axis) pairs that the model sums over.
        fixed: why some part of a (tensor, axis) pair must stay in place; "output" marks the model's outputs.
        statistics: (mean, variance) buffers of normalisation layers that keep running statistics.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import fedma
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> graph = fedma.units(model, torch.ones(1, 4))
        >>> turned = graph.permute(model, {"0": torch.arange(8).flip(0)})
        >>> bool(torch.equal(turned[0].weight, model[0].weight.flip(0)))
        True
        >>> graph.widen(model, {"0": 10})[0]
        Linear(in_features=4, out_features=10, bias=True)
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

    @cached_property
    def statistics_names(self) -> frozenset[str]:
        """The names of all running means and variances."""
        return frozenset(name for pair in self.statistics for name in pair)

    @cached_property
    def variances(self) -> tuple[str, ...]:
        """The names of the running variances, in the order of `statistics`."""
        return tuple(variance for _, variance in self.statistics)

    @cached_property
    def reading(self) -> frozenset[str]:
        """The names of all tensors that sum over some axis: the weights of layers."""
        return frozenset(name for name, _ in self.incoming)

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
        """The tensor's shape at these widths. A group that is not named keeps its own width."""
        return layout.shape(self.layouts[tensor], widths)

    def widths_in(self, weights: Mapping[str, Tensor]) -> dict[str, int]:
        """The units per group of a model with these weights, read off their shapes.

        Raises:
            GraphError: the shapes fit no widths, or leave some open (two groups that always share an axis).
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        rigid = {name for name, group in self.groups.items() if not group.growable}
        return measure.widths(self.widths, self.layouts, shapes, rigid=rigid)

    def index(self, tensor: str, maps: Maps, widths: Widths) -> tuple[Tensor, ...]:
        """The position in the wide tensor of each entry of the narrow one; see `fedma.units.layout.index`."""
        return layout.index(self.layouts[tensor], maps, widths, per=self.per)

    def gather(self, weights: Mapping[str, Tensor], maps: Maps, widths: Widths | None = None) -> Weights:
        """Narrow weights taken from wide ones: a permutation, a slice, a client's own sub-network.

        Args:
            weights: wide tensors by name: some or all of the model's tensors.
            maps: narrow unit → wide unit, by group. A group that is not named keeps all its units in order.
            widths: the wide model's widths. A group that is not named has the graph's own.
        """
        return {name: self._moved(name, maps, tensor, widths or {}) for name, tensor in weights.items()}

    def scatter(self, weights: Mapping[str, Tensor], maps: Maps, widths: Widths) -> Weights:
        """Wide weights that hold the narrow ones. Entries of no narrow unit are zero, running variances one.

        Args: as for `gather`, with narrow tensors.

        Raises:
            GraphError: a tensor's shape is not its layout's at the widths of `maps`.
        """
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
            shape, filler = self.shape(name, widths), float(name in self.variances)
            wide[name] = layout.put(tensor, self.index(name, maps, widths), shape, filler)
        return wide

    def permute(self, model: nn.Module, orders: Maps) -> nn.Module:
        """A new model with the same function and its units in these orders (new position → old unit)."""
        return self.slice(model, orders)

    def slice(self, model: nn.Module, keep: Maps, *, widths: Widths | None = None) -> nn.Module:
        """A new model that keeps only these units of the named groups, in this order.

        Args:
            model: of the graph's widths or of other widths.
            keep: numbers of the units to keep, by group. A group that is not named keeps all.
            widths: the model's widths, if its shapes do not determine them.
        """
        own = weights_of(model)
        widths = widths or self.widths_in(own)
        return rebuild(model, self.gather(own, self._per_block(keep, widths), widths), handed_over=True)

    def widen(self, model: nn.Module, widths: Widths) -> nn.Module:
        """A new model at these widths: the old units first, then units of zero weights.

        Raises:
            GraphError: a group does not exist, cannot grow, or would shrink.
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
        """As `widen`, but for groups that cannot grow too. It serves to find out which can."""
        own = weights_of(model)
        narrow = self.widths_in(own)
        first = {name: torch.arange(size) for name, size in narrow.items()}
        wide = self.scatter(own, self._per_block(first, narrow), {**narrow, **widths})
        return rebuild(model, wide, handed_over=True)

    def _per_block(self, maps: Maps, widths: Widths) -> dict[str, Tensor]:
        """Maps with a leading dimension for each block group. One map for all blocks is repeated."""
        full = {}
        for name, units in maps.items():
            blocks = [maps[b].shape[-1] if b in maps else widths[b] for b in self.groups[name].per]
            full[name] = units.expand(*blocks, -1) if units.dim() == 1 else units
        return full

    def pin(self, group: str, why: str) -> "UnitGraph":
        """The graph without one group, whose units stay in place."""
        return self.pin_all([group], why)

    def pin_all(self, pinned: Collection[str], why: str) -> "UnitGraph":
        """The graph without these groups, whose units stay in place."""
        gone = set(pinned)
        groups = {
            name: replace(own, per=tuple(block for block in own.per if block not in gone))
            for name, own in self.groups.items()
            if name not in gone
        }
        fixed = {(place.tensor, place.axis): why for group in pinned for place in self.places(group)}
        layouts = {name: tuple(layout.without(axis, gone) for axis in axes) for name, axes in self.layouts.items()}
        return replace(self, groups=groups, layouts=layouts, fixed={**fixed, **self.fixed})

    def check_movable(self) -> None:
        """Refuse a model whose hidden units all stay in place: matching could not change it.

        Raises:
            GraphError: no hidden unit can move. It names the first such tensor and the operation that pins it.
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
            GraphError: a tensor is missing or of another shape, or a group is wrong (the message lists its places).
        """
        from fedma.units import verify

        verify.check(self, model, Inputs.of(example_inputs))

    @property
    def coverage(self) -> float:
        """The share (0…1) of entries that move with some group. Constants and running statistics do not count."""
        moving = total = 0.0
        for name, axes in self.layouts.items():
            constant = all(self.fixed.get((name, a)) in CONSTANT for a in range(len(axes)))
            if name not in self.statistics_names and not constant:
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
        """A random order of the units of every group, drawn separately for each block."""
        orders = {}
        for name, group in self.groups.items():
            blocks = [self.groups[block].size for block in group.per]
            keys = torch.rand([*blocks, group.size], generator=generator, dtype=torch.float64)
            orders[name] = keys.argsort(dim=-1)
        return orders

    def to_dict(self) -> dict[str, Any]:
        """The graph as plain lists, numbers and strings, ready for JSON."""
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
        """The graph that `to_dict` described."""
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

"""Which groups can have more units. It is tried with units of zero weights: first by shapes, then by values."""

import warnings
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedma.units.axes import BAKED
from fedma.units.graph import UnitGraph
from fedma.units.halving import failing
from fedma.units.inputs import Inputs, evaluating, given, keeping
from fedma.units.reference import uncompiled
from fedma.units.resize import copied, holding
from fedma.units.state import tensors
from fedma.units.trial import DRAWS, FIXED, Trial, wider

Stuck = dict[str, str]
"""Groups that cannot grow, and why."""
FEW = 5
"""Up to this many groups, shapes are not tried first: the first use of the meta device in a process imports much."""
UNSTEADY = "the model gives other outputs every time, so it cannot be tried"


def free(graph: UnitGraph) -> list[str]:
    """The groups that nothing known so far keeps from growing."""
    return [name for name, group in graph.groups.items() if group.growable]


def held_by_shapes(graph: UnitGraph, trial: Trial) -> Stuck:
    """The groups without whose present size the model does not run. Found by shapes alone, without arithmetic."""
    if len(free(graph)) <= FEW:
        return {}
    shapes = Skeleton(trial.model, trial.cases[0].inputs)
    held: Stuck = {}
    for draw in range(DRAWS if shapes.runs else 0):
        rest = [name for name in free(graph) if name not in held]
        held |= failing(rest, partial(shapes.wrong, graph, draw=draw))
    return held


def growable(graph: UnitGraph, trial: Trial, stuck: Stuck | None = None) -> UnitGraph:
    """The graph with its groups marked as growable or not, by trying. Sizes that views seem to fix are tried too.

    Args:
        graph: of the model.
        trial: of the model.
        stuck: the groups that cannot grow, if already known.
    """
    stuck = _stuck(graph, trial) if stuck is None else stuck
    grown = [name for name in free(graph) if name not in stuck]
    baked = [name for name, group in graph.groups.items() if group.reason == BAKED]
    if baked and UNSTEADY not in stuck.values() and not _together(graph, trial, [*grown, *baked]):
        grown += baked
    groups = {
        name: replace(group, growable=name in grown, reason="" if name in grown else stuck.get(name, group.reason))
        for name, group in graph.groups.items()
    }
    return replace(graph, groups=groups)


def _stuck(graph: UnitGraph, trial: Trial) -> Stuck:
    """The groups that cannot grow: tested by shapes first, which is cheap, then by values."""
    if not trial.widened(graph, free(graph), ordered=False):
        return {}
    if trial.unsteady:
        return dict.fromkeys(free(graph), UNSTEADY)
    stuck = held_by_shapes(graph, trial)
    rest = [name for name in free(graph) if name not in stuck]
    return stuck | failing(rest, lambda some: trial.widened(graph, some, ordered=False))


def _together(graph: UnitGraph, trial: Trial, groups: Collection[str]) -> str:
    """What goes wrong when these groups grow together; shapes are tried first."""
    shapes = Skeleton(trial.model, trial.cases[0].inputs) if len(groups) > FEW else None
    if shapes is not None and shapes.runs and (why := _held_together(shapes, graph, groups)):
        return why
    return trial.widened(graph, groups, ordered=False)


def _held_together(shapes: "Skeleton", graph: UnitGraph, groups: Collection[str]) -> str:
    """What goes wrong in the shapes when these grow, in some draw."""
    return next((why for draw in range(DRAWS) if (why := shapes.wrong(graph, groups, draw))), "")


class Skeleton:
    """A model without values, on PyTorch's meta device: it shows only what its shapes allow.

    Attributes:
        runs: whether it runs at all. A model that branches on values does not.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        places = {id(tensor): tensor for tensor in tensors(model).values()}
        self.model = copied(model, {key: _bare(tensor) for key, tensor in places.items()})
        self.inputs = inputs.map(lambda tensor: tensor.to("meta"))
        self.runs = not self._fault(self.model)

    def wrong(self, graph: UnitGraph, groups: Collection[str], draw: int) -> str:
        """What goes wrong in the shapes when these groups grow, as in one draw; empty if nothing does."""
        widths = wider(graph, groups, draw)
        names = [name for name in graph.layouts if graph.groups_of(name) & set(widths)]
        weights = {name: torch.empty(graph.shape(name, widths), device="meta") for name in names}
        with holding(self.model, weights) as wide:
            fault = self._fault(wide)
        return f"{FIXED} ({fault})" if fault else ""

    def _fault(self, model: nn.Module) -> str:
        """What the model raises; empty if it runs."""
        try:
            with warnings.catch_warnings(), keeping(model), evaluating(model), uncompiled(), _Bare():
                warnings.simplefilter("ignore")
                given(model, self.inputs)
        except Exception as error:
            line = str(error).strip().partition("\n")[0]
            return f"{type(error).__name__}: {line[:80]}"
        return ""


class _Bare(TorchFunctionMode):
    """Tells the shape of what batch norm gives without the long way that PyTorch goes where there are no values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.batch_norm and args and not kwargs.get("training", any(args[5:6])):
            tensor, held = args[0], [*args[1:5], kwargs.get("weight"), kwargs.get("bias")]
            if tensor.is_meta and tensor.dim() > 1:
                return self._normalised(tensor, [each for each in held if each is not None])
        return func(*args, **kwargs)

    @staticmethod
    def _normalised(tensor: Tensor, held: list[Tensor]) -> Tensor:
        for each in held:
            if tuple(each.shape) != tuple(tensor.shape[1:2]):
                raise RuntimeError(f"batch norm of {each.shape[0]} channels was given {tensor.shape[1]}")
        return torch.empty_like(tensor)


def _bare(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the same shape without values."""
    bare = torch.empty_like(tensor, device="meta")
    return nn.Parameter(bare, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else bare

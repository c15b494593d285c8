"""How a model's units vary together on its own data: what a client may send beside its weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fedma.errors import InputError
from fedma.units.find import units
from fedma.units.graph import UnitGraph
from fedma.units.inputs import Examples, Inputs, at_rest
from fedma.units.layout import Widths, positions
from fedma.units.state import tensors

Moments = dict[str, Tensor]
"""By the name of a weight, the covariance of the units that it reads: units × units, float64."""


def moments(model: nn.Module, batches: Iterable[Examples], *, graph: UnitGraph | None = None) -> Moments:
    """The covariances of the units that each layer reads, by the name of the layer's weight: units × units, float64.

    Over all samples and, where a unit has several positions (channels, steps of a sequence), over these; in evaluation
    mode, without labels. Who sends them reveals how much each unit varies on the samples, and with which others: no
    sample, but more about the data than the weights tell.

    Args:
        model: a client's trained model.
        batches: inputs, each as the model is called with: a tensor, a tuple of tensors or a dict of keyword arguments.
        graph: the model's unit graph; derived from the first batch where it is not given.

    Returns:
        An entry for every fully connected or convolutional layer that reads the units of one group and is called as
        a module. Layers that read the model's inputs have none.

    Raises:
        InputError: no batch, or activations that are not finite.
    """
    samples = [Inputs.of(batch) for batch in batches]
    if not samples:
        raise InputError("there are no batches to measure activations on; give at least one")
    graph = graph or units(model, samples[0].kwargs or samples[0].args)
    names = {id(tensor): name for name, tensor in tensors(model).items()}
    widths = graph.widths_in(tensors(model))
    sums: dict[str, _Sums] = {}
    hooks = []
    for layer in model.modules():
        name = names.get(id(layer.weight)) if isinstance(layer, nn.Linear | _ConvNd) else None
        if name is not None and (read := reads(graph, name)) is not None:
            own = sums.setdefault(name, _Sums(read.positions(graph, widths)))
            hooks.append(layer.register_forward_pre_hook(own.add))
    try:
        with at_rest(model):
            for batch in samples:
                model(*batch.args, **batch.kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: own.covariance(name) for name, own in sums.items() if own.count}


@dataclass(frozen=True)
class Read:
    """Where one tensor reads the units of one group, along one axis."""

    tensor: str
    axis: int
    group: str

    def positions(self, graph: UnitGraph, widths: Widths) -> Tensor:
        """The steps along the axis that belong to each unit: units × steps of a unit."""
        return positions(graph.layouts[self.tensor][self.axis], self.group, widths)


def reads(graph: UnitGraph, tensor: str) -> Read | None:
    """Where this tensor reads units; None where it reads none, those of several groups, or units inside blocks."""
    found = [
        Read(tensor, axis, group)
        for name, axis in graph.incoming
        if name == tensor
        for group in graph.groups_on(tensor, axis)
    ]
    return found[0] if len(found) == 1 and not graph.groups[found[0].group].per else None


class _Sums:
    """Sums over what one layer reads: of each unit, and of the products of two."""

    def __init__(self, steps: Tensor) -> None:
        """Of units whose steps along the layer's inputs are these: units × steps of a unit."""
        self.steps = steps
        self.count = 0
        self.first = torch.zeros(len(steps), dtype=torch.float64)
        self.second = torch.zeros(len(steps), len(steps), dtype=torch.float64)

    def add(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Called before the layer's forward: takes in its input, whose channels lie before a convolution's space."""
        if not inputs:  # called by keyword
            return
        seen = inputs[0].movedim(1 - layer.get_parameter("weight").dim(), -1).double().cpu()
        if seen.shape[-1] == self.steps.numel():  # not so in a convolution whose channels are read in parts
            units = seen[..., self.steps.flatten()].reshape(-1, *self.steps.shape).movedim(1, 0).flatten(1)
            self.count += units.shape[1]
            self.first += units.sum(1)
            self.second += units @ units.T

    def covariance(self, name: str) -> Tensor:
        """Of all that was taken in."""
        mean = self.first / self.count
        found = self.second / self.count - torch.outer(mean, mean)
        if not bool(found.isfinite().all()):
            raise InputError(
                f"what {name!r} reads is not finite on these batches; look for a diverged model or bad inputs"
            )
        return found

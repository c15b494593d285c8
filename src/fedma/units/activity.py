"""What a model's units do on data: how they vary together, and how strongly each sample excites each of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils import _pytree as pytree

from fedma.errors import InputError
from fedma.units.find import units
from fedma.units.graph import UnitGraph
from fedma.units.inputs import Examples, Inputs, at_rest
from fedma.units.layout import Widths, positions
from fedma.units.state import tensors

Moments = dict[str, Tensor]
"""For the name of a weight, the covariance of the units that it reads: units × units, float64."""

Look = Callable[[nn.Module, tuple[Any, ...]], None]
"""Called before a layer's forward, with the layer and its arguments."""


def moments(model: nn.Module, batches: Iterable[Examples], *, graph: UnitGraph | None = None) -> Moments:
    """The covariances of the units that each layer reads, by the name of the layer's weight.

    They are taken in evaluation mode, without labels, over all samples. If a unit has several positions (channels,
    steps of a sequence), they are taken over these too. They contain no sample. But they reveal more about the data
    than the weights do: how much each unit varies, and with which others.

    Args:
        model: a client's trained model.
        batches: inputs, each as the model is called with: a tensor, a tuple of tensors or a dict of keyword arguments.
        graph: the model's unit graph; derived from the first batch where it is not given.

    Returns:
        Units × units, float64, for every fully connected or convolutional layer that reads the units of one group and
        is called as a module. Layers that read the model's inputs have no entry.

    Raises:
        InputError: no batch, or activations that are not finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import fedma
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> found = fedma.moments(model, [torch.ones(16, 4), torch.zeros(16, 4)])
        >>> {name: tuple(covariance.shape) for name, covariance in found.items()}
        {'2.weight': (8, 8)}
    """
    samples, graph = _begun(model, batches, graph)
    widths = graph.widths_in(tensors(model))
    sums: dict[str, _Sums] = {}
    looks = [
        (layer, sums.setdefault(read.tensor, _Sums(read.positions(graph, widths))).add)
        for layer, read in _readers(model, graph)
    ]
    for _ in _shown(model, samples, looks):
        pass
    return {name: own.covariance(name) for name, own in sums.items() if own.count}


def excitations(model: nn.Module, batches: Iterable[Examples], *, graph: UnitGraph | None = None) -> dict[str, Tensor]:
    """How strongly each sample excites each unit, by group: samples × units, float32, on the CPU.

    It is what the first layer that reads a unit sees of it, in evaluation mode. So activations, normalisations and
    pooling in between are included. If a unit has several positions (channels, steps of a sequence), it is their mean.

    Args:
        model: a trained model.
        batches: inputs, samples first, each as the model is called with.
        graph: the model's unit graph; derived from the first batch where it is not given.

    Returns:
        An entry for every group that a fully connected or convolutional layer reads alone and that is called as a
        module.

    Raises:
        InputError: no batch, or activations that are not finite.
    """
    samples, graph = _begun(model, batches, graph)
    widths = graph.widths_in(tensors(model))
    first: dict[str, tuple[nn.Module, _First]] = {}
    for layer, read in _readers(model, graph):
        first.setdefault(read.group, (layer, _First(read.positions(graph, widths))))
    looks = [(layer, own.see) for layer, own in first.values()]
    for batch in _shown(model, samples, looks):
        for _, own in first.values():
            own.end(_length(batch))
    return {group: own.whole(group) for group, (_, own) in first.items() if own.complete}


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
    """Where this tensor reads units; None if it reads none, units of several groups, or units inside blocks."""
    found = [
        Read(tensor, axis, group)
        for name, axis in graph.incoming
        if name == tensor
        for group in graph.groups_on(tensor, axis)
    ]
    return found[0] if len(found) == 1 and not graph.groups[found[0].group].per else None


def _begun(model: nn.Module, batches: Iterable[Examples], graph: UnitGraph | None) -> tuple[list[Inputs], UnitGraph]:
    """The batches, at least one, and the model's graph."""
    samples = [Inputs.of(batch) for batch in batches]
    if not samples:
        raise InputError("there are no batches to measure activations on; give at least one")
    return samples, graph or units(model, samples[0].kwargs or samples[0].args)


def _readers(model: nn.Module, graph: UnitGraph) -> Iterator[tuple[nn.Module, Read]]:
    """The fully connected and convolutional layers that read the units of one group, in the order of their use."""
    names = {id(tensor): name for name, tensor in tensors(model).items()}
    layers: dict[str, list[nn.Module]] = {}
    for layer in model.modules():
        if isinstance(layer, nn.Linear | _ConvNd) and (name := names.get(id(layer.weight))) is not None:
            layers.setdefault(name, []).append(layer)
    for name in graph.layouts:
        if name in layers and (read := reads(graph, name)) is not None:
            yield from ((layer, read) for layer in layers[name])


def _shown(model: nn.Module, batches: Iterable[Inputs], looks: Iterable[tuple[nn.Module, Look]]) -> Iterator[Inputs]:
    """Run the model on each batch while hooks watch its layers; yields each batch afterwards."""
    hooks = [layer.register_forward_pre_hook(look) for layer, look in looks]
    try:
        with at_rest(model):
            for batch in batches:
                model(*batch.args, **batch.kwargs)
                yield batch
    finally:
        for hook in hooks:
            hook.remove()


def _by_unit(layer: nn.Module, inputs: tuple[Any, ...], steps: Tensor) -> Tensor | None:
    """What a layer reads: … × units × steps of a unit; a convolution's channels lie before its space.

    None if it was called by keyword, or is a grouped convolution.
    """
    if not inputs:
        return None
    seen = inputs[0].movedim(1 - layer.get_parameter("weight").dim(), -1)
    return seen[..., steps.flatten()].unflatten(-1, steps.shape) if seen.shape[-1] == steps.numel() else None


def _length(batch: Inputs) -> int:
    """How many samples a batch has."""
    leaves = pytree.tree_leaves((batch.args, batch.kwargs))
    return next((len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()), 0)


class _Sums:
    """Sums over what one layer reads: sums of each unit, and of the products of every two."""

    def __init__(self, steps: Tensor) -> None:
        """Of units whose steps along the layer's inputs are these: units × steps of a unit."""
        self.steps = steps
        self.count = 0
        self.first = torch.zeros(len(steps), dtype=torch.float64)
        self.second = torch.zeros(len(steps), len(steps), dtype=torch.float64)

    def add(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Add what the layer is about to read."""
        seen = _by_unit(layer, inputs, self.steps)
        if seen is not None:
            units = seen.double().cpu().movedim(-2, 0).flatten(1)
            self.count += units.shape[1]
            self.first += units.sum(1)
            self.second += units @ units.T

    def covariance(self, name: str) -> Tensor:
        """The covariance of everything added so far: units × units."""
        mean = self.first / self.count
        return _finite(self.second / self.count - torch.outer(mean, mean), f"what {name!r} reads")


class _First:
    """What one layer reads of each unit at its first call on each batch."""

    def __init__(self, steps: Tensor) -> None:
        """Of units whose steps along the layer's inputs are these: units × steps of a unit."""
        self.steps = steps
        self.now: Tensor | None = None
        self.parts: list[Tensor] = []
        self.complete = True

    def see(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Keep what the layer is about to read, unless it was called on this batch before."""
        seen = _by_unit(layer, inputs, self.steps) if self.now is None else None
        if seen is not None and seen.dim() > 2:
            self.now = seen.float().movedim(-2, 1).flatten(2).mean(2).cpu()

    def end(self, samples: int) -> None:
        """End the batch, which had this many samples."""
        if self.now is None or len(self.now) != samples:
            self.complete = False
        else:
            self.parts.append(self.now)
        self.now = None

    def whole(self, group: str) -> Tensor:
        """The values of all samples: samples × units."""
        return _finite(torch.cat(self.parts), f"what a layer reads of group {group!r}")


def _finite(values: Tensor, what: str) -> Tensor:
    if not bool(values.isfinite().all()):
        raise InputError(f"{what} is not finite on these batches; look for a diverged model or bad inputs")
    return values

"""`units`: the unit graph of a model, derived from one forward pass and then verified by experiment."""

from torch import nn

from fedma.units import rules
from fedma.units.derive import derive
from fedma.units.graph import UnitGraph
from fedma.units.growth import growable
from fedma.units.inputs import Examples, Inputs, at_rest, run
from fedma.units.reference import seeded, uncompiled
from fedma.units.refusals import refuse
from fedma.units.trial import Trial
from fedma.units.verify import verified

__all__ = ["rules", "units"]


def units(
    model: nn.Module, example_inputs: Examples, *, verify: bool = True, front_end: str | None = None
) -> UnitGraph:
    """The unit graph of a model: every set of axes that can be reordered together without changing the function.

    Args:
        model: traced in evaluation mode on its own device, and left as it was.
        example_inputs: a tensor, a sequence of positional arguments or a mapping of keyword arguments.
        verify: test the result by the permutation law in float64, on these inputs and on others. A group that breaks
            the law is pinned with a warning. Growth is tried in any case.
        front_end: "record" or "export". By default the pass is recorded; it is exported if that fails or leaves doubts.

    Raises:
        GraphError: the model is no ordinary module, has no parameters, or cannot be copied or traced. Or it does not
            run on the inputs, or returns nothing that can be compared.

    Warns:
        PinnedWarning: an operation without a rule keeps some parameter in place, or a group breaks the law.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import fedma
        >>> graph = fedma.units(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.ones(1, 4))
        >>> graph.widths
        {'0': 8}
        >>> [(place.tensor, place.axis) for place in graph.places("0")]
        [('0.weight', 0), ('0.bias', 0), ('2.weight', 1)]
    """
    inputs = Inputs.of(example_inputs)
    refuse(model)
    with uncompiled(), seeded(model):
        run(model, inputs)
        with at_rest(model):
            graph = derive(model, inputs, front_end=front_end)
    trial = Trial(model, inputs)
    return verified(graph, trial) if verify else growable(graph, trial)

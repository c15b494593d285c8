"""`units`: the unit graph of a model, derived from one look at its forward pass."""

from torch import nn

from fedma.units import rules
from fedma.units import verify as law
from fedma.units.derive import derive
from fedma.units.graph import UnitGraph
from fedma.units.inputs import Examples, Inputs, at_rest, run

__all__ = ["rules", "units"]


def units(
    model: nn.Module, example_inputs: Examples, *, verify: bool = False, front_end: str | None = None
) -> UnitGraph:
    """The unit graph of a model: every set of axes that can be reordered together without changing the function.

    Args:
        model: traced in evaluation mode on its own device, and left as it was.
        example_inputs: a tensor, a sequence of positional arguments or a mapping of keyword arguments.
        verify: test the result by the permutation law in float64; a group that breaks it is pinned with a warning.
        front_end: "record" or "export"; by default record, and export where that fails or leaves a doubt.

    Raises:
        GraphError: the model has no parameters, does not run on the inputs or cannot be traced.

    Warns:
        PinnedWarning: an operation without a rule keeps some parameter in place.
    """
    inputs = Inputs.of(example_inputs)
    run(model, inputs)
    with at_rest(model):
        graph = derive(model, inputs, front_end=front_end)
    trial = law.Trial(model, inputs, double=verify)
    if verify:
        graph = law.lawful(graph, trial)
    return law.growable(graph, trial)

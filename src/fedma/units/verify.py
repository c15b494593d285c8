"""The permutation law: outputs do not change when all groups are reordered at random, or get units of zero weights.

The test is independent of how groups were found. It runs perturbed copies of the model in float64, on the given inputs
and on others, and compares all outputs. If outputs say little, it compares intermediate values too.
"""

import warnings
from collections.abc import Iterator

from torch import nn

from fedma.errors import GraphError, PinnedWarning
from fedma.units import growth, layout
from fedma.units.graph import UnitGraph
from fedma.units.halving import failing
from fedma.units.inputs import Inputs
from fedma.units.shake import difference, in_double, shaken
from fedma.units.state import tensors
from fedma.units.trial import FIXED, Trial

__all__ = ["Trial", "check", "difference", "in_double", "shaken", "verified"]

BROKEN = "breaks the permutation law"
WRONG = "a rule for one of its operations is wrong, or one of its places is missing"
UNHEARD = "on these inputs it does not affect the outputs, so it cannot be verified; give inputs on which it does"
ROUSINGS = 3
"""How many times a model with inactive units gets other weights."""
UNPROVEN = "not verified: the model gives other outputs every time"


def verified(graph: UnitGraph, trial: Trial) -> UnitGraph:
    """The graph without the groups that break the law, each with a warning. Other groups are marked growable or not."""
    stuck = _stuck_alone(graph, trial)
    if stuck is None and trial.permuted(graph, graph.groups):
        if trial.unsteady:
            return _unproven(graph)
        graph = _pinned(graph, _breaking(graph, trial))
    if graph.groups and (other := trial.elsewhere()):
        graph = _pinned(graph, _breaking(graph, other))
    graph = _pinned(graph, _asleep(graph, trial))
    graph = _pinned(graph, dict(_unseen(graph, trial)))
    return growth.growable(graph, trial, stuck)


def _stuck_alone(graph: UnitGraph, trial: Trial) -> growth.Stuck | None:
    """The groups that cannot grow. None if some order is wrong, or a group that should grow cannot.

    Orders and growth are tried together. A second try leaves out groups that keep the model from running.
    """
    free = growth.free(graph)
    why = trial.widened(graph, free, ordered=True)
    if not why.startswith(FIXED):
        return None if why else {}
    stuck = growth.held_by_shapes(graph, trial)
    rest = [name for name in free if name not in stuck]
    return None if not stuck or trial.widened(graph, rest, ordered=True) else stuck


def _asleep(graph: UnitGraph, trial: Trial) -> dict[str, str]:
    """Groups that no output shows at the present weights, and that are wrong, or never show, at other weights."""
    if not trial.flat:
        return {}
    wrong: dict[str, str] = {}
    silent = trial.silent(graph)
    for other in (trial.roused(seed) for seed in range(ROUSINGS) if silent):
        if other is not None:
            wrong |= _breaking(graph, other)
            silent &= other.silent(graph)
    return dict.fromkeys(sorted(silent), UNHEARD) | wrong


def _breaking(graph: UnitGraph, trial: Trial) -> dict[str, str]:
    """The groups whose reordering changes the outputs, each with how much and the first operation that shows it."""
    wrong = failing(graph.groups, lambda some: trial.permuted(graph, some))
    return {name: f"{why}{_first(graph, trial, name)}; {WRONG}" for name, why in wrong.items()}


def _first(graph: UnitGraph, trial: Trial, name: str) -> str:
    """The first operation whose values change when a group is reordered; empty if unknown."""
    try:
        trace = trial.telling(graph, [name])
    except Exception:
        return ""
    return f", first those of {trace.operation} in {trace.where or 'the model itself'}" if trace else ""


def _unseen(graph: UnitGraph, trial: Trial) -> Iterator[tuple[str, str]]:
    """The groups whose order changes intermediate values although the outputs cannot show it."""
    if trial.telling(graph, graph.groups) is None:
        return
    for name in failing(graph.groups, lambda some: "tells" if trial.telling(graph, some) else ""):
        if not trial.shows(graph, name):
            yield name, f"the outputs do not show it, but intermediate values change{_first(graph, trial, name)}"


def _pinned(graph: UnitGraph, wrong: dict[str, str]) -> UnitGraph:
    for name, why in wrong.items():
        _warn(f"group {name} is left in place: {why}")
    return graph.pin_all(wrong, BROKEN) if wrong else graph


def _unproven(graph: UnitGraph) -> UnitGraph:
    """The graph of a model of which nothing can be verified: it has no groups."""
    _warn(
        "all units are left in place: the model gives other outputs every time, in evaluation mode and with the same "
        "random numbers, so no group can be verified; let it draw from PyTorch's or NumPy's global generators"
    )
    return graph.pin_all(graph.groups, UNPROVEN)


def _warn(message: str) -> None:
    warnings.warn(message, PinnedWarning, stacklevel=5)


def check(graph: UnitGraph, model: nn.Module, inputs: Inputs) -> None:
    """Test a graph against a model by the permutation law.

    Raises:
        GraphError: a tensor is missing, of another shape, or a group breaks the permutation law.
    """
    _check_shapes(graph, model)
    trial = Trial(model, inputs)
    if trial.permuted(graph, graph.groups) and trial.unsteady:
        raise GraphError("the model gives other outputs every time, in evaluation mode too: nothing can be verified")
    wrong = _breaking(graph, trial) or _asleep(graph, trial) or dict(_unseen(graph, trial))
    for name, why in ((name, why) for name, why in wrong.items() if why != UNHEARD):
        raise GraphError(f"group {name} is wrong: {why}; its places are {_places(graph, name)}")


def _places(graph: UnitGraph, name: str) -> str:
    return ", ".join(f"{place.tensor} axis {place.axis}" for place in graph.places(name))


def _check_shapes(graph: UnitGraph, model: nn.Module) -> None:
    """Refuse a graph whose tensors are not the model's, or whose layouts name unknown groups."""
    own = tensors(model)
    for name in sorted(own.keys() ^ graph.layouts.keys()):
        known = "the model has it, the graph does not" if name in own else "the graph has it, the model does not"
        raise GraphError(f"tensor {name!r}: {known}; every parameter and buffer needs a layout")
    for name, tensor in own.items():
        if tuple(tensor.shape) != graph.shape(name, {}):
            raise GraphError(
                f"tensor {name!r} has shape {tuple(tensor.shape)}, its layout {graph.shape(name, {})}; "
                "was the model rebuilt at other widths?"
            )
    for name in sorted(set().union(*map(layout.groups_of, graph.layouts.values())) - graph.groups.keys()):
        raise GraphError(f"the layouts name a group {name!r} that is not among the groups")

"""Unit groups of any PyTorch model: which weights move together when the units of a layer are reordered.

    graph = fedma.units.units(model, example_inputs)
    print(graph)

Works alone: `permute`, `slice` and `widen` make new modules with the same function, for matching, merging and pruning.
"""

import sys
from types import ModuleType

from fedma.units.axes import pin, unify
from fedma.units.find import units
from fedma.units.graph import Group, Place, UnitGraph, Weights
from fedma.units.layout import Axis, Factor
from fedma.units.registry import rule
from fedma.units.resize import rebuild
from fedma.units.state import load, tensors, weights

__all__ = [
    "Axis",
    "Factor",
    "Group",
    "Place",
    "UnitGraph",
    "Weights",
    "load",
    "pin",
    "rebuild",
    "rule",
    "tensors",
    "unify",
    "units",
    "weights",
]


class _Callable(ModuleType):
    """This package, callable: `fedma.units(model, example_inputs)` is `fedma.units.units(...)`."""

    __call__ = staticmethod(units)


sys.modules[__name__].__class__ = _Callable

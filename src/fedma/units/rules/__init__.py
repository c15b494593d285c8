"""What each operation says about the axes of its tensors: one file per family, one table for all."""

from fedma.units.rules import (
    attention,
    convolution,
    elementwise,
    indexing,
    linear,
    normalisation,
    pooling,
    recurrent,
    reduction,
    shape,
)
from fedma.units.registry import Rule, find, rule

__all__ = [
    "Rule",
    "attention",
    "convolution",
    "elementwise",
    "find",
    "indexing",
    "linear",
    "normalisation",
    "pooling",
    "recurrent",
    "reduction",
    "rule",
    "shape",
]

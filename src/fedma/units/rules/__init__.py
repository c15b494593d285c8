"""What each operation says about the axes of its tensors: one file per family, one table for all."""

from fedma.units.registry import Rule, find, rule
from fedma.units.rules import (
    attention,
    convolution,
    elementwise,
    indexing,
    linear,
    normalisation,
    parts,
    pooling,
    recurrent,
    reduction,
    shape,
)

__all__ = [
    "Rule",
    "attention",
    "convolution",
    "elementwise",
    "find",
    "indexing",
    "linear",
    "normalisation",
    "parts",
    "pooling",
    "recurrent",
    "reduction",
    "rule",
    "shape",
]

"""What each operation says about the axes of its tensors: one file per family, one table for all."""

from fedma.units.registry import Rule, find, rule
from fedma.units.rules import (
    attention,
    convolution,
    derivatives,
    elementwise,
    functions,
    indexing,
    linear,
    matrices,
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
    "derivatives",
    "elementwise",
    "find",
    "functions",
    "indexing",
    "linear",
    "matrices",
    "normalisation",
    "parts",
    "pooling",
    "recurrent",
    "reduction",
    "rule",
    "shape",
]

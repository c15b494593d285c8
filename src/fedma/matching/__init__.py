"""Matching: which units of the clients do the same job, and the averages of those that do. Tensors in, tensors out."""

from fedma.matching.average import average
from fedma.matching.bbp import match
from fedma.matching.fusing import fuse_weights
from fedma.matching.groups import BY_STEPS, MATCHERS, Function, Matcher, match_group, original_order, slots
from fedma.matching.joint import match_step
from fedma.matching.result import Matching
from fedma.matching.steps import Step, steps

__all__ = [
    "BY_STEPS",
    "MATCHERS",
    "Function",
    "Matcher",
    "Matching",
    "Step",
    "average",
    "fuse_weights",
    "match",
    "match_group",
    "match_step",
    "original_order",
    "slots",
    "steps",
]

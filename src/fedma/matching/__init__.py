"""Matching: which units of the clients do the same job, and the averages of those that do. Tensors in, tensors out."""

from fedma.matching.averaging.owners_mean import average
from fedma.matching.bbp.bbp_map import match
from fedma.matching.bbp.matching import Matching
from fedma.matching.by_steps import (
    BY_STEPS,
    MATCHERS,
    Function,
    Matcher,
    match_group,
    match_step,
    original_order,
    slots,
)
from fedma.matching.one_shot import fuse_weights
from fedma.matching.step import Step, steps

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

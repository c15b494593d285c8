"""Matching: which units of the clients do the same job, and the averages of those that do. Tensors in, tensors out."""

from fedma.matching.average import average
from fedma.matching.bbp import match
from fedma.matching.groups import MATCHERS, Matcher, match_group, original_order
from fedma.matching.result import Matching
from fedma.matching.steps import steps

__all__ = ["MATCHERS", "Matcher", "Matching", "average", "match", "match_group", "original_order", "steps"]

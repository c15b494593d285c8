"""Matching: which units of the clients do the same job, and the averages of those that do. Tensors in, tensors out.

Names are loaded when first used: the command line reads the registry of matchers without importing PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedma.matching.assignment import original_order, slots
    from fedma.matching.averaging.owners_mean import average
    from fedma.matching.bbp.bbp_map import match
    from fedma.matching.bbp.matching import Matching
    from fedma.matching.by_steps import match_group
    from fedma.matching.joint import match_step
    from fedma.matching.matcher import Function, Matcher
    from fedma.matching.one_shot import fuse_weights
    from fedma.matching.registry import MATCHERS, register
    from fedma.matching.step import Step, steps

__all__ = [
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
    "register",
    "slots",
    "steps",
]

_HOME = {
    "MATCHERS": "registry",
    "Function": "matcher",
    "Matcher": "matcher",
    "Matching": "bbp.matching",
    "Step": "step",
    "average": "averaging.owners_mean",
    "fuse_weights": "one_shot",
    "match": "bbp.bbp_map",
    "match_group": "by_steps",
    "match_step": "joint",
    "original_order": "assignment",
    "register": "registry",
    "slots": "assignment",
    "steps": "step",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fedma.matching' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fedma.matching.{_HOME[name]}"), name)

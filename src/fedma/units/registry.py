"""The table of rules: what each operation says about the axes of its tensors."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """The rule for one operation.

    Attributes:
        function: takes a `Call` and returns the symbols of its result (a list of them for several results).
        view: whether the operation only rearranges. Done in place, it then rearranges the tensor itself.
        keeps_uniform: whether uniform operands (all entries equal) give a uniform result.
        makes_uniform: whether the result is always uniform, whatever the first operand holds.
        blank: whether the result's entries are arbitrary (unwritten memory).
    """

    function: Callable[[Any], Any]
    view: bool = False
    keeps_uniform: bool = False
    makes_uniform: bool = False
    blank: bool = False


_RULES: dict[str, Rule] = {}


def rule(
    *names: str, view: bool = False, keeps_uniform: bool = False, makes_uniform: bool = False, blank: bool = False
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Register what operations say about the axes of their tensors.

    The decorated function takes a `Call` and returns the symbols of the result, one for each axis. For several results
    it returns a list of such tuples. None instead of a tuple means that this result stays in place.

        @fedma.units.rule("mylib::scale")
        def scale(op):
            x, factors = op["x"], op["factors"]
            return (*x.symbols[:-1], unify(x[-1], factors[0]))

    Args:
        names: ATen names without overload and without the trailing underscore ("add"), or "library::name".
        view: the operation only rearranges.
        keeps_uniform: uniform operands give a uniform result.
        makes_uniform: the result is uniform whatever the operands.
        blank: the result is unwritten memory.
    """

    def register(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        for name in names:
            _RULES[name] = Rule(function, view, keeps_uniform or view, makes_uniform or blank, blank)
        return function

    return register


def find(name: str) -> Rule | None:
    """The rule for an operation; None if there is none."""
    return _RULES.get(name)


def names(text: str) -> list[str]:
    """The words of a text, for rules that hold for many operations."""
    return text.split()


@functools.cache
def name_of(op: Any) -> str:
    """An operation's name in the rule table: without "aten", and without the underscore of operations in place."""
    namespace, name = op._schema.name.split("::")
    if namespace != "aten":
        return f"{namespace}::{name}"
    return name[:-1] if op._schema.is_mutable and name.endswith("_") and not name.endswith("__") else name


def bound_arguments(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Every argument of an operation by name, including defaults."""
    declared = op._schema.arguments
    given = dict(zip((a.name for a in declared), args, strict=False))
    return {a.name: given.get(a.name, kwargs.get(a.name, a.default_value)) for a in declared}

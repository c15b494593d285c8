"""The table of rules: what each operation says about the axes of its tensors."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What is known of one operation.

    Attributes:
        function: from a `Call` to the symbols of its result (or a list of them, for several results).
        view: whether the operation only rearranges, so that done in place it rearranges the tensor itself.
        keeps_uniform: whether uniform operands (all entries equal) give a uniform result.
        makes_uniform: whether the result is always uniform, whatever the first operand holds.
        blank: whether the result's entries are whatever the memory held before.
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

    The decorated function takes a `Call` and gives back the symbols of the result, one for each axis; a list of such
    tuples for an operation with several results; None in the place of a result that shall stay in place.

        @fedma.units.rule("mylib::scale")
        def scale(op):
            x, factors = op["x"], op["factors"]
            return (*x.symbols[:-1], unify(x[-1], factors[0]))

    Args:
        names: ATen names without overload and without the trailing underscore ("add"), or "library::name".
        view: the operation only rearranges.
        keeps_uniform: uniform operands give a uniform result.
        makes_uniform: the result is uniform whatever the operands.
        blank: the result is memory that nobody has written to.
    """

    def register(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        for name in names:
            _RULES[name] = Rule(function, view, keeps_uniform or view, makes_uniform or blank, blank)
        return function

    return register


def find(name: str) -> Rule | None:
    """The rule for an operation, if there is one."""
    return _RULES.get(name)


def names(text: str) -> list[str]:
    """The words of a text: for rules that hold for many operations."""
    return text.split()


@functools.cache
def name_of(op: Any) -> str:
    """An operation's name as rules know it: without "aten" and without the underscore of an operation in place."""
    namespace, name = op._schema.name.split("::")
    if namespace != "aten":
        return f"{namespace}::{name}"
    return name[:-1] if op._schema.is_mutable and name.endswith("_") and not name.endswith("__") else name


def bound_arguments(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Every argument of an operation by name, defaults included."""
    declared = op._schema.arguments
    given = dict(zip((a.name for a in declared), args, strict=False))
    return {a.name: given.get(a.name, kwargs.get(a.name, a.default_value)) for a in declared}

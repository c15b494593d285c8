"""Checks of the values in a run folder: anybody may have written it, so every value is checked."""

import json
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from fedma.errors import InputError

Check = Callable[[Any], bool]

TOO_LARGE = 1e18
"""No number of a run comes near it, and all below it can be reckoned with."""


def parsed(raw: bytes) -> Any:
    """The JSON value, with U+FFFD for what can neither be seen nor printed.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return printable(json.loads(raw))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def printable(value: Any) -> Any:
    """A JSON value whose strings have U+FFFD for control characters, halves of characters and the like."""
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in value)
    if isinstance(value, list):
        return [printable(own) for own in value]
    if isinstance(value, dict):
        return {printable(name): printable(own) for name, own in value.items()}
    return value


def demand(found: Mapping[str, Any], checks: Mapping[str, Check], place: str) -> None:
    """Refuse values of the wrong kind; missing values are passed over.

    Raises:
        InputError: it names the first.
    """
    for name, check in checks.items():
        if name in found and not check(found[name]):
            shown = reprlib.repr(found[name])
            raise InputError(f"{place}: {name} is {shown}, which cannot be; repeat the run")


def word(value: Any) -> bool:
    """A string."""
    return isinstance(value, str)


def truth(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def number(value: Any) -> bool:
    """Zero or above, and neither infinite nor absurd."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < TOO_LARGE


def whole(value: Any) -> bool:
    """Such a number without a fraction."""
    return number(value) and isinstance(value, int)


def positive(value: Any) -> bool:
    """Such a number, and not zero."""
    return number(value) and value > 0


def share(value: Any) -> bool:
    """From 0 to 1."""
    return number(value) and value <= 1


def measured(value: Any) -> bool:
    """A number of any sign that is not absurd, None, or lists of such values."""
    if isinstance(value, list):
        return all(map(measured, value))
    return value is None or (number(abs(value)) if isinstance(value, (int, float)) else False)


def pair(value: Any) -> bool:
    """Two whole numbers above zero."""
    return isinstance(value, list) and len(value) == 2 and all(whole(own) and own > 0 for own in value)


def histogram(value: Any) -> bool:
    """Whole numbers, at least one of them above zero."""
    return every(whole)(value) and any(value)


def maybe(check: Check) -> Check:
    """Such a value, or None."""
    return lambda value: value is None or check(value)


def every(check: Check) -> Check:
    """A list of such values."""
    return lambda value: isinstance(value, list) and all(check(own) for own in value)


def named(check: Check) -> Check:
    """Such values by name."""
    return lambda value: isinstance(value, dict) and all(check(own) for own in value.values())


def grid(value: Any) -> bool:
    """Rows of equally many whole numbers."""
    return every(every(whole))(value) and len({len(row) for row in value}) <= 1

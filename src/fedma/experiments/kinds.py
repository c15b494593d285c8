"""The kinds of settings: which values a setting takes, from a file and from Python alike."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from fedma.errors import InputError

_TYPES: Mapping[type, tuple[type, ...]] = {float: (float, int), int: (int,), str: (str,), bool: (bool,)}
"""The types that count as one: whole numbers count as numbers."""

_WORDS: Mapping[type, str] = {
    float: "float: a number",
    int: "int: a whole number",
    str: "str: text",
    bool: "bool: True or False",
}

_HINTS: Mapping[str, str] = {
    "model": "; a function or class of yours is named by 'package.module:factory'",
    "device": "; a device is named, such as 'cuda:0'",
    "seed": "; a run has one seed, so make a run for each",
    "method": "; a method is named, such as 'fedavg'",
}
"""What to do about values that are often given by mistake."""

_PATHS = ("data",)
"""Settings that take a path."""

_WHOLE = ("local_epochs", "retrain_epochs", "output_epochs")
"""Settings that are whole numbers where they can be, so that 5 and 5.0 are one setting."""

_LONGEST = 60
"""How many characters of a refused value are shown."""


@dataclass(frozen=True)
class SettingKind:
    """The kind of a setting.

    Attributes:
        one: the type of one value.
        several: whether the setting holds several values. One may then stand alone.
        optional: whether the setting may be None.
    """

    one: type
    several: bool = False
    optional: bool = False

    def taken(self, name: str, value: Any, *, source: str) -> Any:
        """The value as the setting holds it: scalars of NumPy and PyTorch as numbers, lists as tuples, paths as text.

        Args:
            name: of the setting.
            value: what was given.
            source: where it was given, for the message.

        Raises:
            InputError: the value is of another kind.
        """
        if value is None and self.optional:
            return None
        if not self.several:
            return self._single(name, value, value, source)
        items = value if isinstance(value, list | tuple) else (value,)
        return tuple(self._single(name, item, value, source) for item in items)

    def _single(self, name: str, item: Any, value: Any, source: str) -> Any:
        item = os.fspath(item) if name in _PATHS and isinstance(item, os.PathLike) else _number(item)
        truth = isinstance(item, bool) and self.one is not bool
        if truth or not isinstance(item, _TYPES[self.one]) or _too_large(item, self.one):
            wanted = f"{'one or several of ' if self.several else ''}{_WORDS[self.one]}"
            raise InputError(f"{source}: {name} = {_shown(value)} should be {wanted}{_HINTS.get(name, '')}")
        return int(item) if name in _WHOLE and isinstance(item, float) and item.is_integer() else item


def kind(hint: Any) -> SettingKind:
    """The kind that a field's type describes; choices are text."""
    if get_origin(hint) is tuple:
        return SettingKind(kind(get_args(hint)[0]).one, several=True)
    if isinstance(hint, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
        return SettingKind(kind(hint).one, optional=True)
    return SettingKind(str if get_origin(hint) is Literal else hint)


def _number(value: Any) -> Any:
    """The Python number of a scalar of NumPy or PyTorch; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _too_large(value: Any, one: type) -> bool:
    """Whether a whole number stands for a float that cannot hold it."""
    return one is float and isinstance(value, int) and abs(value) > sys.float_info.max


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

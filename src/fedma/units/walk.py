"""Finds tensors, arrays and numbers in nested objects: lists and dicts, dataclasses, objects with attributes."""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Change = Callable[[Any], Any]
"""Returns a replacement for a tensor, array or number."""
NUMBERS = (np.generic, complex, float, int)
SERIES = (list, tuple, set, frozenset, Iterator, np.ndarray, FunctionType, MethodType)
"""Things whose parts have numbers, not names."""
CLOSED = (
    nn.Module,
    type,
    ModuleType,
    Enum,
    str,
    bytes,
    BuiltinFunctionType,
    torch.dtype,
    torch.device,
    torch.Generator,
)
"""Types that a walk does not enter."""


def leaves(thing: Any, *, skip: Callable[[Any], bool] = lambda thing: False) -> Iterator[Any]:
    """Every tensor, array and number in an object, in order; each tensor and array once.

    A walk enters sequences, sets, mappings and iterators. It enters the attributes of objects (dataclasses, slots,
    distributions, outputs of Hugging Face) and the closures of functions. It does not enter modules, classes and types
    to be skipped.
    """
    seen: dict[int, Any] = {}
    waiting = [thing]
    while waiting:
        here = waiting.pop()
        if isinstance(here, NUMBERS):
            yield here
        elif here is not None and id(here) not in seen:
            seen[id(here)] = here
            if is_leaf(here):
                yield here
            elif not isinstance(here, CLOSED) and not skip(here):
                waiting.extend(reversed(list(_inside(here))))


def placed(thing: Any, *, skip: Callable[[Any], bool] = lambda thing: False) -> Iterator[tuple[str, Any]]:
    """The same leaves with their places, such as "['logits'][0]".

    Each comes as often as it occurs, those of mappings in the order of their keys.
    """
    seen: dict[int, Any] = {}
    waiting = [("", thing)]
    while waiting:
        place, here = waiting.pop()
        if is_leaf(here):
            yield place, here
        elif here is not None and id(here) not in seen and not isinstance(here, CLOSED) and not skip(here):
            seen[id(here)] = here
            waiting.extend((place + step, part) for step, part in reversed(list(_steps(here))))


def _steps(thing: Any) -> Iterator[tuple[str, Any]]:
    """What a thing holds, with the step to each part."""
    if isinstance(thing, Mapping):
        yield from ((f"[{key!r}]", thing[key]) for key in sorted(thing, key=repr))
        yield from ((f".{name}", part) for name, part in attributes(thing).items())
    elif isinstance(thing, SERIES):
        yield from ((f"[{number}]", part) for number, part in enumerate(_inside(thing)))
    else:
        yield from ((f".{name}", part) for name, part in attributes(thing).items())


def is_leaf(thing: Any) -> bool:
    """Whether an object is a tensor, an array of numbers or a number."""
    return isinstance(thing, (Tensor, *NUMBERS)) or (isinstance(thing, np.ndarray) and thing.dtype != object)


def mapped(thing: Any, change: Change, done: dict[int, tuple[Any, Any]] | None = None) -> Any:
    """The same object with every leaf changed. Parts without a changed leaf are kept, not copied.

    Args:
        thing: any object; it is left unchanged.
        change: returns its argument if nothing is to change.
        done: objects mapped so far, by id. So an object that occurs twice is mapped once (except numbers).
    """
    done = {} if done is None else done
    if isinstance(thing, NUMBERS):
        return change(thing)
    if id(thing) in done:
        return done[id(thing)][1]
    if is_leaf(thing):
        new = change(thing)
    elif thing is None or isinstance(thing, (*CLOSED, FunctionType, MethodType, Iterator, set, frozenset)):
        return thing
    else:
        new = _tuple(thing, change, done) if isinstance(thing, tuple) else _object(thing, change, done)
    done[id(thing)] = (thing, new)
    return new


def attributes(thing: Any) -> dict[str, Any]:
    """An object's own attributes, including slots."""
    own = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            with contextlib.suppress(AttributeError):
                own.setdefault(name, object.__getattribute__(thing, name))
    return own


def _inside(thing: Any) -> Iterable[Any]:
    """The parts of an object."""
    if isinstance(thing, FunctionType):
        return [*_closed_over(thing), *(thing.__defaults__ or ())]
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    own = attributes(thing).values()
    if isinstance(thing, Mapping):
        return [*thing.values(), *own]
    if isinstance(thing, list | tuple | set | frozenset | Iterator | np.ndarray):
        return [*thing, *own]
    return own


def _closed_over(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):
            yield cell.cell_contents


def _tuple(thing: tuple, change: Change, done: dict[int, tuple[Any, Any]]) -> tuple:
    items = [mapped(item, change, done) for item in thing]
    if all(new is old for new, old in zip(items, thing, strict=True)):
        return thing
    new = tuple.__new__(type(thing), items)
    if hasattr(thing, "__dict__"):
        new.__dict__.update({name: mapped(value, change, done) for name, value in vars(thing).items()})
    return new


def _object(thing: Any, change: Change, done: dict[int, tuple[Any, Any]]) -> Any:
    """A shallow copy with mapped items and attributes; the object itself if nothing changes."""
    try:
        new = copy.copy(thing)
    except Exception:
        return thing
    done[id(thing)] = (thing, new)
    changed = False
    for put, key, value in _settable(thing):
        if (other := mapped(value, change, done)) is not value:
            put(new, key, other)
            changed = True
    return new if changed else thing


def _settable(thing: Any) -> Iterator[tuple[Callable[[Any, Any, Any], None], Any, Any]]:
    """For each item and attribute: its setter (which bypasses what the class does or forbids), its key, its value."""
    if isinstance(thing, dict):
        yield from ((dict.__setitem__, key, value) for key, value in thing.items())
    if isinstance(thing, list):
        yield from ((list.__setitem__, key, value) for key, value in enumerate(thing))
    if isinstance(thing, np.ndarray):
        yield from ((np.ndarray.__setitem__, key, value) for key, value in np.ndenumerate(thing))
    yield from ((object.__setattr__, name, value) for name, value in attributes(thing).items())

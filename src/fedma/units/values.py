"""What is known about a tensor in a forward pass."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from fedma.units.axes import Symbol, pin

Symbols = tuple[Symbol, ...]
Shape = tuple[int, ...]


@dataclass
class Memory:
    """What the views of one tensor share.

    Attributes:
        uniform: whether all entries are equal, so that they constrain nothing.
        computed: whether something computed from the inputs was written to it.
        blank: whether nothing was written to it yet, so its entries are arbitrary.
        pinned: why everything in it must stay in place; empty if it need not.
        values: the tensors that show it.
    """

    uniform: bool = False
    computed: bool = False
    blank: bool = False
    pinned: str = ""
    values: list["Value"] = field(default_factory=list)

    def pin(self, why: str) -> None:
        """Everything in this memory stays in place, whichever tensor shows it."""
        self.pinned, self.uniform = self.pinned or why, False
        for value in self.values:
            for symbol in value.symbols:
                pin(symbol, why)


@dataclass(frozen=True)
class Deferred:
    """An axis that may later be taken apart, position by position, or used as a whole.

    Examples: a stack of several tensors; queries, keys and values in one matrix. If taken apart, every part has its own
    units. If used as a whole, the parts have to agree.

    Attributes:
        axis: the axis in question.
        parts: the symbols of every part, without this axis.
        whole: the symbols of the value as one tensor.
    """

    axis: int
    parts: Callable[[], list[Symbols]]
    whole: Callable[[], Symbols]


class Value:
    """A tensor in a forward pass.

    Attributes:
        shape: lengths of the axes.
        own: whether it is made from parameters and constants alone. Such values know which parameters' axes they show.
        memory: shared with its views.
        dtype: of the entries, where it is known.
        deferred: set until the value is used as a whole.
    """

    def __init__(
        self,
        symbols: Symbols | None = None,
        *,
        shape: Shape = (),
        weight: bool = False,
        memory: Memory | None = None,
        dtype: torch.dtype | None = None,
        deferred: Deferred | None = None,
    ) -> None:
        self.shape = shape if symbols is None else tuple(symbol.size for symbol in symbols)
        self.own = weight
        self.memory = memory or Memory()
        self.dtype = dtype
        self.deferred = deferred
        self._symbols = symbols

    def share(self, memory: Memory) -> None:
        """The value shows this memory."""
        self.memory = memory
        if not any(value is self for value in memory.values):
            memory.values.append(self)
        if memory.pinned:
            memory.pin(memory.pinned)

    @property
    def weight(self) -> bool:
        """Whether it is made from the model's parameters and constants alone."""
        return self.own and not self.memory.computed

    @property
    def settled(self) -> bool:
        """Whether the symbols are decided."""
        return self._symbols is not None

    @property
    def symbols(self) -> Symbols:
        """One symbol for each axis. Reading them decides what was deferred."""
        if self._symbols is None:
            self._symbols = self.deferred.whole() if self.deferred else ()
            self.deferred = None
        return self._symbols

    @symbols.setter
    def symbols(self, symbols: Symbols) -> None:
        self._symbols, self.deferred = symbols, None
        self.shape = tuple(symbol.size for symbol in symbols)

    def __getitem__(self, axis: int) -> Symbol:
        return self.symbols[axis]

    def __len__(self) -> int:
        return len(self.shape)


def flat(arguments: Any) -> Iterator[Any]:
    """The innermost items of nested lists, tuples and dicts, in order. Arguments of operations nest in no other way."""
    if isinstance(arguments, list | tuple):
        for argument in arguments:
            yield from flat(argument)
    elif isinstance(arguments, dict):
        yield from flat(list(arguments.values()))
    else:
        yield arguments


def mapped(kind: type, function: Callable[[Any], Any], arguments: Any) -> Any:
    """The same arguments with a function applied to all items of one type in nested lists, tuples and dicts."""
    if isinstance(arguments, kind):
        return function(arguments)
    if isinstance(arguments, list | tuple):
        return [mapped(kind, function, argument) for argument in arguments]
    if isinstance(arguments, dict):
        return {name: mapped(kind, function, argument) for name, argument in arguments.items()}
    return arguments


def values_in(arguments: Any) -> list[Value]:
    """The values among arguments of any structure, in order."""
    return [value for value in flat(arguments) if isinstance(value, Value)]


def map_values(function: Callable[[Value], Value], arguments: Any) -> Any:
    """The same arguments with a function applied to every value."""
    return mapped(Value, function, arguments)

"""A forward pass written down: every operation in order, what it was given and what it made, and in which memory."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from fedma.units.values import Shape, flat

READ = "read by Python code"
"""Why a tensor's units stay in place whose entries become numbers."""
Kind = Literal["own", "input", "constant", "made"]


@dataclass(frozen=True)
class Ref:
    """A tensor among an operation's arguments: its number in the program."""

    number: int


@dataclass(frozen=True)
class Held:
    """One tensor of a program: a window on some memory.

    Two tensors that show the same entries of the same memory in the same order are one.

    Attributes:
        kind: the model's "own" parameter or buffer, an "input", a "constant" that no operation made, or "made" by one.
        shape: lengths of the axes.
        strides: of the axes, in entries.
        offset: of the first entry in the storage, in entries.
        storage: number of the memory; views of one tensor share it.
        whole: whether it shows every entry of its storage, and each once.
        dtype: of the entries.
        names: of an own tensor; several where the model holds the same memory under several names.
        tensor: a constant itself; None for the others, which are not kept.
        free: for each axis of a constant, whether all entries along it were equal when it was first met.
    """

    kind: Kind
    shape: Shape
    strides: tuple[int, ...]
    offset: int
    storage: int
    whole: bool
    dtype: torch.dtype
    names: tuple[str, ...] = ()
    tensor: Tensor | None = None
    free: tuple[bool, ...] = ()

    @property
    def end(self) -> int:
        """The place in the storage after the last entry."""
        return self.offset + 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=False))

    @property
    def repeats(self) -> bool:
        """Whether a place in memory is shown several times, along one axis."""
        return any(n > 1 and s == 0 for n, s in zip(self.shape, self.strides, strict=False))


@dataclass(frozen=True)
class Operation:
    """One operation of a forward pass.

    Attributes:
        op: the ATen operation (an `OpOverload`); None where tensors leave PyTorch without one.
        args: its arguments, with a `Ref` in the place of every tensor.
        kwargs: likewise.
        results: numbers of the tensors it gave; None in the place of anything else.
        written: numbers of the tensors that it wrote to.
        where: path of the module that called it; empty for the model itself.
        constants: for each argument computed from constants alone, whether all its entries were equal at that time.
        leaves: why its arguments leave the sight of PyTorch (a number read by Python code); empty where they do not.
    """

    op: Any
    args: list[Any]
    kwargs: dict[str, Any]
    results: tuple[int | None, ...]
    written: tuple[int, ...] = ()
    where: str = ""
    constants: Mapping[int, bool] = field(default_factory=dict)
    leaves: str = ""

    @functools.cached_property
    def given(self) -> list[int]:
        """Numbers of the tensors among the arguments, in order."""
        return [leaf.number for leaf in flat((self.args, self.kwargs)) if isinstance(leaf, Ref)]


@dataclass
class Program:
    """One forward pass.

    Attributes:
        tensors: every tensor, by number.
        operations: in the order in which they ran.
        outputs: numbers of the tensors that the model gave back.
        layers: own tensors that a recurrent layer is about to use, by the number of its first operation.
        blind: whether something was made, or written to, out of sight (by another thread, say).
        unseen: whether memory changed hands in a way that an exported graph would not show.
    """

    tensors: list[Held] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    layers: dict[int, list[int]] = field(default_factory=dict)
    blind: bool = False
    unseen: bool = False

    def live(self, reads: Callable[[Operation], Iterable[int]] = lambda operation: operation.given) -> Iterator[int]:
        """Numbers of the operations that the outputs depend on, or whose arguments leave PyTorch, in order.

        Args:
            reads: numbers of the arguments whose entries an operation reads; by default all.
        """
        needed = set(self.outputs)
        storages = {self.tensors[number].storage for number in needed}
        found = []
        for number in reversed(range(len(self.operations))):
            operation = self.operations[number]
            writes = any(self.tensors[target].storage in storages for target in operation.written)
            if writes or operation.leaves or not needed.isdisjoint(operation.results):
                found.append(number)
                read = [*reads(operation), *operation.written]
                needed.update(read)
                storages.update(self.tensors[each].storage for each in read)
        return reversed(found)

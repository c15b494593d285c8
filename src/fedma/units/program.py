"""A recorded forward pass: every operation in order, with its arguments, its results and their memory."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from fedma.units.values import Shape, flat

READ = "read by Python code"
"""Why the units of a tensor stay in place if its entries become Python numbers."""
Kind = Literal["own", "input", "constant", "made"]


@dataclass(frozen=True)
class Ref:
    """A tensor among an operation's arguments: its number in the program."""

    number: int


@dataclass(frozen=True)
class Held:
    """One tensor of a program: a view of some memory.

    Tensors that show the same entries of the same memory in the same order count as one.

    Attributes:
        kind: the model's "own" parameter or buffer, an "input", a "constant" that no operation made, or "made" by one.
        shape: lengths of the axes.
        strides: of the axes, in entries.
        offset: of the first entry in the storage, in entries.
        storage: number of the memory, which views of one tensor share.
        whole: whether it shows every entry of its storage exactly once.
        dtype: of the entries.
        names: the names of an own tensor; several if the model holds the same memory under several names.
        tensor: the constant itself; None for all other tensors, which are not kept.
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
        """Whether some axis shows the same memory several times."""
        return any(n > 1 and s == 0 for n, s in zip(self.shape, self.strides, strict=False))


@dataclass(frozen=True)
class Operation:
    """One operation of a forward pass.

    Attributes:
        op: the ATen operation (an `OpOverload`); None if tensors leave PyTorch without an operation.
        args: its arguments, with a `Ref` in the place of every tensor.
        kwargs: likewise.
        results: numbers of the tensors that it returned; None for anything else.
        written: numbers of the tensors that it wrote to.
        where: path of the module that called it; empty for the model itself.
        constants: for each argument computed from constants alone, whether all its entries were equal at that time.
        leaves: why its arguments leave PyTorch (Python reads a number); empty if they do not.
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
        outputs: numbers of the tensors that the model returned.
        layers: for the number of a recurrent layer's first operation, the own tensors that the layer uses.
        blind: whether some tensor was made or changed unseen (by another thread, say).
        unseen: whether tensors came to share memory in a way that an exported graph would not show.
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

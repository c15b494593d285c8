"""From a recording to symbols: passes the relevant operations to a tracer, one after the other."""

import itertools
from collections.abc import Iterable
from typing import Any

from fedma.units import registry
from fedma.units.axes import pin, unify
from fedma.units.program import READ, Held, Operation, Program, Ref
from fedma.units.tracer import Tracer
from fedma.units.values import Memory, Value, mapped

BLIND = "something was computed out of sight (in another thread?)"


def read(program: Program, tracer: Tracer) -> None:
    """Pass a recording to a tracer that already knows the model's own tensors."""
    _Reader(program, tracer).run()


def entries_read(operation: Operation) -> list[int]:
    """The tensors among the arguments whose entries matter. Tensors that are only filled or imitated are left out."""
    rule = registry.find(registry.name_of(operation.op)) if operation.op is not None else None
    return operation.given[1:] if rule is not None and rule.makes_uniform else operation.given


class _Reader:
    """One pass over a program."""

    def __init__(self, program: Program, tracer: Tracer) -> None:
        self.program = program
        self.tracer = tracer
        self._values: dict[int, Value] = {}
        self._memories: dict[int, Memory] = {}

    def run(self) -> None:
        """Pass on all relevant operations."""
        tensors = self.program.tensors
        if self.program.blind:
            _pin(self.tracer.owned.values(), BLIND)
        for number, held in enumerate(tensors):
            if held.kind == "own":
                self._keep(number, self._own(held))
            elif held.kind == "input":
                self._keep(number, self.tracer.fixed(held.shape, "input"))
        self._pin_overlaps([number for number, held in enumerate(tensors) if held.kind == "own"])
        layers = sorted(self.program.layers.items(), reverse=True)
        for number in self.program.live(entries_read):
            while layers and layers[-1][0] <= number:
                for own in layers.pop()[1]:
                    self.tracer.use(self._value(own))
            self._read(self.program.operations[number])
        for number in self.program.outputs:
            self.tracer.output(self._value(number))

    def _own(self, held: Held) -> Value:
        """The value of an own tensor. If it has several names, they share its axes."""
        first, *others = (self.tracer.owned[name] for name in held.names)
        for other in others:
            first.symbols = tuple(map(unify, first.symbols, other.symbols))
        return first

    def _pin_overlaps(self, numbers: list[int]) -> None:
        """Pin own tensors that show the same memory in different ways."""
        by_storage: dict[int, list[int]] = {}
        for number in numbers:
            by_storage.setdefault(self.program.tensors[number].storage, []).append(number)
        for same in by_storage.values():
            ordered = sorted(same, key=lambda number: self.program.tensors[number].offset)
            for left, right in itertools.pairwise(ordered):
                if self.program.tensors[left].end > self.program.tensors[right].offset:
                    _pin((self._values[left], self._values[right]), "shares memory with another tensor")

    def _keep(self, number: int, value: Value) -> Value:
        """Keep the value of a new tensor, together with what is known about its memory."""
        held = self.program.tensors[number]
        value.dtype = held.dtype
        value.share(self._memories.setdefault(held.storage, value.memory))
        self._values[number] = value
        return value

    def _value(self, number: int) -> Value:
        """The value of a tensor. If no relevant operation made it, only its shape is known."""
        if number not in self._values:
            held = self.program.tensors[number]
            free = held.free if held.kind == "constant" else (True,) * len(held.shape)
            self._keep(number, self.tracer.known(held.shape, free))
        return self._values[number]

    def _read(self, operation: Operation) -> None:
        given = [self._value(number) for number in operation.given]
        for number, value in zip(operation.given, given, strict=True):
            self._judge(value, operation.constants.get(number))
        if operation.leaves == READ:
            _pin(given, READ)
        elif operation.leaves:
            self._expose(operation.given, operation.leaves)
        again = self._restrided(operation)
        if again is not None:
            self._keep(again, given[0])
        elif operation.written or not self._values.keys() >= set(operation.results) - {None}:
            self._apply(operation)

    def _restrided(self, operation: Operation) -> int | None:
        """The result of an operation that shows the same entries again, and changes only strides of axes of one."""
        result = operation.results[0] if operation.results else None
        if operation.op is None or registry.name_of(operation.op) != "as_strided" or result is None:
            return None
        old, new = self.program.tensors[operation.given[0]], self.program.tensors[result]
        same = (old.storage, old.offset, old.shape) == (new.storage, new.offset, new.shape)
        if not same or not len(old.strides) == len(new.strides) == len(old.shape):
            return None
        steps = zip(old.shape, old.strides, new.strides, strict=True)
        return result if all(n == 1 or before == after for n, before, after in steps) else None

    def _expose(self, numbers: Iterable[int], why: str) -> None:
        for number in numbers:
            self._value(number).memory.pin(why)

    def _apply(self, operation: Operation) -> None:
        """Pass an operation to the tracer, and keep the values of its results."""
        tensors = self.program.tensors
        if any(tensors[number].repeats for number in operation.written):
            self._expose(operation.given, "written where several entries are one in memory")
        args, kwargs = mapped(Ref, self._of, (operation.args, operation.kwargs))
        shapes = [None if number is None else tensors[number].shape for number in operation.results]
        whole = all(tensors[number].whole for number in operation.written)
        made = self.tracer.apply(operation.op, args, kwargs, shapes, where=operation.where, whole=whole)
        for number, value in zip(operation.results, made, strict=True):
            if number is not None and value is not None and number not in self._values:
                self._keep(number, value)

    def _of(self, ref: Any) -> Value:
        return self._value(ref.number)

    @staticmethod
    def _judge(value: Value, equal: bool | None) -> None:
        """Compare the claimed with the recorded uniformity of a tensor's entries."""
        if value.memory.uniform and not value.memory.blank and not equal:
            value.memory.uniform = False
            if equal is not None:
                value.memory.pin("constant")


def _pin(values: Iterable[Value], why: str) -> None:
    for value in values:
        for symbol in value.symbols:
            pin(symbol, why)

"""From a recording to symbols: what the operations that matter say, one after the other."""

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
    """Tell a tracer, which knows the model's own tensors, what a recorded forward pass says."""
    _Reader(program, tracer).run()


def entries_read(operation: Operation) -> list[int]:
    """The tensors among the arguments whose entries matter: of one that is only filled, or imitated, none do."""
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
        """Read all that matters."""
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
        """An own tensor; one that stands under several names has the axes of all."""
        first, *others = (self.tracer.owned[name] for name in held.names)
        for other in others:
            first.symbols = tuple(map(unify, first.symbols, other.symbols))
        return first

    def _pin_overlaps(self, numbers: list[int]) -> None:
        """Own tensors that show the same memory in different ways stay in place."""
        by_storage: dict[int, list[int]] = {}
        for number in numbers:
            by_storage.setdefault(self.program.tensors[number].storage, []).append(number)
        for same in by_storage.values():
            ordered = sorted(same, key=lambda number: self.program.tensors[number].offset)
            for left, right in itertools.pairwise(ordered):
                if self.program.tensors[left].end > self.program.tensors[right].offset:
                    _pin((self._values[left], self._values[right]), "shares memory with another tensor")

    def _keep(self, number: int, value: Value) -> Value:
        """A tensor met for the first time; what is known of its memory is shared."""
        held = self.program.tensors[number]
        value.dtype = held.dtype
        value.share(self._memories.setdefault(held.storage, value.memory))
        self._values[number] = value
        return value

    def _value(self, number: int) -> Value:
        """What a tensor carries; of one that no operation of interest made, only the shape matters."""
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
        if operation.written or not self._values.keys() >= set(operation.results) - {None}:
            self._apply(operation)

    def _expose(self, numbers: Iterable[int], why: str) -> None:
        for number in numbers:
            self._value(number).memory.pin(why)

    def _apply(self, operation: Operation) -> None:
        """Tell the tracer, and keep what it says of tensors that are new."""
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
        """Compare what is claimed of a tensor's entries with what they were."""
        if value.memory.uniform and not value.memory.blank and not equal:
            value.memory.uniform = False
            if equal is not None:
                value.memory.pin("constant")


def _pin(values: Iterable[Value], why: str) -> None:
    for value in values:
        for symbol in value.symbols:
            pin(symbol, why)

"""From operations to symbols: what a forward pass says about the axes of the tensors that go through it."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fedma.errors import PinnedWarning
from fedma.units.axes import Misfit, Source, Symbol, hint, hold, leaf, leaves, pin, unify
from fedma.units.registry import Rule, find

Symbols = tuple[Symbol, ...]
Shape = tuple[int, ...]
CONSTANT_LIMIT = 10_000_000
"""Constants with more entries than this are not searched for axes along which they are uniform."""


@dataclass
class Memory:
    """What the views of one tensor share: whether all its entries are equal, so that it constrains nothing."""

    uniform: bool = False


@dataclass(frozen=True)
class Deferred:
    """An axis of which it is not yet known whether it will be taken apart, position by position, or used as a whole.

    A stack of several tensors, or queries, keys and values in one matrix: taken apart, every part has units of its own;
    used as a whole, the parts have to agree.

    Attributes:
        axis: the axis in question.
        parts: the symbols of every part, without that axis.
        whole: the symbols of the value as one tensor.
    """

    axis: int
    parts: Callable[[], list[Symbols]]
    whole: Callable[[], Symbols]


class Value:
    """A tensor on its way through the model.

    Attributes:
        shape: lengths of the axes.
        weight: made from the model's parameters and constants alone; such values remember which parameter axes they show.
        memory: shared with its views.
        deferred: set while nobody has used the value as a whole.
    """

    def __init__(
        self,
        symbols: Symbols | None = None,
        *,
        shape: Shape = (),
        weight: bool = False,
        memory: Memory | None = None,
        deferred: Deferred | None = None,
    ) -> None:
        self.shape = shape if symbols is None else tuple(symbol.size for symbol in symbols)
        self.weight = weight
        self.memory = memory or Memory()
        self.deferred = deferred
        self._symbols = symbols

    @property
    def settled(self) -> bool:
        """Whether the symbols are decided."""
        return self._symbols is not None

    @property
    def symbols(self) -> Symbols:
        """One for each axis; to ask decides what was deferred."""
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


@dataclass(frozen=True)
class Mix:
    """An operation mixed the units `over` while it carried the units `across` along."""

    over: Symbols
    across: Symbols


class Tracer:
    """Collects what the operations of one forward pass say.

    Attributes:
        owned: the model's own tensors, by name.
        seen: every value, in order of appearance.
        mixes: which units were mixed while others were carried along.
        incoming: parameter axes that were summed over; `outgoing` those that made units whatever else they did.
        statistics: (mean, variance) buffers of normalisations.
        used: names of the model's tensors in order of first use.
        warned: reasons of pins that a missing rule caused.
    """

    def __init__(self) -> None:
        self.owned: dict[str, Value] = {}
        self.seen: list[Value] = []
        self.mixes: list[Mix] = []
        self.incoming: set[Source] = set()
        self.outgoing: set[Source] = set()
        self.statistics: list[tuple[str, str]] = []
        self.used: dict[str, None] = {}
        self.warned: set[str] = set()
        self.operations = 0

    def own(self, name: str, tensor: Tensor) -> Value:
        """One of the model's own tensors, whose units may move."""
        symbols = tuple(leaf(size, sources=[(name, axis)]) for axis, size in enumerate(tensor.shape))
        value = self.owned[name] = self.note(Value(symbols, weight=True))
        return value

    def fixed(self, shape: Sequence[int], why: str) -> Value:
        """A tensor whose entries stay in place."""
        return self.note(Value(tuple(leaf(size, pinned=why) for size in shape)))

    def constant(self, tensor: Tensor, name: str | None = None) -> Value:
        """A constant: free along the axes along which it is uniform, in place along the others."""
        known = tensor.numel() <= CONSTANT_LIMIT and not _is_fake(tensor)
        free = [known and n > 0 and bool((tensor == tensor.narrow(d, 0, 1)).all()) for d, n in enumerate(tensor.shape)]
        sources = [[(name, d)] if name else [] for d in range(tensor.dim())]
        symbols = tuple(
            leaf(n, pinned="" if f else "constant", sources=s)
            for n, f, s in zip(tensor.shape, free, sources, strict=True)
        )
        return self.note(Value(symbols, weight=True, memory=Memory(all(free))))

    def note(self, value: Value) -> Value:
        """Remember a value for what is decided at the end."""
        self.seen.append(value)
        return value

    @property
    def activations(self) -> Iterator[Symbols]:
        """The symbols of everything that is computed from the inputs, in order of appearance."""
        return (value.symbols for value in self.seen if value.settled and not value.weight)

    def output(self, value: Value) -> None:
        """Pin what the model gives back."""
        for symbol in value.symbols:
            pin(symbol, "output")

    def apply(
        self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any], shapes: list[Shape | None], *, where: str
    ) -> list[Value | None]:
        """The values that an operation gives.

        Args:
            op: the ATen operation (an `OpOverload`).
            args: its arguments, with values in the place of tensors.
            kwargs: likewise.
            shapes: of its results; None for a result that is no tensor.
            where: path of the module that calls it.
        """
        self.operations += 1
        name, in_place = _name(op)
        rule = find(name)
        bound = _bind(op, args, kwargs)
        inputs = _values(bound)
        for value in inputs:
            self._use(value)
        uniform = bool(rule and rule.keeps_uniform) and all(v.memory.uniform for v in inputs) and bool(inputs)
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns)
        call = Call(name, where, self._prepared(bound, plain=uniform or view), shapes, self)
        symbols = self._ruled(rule, call)
        weight = all(value.weight for value in inputs)
        results = [self._result(s, weight, uniform or bool(rule and rule.makes_uniform)) for s in symbols]
        if view and inputs:
            for result in results:
                if result is not None:
                    result.memory = inputs[0].memory
        if in_place and inputs and results and results[0] is not None:
            self._overwrite(inputs[0], results[0], moved=bool(rule and rule.view))
        return results

    def _use(self, value: Value) -> None:
        for symbol in value.symbols if value.weight and value.settled else ():
            for name, _ in symbol.sources:
                self.used.setdefault(name)

    def _prepared(self, bound: dict[str, Any], *, plain: bool) -> dict[str, Any]:
        """The arguments as a rule shall see them: uniform tensors are free, unless they are only rearranged."""

        def ready(value: Any) -> Any:
            if isinstance(value, Value) and value.memory.uniform and not plain:
                return Value(tuple(leaf(n) for n in value.shape), weight=value.weight, memory=value.memory)
            return value

        return {key: _map(ready, argument) for key, argument in bound.items()}

    def _ruled(self, rule: "Rule | None", call: "Call") -> "list[Symbols | Value | None]":
        try:
            if rule is None:
                raise NoRule(f"no rule for {call.name}")
            given = rule.function(call)
            if isinstance(given, Value) or isinstance(given, tuple):
                given = [given]
            results = list(given) + [None] * (len(call.shapes) - len(given))
            return [_fitted(r, shape, call.name) for r, shape in zip(results, call.shapes, strict=True)]
        except (NoRule, Misfit) as reason:
            why = f"{reason}" + (f" in {call.where}" if call.where else "")
            self.warned.add(why)
            for value in _values(call.args):
                for symbol in value.symbols:
                    pin(symbol, why)
            return [_fitted(None, shape, call.name) for shape in call.shapes]

    def _result(self, result: "Symbols | Value | None", weight: bool, uniform: bool) -> "Value | None":
        if isinstance(result, Value):
            result.weight = weight
            return self.note(result)
        if result is None:
            return None
        if not weight:
            result = tuple(Symbol(symbol.segments) for symbol in result)
        return self.note(Value(result, weight=weight, memory=Memory(uniform)))

    def _overwrite(self, target: Value, result: Value, *, moved: bool) -> None:
        """An operation in place: the tensor, and all its views, now hold the result."""
        if moved:
            target.symbols = result.symbols
            return
        for old, new in zip(target.symbols, result.symbols, strict=True):
            unify(old, new)
        target.memory.uniform = target.memory.uniform and result.memory.uniform
        target.weight = target.weight and result.weight
        if not result.memory.uniform:
            self.note(Value(target.symbols, weight=target.weight))

    def warn(self, pinned: Iterable[str]) -> None:
        """Warn of the missing rules among these reasons."""
        for why in dict.fromkeys(pinned):
            if why in self.warned:
                message = f"{why}: the axes that it touches stay in place; register a rule with `fedma.units.rule`"
                warnings.warn(message, PinnedWarning, stacklevel=4)


class NoRule(Exception):
    """Nothing is known of an operation, or of this way to call it."""


@dataclass(frozen=True)
class Call:
    """One operation as its rule sees it.

    Attributes:
        name: of the operation, without overload ("linear", "mylib::op").
        where: path of the module that calls it.
        args: every argument of its schema by name, defaults included, with `Value`s for tensors.
        shapes: of its results; None for a result that is no tensor.
        tracer: where facts about several axes are noted.
    """

    name: str
    where: str
    args: Mapping[str, Any]
    shapes: list[Shape | None]
    tracer: Tracer

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def get(self, *names: str) -> Any:
        """The first argument of these names that there is, or None."""
        return next((self.args[name] for name in names if self.args.get(name) is not None), None)

    @property
    def shape(self) -> Shape:
        """Shape of the first result."""
        return next(shape for shape in self.shapes if shape is not None)

    @property
    def values(self) -> list[Value]:
        """The tensors among the arguments, in order."""
        return _values(self.args)

    def fresh(self, *sizes: int) -> Symbols:
        """Symbols that nothing is known of."""
        return tuple(leaf(size) for size in sizes)

    def fixed(self, shape: Iterable[int], why: str) -> Symbols:
        """Symbols of axes that stay in place."""
        return tuple(leaf(size, pinned=why) for size in shape)

    def broadcast(self, shape: Sequence[int], *operands: Sequence[Symbol]) -> Symbols:
        """Operands broadcast to a shape: axes of one length carry the same units, an axis of length one none."""
        result: list[Symbol | None] = [None] * len(shape)
        for symbols in operands:
            for axis, symbol in enumerate(symbols, start=len(shape) - len(symbols)):
                known = result[axis]
                if symbol.size == shape[axis]:
                    result[axis] = symbol if known is None else unify(known, symbol)
                elif symbol.size != 1:
                    raise Misfit(f"{self.name}: an axis of length {symbol.size} does not broadcast to {shape[axis]}")
        return tuple(leaf(n) if symbol is None else symbol for n, symbol in zip(shape, result, strict=True))

    def reads(self, weight: Value, axis: int) -> None:
        """The operation sums over this axis of a weight."""
        if weight.weight:
            self.tracer.incoming |= weight[axis].sources

    def makes(self, weight: Value, axis: int) -> None:
        """The operation makes units of this axis of a weight, whatever else it is used for."""
        if weight.weight:
            self.tracer.outgoing |= weight[axis].sources

    def mix(self, over: Iterable[Symbol], across: Iterable[Symbol]) -> None:
        """The operation mixes some units while it carries others along."""
        self.tracer.mixes.append(Mix(tuple(over), tuple(across)))

    def appear(self, *symbols: Symbol) -> None:
        """Units that appear inside the operation, in this order."""
        self.tracer.note(Value(symbols))

    def keeps_statistics(self, mean: Value | None, variance: Value | None) -> None:
        """The operation normalises by running statistics held in these buffers."""
        if mean is not None and variance is not None:
            names = [next(iter(value[0].sources), ("", 0))[0] for value in (mean, variance)]
            if all(names) and tuple(names) not in self.tracer.statistics:
                self.tracer.statistics.append((names[0], names[1]))

    def pin(self, symbols: Iterable[Symbol], why: str) -> None:
        """These axes stay in place."""
        for symbol in symbols:
            pin(symbol, why)

    def hold(self, symbols: Iterable[Symbol], why: str) -> None:
        """These axes keep their number of units."""
        for symbol in symbols:
            hold(symbol, why)

    def hint(self, symbol: Symbol, word: str) -> None:
        """A word for the name of these units."""
        hint(symbol, word)


def _name(op: Any) -> tuple[str, bool]:
    """The operation's name as rules know it, and whether it works in place."""
    namespace, name = op._schema.name.split("::")
    in_place = any(a.alias_info is not None and a.alias_info.is_write for a in op._schema.arguments)
    if namespace != "aten":
        return f"{namespace}::{name}", in_place
    if in_place and name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return name, in_place


def _bind(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    declared = op._schema.arguments
    given = dict(zip((a.name for a in declared), args, strict=False))
    return {a.name: given.get(a.name, kwargs.get(a.name, a.default_value)) for a in declared}


def _map(function: Callable[[Any], Any], argument: Any) -> Any:
    return pytree.tree_map(function, argument, is_leaf=lambda x: isinstance(x, Value))


def _values(arguments: Any) -> list[Value]:
    found = pytree.tree_leaves(arguments, is_leaf=lambda x: isinstance(x, Value))
    return [value for value in found if isinstance(value, Value)]


def _fitted(result: Any, shape: Shape | None, name: str) -> "Symbols | Value | None":
    """A rule's answer for one result, checked: a symbol of the right length for each axis."""
    if shape is None or isinstance(result, Value):
        return result if shape is not None else None
    if result is None:
        return tuple(leaf(n, pinned=f"result of {name}") for n in shape)
    if len(result) != len(shape) or any(s.size != n for s, n in zip(result, shape, strict=True)):
        raise Misfit(f"the rule for {name} gives axes {[s.size for s in result]} where the tensor has {list(shape)}")
    return tuple(result)


def _is_fake(tensor: Tensor) -> bool:
    return isinstance(tensor, torch._subclasses.FakeTensor) or tensor.is_meta


__all__ = ["Call", "Mix", "NoRule", "Symbols", "Tracer", "Value", "leaves"]

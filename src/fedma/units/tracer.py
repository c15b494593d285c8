"""From operations to symbols: what a forward pass reveals about the axes of its tensors."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fedma.errors import PinnedWarning
from fedma.units.axes import Leaf, Misfit, Symbol, TensorAxis, leaf, leaves, pin, unify
from fedma.units.call import Call, Mix, NoRule
from fedma.units.registry import Rule, bound_arguments, find, name_of
from fedma.units.registry import names as words
from fedma.units.values import Memory, Shape, Symbols, Value, map_values, values_in

CONSTANT_LIMIT = 10_000_000
"""Constants with more entries than this are not searched for axes along which they are uniform."""


class Tracer:
    """Collects what the operations of one forward pass reveal.

    Attributes:
        owned: the model's own tensors, by name.
        seen: every value, in order of appearance.
        mixes: which units were mixed while others were passed through.
        incoming: parameter axes that were summed over. `outgoing` holds axes that made units, even if also summed over.
        statistics: (mean, variance) buffers of normalisations.
        used: names of the model's tensors in order of first use.
        warned: reasons for pins that a missing rule caused.
        ambiguous: whether two parameters were multiplied. It may be a layer applied to one, or a weight made of two.
    """

    def __init__(self) -> None:
        self.owned: dict[str, Value] = {}
        self.seen: list[Value] = []
        self.mixes: list[Mix] = []
        self.incoming: set[TensorAxis] = set()
        self.outgoing: set[TensorAxis] = set()
        self.statistics: list[tuple[str, str]] = []
        self.used: dict[str, None] = {}
        self.warned: set[str] = set()
        self.ambiguous = False
        self.operations = 0

    @property
    def doubtful(self) -> bool:
        """Whether coarser operations might reveal more, because something reads units that nothing makes, say."""
        made: set[Leaf] = set()
        read: set[Leaf] = set()
        for name in self.used:
            for axis, symbol in enumerate(self.owned[name].symbols):
                only_read = (name, axis) in self.incoming - self.outgoing
                (read if only_read else made).update(leaves(symbol))
        unmade = any(unit.size > 1 and not unit.pinned for unit in read - made)
        return unmade or self.ambiguous or bool(self.warned)

    def own(self, name: str, tensor: Tensor) -> Value:
        """One of the model's own tensors, whose units may move."""
        symbols = tuple(leaf(size, sources=[(name, axis)]) for axis, size in enumerate(tensor.shape))
        value = self.owned[name] = self.note(Value(symbols, weight=True, dtype=tensor.dtype))
        return value

    def fixed(self, shape: Sequence[int], why: str, dtype: torch.dtype | None = None) -> Value:
        """A tensor whose entries stay in place."""
        return self.note(Value(tuple(leaf(size, pinned=why) for size in shape), dtype=dtype))

    def constant(self, tensor: Tensor, name: str | None = None, *, lasting: bool = True) -> Value:
        """A constant: free along axes on which it is uniform (and stays so), pinned along the others."""
        known = lasting and tensor.numel() <= CONSTANT_LIMIT and not _is_fake(tensor)
        free = [known and n > 0 and bool((tensor == tensor.narrow(d, 0, 1)).all()) for d, n in enumerate(tensor.shape)]
        return self.known(tensor.shape, free, name, tensor.dtype)

    def known(
        self, shape: Sequence[int], free: Sequence[bool], name: str | None = None, dtype: torch.dtype | None = None
    ) -> Value:
        """A constant of this shape; for each axis, `free` says whether all entries along it are equal."""
        sources = [[(name, d)] if name else [] for d in range(len(shape))]
        symbols = tuple(
            leaf(n, pinned="" if f else "constant", sources=s) for n, f, s in zip(shape, free, sources, strict=True)
        )
        return self.note(Value(symbols, weight=True, memory=Memory(all(free)), dtype=dtype))

    def note(self, value: Value) -> Value:
        """Keep a value for the decisions at the end."""
        self.seen.append(value)
        value.share(value.memory)
        return value

    @property
    def activations(self) -> Iterator[Symbols]:
        """The symbols of all values computed from the inputs, in order of appearance."""
        return (value.symbols for value in self.seen if value.settled and not value.weight)

    def output(self, value: Value) -> None:
        """Pin the model's results."""
        for symbol in value.symbols:
            pin(symbol, "output")

    def apply(
        self,
        op: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        shapes: list[Shape | None],
        *,
        where: str,
        whole: bool = False,
    ) -> list[Value | None]:
        """The values of an operation's results.

        Args:
            op: the ATen operation (an `OpOverload`).
            args: its arguments, with values instead of tensors.
            kwargs: likewise.
            shapes: the shapes of its results; None for a result that is no tensor.
            where: path of the module that calls it.
            whole: whether the tensors that it writes to show all of their memory.
        """
        self.operations += 1
        name = name_of(op)
        rule = find(name) or UNKNOWN
        bound = bound_arguments(op, args, kwargs)
        targets = {a.name: bound[a.name] for a in op._schema.arguments if a.alias_info and a.alias_info.is_write}
        bound = {a.name: bound[a.name] for a in op._schema.arguments if not (a.kwarg_only and a.name in targets)}
        inputs = values_in(bound)
        for value in inputs:
            self.use(value)
        _pin_blank(inputs if name not in WRITES else inputs[1:], values_in(targets), rule)
        uniform = bool(inputs) and rule.keeps_uniform and all(v.memory.uniform for v in inputs)
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns)
        call = Call(name, where, bound if uniform or view else map_values(_free, bound), shapes, self)
        weight = all(value.weight for value in inputs)
        memory = Memory(uniform or rule.makes_uniform, blank=rule.blank)
        results = [self._result(symbols, weight, memory) for symbols in self._ruled(rule, call)]
        for result in results if view and inputs else ():
            if result is not None:
                result.share(inputs[0].memory)
        for place, target, result in () if rule.view else _written(op, targets, results):
            results[place] = self._overwrite(target, result, whole=whole)
        if rule is UNKNOWN:
            for target in values_in(targets):
                target.memory.pin(f"no rule for {name}")
        return results

    def use(self, value: Value) -> None:
        """Remember when the model's own tensors are first used."""
        for symbol in value.symbols if value.weight and value.settled else ():
            for name, _ in sorted(symbol.sources):
                self.used.setdefault(name)

    def _ruled(self, rule: Rule, call: Call) -> list[Symbols | Value | None]:
        """The rule's answer for each result. If there is no rule, or it fails, everything touched stays in place."""
        try:
            given = rule.function(call)
            if isinstance(given, Value | tuple):
                given = [given]
            results = list(given) + [None] * (len(call.shapes) - len(given))
            return [_fitted(r, shape, call.name) for r, shape in zip(results, call.shapes, strict=True)]
        except Exception as error:
            reason = str(error) if isinstance(error, NoRule) else f"the rule for {call.name} failed ({error!r})"
            why = f"{reason} in {call.where or 'the model itself'}"
            self.warned.add(why)
            for value in values_in(call.args):
                for symbol in value.symbols:
                    pin(symbol, why)
            return [_fitted(None, shape, call.name) for shape in call.shapes]

    def _result(self, result: Symbols | Value | None, weight: bool, memory: Memory) -> Value | None:
        """A rule's answer for a result, as a value. If inputs took part, it is no view of a parameter."""
        if isinstance(result, Value):
            result.own = weight
            return self.note(result)
        if result is None:
            return None
        if not weight:
            result = tuple(Symbol(symbol.segments) for symbol in result)
        return self.note(Value(result, weight=weight, memory=replace(memory)))

    def _overwrite(self, target: Value, result: Value, *, whole: bool) -> Value:
        """Note an operation in place: the tensor and all its views now hold the result."""
        if target.shape != result.shape:
            return result
        for old, new in zip(target.symbols, result.symbols, strict=True):
            unify(old, new)
        target.memory.uniform = whole and result.memory.uniform
        target.memory.computed |= not result.weight
        target.memory.blank = False
        if not result.memory.uniform:
            self.seen.append(Value(target.symbols, weight=target.weight))
        return target

    def warn(self, pinned: Iterable[str]) -> None:
        """Warn of the missing rules among these reasons."""
        for why in dict.fromkeys(pinned):
            if why in self.warned:
                message = f"{why}: the axes that it touches stay in place; register a rule with `fedma.units.rule`"
                warnings.warn(message, PinnedWarning, stacklevel=5)


def _unknown(call: Call) -> Symbols:
    raise NoRule(f"no rule for {call.name}")


UNKNOWN = Rule(_unknown)
WRITES = words("""
copy fill zero slice_scatter select_scatter diagonal_scatter as_strided_scatter index_put index_copy index_fill scatter
masked_fill masked_scatter
""")
"""Operations that overwrite their first operand, or a copy of it, without reading the replaced entries."""


def _pin_blank(inputs: Sequence[Value], targets: Sequence[Value], rule: Rule) -> None:
    """Pin unwritten memory: its entries are arbitrary, so reading it gives no symmetry."""
    for value in () if rule.view or rule.makes_uniform else inputs:
        if value.memory.blank and value not in targets:
            for symbol in value.symbols:
                pin(symbol, "never written to")
            value.memory.uniform = value.memory.blank = False


def _written(op: Any, targets: Mapping[str, Any], results: Sequence[Value | None]) -> list[tuple[int, Value, Value]]:
    """What an operation wrote to, with the place and the value of the corresponding result."""
    names = {str(a.alias_info.before_set): a.name for a in op._schema.arguments if a.name in targets}
    found = []
    for place, (returned, result) in enumerate(zip(op._schema.returns, results, strict=False)):
        if returned.alias_info is not None and returned.alias_info.is_write and result is not None:
            target = targets[names[str(returned.alias_info.before_set)]]
            if isinstance(target, Value):
                found.append((place, target, result))
    return found


def _free(value: Value) -> Value:
    """The value as a computing operation sees it: a tensor with equal entries constrains nothing."""
    if not value.memory.uniform:
        return value
    return Value(tuple(leaf(n) for n in value.shape), weight=value.weight, memory=value.memory, dtype=value.dtype)


def _fitted(result: Any, shape: Shape | None, name: str) -> Symbols | Value | None:
    """A rule's answer for one result, after a check: a symbol of the right length for each axis."""
    if shape is None or isinstance(result, Value):
        return result if shape is not None else None
    if result is None:
        return tuple(leaf(n, pinned=f"result of {name}") for n in shape)
    if len(result) != len(shape) or any(s.size != n for s, n in zip(result, shape, strict=True)):
        raise Misfit(f"the rule for {name} gives axes {[s.size for s in result]} where the tensor has {list(shape)}")
    return tuple(result)


def _is_fake(tensor: Tensor) -> bool:
    return isinstance(tensor, torch._subclasses.FakeTensor) or tensor.is_meta

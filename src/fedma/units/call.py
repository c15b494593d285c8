"""One operation, as its rule sees it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedma.units.axes import Misfit, Symbol, hint, hold, leaf, pin, unify
from fedma.units.values import Shape, Symbols, Value, values_in

if TYPE_CHECKING:
    from fedma.units.tracer import Tracer


@dataclass(frozen=True)
class Mix:
    """An operation mixed the units `over` while it carried the units `across` along."""

    over: Symbols
    across: Symbols


class NoRule(Exception):
    """There is no rule for an operation, or for this way to call it."""


@dataclass(frozen=True)
class Call:
    """One operation, as its rule sees it.

    Attributes:
        name: of the operation, without overload ("linear", "mylib::op").
        where: path of the module that calls it.
        args: every argument of its schema by name, including defaults, with `Value`s for tensors.
        shapes: the shapes of its results; None for a result that is no tensor.
        tracer: where facts about several axes are noted.
    """

    name: str
    where: str
    args: Mapping[str, Any]
    shapes: list[Shape | None]
    tracer: "Tracer"

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def get(self, *names: str) -> Any:
        """The first argument present under one of these names, or None."""
        return next((self.args[name] for name in names if self.args.get(name) is not None), None)

    @property
    def shape(self) -> Shape:
        """Shape of the first result."""
        return next(shape for shape in self.shapes if shape is not None)

    @property
    def values(self) -> list[Value]:
        """The tensors among the arguments, in order."""
        return values_in(self.args)

    def fresh(self, *sizes: int) -> Symbols:
        """New symbols, about which nothing is known."""
        return tuple(leaf(size) for size in sizes)

    def fixed(self, shape: Iterable[int], why: str) -> Symbols:
        """Symbols of axes that stay in place."""
        return tuple(leaf(size, pinned=why) for size in shape)

    def broadcast(self, shape: Sequence[int], *operands: Sequence[Symbol]) -> Symbols:
        """Broadcast operands to a shape: axes of equal length carry the same units, an axis of length one none."""
        result: list[Symbol | None] = [None] * len(shape)
        for symbols in operands:
            for axis, symbol in enumerate(symbols, start=len(shape) - len(symbols)):
                known = result[axis]
                if symbol.size == shape[axis]:
                    result[axis] = symbol if known is None else unify(known, symbol)
                elif symbol.size != 1:
                    raise Misfit(f"{self.name}: an axis of length {symbol.size} does not broadcast to {shape[axis]}")
        return tuple(leaf(n) if symbol is None else symbol for n, symbol in zip(shape, result, strict=True))

    def slid(self, positions: Sequence[Symbol], kernel: int | Sequence[int], shape: Sequence[int]) -> Symbols:
        """What axes become along which a window slides: they stay in place, unless it shows each position alone."""
        made = []
        for axis, (symbol, length) in enumerate(zip(positions, shape, strict=True)):
            stride, padding, more = (
                _at(self.args.get(name) or 0, axis) for name in ("stride", "padding", "output_padding")
            )
            alone = _at(kernel, axis) == 1 and stride in (0, 1) and padding in (0, "valid", "same") and more == 0
            if not alone:
                pin(symbol, "position")
            made.append(symbol if alone else leaf(length, pinned="position"))
        return tuple(made)

    def reads(self, weight: Value, axis: int) -> None:
        """Note that the operation sums over this axis of a weight."""
        if weight.weight:
            self.tracer.incoming |= weight[axis].sources

    def makes(self, weight: Value, axis: int) -> None:
        """Note that this axis of a weight makes units, even if it is used otherwise too."""
        if weight.weight:
            self.tracer.outgoing |= weight[axis].sources

    def mix(self, over: Iterable[Symbol], across: Iterable[Symbol]) -> None:
        """Note that the operation mixes some units while it passes others through."""
        self.tracer.mixes.append(Mix(tuple(over), tuple(across)))

    def appear(self, *symbols: Symbol) -> None:
        """Note units that appear inside the operation, in this order."""
        self.tracer.note(Value(symbols))

    def keeps_statistics(self, mean: Value | None, variance: Value | None) -> None:
        """Note that the operation normalises by running statistics in these buffers."""
        if mean is not None and variance is not None:
            names = [min(value[0].sources, default=("", 0))[0] for value in (mean, variance)]
            if all(names) and tuple(names) not in self.tracer.statistics:
                self.tracer.statistics.append((names[0], names[1]))

    def pin(self, symbols: Iterable[Symbol], why: str) -> None:
        """These axes stay in place."""
        for symbol in symbols:
            pin(symbol, why)

    def expose(self, value: Value, why: str) -> None:
        """Everything in a tensor's memory stays in place, including what the tensor itself does not show."""
        self.pin(value.symbols, why)
        value.memory.pin(why)

    def hold(self, symbols: Iterable[Symbol], why: str) -> None:
        """These axes keep their number of units."""
        for symbol in symbols:
            hold(symbol, why)

    def hint(self, symbol: Symbol, *words: str) -> None:
        """Suggest words for the names of these units, outermost first."""
        hint(symbol, *words)


def _at(setting: Any, axis: int) -> Any:
    """What a setting is for one axis; one number may stand for all."""
    return setting[axis if len(setting) > 1 else 0] if isinstance(setting, list | tuple) else setting

"""From the facts that a tracer collected to a unit graph."""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch import nn

from fedma.errors import GraphError, PinnedWarning
from fedma.units import blocks, export, record
from fedma.units.axes import Leaf, Symbol, leaves, pin, resolve
from fedma.units.graph import SINGLE, UNINDEXED, UNUSED, Group, UnitGraph
from fedma.units.inputs import Inputs
from fedma.units.layout import Axis, Factor
from fedma.units.tracer import Tracer

FRONT_ENDS: dict[str, Callable[[nn.Module, Inputs], Tracer]] = {"record": record.trace, "export": export.trace}
"""In the order in which they are tried: recording is fast; export keeps layers whole, which settles doubts."""


def derive(model: nn.Module, inputs: Inputs, *, front_end: str | None = None) -> UnitGraph:
    """The unit graph of a model, by the front end named, or by the first that leaves no doubt."""
    return graph_of(_traced(model, inputs, front_end), {name for name, _ in model.named_parameters()})


def _traced(model: nn.Module, inputs: Inputs, front_end: str | None) -> Tracer:
    if front_end is not None:
        return FRONT_ENDS[front_end](model, inputs.map(torch.clone))
    found: list[Tracer] = []
    refusals: list[str] = []
    for name, trace in FRONT_ENDS.items():
        try:
            found.append(trace(model, inputs.map(torch.clone)))
        except Exception as error:
            line = str(error).strip().partition("\n")[0]
            refusals.append(f"{name}: {type(error).__name__}: {line}")
        else:
            if not found[-1].doubtful:
                break
    if not found:
        raise GraphError(f"{type(model).__name__} can neither be recorded nor exported ({'; '.join(refusals)})")
    return found[-1]


def graph_of(tracer: Tracer, parameters: set[str]) -> UnitGraph:
    """The groups, layouts and reasons in what a tracer has collected."""
    _pin_strays(tracer, parameters)
    found = _free(tracer)
    per = blocks.inside(tracer, found)
    names = _names(tracer, found)
    layouts = {
        name: tuple(_layout(symbol, names) for symbol in tracer.owned[name].symbols) for name in _in_order(tracer)
    }
    tracer.warn(unit.pinned for value in tracer.owned.values() for symbol in value.symbols for unit in leaves(symbol))
    if unused := [n for n, value in tracer.owned.items() if value.shape and n in parameters and n not in tracer.used]:
        warnings.warn(_of_unused(unused), PinnedWarning, stacklevel=4)
    return UnitGraph(
        groups={
            names[unit]: Group(
                names[unit],
                unit.size,
                growable=not unit.held,
                reason=unit.held,
                per=tuple(names[block] for block in per[unit]),
            )
            for unit in found
        },
        layouts=layouts,
        incoming=frozenset(tracer.incoming - tracer.outgoing),
        fixed={
            (name, axis): why
            for name, value in tracer.owned.items()
            for axis, symbol in enumerate(value.symbols)
            if (why := _why_fixed(symbol, names))
        },
        statistics=tuple(tracer.statistics),
    )


def _of_unused(names: list[str]) -> str:
    """Warn of unused parameters: a branch that did not run may read units that seem free."""
    return (
        f"{len(names)} parameters are {UNUSED} on these inputs, in evaluation mode ({', '.join(names[:3])}"
        f"{', …' if len(names) > 3 else ''}): they stay in place, and where training or other inputs use them "
        "the groups may be wrong; give example inputs that reach them"
    )


def _in_order(tracer: Tracer) -> list[str]:
    """The model's tensors in order of first use. An unused tensor follows the others of its module."""
    first = {name: number for number, name in enumerate(tracer.used)}
    last = {name.rpartition(".")[0]: number for name, number in first.items()}
    return sorted(tracer.owned, key=lambda name: first.get(name, last.get(name.rpartition(".")[0], len(first))))


def _pin_strays(tracer: Tracer, parameters: set[str]) -> None:
    """Pin what the forward pass never used, and what indexes no parameter; settle every expression."""
    for name, value in tracer.owned.items():
        if name not in tracer.used:
            for symbol in value.symbols:
                pin(symbol, UNUSED)
    indexed = {
        unit
        for name, value in tracer.owned.items()
        if name in parameters
        for symbol in value.symbols
        for unit in leaves(symbol)
    }
    for name in tracer.owned.keys() - parameters:
        for symbol in tracer.owned[name].symbols:
            for unit in leaves(symbol):
                if unit not in indexed:
                    unit.pinned = unit.pinned or UNINDEXED
    for value in tracer.seen:
        for symbol in value.symbols if value.settled else ():
            resolve(symbol.segments)


def _free(tracer: Tracer) -> list[Leaf]:
    """The leaves that become groups, in order of their first appearance in an activation.

    Some units reach no activation, and no activation sums over them: these inputs do not use them (positions beyond the
    length of the example). They stay in place.
    """
    indexed = {
        unit: None
        for name in tracer.used
        for symbol in tracer.owned[name].symbols
        for unit in leaves(symbol)
        if not unit.pinned and unit.size > 1
    }
    appeared = {unit: None for symbols in tracer.activations for symbol in symbols for unit in leaves(symbol)}
    summed = {unit: None for mix in tracer.mixes for symbol in mix.over for unit in leaves(symbol)}
    return [unit for unit in {**appeared, **summed} if unit in indexed]


def _names(tracer: Tracer, found: Iterable[Leaf]) -> dict[Leaf, str]:
    """A unique name for every group: the path of the module or parameter that makes its units."""
    makers = _makers(tracer)
    plain = {unit: _title(makers[unit], unit.hint) for unit in found}
    taken: Counter[str] = Counter()
    names: dict[Leaf, str] = {}
    for unit, title in plain.items():
        taken[title] += 1
        names[unit] = title if taken[title] == 1 else f"{title}.part{taken[title]}"
    return names


def _makers(tracer: Tracer) -> dict[Leaf, str]:
    """For each group, the first parameter that makes its units; if none makes them, the first that reads them."""
    read_only = tracer.incoming - tracer.outgoing
    axes = [
        (name, symbol, (name, axis) in read_only)
        for name in tracer.used
        for axis, symbol in enumerate(tracer.owned[name].symbols)
    ]
    makers: dict[Leaf, str] = {}
    for name, symbol, _ in sorted(axes, key=lambda own: own[2]):
        for unit in leaves(symbol):
            makers.setdefault(unit, name)
    return makers


MAKERS = re.compile(r"weight|bias|(?:weight|bias)_(?:ih|hh|g|v)")
"""Last parts of the names of parameters that give their module's name to a group."""
CELLS = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)_l(\d+)(_reverse)?")


def _title(parameter: str, hint: str) -> str:
    """`conv1.weight` → `conv1`, `lstm.weight_ih_l1` → `lstm.l1`, the heads in `attn.q.weight` → `attn.heads`."""
    parameter, parametrised, _ = parameter.partition(".parametrizations.")
    path, _, last = (parameter, "", "weight") if parametrised else parameter.rpartition(".")
    if hint:
        parent = path.rpartition(".")[0] if last in ("weight", "bias") else path
        return f"{parent}.{hint}".lstrip(".")
    if cell := CELLS.fullmatch(last):
        layer = f".l{cell[1]}" if cell[1] != "0" else ""
        return f"{path}{layer}{'.reverse' if cell[2] else ''}".lstrip(".") or parameter
    return path if path and MAKERS.fullmatch(last) else parameter


def _layout(symbol: Symbol, names: dict[Leaf, str]) -> Axis:
    """The symbol as data, with neighbouring fixed parts joined."""
    axis: list[tuple[Factor, ...]] = []
    for segment in resolve(symbol.segments):
        factors: list[Factor] = []
        for unit in segment:
            group = names.get(unit)
            if group is None and factors and factors[-1].group is None:
                factors[-1] = Factor(factors[-1].size * unit.size)
            elif unit.size > 1 or len(segment) == 1:
                factors.append(Factor(unit.size, group))
        if axis and len(factors) == len(axis[-1]) == 1 and factors[0].group is None and axis[-1][0].group is None:
            axis[-1] = (Factor(axis[-1][0].size + factors[0].size),)
        else:
            axis.append(tuple(factors))
    return tuple(axis)


def _why_fixed(symbol: Symbol, names: dict[Leaf, str]) -> str:
    """Why a part of an axis stays in place; empty if all of it moves."""
    reasons = [unit.pinned or (SINGLE if unit.size == 1 else UNUSED) for unit in leaves(symbol) if unit not in names]
    return next((why for why in reasons if why != "output"), reasons[0] if reasons else "")

"""Which units may be ordered separately inside each block of another group (dimensions inside a head)."""

from collections import Counter
from collections.abc import Iterable, Sequence

from fedma.units.axes import Leaf, Segment, leaves, resolve
from fedma.units.tracer import Tracer
from fedma.units.values import Symbols


def inside(tracer: Tracer, found: Sequence[Leaf]) -> dict[Leaf, tuple[Leaf, ...]]:
    """For every group, the groups in whose blocks its units may be ordered separately, outermost first.

    Units may be ordered separately in each block under two conditions. Every tensor that carries them must show, entry
    by entry, which block it is. And no operation may mix blocks while it passes the units through, or let units of two
    blocks meet.
    """
    wanted = set(found)
    around: dict[Leaf, set[Leaf]] = {}
    for symbols in _kinds(tracer):
        for unit, known in _contexts(symbols, wanted):
            around[unit] = around[unit] & known if unit in around else known
    for mix in tracer.mixes:
        over = {unit for symbol in mix.over for unit in leaves(symbol)}
        across = Counter(unit for symbol in mix.across for unit in leaves(symbol))
        for unit in across.keys() & around.keys():
            around[unit] = around[unit] - over
        meeting = {block for block, times in across.items() if times > 1}
        for unit in over & around.keys():
            around[unit] = around[unit] - meeting
    return _ordered(found, around)


def _kinds(tracer: Tracer) -> Iterable[Symbols]:
    """The symbols of all values, without repetitions."""
    settled = (value.symbols for value in tracer.seen if value.settled)
    return {tuple(id(symbol.segments) for symbol in symbols): symbols for symbols in settled}.values()


def _contexts(symbols: Symbols, wanted: set[Leaf]) -> Iterable[tuple[Leaf, set[Leaf]]]:
    """For every occurrence of a group in a tensor, the groups that show its block there."""
    axes = [resolve(symbol.segments) for symbol in symbols]
    everywhere = [_everywhere(axis) for axis in axes]
    for a, axis in enumerate(axes):
        elsewhere = Counter(unit for b, units in enumerate(everywhere) if b != a for unit in units)
        across = {unit for unit, times in elsewhere.items() if times == 1}
        for segment in axis:
            own = {unit for unit in segment if segment.count(unit) == 1}
            for unit in set(segment) & wanted:
                yield unit, ((own | across) & wanted) - {unit}


def _everywhere(axis: Sequence[Segment]) -> set[Leaf]:
    """The leaves that occur once in each segment of an axis."""
    return {unit for unit in axis[0] if all(segment.count(unit) == 1 for segment in axis)} if axis else set()


def _ordered(found: Sequence[Leaf], around: dict[Leaf, set[Leaf]]) -> dict[Leaf, tuple[Leaf, ...]]:
    """If two groups could each be the block of the other, the group that appears first is the block."""
    rank = {unit: k for k, unit in enumerate(found)}
    result: dict[Leaf, tuple[Leaf, ...]] = {}
    for unit in found:
        outer = {
            block
            for block in around.get(unit, set())
            if unit not in around.get(block, set()) or rank[block] < rank[unit]
        }
        result[unit] = tuple(sorted(outer, key=rank.__getitem__))
    return result

"""Symbols for the axes of tensors: a small algebra of leaves, products and concatenations.

A **leaf** is a run of units about which nothing more is known. A **symbol** is what one axis of one tensor carries: a
concatenation of segments, each a product of leaves (outermost first). A leaf that turns out to be composed is *bound*
to such an expression. So a fact learnt about one tensor holds at once for all tensors that share its leaves.

    leaf(6)                     ┄ six units
    product(leaf(2), leaf(3))   ┄ two blocks of three
    concat(leaf(4), leaf(2))    ┄ four units, then two others

Rules have five verbs:

- `unify` two symbols: their units are the same, in the same order;
- `split` a symbol into consecutive parts;
- `factor` a symbol into nested blocks;
- `pin` a symbol: its units must stay in place;
- `hold` a symbol: its number of units must stay.

If two expressions cannot be aligned, both are pinned: freedom is lost, never soundness. A leaf is bound only to smaller
leaves, or to one other leaf of its size. So no expression can contain itself.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

TensorAxis = tuple[str, int]
"""One axis of one of the model's own tensors: (name, axis)."""

BAKED = "number of blocks, or their size, fixed by a view"
"""Why a group counts as unable to grow until growth is tried."""
MISALIGNED = "blocks of different sizes"
"""Why units stay in place whose blocks overlap."""


class Misfit(Exception):
    """A rule tried to unify two symbols of different sizes: it has misread its operation."""


@dataclass(eq=False)
class Leaf:
    """Units about which nothing more is known, until the leaf is bound to an expression of smaller leaves.

    Attributes:
        size: number of units.
        pinned: why the units must stay in place; empty while they are free.
        held: why their number must stay (a normalisation over them, say); empty while it may grow.
        hint: a word for their name ("heads").
        bound: the expression that the leaf turned out to be.
    """

    size: int
    pinned: str = ""
    held: str = ""
    hint: str = ""
    bound: "Segments | None" = None


Segment = tuple[Leaf, ...]
Segments = tuple[Segment, ...]


@dataclass(frozen=True, eq=False)
class Symbol:
    """What one axis of a tensor carries. `sources` are the parameter axes of which it is a view."""

    segments: Segments
    sources: frozenset[TensorAxis] = field(default=frozenset())

    @property
    def size(self) -> int:
        """Length of the axis."""
        return sum(_size(segment) for segment in self.segments)


def leaf(size: int, *, pinned: str = "", held: str = "", sources: Iterable[TensorAxis] = ()) -> Symbol:
    """A new symbol for an axis of this length: a single leaf."""
    return Symbol(((Leaf(size, pinned=pinned, held=held),),), frozenset(sources))


def product(*symbols: Symbol) -> Symbol:
    """Nested blocks, outermost first: the axis that flattening these axes gives."""
    first, *rest = symbols
    inner = [unit for symbol in rest for unit in _whole(symbol)]
    return Symbol(tuple((*segment, *inner) for segment in first.segments), _sources(symbols))


def concat(*symbols: Symbol) -> Symbol:
    """Consecutive parts: the axis that concatenating along these axes gives."""
    parts = [symbol for symbol in symbols if symbol.size] or symbols[:1]
    return Symbol(tuple(segment for symbol in parts for segment in symbol.segments), _sources(symbols))


def unify(first: Symbol, *others: Symbol) -> Symbol:
    """The symbol of axes that carry the same units in the same order.

    Raises:
        Misfit: the axes differ in length.
    """
    for other in others:
        if first.size != other.size:
            raise Misfit(f"axes of lengths {first.size} and {other.size} cannot carry the same units")
        if first.size:
            _merge(first.segments, other.segments)
    return Symbol(first.segments, _sources((first, *others)))


def split(symbol: Symbol, sizes: Sequence[int]) -> list[Symbol]:
    """The consecutive parts of an axis, of these sizes."""
    parts = [leaf(size, sources=symbol.sources) for size in sizes]
    unify(symbol, concat(*parts))
    return parts


def factor(symbol: Symbol, sizes: Sequence[int]) -> list[Symbol]:
    """The nested blocks of an axis, of these sizes, outermost first."""
    factors = [leaf(size, sources=symbol.sources) for size in sizes]
    unify(symbol, product(*factors))
    return factors


def pin(symbol: Symbol, why: str) -> None:
    """The units of this axis must stay in place. The first reason given is kept."""
    for unit in leaves(symbol):
        unit.pinned = unit.pinned or why


def hold(symbol: Symbol, why: str) -> None:
    """The number of units on this axis must stay."""
    for unit in leaves(symbol):
        unit.held = unit.held or why


def hint(symbol: Symbol, *words: str) -> None:
    """Words for the names of an axis's leaves, outermost first. Leaves beyond the words get none."""
    for unit, word in zip(leaves(symbol), words, strict=False):
        unit.hint = unit.hint or word


def leaves(symbol: Symbol) -> list[Leaf]:
    """The unbound leaves of an axis, in order, each as often as it occurs."""
    return [unit for segment in resolve(symbol.segments) for unit in segment]


def resolve(segments: Segments) -> Segments:
    """The expression with every bound leaf replaced by what it is bound to: a concatenation of products.

    A concatenation inside a product (`a × (b + c)`) has no such form: its parts are pinned.
    """
    if all(map(_settled, segments)):
        return segments
    whole = _root(segments[0][0]) if len(segments) == len(segments[0]) == 1 else None
    if whole is None or whole.bound is None:
        return _expanded(segments)
    if not all(map(_settled, whole.bound)):
        whole.bound = _expanded(whole.bound)
    return whole.bound


def _expanded(segments: Segments) -> Segments:
    done: list[Segment] = []
    waiting = list(reversed(segments))
    while waiting:
        head, *rest = _trimmed(waiting.pop())
        head = _root(head)
        if head.bound is None:
            done.append((head, *_flat(rest)) if rest else (head,))
        else:
            waiting.extend((*outer, *rest) for outer in reversed(head.bound))
    return tuple(done)


def _settled(segment: Segment) -> bool:
    """Whether all leaves of the product are unbound."""
    if len(segment) == 1:
        return segment[0].bound is None
    return all(unit.bound is None and unit.size != 1 for unit in segment)


def _trimmed(segment: Segment) -> Sequence[Leaf]:
    """The product without factors of one unit."""
    return segment if len(segment) == 1 else [unit for unit in segment if unit.size != 1] or segment[:1]


def _root(unit: Leaf) -> Leaf:
    """The last leaf in the chain of leaves each bound to a single other. All leaves on the way are bound to it."""
    passed = []
    while unit.bound is not None and len(unit.bound) == len(unit.bound[0]) == 1:
        passed.append(unit)
        unit = unit.bound[0][0]
    for other in passed[:-1]:
        other.bound = ((unit,),)
    return unit


def _flat(units: Iterable[Leaf]) -> Segment:
    """Inner factors as one product of unbound leaves."""
    done: list[Leaf] = []
    waiting = list(units)[::-1]
    while waiting:
        unit = _root(waiting.pop())
        if unit.bound is not None and len(unit.bound) > 1:
            parts = resolve(unit.bound)
            why = _reason(parts) or "concatenation inside blocks"
            _pin_all(parts, why)
            unit.bound = ((Leaf(unit.size, pinned=why),),)
        if unit.bound is None:
            done.append(unit)
        else:
            waiting.extend(reversed(unit.bound[0]))
    return tuple(done)


def _merge(left: Segments, right: Segments) -> None:
    """Make two expressions of one length the same, segment by segment."""
    left, right = resolve(left), resolve(right)
    if _pinned(left) or _pinned(right):
        return _pin_all(left + right, _reason(left + right))
    for one, parts in ((left, right), (right, left)):
        if len(one) == len(one[0]) == 1 < len(parts):
            return _bind(one[0][0], parts)
    rest, other = list(reversed(left)), list(reversed(right))
    while rest:
        _step(rest, other)
    return None


def _step(left: list[Segment], right: list[Segment]) -> None:
    """Make the first segments of two expressions the same; each is a stack with its first segment on top."""
    (long, rest), (short, other) = (_next(left), left), (_next(right), right)
    if _size(long) == _size(short):
        return _tie(long, short)
    if _size(long) < _size(short):
        (long, rest), (short, other) = (short, other), (long, rest)
    if not _pinned((long,)) and _cut(long, _size(short)):
        rest.append(long)
        other.append(short)
        return None
    why = _reason((long, short)) or MISALIGNED
    _pin_all((long, short), why)
    return rest.append((Leaf(_size(long) - _size(short), pinned=why),))


def _next(stack: list[Segment]) -> Segment:
    """Take the first segment off the stack, fully resolved."""
    first, *others = resolve((stack.pop(),))
    stack.extend(reversed(others))
    return first


def _tie(left: Segment, right: Segment) -> None:
    """Make two products of one size the same, factor by factor from the outermost."""
    while left:
        if _pinned((left,)) or _pinned((right,)):
            return _pin_all((left, right), _reason((left, right)))
        a, b = left[0], right[0]
        size = min(a.size, b.size)
        if a.size % size or b.size % size:
            return _pin_all((left, right), MISALIGNED)
        if a.size != b.size:
            _nest(max(a, b, key=lambda unit: unit.size), size)
        else:
            if a is not b:
                _bind(b, ((a,),))
            left, right = left[1:], right[1:]
        left, right = _flat(left), _flat(right)
    return None


def _nest(unit: Leaf, outer: int) -> None:
    _bind(unit, ((Leaf(outer), Leaf(unit.size // outer)),))


def _cut(segment: Segment, length: int) -> bool:
    """Cut the outermost factor so that a segment of this length stands first; False where it does not fit."""
    head = segment[0]
    inner = _size(segment) // head.size
    if length % inner:
        return False
    steps = length // inner
    _bind(head, ((Leaf(steps),), (Leaf(head.size - steps),)))
    return True


def _bind(unit: Leaf, segments: Segments) -> None:
    """Bind the unbound leaf to this expression of unbound leaves, which inherits what is known about it."""
    for part in (part for segment in segments for part in segment):
        part.pinned = part.pinned or unit.pinned
        part.held = part.held or unit.held
        if part.size == unit.size:
            part.hint = part.hint or unit.hint
    unit.bound = segments


def _whole(symbol: Symbol) -> Segment:
    """The symbol as inner factors."""
    return symbol.segments[0] if len(symbol.segments) == 1 else (Leaf(symbol.size, bound=symbol.segments),)


def _size(segment: Segment) -> int:
    return math.prod(unit.size for unit in segment)


def _pinned(segments: Segments) -> bool:
    return all(unit.pinned for segment in segments for unit in segment)


def _reason(segments: Segments) -> str:
    return next((unit.pinned for segment in segments for unit in segment if unit.pinned), "")


def _pin_all(segments: Segments, why: str) -> None:
    for segment in segments:
        for unit in segment:
            unit.pinned = unit.pinned or why


def _sources(symbols: Iterable[Symbol]) -> frozenset[TensorAxis]:
    return frozenset().union(*(symbol.sources for symbol in symbols))

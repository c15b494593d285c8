"""The algebra of axis symbols: whatever is said, every order of the leaves that remain respects it."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.units.axes import Misfit, concat, factor, hold, leaf, leaves, pin, product, resolve, split, unify

SIZE = 12
FACTORS = [(2, 6), (6, 2), (3, 4), (4, 3), (2, 2, 3), (1, 12), (12,)]
PARTS = [(4, 8), (6, 6), (3, 3, 6), (1, 11), (2, 4, 6), (12,)]


def induced(symbol, orders):
    """The order of an axis that orders of the leaves make: new position → old position."""
    positions, start = [], 0
    for segment in resolve(symbol.segments):
        local = np.zeros(1, dtype=int)
        for unit in segment:
            order = np.arange(unit.size) if unit.pinned or unit.size == 1 else orders[unit]
            local = (local[:, None] * unit.size + order).ravel()
        positions.append(start + local)
        start += len(local)
    return np.concatenate(positions)


def nested(parts, orders):
    local = np.zeros(1, dtype=int)
    for part in parts:
        local = (local[:, None] * part.size + induced(part, orders)).ravel()
    return local


def joined(parts, orders):
    starts = itertools.accumulate((part.size for part in parts), initial=0)
    return np.concatenate([start + induced(part, orders) for start, part in zip(starts, parts, strict=False)])


class Story:
    """Axes of one length, and everything that was said of them."""

    def __init__(self):
        self.axes, self.said = [leaf(SIZE) for _ in range(3)], []

    def tell(self, verb, which, other, form):
        axis = self.axes[which % len(self.axes)]
        if verb == "unify":
            mate = self.axes[other % len(self.axes)]
            unify(axis, mate)
            self.said.append(lambda o: (induced(axis, o), induced(mate, o)))
        elif verb == "factor":
            parts = factor(axis, FACTORS[form % len(FACTORS)])
            self.said.append(lambda o: (induced(axis, o), nested(parts, o)))
            self.axes.append(product(*reversed(parts)))
        elif verb == "split":
            parts = split(axis, PARTS[form % len(PARTS)])
            self.said.append(lambda o: (induced(axis, o), joined(parts, o)))
            self.axes.append(concat(*reversed(parts)))
        elif verb == "pin":
            pin(split(axis, PARTS[form % len(PARTS)])[0], "told")

    def orders(self, random):
        units = {unit for axis in self.axes for unit in leaves(axis)}
        return {unit: random.permutation(unit.size) for unit in units}


TELLING = st.tuples(
    st.sampled_from(["unify", "unify", "factor", "split", "pin"]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 9),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(TELLING, max_size=12), st.integers(0, 2**16))
def test_every_order_of_the_leaves_respects_what_was_said(tellings, seed):
    story = Story()
    for telling in tellings:
        story.tell(*telling)
    for axis in story.axes:
        resolve(axis.segments)
    orders = story.orders(np.random.default_rng(seed))
    for statement in story.said:
        left, right = statement(orders)
        np.testing.assert_array_equal(left, right)
    assert all(sum(np.prod([u.size for u in s]) for s in resolve(a.segments)) == SIZE for a in story.axes)


@pytest.mark.parametrize("sizes", FACTORS)
def test_blocks_nested_again_are_the_axis(sizes):
    axis = leaf(SIZE)
    assert resolve(product(*factor(axis, sizes)).segments) == resolve(axis.segments)


@pytest.mark.parametrize("sizes", PARTS)
def test_parts_joined_again_are_the_axis(sizes):
    axis = leaf(SIZE)
    assert resolve(concat(*split(axis, sizes)).segments) == resolve(axis.segments)


def test_free_axes_stay_free_under_views():
    axis = leaf(SIZE)
    factor(axis, (3, 4))
    split(axis, (4, 8))
    assert [unit.size for unit in leaves(axis)] == [4, 2, 4]
    assert not any(unit.pinned for unit in leaves(axis))


def test_flattening_and_unflattening_ties_nothing():
    channels, positions = leaf(4), leaf(9, pinned="position")
    back, there = factor(product(channels, positions), (4, 9))
    assert leaves(back) == leaves(channels)
    assert leaves(there)[0].pinned == "position"


def test_a_view_that_does_not_fit_pins_both():
    axis = concat(leaf(5), leaf(7))
    factor(axis, (3, 4))
    assert all(unit.pinned for unit in leaves(axis))


def test_what_is_known_of_a_leaf_is_known_of_its_parts():
    axis = leaf(SIZE)
    hold(axis, "normalised")
    outer, inner = factor(axis, (3, 4))
    pin(outer, "first")
    pin(axis, "second")
    assert [unit.held for unit in leaves(axis)] == ["normalised"] * 2
    assert [unit.pinned for unit in leaves(product(outer, inner))] == ["first", "second"]


def test_axes_of_different_lengths_are_refused():
    with pytest.raises(Misfit, match="3 and 4"):
        unify(leaf(3), leaf(4))


def test_sources_follow_every_verb():
    axis = leaf(SIZE, sources=[("weight", 1)])
    symbols = [*split(axis, (4, 8)), *factor(axis, (3, 4)), unify(leaf(SIZE), axis), product(leaf(2), axis)]
    assert all(symbol.sources == {("weight", 1)} for symbol in symbols)


@pytest.mark.parametrize("shift", [1, 7, 8, 2500])
def test_a_long_axis_tied_to_its_own_shift_needs_no_deep_recursion(shift):
    axis = leaf(5000)
    first, rest = split(axis, (shift, 5000 - shift))
    unify(axis, concat(rest, first))
    assert len(set(leaves(axis))) in (1, 5000 // math.gcd(shift, 5000))
    assert {unit.size for unit in leaves(axis)} == {math.gcd(shift, 5000)}


def test_parts_of_one_unit_and_long_chains_of_ties_need_no_deep_recursion():
    axis = leaf(3000)
    parts = split(axis, [1] * 3000)
    assert len(leaves(concat(*reversed(parts)))) == 3000
    chain = [leaf(SIZE) for _ in range(5000)]
    for former, latter in itertools.pairwise(chain):
        unify(latter, former)
    factor(chain[0], (3, 4))
    assert all(leaves(own) == leaves(chain[0]) for own in chain)


def test_axes_joined_again_and_again_need_no_deep_recursion():
    axis = leaf(2)
    for size in range(2, 1200, 2):
        whole = leaf(size)
        unify(whole, axis)
        axis = concat(whole, leaf(2))
    assert [unit.size for unit in leaves(axis)] == [2] * 600


def test_blocks_that_overlap_are_pinned_and_what_follows_stays_free():
    left = concat(product(leaf(2), leaf(3)), leaf(4))
    unify(left, concat(product(leaf(2), leaf(2)), leaf(6)))
    assert [(unit.size, bool(unit.pinned)) for unit in leaves(left)] == [(2, True), (3, True), (4, False)]

"""Moving tensors between widths: `index` against a naive loop, gathering against scattering."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.seeds import generator
from fedma.units import Factor, Group, UnitGraph
from fedma.units.layout import index, put, shape, take

A, B, C = "heads", "channels", "dims"
PER = {C: (A,)}
LAYOUTS = {
    "plain": (((Factor(3, A),),), ((Factor(4, B),),)),
    "flattened": (((Factor(4, B), Factor(2)),), ((Factor(3),),)),
    "gates": (((Factor(4, B),), (Factor(4, B),), (Factor(4, B),)), ((Factor(4, B),),)),
    "concatenated": (((Factor(2),), (Factor(3, A),), (Factor(4, B),)),),
    "heads": (((Factor(3, A), Factor(2, C)),), ((Factor(4, B),),)),
    "heads on another axis": (((Factor(3, A),),), ((Factor(2, C),), (Factor(2, C), Factor(2)))),
    "nested": (((Factor(2), Factor(3, A), Factor(2, C), Factor(2)),),),
    "dims first": (((Factor(2, C), Factor(3, A)),),),
}
GRAPH = UnitGraph({A: Group(A, 3), B: Group(B, 4), C: Group(C, 2, per=(A,))}, LAYOUTS)
WIDTHS = st.fixed_dictionaries({A: st.integers(3, 5), B: st.integers(4, 6), C: st.integers(2, 4)})


def maps_into(widths, seed):
    """Random injective maps of the graph's units into wider groups; dims in every head apart."""
    random = generator(seed, "maps")
    maps = {name: torch.randperm(widths[name], generator=random)[: GRAPH.groups[name].size] for name in (A, B)}
    maps[C] = torch.stack([torch.randperm(widths[C], generator=random)[:2] for _ in range(3)])
    return maps


def coordinates(axes, entry):
    """For every axis the coordinate of each factor of the segment that an entry lies in, slowly."""
    found = []
    for axis, position in zip(axes, entry, strict=True):
        for number, segment in enumerate(axis):
            sizes = [factor.size for factor in segment]
            blocks = list(itertools.product(*map(range, sizes)))
            if position < len(blocks):
                found.append((number, segment, blocks[position]))
                break
            position -= len(blocks)
    return found


def naive_place(axes, entry, maps, widths):
    """The place of one narrow entry in the wide tensor, slowly."""
    here = coordinates(axes, entry)
    heads = next((c for _, segment, own in here for f, c in zip(segment, own, strict=True) if f.group == A), None)
    place = []
    for axis, (number, segment, own) in zip(axes, here, strict=True):
        start = shape((axis[:number],), widths)[0]
        step = 0
        for factor, unit in zip(segment, own, strict=True):
            moved = unit
            if factor.group is not None:
                moved = int(maps[C][heads, unit] if factor.group == C else maps[factor.group][unit])
            step = step * widths.get(factor.group, factor.size) + moved
        place.append(start + step)
    return tuple(place)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(LAYOUTS)), WIDTHS, st.integers(0, 999))
def test_index_finds_what_a_loop_finds(name, widths, seed):
    axes, maps = LAYOUTS[name], maps_into(widths, seed)
    narrow = shape(axes, {})
    found = torch.broadcast_tensors(*index(axes, maps, widths, per=PER))
    for entry in itertools.product(*map(range, narrow)):
        assert tuple(int(f[entry]) for f in found) == naive_place(axes, entry, maps, widths)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(LAYOUTS)), WIDTHS, st.booleans(), st.integers(0, 999))
def test_taking_and_putting_do_what_indexing_does(name, widths, in_place, seed):
    axes, maps = LAYOUTS[name], {} if in_place else maps_into(widths, seed)
    widths = {} if in_place else widths
    where, wide_shape = index(axes, maps, widths, per=PER), shape(axes, widths)
    wide, narrow = (torch.rand(size, generator=generator(seed)) for size in (wide_shape, shape(axes, {})))
    expected = torch.full(wide_shape, 7.0)
    expected[where] = narrow
    put_there, taken = put(narrow, where, wide_shape, 7.0), take(wide, where)
    assert torch.equal(put_there, expected)
    assert torch.equal(taken, wide[where])
    assert put_there.is_contiguous()
    assert taken.is_contiguous()
    assert put_there.data_ptr() != narrow.data_ptr()
    assert taken.data_ptr() != wide.data_ptr()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(WIDTHS, st.integers(0, 999))
def test_gathering_what_was_scattered_gives_it_back(widths, seed):
    maps = maps_into(widths, seed)
    weights = {name: torch.rand(shape(axes, {}), generator=generator(seed, name)) for name, axes in LAYOUTS.items()}
    wide = GRAPH.scatter(weights, maps, widths)
    assert {name: tuple(t.shape) for name, t in wide.items()} == {n: shape(a, widths) for n, a in LAYOUTS.items()}
    torch.testing.assert_close(GRAPH.gather(wide, maps, widths), weights, rtol=0, atol=0)
    for name in weights:
        assert int((wide[name] != 0).sum()) == int((weights[name] != 0).sum())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 999))
def test_the_inverse_order_undoes_an_order(seed):
    orders = GRAPH.random_orders(generator(seed, "orders"))
    weights = {name: torch.rand(shape(axes, {}), generator=generator(seed, name)) for name, axes in LAYOUTS.items()}
    moved = GRAPH.gather(weights, orders)
    back = {name: order.argsort(-1) for name, order in orders.items()}
    back[C] = back[C][orders[A].argsort()]
    torch.testing.assert_close(GRAPH.gather(moved, back), weights, rtol=0, atol=0)


def test_orders_are_drawn_apart_in_every_block():
    orders = GRAPH.random_orders(generator(0, "orders"))
    assert orders[C].shape == (3, 2)
    assert len({tuple(order.tolist()) for order in orders[C]}) == 2

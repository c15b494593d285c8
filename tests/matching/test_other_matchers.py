"""Matchers of whole networks beside the paper's: re-basin, cycle-consistent Frank–Wolfe, optimal transport."""

import itertools
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedma.errors import MatchingError, MissingExtra
from fedma.matching import Matcher, fuse_weights
from fedma.matching.assignment import own_numbers
from fedma.matching.slices import transform
from fedma.matching.whole_model.c2m3 import _ahead, _gradient, _Line, _matrices, _mixed, _Soft, c2m3
from fedma.matching.whole_model.git_rebasin import Aligned, _best, rebasin
from fedma.matching.whole_model.optimal_transport import transport
from fedma.matching.whole_model.weights import agreement, checked, widest
from fedma.models.networks import mlp
from fedma.seeds import generator
from fedma.units import UnitGraph, Weights, units, weights
from fedma.units.layout import Maps
from matching.matcher_laws import KINDS, copies, network, own_maps

LAW = settings(max_examples=10, deadline=None, derandomize=True)
SEEDS = st.integers(0, 1000)
WHOLE = (rebasin, c2m3)


def transported(models: list[Weights], graph: UnitGraph, widths: list, shares: list[float]) -> Weights:
    return fuse_weights(models, graph, widths=widths, shares=shares, matcher=Matcher("ot"))[0]


def placed(
    models: list[Weights], graph: UnitGraph, found: dict[str, tuple[Tensor, ...]], widths: list
) -> list[Weights]:
    maps = own_maps(found, graph)
    return [graph.scatter(m, own, widest(widths)) for m, own in zip(checked(models, graph), maps, strict=True)]


@pytest.mark.parametrize("matcher", WHOLE, ids=lambda m: m.__name__)
@pytest.mark.parametrize("power", [-100, 100])
def test_scale_does_not_matter(matcher: Callable, power: int) -> None:
    """Not even where the squares of float32 weights overflow or vanish."""
    graph = network("cnn", 1)[1]
    models = [{n: t.float() for n, t in network("cnn", seed)[0].items()} for seed in range(3)]
    scaled = [{n: t * 2.0**power for n, t in model.items()} for model in models]
    wanted, found = (matcher(own, graph, widths=[graph.widths] * 3) for own in (models, scaled))
    for group, maps in wanted.items():
        assert all(torch.equal(a, b) for a, b in zip(maps, found[group], strict=True))


@pytest.mark.parametrize("matcher", WHOLE, ids=lambda m: m.__name__)
@pytest.mark.parametrize("kind", ["mlp", "cnn", "speaker"])
def test_noisy_copies_are_recovered(matcher: Callable, kind: str) -> None:
    own, graph = network(kind, 3)
    models, orders = copies(own, graph, 3, count=3, noise=0.2)
    found = matcher(models, graph, widths=[graph.widths] * 3)
    for group, slots in found.items():
        units_at = [order[group][slot.argsort()] for order, slot in zip(orders, slots, strict=True)]
        assert torch.equal(units_at[0], units_at[1])
        assert torch.equal(units_at[0], units_at[2])


@pytest.mark.parametrize("kind", ["mlp", "speaker", "attention"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rebasin_never_lowers_its_objective(seed: int, kind: str) -> None:
    models, graph = [network(kind, seed + j)[0] for j in range(3)], network(kind, seed)[1]
    models = [{n: t * (5 if "_hh_" in n else 1) for n, t in model.items()} for model in models]
    widths = [graph.widths] * 3
    runs = [rebasin(models, graph, widths=widths, seed=seed, sweeps=sweeps) for sweeps in range(4)]
    values = [agreement(placed(models, graph, found, widths)) for found in runs]
    assert all(later >= before - 1e-9 for before, later in itertools.pairwise(values[1:]))
    assert values[-1] > values[0]


def test_a_block_moves_with_its_inner_units() -> None:
    own, graph = network("attention", 4)
    block = next(group.per[0] for group in graph.groups.values() if group.per)
    inside = own_numbers(graph, graph.widths, graph.widths)
    maps = {name: graph.random_orders(generator(4, "blocks"))[name] for name, g in graph.groups.items() if g.per}
    maps[block] = torch.tensor([2, 0, 1])
    client = Aligned.at(checked([graph.gather(own, maps)], graph)[0], inside, graph, graph.widths)
    moved = client.moved(_best(client, checked([own], graph)[0], graph, block, graph.groups), graph)
    torch.testing.assert_close(moved.aligned, checked([own], graph)[0], rtol=0, atol=0)


def moved_by(models: list[Weights], graph: UnitGraph, maps: list[Maps]) -> list[Weights]:
    return [
        {name: transform(tensor, graph, name, matrices=own, widths=graph.widths) for name, tensor in model.items()}
        for model, own in zip(models, maps, strict=True)
    ]


def soft_matrices(graph: UnitGraph, seed: int) -> Maps:
    """Points inside the polytope: the mean of two random orders."""
    first, second = (_matrices(graph.random_orders(generator(seed, "soft", k)), graph.widths) for k in range(2))
    return _mixed(first, second, 0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_derivative(kind: str) -> None:
    own, graph = network(kind, 1)
    (tensors,), soft = checked([own], graph), soft_matrices(graph, 1)
    (others,) = checked([network(kind, 2)[0]], graph)
    variables = {group: matrix.clone().requires_grad_() for group, matrix in soft.items()}
    value = sum(
        (transform(t, graph, n, matrices=variables, widths=graph.widths) * others[n]).sum() for n, t in tensors.items()
    )
    derivative = torch.autograd.grad(value, list(variables.values()))
    for group, wanted in zip(variables, derivative, strict=True):
        torch.testing.assert_close(_gradient(tensors, others, soft, graph, group), wanted)


@pytest.mark.parametrize("kind", [*KINDS, "branches"])
def test_a_step_goes_to_the_largest_objective_on_its_line(kind: str) -> None:
    graph = network(kind, 1)[1]
    tensors = checked([network(kind, seed)[0] for seed in (1, 2, 3)], graph)
    soft = [soft_matrices(graph, seed) for seed in range(3)]
    begun = [_Soft(*each) for each in zip(soft, moved_by(tensors, graph, soft), strict=True)]
    goals = _ahead(tensors, begun, graph)
    line = _Line.between(tensors, graph, begun, goals)
    step, gain = line.best()
    joint = [agreement([client.aligned for client in line.at(at)]) for at in (0.0, step, *(k / 20 for k in range(21)))]
    assert gain > 0
    assert joint[1] == pytest.approx(joint[0] + gain)
    assert max(joint) <= joint[1] + 1e-9
    for at in (0.0, 0.5, step, 1.0):
        mixed = [_mixed(a.matrices, b.matrices, at) for a, b in zip(begun, goals, strict=True)]
        torch.testing.assert_close([client.matrices for client in line.at(at)], mixed)
        torch.testing.assert_close([client.aligned for client in line.at(at)], moved_by(tensors, graph, mixed))


@LAW
@given(SEEDS)
def test_two_layers_match_a_search_by_hand(seed: int) -> None:
    """On so few units every assignment can be tried: none of one client's moves is better than what was found."""
    models = [weights(mlp((3,), 2, hidden=(4,)).double()) for _ in range(2)]
    random = generator(seed, "by hand")
    models = [{n: torch.randn(t.shape, generator=random, dtype=t.dtype) for n, t in m.items()} for m in models]
    graph = units(mlp((3,), 2, hidden=(4,)).double(), torch.zeros(1, 3).double())
    (group,) = graph.groups

    def gain(order: tuple[int, ...]) -> float:
        made = [(n, axis) for n, axes in graph.layouts.items() for axis in range(len(axes)) if graph.groups_on(n, axis)]
        return sum(float((models[0][n] * models[1][n].index_select(a, torch.tensor(order))).sum()) for n, a in made)

    best = max(gain(order) for order in itertools.permutations(range(4)))
    for matcher in WHOLE:
        first, second = matcher(models, graph, widths=[graph.widths] * 2)[group]
        assert gain(tuple(second.argsort()[first].tolist())) == pytest.approx(best)


@pytest.mark.parametrize("kind", ["cnn", "attention", "speaker"])
def test_a_narrower_client_finds_its_units(kind: str) -> None:
    own, graph = network(kind, 5)
    slim = {name: g.size - 2 for name, g in graph.groups.items() if g.growable and not g.per and g.size > 4}
    random = generator(5, "slim")
    keep = {name: torch.randperm(graph.widths[name], generator=random)[:size] for name, size in slim.items()}
    narrow, widths = graph.gather(own, keep), [graph.widths, {**graph.widths, **slim}]
    found = rebasin([own, narrow], graph, widths=widths)
    for group, slots in found.items():
        units_of = torch.arange(graph.widths[group]).expand(slots[0].shape)
        torch.testing.assert_close(slots[0], units_of)
        torch.testing.assert_close(slots[1], keep.get(group, units_of))


def test_transport_between_widths_keeps_the_function_of_doubled_units() -> None:
    own, graph = network("mlp", 7)
    (group,) = graph.groups
    doubled = {group: torch.arange(graph.widths[group]).repeat(2)}
    wide = graph.gather(own, doubled)
    for place in graph.places(group):
        wide[place.tensor] = wide[place.tensor] / 2 if place.role == "in" else wide[place.tensor]
    widths = [graph.widths, {group: 2 * graph.widths[group]}]
    torch.testing.assert_close(transported([own, wide], graph, widths, [1, 1]), own)
    back = transported([wide, own], graph, widths[::-1], [1, 1])
    torch.testing.assert_close(back, wide)


@LAW
@given(SEEDS, st.integers(1, 5), st.integers(1, 5))
def test_a_coupling_spreads_every_unit(seed: int, left: int, right: int) -> None:
    random = generator(seed, "rows")
    anchor, client = (torch.randn(n, 3, generator=random, dtype=torch.float64) for n in (left, right))
    plan = transport(anchor, client)
    torch.testing.assert_close(plan.sum(1), torch.ones(left, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(0), torch.full((right,), left / right, dtype=torch.float64))
    if left == right:
        orders = itertools.permutations(range(left))
        order = torch.tensor(min(orders, key=lambda o: float((anchor - client[list(o)]).square().sum())))
        torch.testing.assert_close(plan, torch.eye(left, dtype=torch.float64)[order])


@pytest.mark.parametrize("kind", KINDS)
def test_transforming_by_permutation_matrices_is_permuting(kind: str) -> None:
    own, graph = network(kind, 8)
    orders = graph.random_orders(generator(8, "orders"))
    matrices = {g: nn.functional.one_hot(order, graph.widths[g]).double() for g, order in orders.items()}
    wanted = graph.gather(own, orders)
    for name in checked([own], graph)[0]:
        found = transform(own[name], graph, name, matrices=matrices, widths=graph.widths)
        torch.testing.assert_close(found, wanted[name], rtol=0, atol=0)


def test_what_cannot_be_matched_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    own, graph = network("mlp", 9)
    (group,) = graph.groups
    other = [graph.widths, {group: graph.widths[group] + 3}]
    with pytest.raises(MatchingError, match=f"client 1 has {graph.widths[group] + 3}; use the matcher"):
        c2m3([own, own], graph, widths=other)
    broken = {**own, "output.weight": own["output.weight"] * float("nan")}
    for matcher in WHOLE:
        with pytest.raises(MatchingError, match=r"client 1: 'output\.weight' holds values that are not finite"):
            matcher([own, broken], graph, widths=[graph.widths] * 2)
        with pytest.raises(MatchingError, match="no client"):
            matcher([], graph, widths=[])
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedma\[ot\]'"):
        transport(torch.ones(2, 1), torch.ones(2, 1))

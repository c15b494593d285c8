"""Recurrent groups: what input weights alone cannot match, hidden-to-hidden weights can."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedma import fuse
from fedma.errors import InputError, MatchingError
from fedma.matching import match
from fedma.matching.bbp.prior import read_prior
from fedma.matching.features import incoming
from fedma.matching.recurrent.pair_slots import PairSlots, SlotSums
from fedma.matching.recurrent.quadratic_assignment import QuadraticAssignment
from fedma.matching.recurrent.refine import gates, refine
from fedma.models.sequences import Recurrent
from fedma.seeds import generator, global_generator
from fedma.units import units
from fedma.units import weights as weights_of
from matching.made import gauss, pairs, seeds

few = settings(max_examples=20, deadline=None, derandomize=True)


def planted(
    *, units: int, clients: int, noise: float, private: int = 0, features: int = 36, gates: int = 4, seed: int = 0
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Inputs and recurrent weights of clients that share units, shuffled, and the true slot of each unit.

    Client 0 is the truth; to the others' weights noise is added, so many times as large as the weights.
    """
    draw = generator(seed, "planted")
    total = units + clients * private
    values = 2 * torch.rand(total, features, generator=draw, dtype=torch.float64) - 1
    cells = 2 * torch.rand(gates, total, total, generator=draw, dtype=torch.float64) - 1
    inputs, recurrent, names = [], [], []
    for j in range(clients):
        own = torch.cat([torch.arange(units), units + j * private + torch.arange(private)])
        picked = own[torch.randperm(len(own), generator=draw)]
        scale = noise * 3**-0.5 if j else 0.0
        x, w = values[picked], cells[:, picked][:, :, picked]
        inputs.append(x + scale * torch.randn(x.shape, generator=draw, dtype=torch.float64))
        recurrent.append(w + scale * torch.randn(w.shape, generator=draw, dtype=torch.float64))
        names.append(picked)
    return inputs, recurrent, names


def random_slots(seed: int, widths: list[int], slots: int) -> list[Tensor]:
    """An injective map for each client."""
    draw = generator(seed, "places")
    return [torch.randperm(slots, generator=draw)[:width] for width in widths]


@pytest.mark.parametrize(
    ("width", "clients", "noise", "linear"),
    [(64, 2, 1.5, 1.0), (64, 2, 2.5, 0.6), (64, 5, 1.5, 0.9), (96, 5, 2.5, 0.2), (256, 2, 4.0, 0.15)],
)
def test_planted_orders_are_recovered(width: int, clients: int, noise: float, linear: float) -> None:
    inputs, recurrent, truth = planted(units=width, clients=clients, noise=noise)
    before = match(inputs, grow=False).assignments
    wanted = pairs(truth)
    assert len(pairs(before) & wanted) <= linear * len(wanted)
    found = refine(inputs, recurrent, before)
    assert pairs(found.assignments) == wanted
    assert found.history[-1] >= found.history[0]


@pytest.mark.parametrize(("noise", "grow"), [(1.5, False), (1.0, True)])
def test_noisy_copies_of_a_network_are_fused_in_their_true_order(noise: float, grow: bool) -> None:
    with global_generator(0):
        model = Recurrent((7,), 4, vocabulary=12, hidden=64, embedding=5)
    x = torch.randint(12, (3, 7), generator=generator(0, "tokens"))
    graph, draw = units(model, x), generator(0, "copies")
    orders = [graph.random_orders(draw) for _ in range(3)]
    copies = [graph.permute(model, own) for own in orders]
    for copy in copies[1:]:
        for name, weight in copy.named_parameters():
            if name.startswith("recurrent"):
                spread = noise * float(weight.detach().std())
                weight.data += spread * torch.randn(weight.shape, generator=draw)
    (group,) = (name for name, own in graph.groups.items() if own.size == 64)
    truth = pairs([own[group] for own in orders])
    found = {how: fuse(copies, x, recurrent=how, grow=grow).assignments[group] for how in (False, True)}
    assert pairs(found[True]) == truth
    assert len(pairs(found[False]) & truth) < 0.9 * len(truth)


@pytest.mark.parametrize("gates", [1, 3])
def test_fewer_gates_do(gates: int) -> None:
    inputs, recurrent, truth = planted(units=64, clients=3, noise=1.0, features=9 * gates, gates=gates)
    found = refine(inputs, recurrent, match(inputs, grow=False).assignments)
    assert pairs(found.assignments) == pairs(truth)


@few
@given(seed=seeds, clients=st.integers(1, 5), width=st.integers(1, 8))
def test_identical_clients_give_that_client_back(seed: int, clients: int, width: int) -> None:
    inputs, recurrent = gauss(seed, width, 5), gauss(seed + 1, 4, width, width)
    found = refine([inputs] * clients, [recurrent] * clients, match([inputs] * clients).assignments)
    for assignment in found.assignments:
        assert assignment.tolist() == list(range(width))


@few
@given(seed=seeds, clients=st.sampled_from([2, 3, 5]), private=st.integers(1, 4))
def test_private_units_stay_private(seed: int, clients: int, private: int) -> None:
    inputs, recurrent, truth = planted(units=20, clients=clients, noise=0.3, private=private, seed=seed)
    before = match(inputs, grow=False).assignments  # at a fixed width it must put private units in shared slots
    found = refine(inputs, recurrent, before, slots=20 + clients * private + 3)
    assert pairs(found.assignments) == pairs(truth)
    assert max(int(assignment.max()) for assignment in found.assignments) + 1 == 20 + clients * private


@few
@given(seed=seeds, widths=st.lists(st.integers(1, 7), min_size=1, max_size=4), spare=st.integers(0, 3))
def test_the_objective_never_falls(seed: int, widths: list[int], spare: int) -> None:
    inputs = [gauss(seed + j, n, 3) for j, n in enumerate(widths)]
    recurrent = [gauss(seed + 10 + j, 2, n, n) for j, n in enumerate(widths)]
    given_slots = random_slots(seed, widths, max(widths) + 1)
    found = refine(inputs, recurrent, given_slots, slots=max(widths) + 1 + spare, sweeps=5)
    assert (np.diff(found.history) >= -1e-8 * np.abs(found.history[1:])).all()
    assert [len(assignment) for assignment in found.assignments] == widths
    assert all(len(set(assignment.tolist())) == len(assignment) for assignment in found.assignments)
    assert len(torch.cat(found.assignments).unique()) == int(torch.cat(found.assignments).max()) + 1


@few
@given(seed=seeds, clients=st.integers(2, 4))
def test_the_order_of_a_client_s_units_does_not_matter(seed: int, clients: int) -> None:
    inputs, recurrent, _ = planted(units=12, clients=clients, noise=1.5, seed=seed)
    orders = random_slots(seed, [12] * clients, 12)
    found = refine(inputs, recurrent, match(inputs, grow=False).assignments)
    shuffled = [own[order] for own, order in zip(inputs, orders, strict=True)]
    cells = [own[:, order][:, :, order] for own, order in zip(recurrent, orders, strict=True)]
    again = refine(shuffled, cells, match(shuffled, grow=False).assignments)
    back = [assignment[order.argsort()] for assignment, order in zip(again.assignments, orders, strict=True)]
    assert pairs(back) == pairs(found.assignments)


@few
@given(seed=seeds, widths=st.lists(st.integers(1, 5), min_size=2, max_size=4), by_feature=st.booleans())
def test_a_slot_scores_what_it_adds_to_the_objective(seed: int, widths: list[int], by_feature: bool) -> None:
    inputs = [gauss(seed + j, n, 3) for j, n in enumerate(widths)]
    cells = [gauss(seed + 10 + j, n * n, 2) for j, n in enumerate(widths)]
    sigma = 0.5 + gauss(seed, len(widths), 3).abs() if by_feature else None
    prior = read_prior(None, sigma, None, clients=len(widths), features=3)
    even = read_prior(0.1, None, None, clients=len(widths), features=2)
    pair_slots = PairSlots(SlotSums(inputs, prior), SlotSums(cells, even), slots=7, gamma=2.0)
    for client, own in enumerate(random_slots(seed, widths, 7)):
        pair_slots.assign(client, own.numpy())
    before = pair_slots.objective()
    assignment = pair_slots.release(0)
    problem = pair_slots.problem(0, 7)
    other = random_slots(seed + 1, widths, 7)[0].numpy()
    pair_slots.assign(0, other)
    np.testing.assert_allclose(
        pair_slots.objective() - before, problem.value(other) - problem.value(assignment), atol=1e-9
    )


@few
@given(seed=seeds, n=st.integers(1, 4), slots=st.integers(4, 6))
def test_quadratic_score_is_the_sum_it_says_and_climbing_does_not_lower_it(seed: int, n: int, slots: int) -> None:
    shapes = (n, slots), (3, n, n), (3, slots, slots), (slots, slots)
    gains, left, right, prices = (gauss(seed + k, *shape).numpy() for k, shape in enumerate(shapes))
    problem = QuadraticAssignment(gains, left, right, prices)
    start = random_slots(seed, [n], slots)[0].numpy()
    P = np.eye(slots)[start]
    naive = (gains * P).sum() + P.sum(0) @ prices @ P.sum(0)
    naive += sum((x * (P @ y @ P.T)).sum() for x, y in zip(left, right, strict=True))
    np.testing.assert_allclose(problem.value(start), naive)
    for begin in (start, None):
        found, value = problem.maximise(begin)
        np.testing.assert_allclose(problem.value(found), value)
        assert len(set(found)) == n
        assert begin is None or value >= problem.value(start) - 1e-9


@pytest.mark.parametrize(("cell", "count"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_gates_are_cut_from_the_recurrent_matrix(cell: Any, count: int) -> None:
    model = Recurrent((4,), 3, vocabulary=7, cell=cell, hidden=5, embedding=2)
    graph = units(model, torch.zeros(2, 4, dtype=torch.long))
    (group,) = (group for group in graph.groups if graph.groups[group].size == 5)
    weights = weights_of(model)
    found = gates(weights, graph, group, names=weights, widths=graph.widths)
    torch.testing.assert_close(found, weights["recurrent.weight_hh_l0"].view(count, 5, 5), rtol=0, atol=0)
    rows = incoming(weights, graph, group, names=weights, widths=graph.widths)
    assert rows.shape == (5, count * (2 + 1 + 1))  # two inputs and two biases for each gate


def test_a_group_without_recurrent_weights_has_no_gates() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    graph = units(model, torch.zeros(2, 3))
    weights = weights_of(model)
    (group,) = graph.groups
    assert gates(weights, graph, group, names=weights, widths=graph.widths).shape == (0, 5, 5)


def test_clients_that_do_not_fit_are_named() -> None:
    inputs, recurrent, assignment = (
        [gauss(j, 4, 3) for j in range(2)],
        [gauss(j, 2, 4, 4) for j in range(2)],
        [torch.arange(4)] * 2,
    )
    with pytest.raises(MatchingError, match="client 1 has inputs of shape"):
        refine(inputs, [recurrent[0], gauss(0, 2, 4, 3)], assignment)
    with pytest.raises(MatchingError, match="client 1 has weights that are not finite"):
        refine(inputs, [recurrent[0], recurrent[1] / 0], assignment)
    with pytest.raises(MatchingError, match="client 0 has 4 units"):
        refine(inputs, recurrent, [torch.tensor([0, 1, 2, 2]), assignment[1]])
    with pytest.raises(MatchingError, match="assignments of 1"):
        refine(inputs, recurrent, assignment[:1])
    with pytest.raises(InputError, match="slots is 3"):
        refine(inputs, recurrent, assignment, slots=3)
    with pytest.raises(InputError, match="gamma is 0"):
        refine(inputs, recurrent, assignment, gamma=0)

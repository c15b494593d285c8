"""Malicious clients: what they can do without bounds, and what with them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import CLASSES, assert_equal, clients, initial, play, split
from fedma.algorithms import Client, FedAvg, FedMA, Reply
from fedma.algorithms.robust import Robust
from fedma.data import Split
from fedma.errors import InputError
from fedma.matching import average
from fedma.seeds import generator
from fedma.training import Schedule, evaluate
from fedma.units import Weights, rebuild, units, weights
from networks import made

LOCAL = Schedule(epochs=3, batch_size=8, lr=0.05)
BOUNDS = {"mean": Robust(), "median": Robust(trim=0.5), "trimmed": Robust(trim=0.3), "clip": Robust(clip=1.0)}


class Scaler(Client):
    """A client whose weights are ten times what they should be: below what the reply checker refuses."""

    def answer(self, ask, own, **how):  # type: ignore[no-untyped-def]
        reply, held = super().answer(ask, own, **how)
        start = ask.weights
        sent = {n: start.get(n, 0) + 10 * (t - start.get(n, 0)) for n, t in reply.weights.items()}
        return replace(reply, weights=sent), held


def attacked(attack: str) -> list[Client]:
    """Seven clients, two of them malicious, last among them those with the most samples."""
    members = clients(7, model="cnn", samples=60)
    for j in (5, 6):
        own = members[j]
        if attack == "flip":
            members[j] = replace(own, data=Split(own.data.inputs, (own.data.labels + 1) % CLASSES))
        if attack == "scale":
            members[j] = Scaler(**{name: getattr(own, name) for name in own.__dataclass_fields__})
    return members


def accuracy(method: str, attack: str, robust: Robust) -> float:
    members = attacked(attack)
    graph, numbers = members[0].graph, range(7)
    start = initial(members, model="cnn", common=method == "fedavg")
    if method == "fedavg":
        state = play(FedAvg(graph, numbers, LOCAL, 2, start[0], robust=robust), members, start)
    else:
        state = play(FedMA(graph, numbers, LOCAL, LOCAL, LOCAL, 1, robust=robust), members, start)
    return evaluate([rebuild(members[0].template, state.weights)], split(300, seed=99)).accuracy


@pytest.mark.parametrize("method", ["fedavg", "fedma"])
@pytest.mark.parametrize("bound", ["median", "trimmed", "clip"])
def test_bounds_cost_little_without_an_attack(method: str, bound: str) -> None:
    assert accuracy(method, "none", BOUNDS[bound]) > 0.9


def away(method: str, robust: Robust, attack: str = "scale") -> float:
    """How far from the honest model the attack takes the global one, relative to the honest one's size."""
    found = []
    for kind in ("none", attack):
        members = attacked(kind)
        start = initial(members, common=True, model="cnn")
        graph = members[0].graph
        if method == "fedavg":
            state = play(FedAvg(graph, range(7), LOCAL, 1, start[0], robust=robust), members, start)
        else:
            one = FedMA(graph, range(7), LOCAL, LOCAL, LOCAL, 1, robust=robust)
            replies = [m.answer(ask, start[m.number])[0] for m, ask in zip(members, one.asks(one.start()), strict=True)]
            state = one.absorb(one.start(), replies)
        found.append(state.weights)
    name = "conv1.weight"
    shared = min(len(found[0][name]), len(found[1][name]))
    changed = found[1][name][:shared] - found[0][name][:shared]
    return float(changed.norm() / found[0][name].norm())


@pytest.mark.parametrize("method", ["fedavg", "fedma"])
def test_scaled_clients_ruin_the_mean_and_are_bounded_by_the_options(method: str) -> None:
    without = away(method, Robust())
    for bound in ("median", "trimmed", "clip"):
        assert away(method, BOUNDS[bound]) < 0.35 * without, bound


def test_flipped_labels_are_bounded_by_the_median() -> None:
    """Within the range of the honest clients' values, where the mean leaves it."""
    members = attacked("flip")
    start = initial(members, common=True, model="cnn")
    one = FedAvg(members[0].graph, range(7), LOCAL, 1, start[0])
    replies = [m.answer(ask, start[m.number])[0] for m, ask in zip(members, one.asks(one.start()), strict=True)]

    def outside(robust: Robust) -> float:
        found = replace(one, robust=robust).absorb(one.start(), replies).weights["output.weight"]
        honest = torch.stack([reply.weights["output.weight"] for reply in replies[:5]])
        low, high = honest.amin(0), honest.amax(0)
        return float(((found < low - 1e-6) | (found > high + 1e-6)).double().mean())

    assert outside(Robust()) > 0
    assert outside(Robust(trim=0.3)) == 0
    assert outside(Robust(trim=0.5)) == 0


def of(values: list[list[float]], shares: list[float], trim: float, name: str = "bias") -> list[float]:
    """The trimmed mean of vectors that make no units."""
    graph = units(torch.nn.Sequential(torch.nn.Linear(2, len(values[0]))), torch.zeros(1, 2))
    own = [{"0.bias": torch.tensor(v, dtype=torch.float64), "0.weight": torch.zeros(len(v), 2)} for v in values]
    found = average(own, graph, names=["0.bias"], maps=[{}] * len(own), widths=graph.widths, shares=shares, trim=trim)
    return found["0.bias"].tolist()


def test_trimming_by_hand() -> None:
    values = [[1.0], [2.0], [3.0], [4.0], [100.0]]
    assert of(values, [1] * 5, 0.5) == [3]
    assert of(values, [1] * 5, 0.2) == [3]
    assert of(values[:4], [1] * 4, 0.5) == [2.5]
    assert of(values[:2], [1] * 2, 0.5) == [1.5]
    assert of(values[:1], [7], 0.5) == [1]
    assert of(values, [1, 1, 1, 3, 1], 0.2) == [(2 + 3 + 3 * 4) / 5]
    assert of(values, [0, 1, 1, 1, 1], 0.25) == [3.5]  # who has no share is no owner
    assert of(values, [1] * 5, 0.1) == [22]  # a tenth of five owners is nobody


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.data())
def test_liars_that_are_trimmed_leave_the_result_among_the_honest(data: st.DataObject) -> None:
    honest = data.draw(st.integers(3, 7))
    liars = data.draw(st.integers(1, (honest - 1) // 2))
    numbers = st.floats(-10, 10)
    true = [[data.draw(numbers)] for _ in range(honest)]
    false = [[data.draw(st.sampled_from([-1e9, 1e9, 0.0]))] for _ in range(liars)]
    shares = [data.draw(st.floats(0.1, 1e6)) for _ in range(honest + liars)]
    (found,) = of(true + false, shares, 0.5)
    assert min(true)[0] - 1e-9 <= found <= max(true)[0] + 1e-9


@pytest.mark.parametrize("name", ["mlp", "cnn", "residual"])
def test_trimmed_over_a_slots_owners(name: str) -> None:
    """Permuted copies and a liar among a slot's owners: matched, the median finds the common model; unmatched not."""
    model = made(name, seed=5)
    graph = units(model, torch.zeros(2, 1, 8, 8))
    orders = [graph.random_orders(generator(j, "order")) for j in range(5)]
    own: list[Weights] = [weights(graph.permute(model, order)) for order in orders]
    own[4] = {n: 50 * t if t.is_floating_point() else t for n, t in own[4].items()}
    found = average(own, graph, names=graph.layouts, maps=orders, widths=graph.widths, shares=[1] * 5, trim=0.5)
    assert_equal(found, weights(model))
    mean = average(own, graph, names=graph.layouts, maps=orders, widths=graph.widths, shares=[1] * 5)
    assert max(float((mean[n] - t).abs().max()) for n, t in weights(model).items()) > 1


def test_variances_stay_above_those_within_clients_when_trimmed() -> None:
    model = made("residual", seed=5)
    graph = units(model, torch.zeros(2, 1, 8, 8))
    own = [weights(model) for _ in range(3)]
    ((mean, variance), *_) = graph.statistics
    for j, client in enumerate(own):
        client[mean] = torch.full_like(client[mean], [0.0, 10.0, 10.0][j])
        client[variance] = torch.full_like(client[variance], [50.0, 1.0, 2.0][j])
    found = average(own, graph, names=[mean, variance], maps=[{}] * 3, widths={}, shares=[1] * 3, trim=0.5)
    assert set(found[variance].tolist()) == {2.0}


def replies_of(sizes: list[float]) -> list[Reply]:
    return [Reply(j, {"0.weight": torch.full((3, 2), size)}, torch.ones(3).long(), {}) for j, size in enumerate(sizes)]


def test_clipping_is_against_the_median_of_the_updates() -> None:
    graph = units(torch.nn.Sequential(torch.nn.Linear(2, 3)), torch.zeros(1, 2))
    centre = {"0.weight": torch.ones(3, 2)}
    clipped = Robust(clip=2.0).clipped(replies_of([1.5, 2.0, 0.0, 1001.0]), graph, centre)
    assert [reply.weights["0.weight"][0, 0].item() for reply in clipped] == [1.5, 2.0, 0.0, 3.0]
    assert Robust().clipped(replies_of([1, 1e6]), graph, {})[1].weights["0.weight"][0, 0] == 1e6
    still = Robust(clip=1.0).clipped(replies_of([1.0, 1.0, 5.0]), graph, centre)
    assert still[2].weights["0.weight"][0, 0] == 5  # nobody else moved, so there is no measure


@pytest.mark.parametrize("wrong", [{"trim": -0.1}, {"trim": 0.6}, {"clip": 0.0}, {"clip": float("nan")}])
def test_bounds_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Robust(**wrong)

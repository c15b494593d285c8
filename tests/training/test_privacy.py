"""Local privacy: what is sent is bounded and noisy, says nothing else of the data, and its cost is the known one."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import CLASSES, clients, initial, play
from fedma.algorithms import FedAvg, FedMA, FedMAState
from fedma.algorithms.replies import Expected, check
from fedma.errors import InputError
from fedma.training import Schedule
from fedma.training.privacy import Privacy, _normal

ONE = Schedule(epochs=1, batch_size=8, lr=0.05)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.floats(0.01, 100), st.floats(0.001, 1000), st.booleans())
def test_without_noise_a_message_is_within_the_bound_and_points_the_same_way(
    clip: float, size: float, known: bool
) -> None:
    before = {"a": torch.arange(4.0)} if known else {}
    update = {"a": torch.tensor([size, 0, -size, 0]), "b": torch.full((2, 2), size)}
    own = {name: before.get(name, 0) + t for name, t in update.items()} | {"steps": torch.tensor(7)}
    sent = Privacy(clip, 0.0).applied(own, before, seed=0, name=("x",))
    moved = torch.cat([(sent[name].double() - before.get(name, 0)).flatten() for name in update])
    whole = torch.cat([t.flatten() for t in update.values()])
    assert moved.norm() <= clip * (1 + 1e-5) + 1e-5
    scale = min(1.0, clip / float(whole.norm()))
    torch.testing.assert_close(moved.float(), scale * whole, rtol=1e-3, atol=1e-4 * max(size, 1))
    assert sent["steps"] == 7


@pytest.mark.parametrize("secure", [False, True])
def test_the_noise_is_normal_and_of_the_size_that_was_asked_for(secure: bool) -> None:
    sent = Privacy(2.0, 0.5, secure).applied({"a": torch.zeros(200_000)}, {}, seed=0, name=("x",))["a"].double()
    assert abs(float(sent.mean())) < 0.02
    assert abs(float(sent.std()) - 1.0) < 0.02
    assert abs(float((sent.abs() > 1.96).double().mean()) - 0.05) < 0.005
    assert float(sent.abs().max()) < 7


def test_seeded_noise_is_repeatable_and_secure_noise_is_not() -> None:
    zero = {"a": torch.zeros(50)}

    def noise(secure: bool, *name: str) -> torch.Tensor:
        return Privacy(1.0, 1.0, secure).applied(zero, {}, seed=0, name=name)["a"]

    assert torch.equal(noise(False, "x"), noise(False, "x"))
    assert not torch.equal(noise(False, "x"), noise(False, "y"))
    assert not torch.equal(noise(True, "x"), noise(True, "x"))
    assert _normal(torch.Size([0, 3]), None).shape == (0, 3)


@pytest.mark.parametrize("model", ["mlp", "vgg9-bn"])
def test_private_clients_take_part_in_every_algorithm(model: str) -> None:
    """Their replies pass the checker, and say nothing else of their data."""
    members = [replace(m, privacy=Privacy(1.0, 0.05)) for m in clients(3, model=model, samples=8)]
    graph = members[0].graph
    start = initial(members, model=model, common=True)
    expected = Expected.of(members[0].template, graph, classes=CLASSES)
    algorithm = FedAvg(graph, range(3), ONE, 1, start[0])
    asks = algorithm.asks(algorithm.start())
    replies = [m.answer(ask, start[m.number])[0] for m, ask in zip(members, asks, strict=True)]
    check(asks, replies, expected)
    for reply, member in zip(replies, members, strict=True):
        assert "loss" not in reply.metrics
        assert reply.class_counts.max() - reply.class_counts.min() <= 1
        assert reply.class_counts.sum() == len(member)
    state = play(FedMA(graph, range(3), ONE, ONE, ONE, 1), members, start)
    assert all(bool(tensor.isfinite().all()) for tensor in state.weights.values())


def test_the_client_keeps_its_own_weights_and_sends_others() -> None:
    (member,) = clients(1)
    ask = FedMA(member.graph, [0], ONE, ONE, ONE, 1).asks(FedMAState())[0]
    start = initial([member])[0]
    plain, held = member.answer(ask, start)
    hidden, also_held = replace(member, privacy=Privacy(1.0, 0.1)).answer(ask, start)
    assert all(torch.equal(held[name], also_held[name]) for name in held)
    assert all(not torch.equal(plain.weights[name], hidden.weights[name]) for name in ask.send)


def test_the_price() -> None:
    pytest.importorskip("dp_accounting", reason="the accountant is not installed (fedma[privacy])")
    hiding = Privacy(1.0, 1.0)
    assert hiding.epsilon(0, delta=1e-5) == 0
    assert Privacy(1.0, 0.0).epsilon(1, delta=1e-5) == math.inf
    one, four = hiding.epsilon(1, delta=1e-5), hiding.epsilon(4, delta=1e-5)
    assert one < four
    assert four == pytest.approx(Privacy(1.0, 0.5).epsilon(1, delta=1e-5))
    # The Gaussian mechanism's delta at epsilon, for messages at most 2 apart: Balle and Wang 2018, Theorem 8.
    phi = torch.distributions.Normal(0.0, 1.0).cdf
    apart = torch.tensor(2.0, dtype=torch.float64)
    delta = phi(apart / 2 - one / apart) - math.exp(one) * phi(-apart / 2 - one / apart)
    assert float(delta) == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize("wrong", [{"clip": 0.0}, {"clip": math.inf}, {"noise": -1.0}, {"noise": math.nan}])
def test_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"dp_{next(iter(wrong))}"):
        Privacy(**{"clip": 1.0, "noise": 1.0, **wrong})

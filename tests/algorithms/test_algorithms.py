"""Algorithms against what they must reduce to."""

import math
from dataclasses import replace

import pytest
import torch

from federation import CLASSES, assert_equal, clients, initial, outputs, play, split, texts
from fedma.algorithms import PFNM, Client, Ensemble, FedAvg, FedMA
from fedma.matching import Matcher, fuse_weights, steps
from fedma.models import build
from fedma.seeds import number
from fedma.training import Schedule, evaluate, fit
from fedma.units import Weights, rebuild, units, weights
from networks import made

NO_TRAINING = Schedule(epochs=0)
ONE_EPOCH = Schedule(epochs=1, batch_size=8, lr=0.05)


def fedma_of(members, schedule=ONE_EPOCH, retrain=ONE_EPOCH, output=ONE_EPOCH, rounds=1, **how) -> FedMA:  # type: ignore[no-untyped-def]
    return FedMA(members[0].graph, [c.number for c in members], schedule, retrain, output, rounds, **how)


NETWORKS = ["mlp", "cnn", "residual", "disordered", "speaker", "attention", "linear", "latents", "factored"]


def federation(name: str, count: int) -> tuple[list[Client], dict[int, Weights]]:
    """Clients of any network, each with weights of its own."""
    networks = [made(name, seed=seed) for seed in range(count + 1)]
    data = [texts(20 + 9 * j, seed=j) if name == "speaker" else split(20 + 9 * j, seed=j) for j in range(count)]
    graph = units(networks[-1], data[0].inputs[:2])
    members = [Client(j, own, networks[-1], graph, CLASSES, 0) for j, own in enumerate(data)]
    return members, {j: weights(networks[j]) for j in range(count)}


@pytest.mark.parametrize("name", NETWORKS)
def test_fedma_without_training_is_one_shot_fusion(name: str) -> None:
    members, start = federation(name, 3)
    state = play(fedma_of(members, NO_TRAINING, NO_TRAINING, NO_TRAINING), members, start)
    fused, assignments = fuse_weights(
        [start[c.number] for c in members],
        members[0].graph,
        widths=[members[0].graph.widths] * 3,
        shares=[1.0] * 3,
        samples=[float(len(c.data)) for c in members],
        class_counts=torch.stack([c.class_counts for c in members]),
        matcher=Matcher(seed=number(0, "round", 0)),
    )
    assert_equal(state.weights, fused)
    for group, own in assignments.items():
        for j, assignment in enumerate(own):
            assert torch.equal(state.assignments[j][group], assignment)


@pytest.mark.parametrize("name", NETWORKS)
def test_fedma_trains_any_network_for_two_rounds(name: str) -> None:
    members, start = federation(name, 3)
    state = play(fedma_of(members, rounds=2), members, start)
    graph = members[0].graph
    assert set(state.weights) == set(graph.layouts)
    assert all(bool(tensor.isfinite().all()) for tensor in state.weights.values())
    model = rebuild(members[0].template, state.weights)
    assert outputs(model, members[0].data.inputs[:4]).shape == (4, CLASSES)
    if name in ("residual", "disordered"):
        assert all(width > graph.widths[group] for group, width in graph.widths_in(state.weights).items())


def test_norms_of_a_grown_residual_stream_are_means_over_their_owners() -> None:
    members, start = federation("residual", 3)
    for own in start.values():
        own["norm.weight"].fill_(1.0)
    state = play(fedma_of(members, NO_TRAINING, NO_TRAINING, NO_TRAINING), members, start)
    assert_equal({"norm": state.weights["norm.weight"]}, {"norm": torch.ones_like(state.weights["norm.weight"])})
    assert len(state.weights["norm.weight"]) > len(start[0]["norm.weight"])


@pytest.mark.parametrize("model", ["mlp", "cnn", "vgg9-bn"])
def test_fedma_with_one_client_keeps_its_model(model: str) -> None:
    members = clients(1, model=model, samples=8)
    start = initial(members, model=model)
    for rounds in (1, 2):
        state = play(fedma_of(members, NO_TRAINING, NO_TRAINING, NO_TRAINING, rounds), members, start)
        assert_equal(state.weights, start[0], rtol=1e-6, atol=1e-7)


def test_a_later_round_starts_from_each_clients_own_sub_network() -> None:
    members = clients(3, model="cnn")
    one = fedma_of(members)
    state = play(one, members, initial(members, model="cnn"))
    graph = members[0].graph
    again = fedma_of(members, rounds=2)
    for ask in again.asks(state):
        reply, own = members[ask.client].answer(replace(ask, schedule={"epochs": 0}), state.weights)
        assert_equal(own, graph.gather(state.weights, state.assignments[ask.client], graph.widths_in(state.weights)))
        assert {name: tuple(t.shape) for name, t in own.items()} == {
            name: graph.shape(name, {}) for name in graph.layouts
        }
        assert set(reply.weights) == set(ask.send)


def test_fedma_learns() -> None:
    members = clients(3, model="cnn", samples=60)
    state = play(fedma_of(members, rounds=2), members, initial(members, model="cnn"))
    assert evaluate([rebuild(members[0].template, state.weights)], split(200, seed=9)).accuracy > 0.9


@pytest.mark.parametrize("proximal", [0.0, 0.5])
def test_fedavg_is_the_weighted_mean_of_trained_clients(proximal: float) -> None:
    members = clients(3)
    start = initial(members, common=True)
    schedule = Schedule(epochs=2, batch_size=8, proximal=proximal)
    state = play(FedAvg(members[0].graph, (0, 1, 2), schedule, 1, start[0]), members, start)
    trained = []
    for c in members:
        model = rebuild(c.template, start[0])
        fit(model, c.data, schedule, seed=c.seed, name=("client", c.number, "round", 0))
        trained.append(weights(model))
    total = sum(len(c.data) for c in members)
    wanted = {
        name: sum(len(c.data) / total * own[name] for c, own in zip(members, trained, strict=True)) for name in start[0]
    }
    assert_equal(state.weights, wanted, rtol=1e-5, atol=1e-6)


def test_a_strong_proximal_term_holds_clients_near_the_global_model() -> None:
    members = clients(2)
    start = initial(members, common=True)

    def moved(mu: float) -> float:
        schedule = Schedule(epochs=3, batch_size=8, lr=0.05, momentum=0.0, proximal=mu)
        state = play(FedAvg(members[0].graph, (0, 1), schedule, 1, start[0]), members, start)
        return math.sqrt(sum(float((state.weights[n] - start[0][n]).square().sum()) for n in start[0]))

    assert moved(10.0) < 0.5 * moved(0.0)


def test_ensemble_keeps_all_models() -> None:
    members = clients(3)
    start = initial(members)
    state = play(Ensemble(members[0].graph, (0, 1, 2), NO_TRAINING), members, start)
    assert len(state.models) == 3
    for c, own in zip(members, state.models, strict=True):
        assert_equal(own, start[c.number])


def test_pfnm_with_outgoing_weights_recovers_permuted_copies() -> None:
    members = clients(3)
    graph, model = members[0].graph, build("mlp", (1, 8, 8), 3, seed=5)
    from fedma.seeds import generator

    start = {j: weights(graph.permute(model, graph.random_orders(generator(j, "order")))) for j in range(3)}
    state = play(PFNM(graph, (0, 1, 2), NO_TRAINING, matcher=Matcher(outgoing=True)), members, start)
    x = torch.randn(4, 1, 8, 8, generator=generator(0, "x"))
    with torch.no_grad():
        torch.testing.assert_close(rebuild(model, state.weights)(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("mlp", [["fc1"], ["output"]]),
        ("cnn", [["conv1"], ["conv2"], ["fc1"], ["output"]]),
        ("vgg9-bn", [[f"conv{k}", f"norm{k}"] for k in range(1, 7)] + [["fc1"], ["fc2"], ["output"]]),
    ],
)
def test_steps_of_layers_in_a_row_are_the_papers(model: str, wanted: list[list[str]]) -> None:
    network = build(model, (1, 8, 8), 3, seed=0)
    found = steps(units(network, torch.zeros(2, 1, 8, 8)))
    assert [list(dict.fromkeys(name.rpartition(".")[0] for name in step.tensors)) for step in found] == wanted


def test_bytes_are_those_of_the_serialised_message() -> None:
    members = clients(2)
    algorithm = FedAvg(members[0].graph, (0, 1), NO_TRAINING, 1, initial(members, common=True)[0])
    ask = algorithm.asks(algorithm.start())[0]
    arrays = sum(t.numel() * t.element_size() for t in ask.weights.values())
    assert arrays < ask.bytes < arrays + 2000

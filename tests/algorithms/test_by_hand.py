"""On layers in a row and on a character LSTM, FedMA is what one would write by hand for that very network."""

import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fedma
from federation import CLASSES, assert_equal, split, texts
from fedma.algorithms import Client, FedMA
from fedma.matching import Matcher, Matching
from fedma.models.sequences import Recurrent
from fedma.seeds import generator, number
from fedma.training import Schedule, fit
from fedma.units import Weights, units, weights
from networks import made

BY_HAND = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "fedma_by_hand.py"))["fedma_round"]
LOCAL = Schedule(epochs=2, batch_size=8, lr=0.05)
OUTPUT = Schedule(epochs=3, batch_size=8, lr=0.01)
Match = Callable[[list[Tensor]], Matching]


def federation(name: str) -> tuple[list[Client], list[nn.Module]]:
    """Three clients of different sizes, each with a model of its own."""
    models = [_model(name, seed) for seed in range(4)]
    data = [(texts if name == "lstm" else split)(20 + 9 * j, seed=j) for j in range(3)]
    graph = units(models[3], data[0].inputs[:2])
    return [Client(j, own, models[3], graph, CLASSES, 0) for j, own in enumerate(data)], models[:3]


def _model(name: str, seed: int) -> nn.Module:
    if name != "lstm":
        return made(name, seed=seed)
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        return Recurrent((7,), CLASSES, vocabulary=12, hidden=9, embedding=5)


def library(members: list[Client], models: list[nn.Module], matcher: Matcher) -> Weights:
    """The global model of FedMA's own round."""
    algorithm = FedMA(members[0].graph, (0, 1, 2), LOCAL, LOCAL, OUTPUT, 1, matcher)
    held = [weights(model) for model in models]
    state = algorithm.start()
    while asks := algorithm.asks(state):
        answers = [members[ask.client].answer(ask, held[ask.client]) for ask in asks]
        replies, held = [reply for reply, _ in answers], [own for _, own in answers]
        state = algorithm.absorb(state, replies)
    return state.weights


def train(members: list[Client], names: list[list[str]], client: int, model: nn.Module, held: list[Any]) -> None:
    """As FedMA's clients train when so many layers are held."""
    last = len(held) == len(names) - 1
    fit(
        model,
        members[client].data,
        OUTPUT if last else LOCAL,
        frozen=[name for layer in names[: len(held)] for name in layer],
        seed=0,
        name=("client", client, "round", 0, "step", len(held)),
    )


def same_matching(groups: list[str], matcher: Matcher) -> Match:
    """The library's matching, one group after the other, in the orders that it draws."""
    left = iter(groups)

    def match(rows: list[Tensor]) -> Matching:
        draw = generator(number(0, "round", 0), "match", next(left))
        limit = {} if "hyper" in matcher.options else {"max_slots": int(1.5 * max(len(own) for own in rows))}
        return fedma.match(rows, generator=draw, **limit, **matcher.options)

    return match


@pytest.mark.parametrize("matcher", [Matcher(), Matcher(options={"hyper": "reference"})], ids=["default", "reference"])
@pytest.mark.parametrize("name", ["mlp", "mlp-20-10", "cnn"])
def test_layers_in_a_row(name: str, matcher: Matcher) -> None:
    members, models = federation(name)
    names = [
        [f"{layer}.weight", f"{layer}.bias"] for layer, own in models[0].named_children() if hasattr(own, "weight")
    ]
    counts = torch.stack([c.class_counts for c in members])
    match = same_matching(list(members[0].graph.groups), matcher)
    by_hand = BY_HAND(models, partial(train, members, names), counts, match)
    assert_equal(weights(by_hand), library(members, models, matcher), rtol=0, atol=0)


@pytest.mark.parametrize("matcher", [Matcher(), Matcher(options={"hyper": "reference"})], ids=["default", "reference"])
def test_a_character_lstm(matcher: Matcher) -> None:
    members, models = federation("lstm")
    match = same_matching(list(members[0].graph.groups), matcher)
    wanted = library(members, models, matcher)
    assert_equal(_lstm_round(members, models, match), wanted, rtol=1e-6, atol=1e-7)
    assert len(wanted["recurrent.weight_hh_l0"].T) > 9


def _lstm_round(members: list[Client], models: list[nn.Module], match: Match) -> Weights:
    """Embedding, recurrent layer, output layer: unlike those of other layers, rows and columns of the recurrent
    matrix both stand for its units.
    """
    names = [[n for n, _ in models[0].named_parameters() if n.startswith(layer)] for layer in ("emb", "rec", "out")]
    clients = range(len(models))
    for j in clients:
        train(members, names, j, models[j], [])
    dims = match([models[j].embedding.weight.detach().T for j in clients]).assignments
    table = _rows_mean([models[j].embedding.weight.detach().T for j in clients], dims).T
    wide = int(torch.cat(dims).max()) + 1
    for j in clients:
        own = models[j].recurrent.weight_ih_l0.detach()
        reads = own.new_zeros(len(own), wide)
        reads[:, dims[j]] = own
        models[j].embedding.weight = nn.Parameter(table.clone())
        models[j].recurrent = _lstm(reads, *(getattr(models[j].recurrent, n).detach() for n in _REST))
        train(members, names, j, models[j], [0])
    gates = [[getattr(models[j].recurrent, n).detach().unflatten(0, (4, -1)) for n in _ALL] for j in clients]
    rows = [torch.cat([ih.transpose(0, 1).flatten(1), b.T, c.T], 1) for ih, _, b, c in gates]
    states = match(rows).assignments
    slots = int(torch.cat(states).max()) + 1
    mean = _rows_mean(rows, states)
    ih, b, c = mean[:, : 4 * wide].unflatten(1, (4, wide)), mean[:, 4 * wide : 4 * wide + 4], mean[:, 4 * wide + 4 :]
    total, both = torch.zeros(4, slots, slots), torch.zeros(slots, slots)
    for (_, hh, _, _), own in zip(gates, states, strict=True):
        total[:, own[:, None], own] += hh
        both[own[:, None], own] += 1
    matrix = (total / both.clamp(min=1)).flatten(0, 1)
    for j in clients:
        reads = torch.zeros(CLASSES, slots)
        reads[:, states[j]] = models[j].output.weight.detach()
        models[j].output.weight = nn.Parameter(reads)
        models[j].recurrent = _lstm(ih.transpose(0, 1).flatten(0, 1), matrix, b.T.flatten(), c.T.flatten())
        train(members, names, j, models[j], [0, 1])
    counts = torch.stack([own.class_counts for own in members]).double()
    shares = counts / counts.sum(0)
    for name in names[2]:
        own = [getattr(models[j].output, name.split(".")[1]).detach() for j in clients]
        value = sum(share.view(-1, *[1] * (w.dim() - 1)) * w for share, w in zip(shares, own, strict=True))
        setattr(models[0].output, name.split(".")[1], nn.Parameter(value.float()))
    return weights(models[0])


_ALL = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
_REST = _ALL[1:]


def _lstm(*values: Tensor) -> nn.LSTM:
    """A recurrent layer that holds these weights."""
    layer = nn.LSTM(values[0].shape[1], len(values[1].T), batch_first=True)
    for name, value in zip(_ALL, values, strict=True):
        setattr(layer, name, nn.Parameter(value.float().contiguous()))
    return layer


def _rows_mean(rows: list[Tensor], assignments: tuple[Tensor, ...]) -> Tensor:
    """Each slot's mean over its owners."""
    total = torch.zeros(int(torch.cat(assignments).max()) + 1, rows[0].shape[1], dtype=torch.float64)
    owners = torch.zeros(len(total), 1)
    for own, units_ in zip(rows, assignments, strict=True):
        total[units_] += own
        owners[units_] += 1
    return (total / owners).float()

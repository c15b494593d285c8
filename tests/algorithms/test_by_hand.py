"""On layers in a row and on a character LSTM, FedMA is what one would write by hand for that very network."""

import runpy
from collections.abc import Callable, Sequence
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
from fedma.seeds import generator, global_generator, number
from fedma.training import Schedule, fit
from fedma.units import Weights, units, weights
from networks import made

EXAMPLES = Path(__file__).parents[2] / "examples"
BY_HAND, LSTM_BY_HAND = (
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["fedma_round"] for name in ("fedma_by_hand", "fedma_by_hand_lstm")
)
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
    with global_generator(seed):
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


def train(members: list[Client], names: list[list[str]], client: int, model: nn.Module, held: Sequence[Any]) -> None:
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
    names = [[n for n, _ in models[0].named_parameters() if n.startswith(layer)] for layer in ("emb", "rec", "out")]
    counts = torch.stack([c.class_counts for c in members])
    match = same_matching(list(members[0].graph.groups), matcher)
    by_hand = LSTM_BY_HAND(models, partial(train, members, names), counts, match)
    wanted = library(members, models, matcher)
    assert_equal(weights(by_hand), wanted, rtol=1e-6, atol=1e-7)
    assert len(wanted["recurrent.weight_hh_l0"].T) > 9

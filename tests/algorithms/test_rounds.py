"""Rounds of FedMA beyond the paper's: some clients, clients of different widths, cheaper rounds."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import CLASSES, assert_equal, split, texts
from fedma.algorithms import PFNM, Ask, Client, FedMA, Reply, State
from fedma.algorithms.participation import most_owned_slots, participating
from fedma.algorithms.replies import Expected, check
from fedma.errors import InputError, ReplyError
from fedma.matching import Matcher, fuse_weights
from fedma.seeds import generator, number
from fedma.training import Schedule
from fedma.units import UnitGraph, units, weights
from networks import made

NOTHING = Schedule(epochs=0)
EPOCH = Schedule(epochs=1, batch_size=8, lr=0.05)
NETWORKS = [
    "mlp",
    "cnn",
    "residual",
    "disordered",
    "speaker",
    "attention",
    "grouped",
    "wide",
    "linear",
    "latents",
    "factored",
]
Change = Callable[[Ask, Reply], Reply | None]


class Federation:
    """Clients that answer, and remember what they were asked."""

    def __init__(self, name: str, count: int = 5, *, slim: tuple[int, ...] = ()) -> None:
        networks = [made(name, seed=seed) for seed in range(count + 1)]
        data = [(texts if name == "speaker" else split)(16 + 4 * j, seed=j) for j in range(count)]
        self.graph = units(networks[-1], data[0].inputs[:2])
        self.clients = [Client(j, own, networks[-1], self.graph, CLASSES, 0) for j, own in enumerate(data)]
        self.expected = Expected.of(networks[-1], self.graph, classes=CLASSES)
        self.start = {j: weights(networks[j]) for j in range(count)}
        self.widths = {j: _halves(self.graph) for j in slim}
        for j in slim:
            self.start[j] = weights(self.graph.slice(networks[j], _first(self.widths[j])))

    def fedma(self, schedule: Schedule = EPOCH, *, rounds: int = 3, **how: Any) -> FedMA:
        names = tuple(range(len(self.clients)))
        return FedMA(self.graph, names, schedule, schedule, schedule, rounds, widths=self.widths, **how)

    def play(
        self,
        algorithm: FedMA,
        state: State | None = None,
        *,
        change: Change = lambda ask, reply: reply,
        whole: bool = False,
    ) -> State:
        """To the end; `change` may take a reply away; clients may be sent whole asks, whatever they hold."""
        self.asked: list[list[Ask]] = []
        held = {client: dict(own) for client, own in self.start.items()}
        state = state or algorithm.start()
        while asks := algorithm.asks(state):
            replies = []
            for ask in asks:
                message = ask.whole if whole else replace(ask, weights=ask.sent)
                reply, own = self.clients[ask.client].answer(message, held.get(ask.client, {}))
                held[ask.client] = own if ask.keep else {}
                replies += [changed] if (changed := change(ask, reply)) else []
            present = {reply.client for reply in replies}
            check([ask for ask in asks if ask.client in present], replies, self.expected)
            self.asked.append(list(asks))
            state = algorithm.absorb(state, replies)
        return state

    def rounds(self) -> dict[int, list[list[int]]]:
        """By round, the clients asked in each exchange."""
        found: dict[int, list[list[int]]] = {}
        for asks in self.asked:
            found.setdefault(int(asks[0].name[1]), []).append([ask.client for ask in asks])
        return found


def _halves(graph: UnitGraph) -> dict[str, int]:
    return {name: -(-own.size // 2) if own.growable else own.size for name, own in graph.groups.items()}


def _first(widths: dict[str, int]) -> dict[str, torch.Tensor]:
    return {group: torch.arange(width) for group, width in widths.items()}


def whole(state: State, graph: UnitGraph) -> None:
    """The global model is complete."""
    assert set(state.weights) == set(graph.layouts)
    assert all(bool(tensor.isfinite().all()) for tensor in state.weights.values())
    widths = graph.widths_in(state.weights)
    assert state.widths == widths
    assert {name: tuple(t.shape) for name, t in state.weights.items()} == {
        n: graph.shape(n, widths) for n in graph.layouts
    }
    for own in state.assignments.values():
        assert own.keys() <= graph.groups.keys()
        for group, slots in own.items():
            assert int(slots.max()) < widths[group]
            assert all(len(set(row)) == len(row) for row in slots.view(-1, slots.shape[-1]).tolist())


HOW: dict[str, dict[str, Any]] = {
    "some clients": {"participants": 2},
    "some and newcomers": {"participants": 2, "newcomers": "own"},
    "come and go": {"present": {0: (range(1),), 1: (range(1, 9),), 2: (range(1), range(2, 9))}},
    "all of the model": {"later": "global", "participants": 3},
    "never": {"rematch": "never", "participants": 2},
    "never, all": {"rematch": "never", "later": "global"},
    "drift": {"rematch": "drift", "participants": 3},
    "drift and newcomers": {"rematch": "drift", "newcomers": "own", "present": {1: (range(1, 9),)}},
    "blocks": {"steps_per_exchange": 2},
    "one block": {"steps_per_exchange": 99, "participants": 3},
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
@pytest.mark.parametrize("name", NETWORKS)
def test_three_rounds_on_any_network_at_two_widths(name: str, how: dict[str, Any]) -> None:
    federation = Federation(name, slim=(0, 3))
    state = federation.play(federation.fedma(**how))
    whole(state, federation.graph)
    for exchanges in federation.rounds().values():
        assert all(clients == exchanges[0] for clients in exchanges)


@pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
def test_equal_seeds_give_equal_rounds(how: dict[str, Any]) -> None:
    federation = Federation("mlp")
    assert_equal(federation.play(federation.fedma(**how)).weights, federation.play(federation.fedma(**how)).weights)


def test_participants_are_drawn_anew_for_each_round() -> None:
    federation = Federation("mlp")
    federation.play(federation.fedma(NOTHING, rounds=8, participants=2))
    drawn = [exchanges[0] for exchanges in federation.rounds().values()]
    assert all(len(clients) == 2 for clients in drawn)
    assert len({tuple(clients) for clients in drawn}) > 3
    federation.play(federation.fedma(NOTHING, rounds=8, participants=2, seed=1))
    assert drawn != [exchanges[0] for exchanges in federation.rounds().values()]


@given(
    st.lists(st.permutations(range(6)).map(lambda p: torch.tensor(p[:4])), min_size=1, max_size=5), st.integers(1, 9)
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_popular_slots_have_the_most_owners(assignments: list[torch.Tensor], width: int) -> None:
    found = most_owned_slots(assignments, 7, width).tolist()
    owners = [sum(slot in own.tolist() for own in assignments) for slot in range(7)]
    assert found == sorted(sorted(range(7), key=lambda slot: (-owners[slot], slot))[:width])


def test_a_client_that_was_away_starts_from_the_popular_slots() -> None:
    federation = Federation("cnn", slim=(4,))
    graph, algorithm = federation.graph, federation.fedma(rounds=2, present={4: (range(1, 2),)})
    first = federation.play(replace(algorithm, rounds=1))
    (ask,) = [ask for ask in algorithm.asks(first) if ask.client == 4]
    places = {
        group: most_owned_slots(
            [own[group] for own in first.assignments.values()], first.widths[group], federation.widths[4][group]
        )
        for group in graph.groups
    }
    assert_equal(ask.weights, graph.gather(first.weights, places, graph.widths_in(first.weights)))
    assert {group: len(slots) for group, slots in places.items()} == federation.widths[4]


def test_a_newcomer_may_bring_its_own_model() -> None:
    federation = Federation("cnn")
    algorithm = federation.fedma(NOTHING, rounds=2, newcomers="own", present={4: (range(1, 2),)}, later="global")
    first = federation.play(replace(algorithm, rounds=1))
    asks = {ask.client: ask for ask in algorithm.asks(first)}
    assert not asks[4].weights
    assert all(ask.weights for client, ask in asks.items() if client != 4)
    assert set(federation.play(algorithm).assignments) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
def test_who_does_not_answer_is_left_out_until_the_next_round(how: dict[str, Any]) -> None:
    federation = Federation("cnn", count=6)
    seen: dict[int, int] = {}

    def lose(ask: Ask, reply: Reply) -> Reply | None:
        """Each client's second message gets lost."""
        seen[ask.client] = seen.get(ask.client, 0) + 1
        return None if seen[ask.client] == 2 and ask.client % 2 else reply

    whole(federation.play(federation.fedma(**{**how, "participants": 4}), change=lose), federation.graph)
    for exchanges in federation.rounds().values():
        assert all(set(after) <= set(before) for before, after in pairwise(exchanges))


def test_a_round_without_anybody_is_refused() -> None:
    with pytest.raises(InputError, match="round 2"):
        participating((0, 1), 1, present={0: (range(1),), 1: (range(1),)}, participants=None, seed=0)
    algorithm = Federation("mlp").fedma()
    with pytest.raises(ReplyError, match="no client answered"):
        algorithm.absorb(algorithm.start(), [])


@pytest.mark.parametrize("at_once", [1, 2, 99])
@pytest.mark.parametrize(
    ("name", "fitted"),
    [(n, False) for n in ("mlp", "cnn", "attention", "residual", "speaker")]
    + [(n, True) for n in ("mlp-20-10", "cnn")],
)
def test_without_training_any_blocks_are_one_shot_fusion(name: str, fitted: bool, at_once: int) -> None:
    federation = Federation(name, 3, slim=(1,))
    state = federation.play(federation.fedma(NOTHING, rounds=1, fitted=fitted, steps_per_exchange=at_once))
    clients = federation.clients
    fused, _ = fuse_weights(
        [federation.start[c.number] for c in clients],
        federation.graph,
        widths=[{**federation.graph.widths, **federation.widths.get(c.number, {})} for c in clients],
        shares=[1.0] * 3,
        samples=[float(len(c)) for c in clients],
        class_counts=torch.stack([c.class_counts for c in clients]),
        matcher=Matcher(seed=number(0, "round", 0)),
        fitted=fitted,
        tries=1,
    )
    assert_equal(state.weights, fused, rtol=1e-3, atol=1e-4)


def test_fitting_is_for_one_round() -> None:
    with pytest.raises(InputError, match="single round"):
        Federation("mlp").fedma(rounds=2, fitted=True)


def test_fitting_is_not_placing() -> None:
    federation = Federation("mlp-20-10", 3)
    fitted, placed = (federation.play(federation.fedma(NOTHING, rounds=1, fitted=f)).weights for f in (True, False))
    assert float((fitted["output.weight"] - placed["output.weight"]).abs().max()) > 0.01


@pytest.mark.parametrize("later", ["own", "global"])
@pytest.mark.parametrize("rematch", ["never", "drift"])
@pytest.mark.parametrize("name", NETWORKS)
def test_kept_slots_stay_where_nobody_trains(name: str, rematch: str, later: str) -> None:
    federation = Federation(name, slim=(2,))
    how: dict[str, Any] = {"rematch": rematch, "later": later, "participants": 3}
    first = federation.play(federation.fedma(EPOCH, rounds=1))
    again = federation.play(federation.fedma(NOTHING, rounds=4, **how), first)
    assert len(federation.asked) == 3
    assert_equal(again.weights, first.weights, rtol=1e-5, atol=1e-6)


def test_one_client_of_a_kept_round_changes_its_own_slots_alone() -> None:
    federation = Federation("cnn")
    first = federation.play(federation.fedma(rounds=1))
    alone = federation.fedma(rounds=2, rematch="never", present={j: (range(1),) for j in range(1, 5)})
    second = federation.play(alone, first)
    (ask,) = federation.asked[0]
    reply, _ = federation.clients[0].answer(ask, {})
    widths = federation.graph.widths_in(second.weights)
    assert_equal(federation.graph.gather(second.weights, second.assignments[0], widths), reply.weights)
    changed = (second.weights["conv1.weight"] != first.weights["conv1.weight"]).flatten(1).any(1).nonzero().flatten()
    assert set(changed.tolist()) <= set(first.assignments[0]["conv1"].tolist())
    assert len(changed) < len(first.weights["conv1.weight"])


def test_only_what_drifted_is_matched_again() -> None:
    federation = Federation("cnn")
    first = federation.play(federation.fedma(rounds=1))
    algorithm = federation.fedma(NOTHING, rounds=2, rematch="drift")

    def swap(ask: Ask, reply: Reply) -> Reply:
        """Client 0's neurons change places, its channels do not."""
        if ask.client or "fc1.weight" not in reply.weights or ask.frozen:
            return reply
        orders = {"fc1": torch.randperm(len(reply.weights["fc1.bias"]), generator=generator(0, "swap"))}
        return replace(reply, weights=federation.graph.gather(reply.weights, orders))

    second = federation.play(algorithm, first, change=swap)
    assert [asks[0].name[3] for asks in federation.asked] == [0, 3]
    for client in range(5):
        for group in ("conv1", "conv2"):
            assert torch.equal(second.assignments[client][group], first.assignments[client][group])
    whole(second, federation.graph)


def test_a_later_round_without_matching_costs_a_clients_own_size() -> None:
    federation = Federation("cnn")
    federation.play(federation.fedma(rounds=3, rematch="never"))
    own = sum(tensor.nbytes for tensor in federation.start[0].values())
    (asks,) = [asks for asks in federation.asked if asks[0].name[1] == 2]
    assert all(own < ask.bytes < own + 2000 for ask in asks)
    assert not any(ask.keep for ask in asks)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("later", ["own", "global"])
def test_a_later_round_sends_a_client_no_tensor_twice(name: str, later: str) -> None:
    federation = Federation(name, slim=(1,))
    federation.play(federation.fedma(NOTHING, rounds=3, later=later))
    statistics = {tensor for pair in federation.graph.statistics for tensor in pair}
    for client in range(5):
        assert federation.asked[len(federation.asked) // 3][client].known or not federation.graph.groups
        sent = [n for asks in federation.asked for n in asks[client].sent if asks[client].name[1] == 1]
        assert not {n for n in sent if sent.count(n) > 1 and "num_batches" not in n} - statistics


@pytest.mark.parametrize("how", HOW.values(), ids=HOW.keys())
@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_client_is_said_to_hold_it_holds(name: str, how: dict[str, Any]) -> None:
    federation = Federation(name, slim=(0, 3))
    brief = federation.play(federation.fedma(**how)).weights
    assert_equal(federation.play(federation.fedma(**how), whole=True).weights, brief, rtol=0, atol=0)


def test_rounds_from_the_whole_model_keep_its_widths() -> None:
    federation = Federation("cnn")
    first = federation.play(federation.fedma(rounds=1))
    asks = federation.fedma(rounds=2, later="global").asks(first)
    for ask in asks:
        assert_equal(ask.weights, first.weights)
    second = federation.play(federation.fedma(rounds=3, later="global"), first)
    assert federation.graph.widths_in(second.weights) == federation.graph.widths_in(first.weights)


@pytest.mark.parametrize("name", ["cnn", "residual"])
def test_global_widths_are_bounded_by_the_widest_client(name: str) -> None:
    federation = Federation(name, slim=(0, 2, 3))
    state = federation.play(federation.fedma(rounds=3, matcher=Matcher(max_growth=1.25)))
    for group, width in federation.graph.widths_in(state.weights).items():
        assert federation.graph.widths[group] <= width <= 1.25 * federation.graph.widths[group]
    for client, own in state.assignments.items():
        wanted = {**federation.graph.widths, **federation.widths.get(client, {})}
        assert {group: slots.shape[-1] for group, slots in own.items()} == wanted


def test_pfnm_takes_clients_of_different_widths() -> None:
    federation = Federation("mlp", 3, slim=(0,))
    algorithm = PFNM(federation.graph, (0, 1, 2), NOTHING, widths=federation.widths)
    asks = algorithm.asks(algorithm.start())
    replies = [federation.clients[ask.client].answer(ask, federation.start[ask.client])[0] for ask in asks]
    check(asks, replies, federation.expected)
    state = algorithm.absorb(algorithm.start(), replies)
    assert [len(own["fc1"]) for own in state.assignments.values()] == [50, 100, 100]
    whole(state, federation.graph)


@pytest.mark.parametrize(
    "how", [{"steps_per_exchange": 0}, {"newcomers": "x"}, {"later": "x"}, {"rematch": "x"}], ids=str
)
def test_options_out_of_range_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(how))):
        Federation("mlp").fedma(**how)

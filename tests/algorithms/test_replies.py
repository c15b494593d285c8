"""Replies: the good are let through, and each kind of bad one is refused by the client's name."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import CLASSES, clients, initial, play
from fedma.algorithms import Algorithm, Ask, Ensemble, FedAvg, FedMA, Reply, State
from fedma.algorithms.replies import Expected, FaultKind, check, sift
from fedma.engines import LocalEngine
from fedma.errors import ReplyError
from fedma.training import Schedule

ONE = Schedule(epochs=1, batch_size=8)


def asked(model: str = "mlp", count: int = 3) -> tuple[list[Ask], list[Reply], Expected]:
    """One exchange of FedAvg: its asks, good replies, and what is expected of them."""
    members = clients(count, model=model)
    graph, template = members[0].graph, members[0].template
    asks = list(FedAvg(graph, range(count), ONE, 1, initial(members, common=True, model=model)[0]).asks(State()))
    start = initial(members, common=True, model=model)
    replies = [member.answer(ask, start[member.number])[0] for member, ask in zip(members, asks, strict=True)]
    return asks, replies, Expected.of(template, graph, classes=CLASSES)


ASKS, REPLIES, EXPECTED = asked("vgg9-bn")


@pytest.mark.parametrize("model", ["mlp", "cnn", "vgg9-bn", "resnet20"])
@pytest.mark.parametrize("kind", ["fedma", "fedavg", "ensemble"])
def test_every_reply_of_a_true_run_is_good(model: str, kind: str) -> None:
    members = clients(3, model=model, samples=8)
    graph = members[0].graph
    expected = Expected.of(members[0].template, graph, classes=CLASSES)
    algorithms: dict[str, Algorithm] = {
        "fedma": FedMA(graph, range(3), ONE, ONE, Schedule(epochs=0), 2),
        "fedavg": FedAvg(graph, range(3), ONE, 2, initial(members, common=True, model=model)[0]),
        "ensemble": Ensemble(graph, range(3), ONE),
    }
    algorithm = algorithms[kind]
    with LocalEngine(members, workers=1) as engine:
        engine.reset(initial(members, model=model))
        state = algorithm.start()
        while asks := algorithm.asks(state):
            replies = engine.deliver(asks)
            check(asks, replies, expected)
            assert [reply.client for reply in sift(asks, replies[::-1], expected)[0]] == [0, 1, 2]
            for ask, reply in zip(asks, replies, strict=True):
                assert reply.bytes <= expected.most_bytes(ask) < reply.bytes + 5000
            state = algorithm.absorb(state, replies)


def weight(change: Callable[[torch.Tensor], Any], name: str = "conv2.weight") -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, weights={**reply.weights, name: change(reply.weights[name])})


def metrics(**values: Any) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, metrics={**reply.metrics, **values})


def scaled(factor: float) -> Callable[[Reply], Reply]:
    def all_of(reply: Reply) -> Reply:
        weights = {n: factor * t if t.is_floating_point() else t for n, t in reply.weights.items()}
        return replace(reply, weights=weights)

    return all_of


def counts(values: Any) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, class_counts=values)


def poisoned(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[7] = value
    return tensor


BAD: list[tuple[FaultKind, Callable[[Reply], Reply]]] = [
    ("not asked", lambda reply: replace(reply, client=9)),
    ("replayed", lambda reply: replace(reply, name=("round", 7))),
    ("replayed", lambda reply: replace(reply, name=())),
    ("names", lambda reply: replace(reply, weights=dict(list(reply.weights.items())[1:]))),
    ("names", lambda reply: replace(reply, weights={**reply.weights, "../../etc/passwd": torch.zeros(1)})),
    ("names", lambda reply: replace(reply, weights={**reply.weights, 3: torch.zeros(1)})),  # type: ignore[dict-item]
    ("names", lambda reply: replace(reply, weights=None)),  # type: ignore[arg-type]
    ("shape", weight(lambda t: t[1:])),
    ("shape", weight(lambda t: t.flatten())),
    ("shape", weight(lambda t: t.repeat(100, 1, 1, 1))),
    ("type", weight(lambda t: t.double())),
    ("type", weight(lambda t: t.half())),
    ("type", weight(lambda t: t.tolist())),
    ("type", weight(lambda t: t.to_sparse())),
    ("type", weight(lambda t: t.to("meta"))),
    ("values", weight(lambda t: poisoned(t, math.nan))),
    ("values", weight(lambda t: poisoned(t, math.inf))),
    ("values", weight(lambda t: poisoned(t, -1.0), "norm1.running_var")),
    ("class counts", counts(torch.tensor([1, 2]))),
    ("class counts", counts(torch.tensor([40, -2, 1]))),
    ("class counts", counts(torch.zeros(3, dtype=torch.int64))),
    ("class counts", counts(torch.tensor([10.0, 10.0, 10.0]))),
    ("class counts", counts([10, 10, 10])),
    ("class counts", counts(torch.tensor(2**63 - 1).expand(3, 2))),
    ("metrics", lambda reply: replace(reply, metrics={"samples_seen": 1, "epochs": 1})),
    ("metrics", lambda reply: replace(reply, metrics=None)),  # type: ignore[arg-type]
    ("metrics", metrics(samples=-5)),
    ("metrics", metrics(samples=10**400)),
    ("metrics", metrics(samples=1e12)),
    ("metrics", metrics(epochs=math.nan)),
    ("metrics", metrics(samples_seen=math.inf)),
    ("metrics", metrics(epochs="1")),
    ("metrics", metrics(loss=math.nan)),
    ("metrics", metrics(loss=None)),
    ("metrics", metrics(more=[1, 2])),
    ("size", metrics(**{f"m{i}": 0.5 for i in range(1000)})),
    ("norm", scaled(1e3)),
    ("norm", weight(lambda t: 1e20 * t)),
    ("norm", weight(lambda t: t + 1e4, "norm1.running_mean")),
]


@pytest.mark.parametrize(("kind", "spoil"), BAD, ids=[f"{n}-{kind}" for n, (kind, _) in enumerate(BAD)])
def test_a_bad_reply_is_refused_by_name_and_costs_no_other(kind: FaultKind, spoil: Callable[[Reply], Reply]) -> None:
    replies = [REPLIES[0], spoil(REPLIES[1]), REPLIES[2]]
    good, faults = sift(ASKS, replies, EXPECTED)
    assert good == [REPLIES[0], REPLIES[2]]
    assert [(fault.client, fault.kind) for fault in faults] == [(replies[1].client, kind)]
    assert str(faults[0]).startswith(f"client {replies[1].client} ")
    assert len(str(faults[0])) < 600
    with pytest.raises(ReplyError, match=f"client {replies[1].client} "):
        check(ASKS, replies, EXPECTED)


def test_of_two_answers_the_first_good_one_counts() -> None:
    late, other = replace(REPLIES[1], name=("round", 7)), scaled(1.1)(REPLIES[1])
    good, faults = sift(ASKS, [late, *REPLIES, other, other], EXPECTED)
    assert good == REPLIES
    assert [(fault.client, fault.kind) for fault in faults] == [(1, "replayed"), (1, "duplicate"), (1, "duplicate")]


def test_who_does_not_answer_is_missed_only_where_all_must() -> None:
    good, faults = sift(ASKS, REPLIES[1:], EXPECTED)
    assert good == REPLIES[1:]
    assert not faults
    assert sift(ASKS, [], EXPECTED) == ([], [])
    with pytest.raises(ReplyError, match="client 0 did not answer"):
        check(ASKS, REPLIES[1:], EXPECTED)


def test_a_reply_to_an_earlier_step_is_refused() -> None:
    members = clients(3, model="cnn")
    algorithm = FedMA(members[0].graph, range(3), ONE, ONE, ONE, 1)
    expected = Expected.of(members[0].template, members[0].graph, classes=CLASSES)
    with LocalEngine(members, workers=1) as engine:
        engine.reset(initial(members, model="cnn"))
        first = engine.deliver(algorithm.asks(algorithm.start()))
        state = algorithm.absorb(algorithm.start(), first)
        asks = algorithm.asks(state)
        second = engine.deliver(asks)
    good, faults = sift(asks, [second[0], first[1], second[2]], expected)
    assert good == [second[0], second[2]]
    assert [fault.kind for fault in faults] == ["replayed"]


def test_replies_in_the_wrong_order_of_units_do_not_pass_for_wide_ones() -> None:
    """After the first step the replies have the global width: a client's own width is refused."""
    members = clients(3, model="cnn")
    algorithm = FedMA(members[0].graph, range(3), ONE, ONE, ONE, 1)
    expected = Expected.of(members[0].template, members[0].graph, classes=CLASSES)
    start = initial(members, model="cnn")
    with LocalEngine(members, workers=1) as engine:
        engine.reset(start)
        state = algorithm.absorb(algorithm.start(), engine.deliver(algorithm.asks(algorithm.start())))
        asks = algorithm.asks(state)
        replies = engine.deliver(asks)
    narrow = {name: start[1][name] for name in asks[1].send}
    _, faults = sift(asks, [replies[0], replace(replies[1], weights=narrow), replies[2]], expected)
    assert [(fault.client, fault.kind) for fault in faults] == [(1, "shape")]


@pytest.mark.parametrize(("scale", "refused"), [(1e2, False), (1e3, True)])
def test_who_trained_longer_may_have_larger_weights(scale: float, refused: bool) -> None:
    long = metrics(samples_seen=10 * REPLIES[1].metrics["samples_seen"])(scaled(scale)(REPLIES[1]))
    _, faults = sift(ASKS, [REPLIES[0], long, REPLIES[2]], EXPECTED)
    assert [(fault.client, fault.kind) for fault in faults] == [(long.client, "norm")] * refused


def test_a_run_goes_on_with_the_good() -> None:
    """What `sift` lets through, the algorithm takes."""
    members = clients(4)
    start = initial(members, common=True)
    algorithm = FedAvg(members[0].graph, range(4), ONE, 1, start[0])
    expected = Expected.of(members[0].template, members[0].graph, classes=CLASSES)
    asks = algorithm.asks(algorithm.start())
    replies = [member.answer(ask, start[0])[0] for member, ask in zip(members, asks, strict=True)]
    good, _ = sift(asks, [*replies[:3], scaled(math.inf)(replies[3])], expected)
    without = play(replace(algorithm, clients=range(3)), members, start)
    torch.testing.assert_close(algorithm.absorb(algorithm.start(), good).weights, without.weights)


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=3),
        st.builds(
            lambda shape, dtype: torch.ones(shape).to(dtype),
            st.lists(st.integers(0, 4), max_size=3),
            st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64, torch.uint8]),
        ),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip
NAMES = list(REPLIES[1].weights)


@st.composite
def spoilt(draw: st.DrawFn) -> Reply:
    """A good reply with some of its parts replaced by anything at all."""
    reply = REPLIES[1]
    weights: Any = {**reply.weights, **draw(st.dictionaries(st.sampled_from(NAMES), anything, max_size=2))}
    numbers: Any = {**reply.metrics, **draw(st.dictionaries(st.sampled_from(["samples", "loss", "x"]), anything))}
    parts: dict[str, Any] = {
        "weights": st.one_of(st.just(weights), anything),
        "class_counts": st.one_of(st.just(reply.class_counts), anything),
        "metrics": st.one_of(st.just(numbers), anything),
        "name": st.one_of(st.just(reply.name), anything),
        "client": st.integers(-1, 4),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(parts)), max_size=3))
    return replace(reply, **{part: draw(parts[part]) for part in sorted(chosen)})


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.lists(spoilt(), max_size=3))
def test_whatever_comes_is_sorted_without_a_crash(others: list[Reply]) -> None:
    good, faults = sift(ASKS, [REPLIES[0], *others, REPLIES[2]], EXPECTED)
    assert len(good) + len(faults) == len(others) + 2
    assert REPLIES[0] in good
    for reply in good:
        wanted = EXPECTED.reply(next(ask for ask in ASKS if ask.client == reply.client)).weights
        assert {n: (t.shape, t.dtype) for n, t in reply.weights.items()} == {
            n: (t.shape, t.dtype) for n, t in wanted.items()
        }
        assert all(bool(t.isfinite().all()) for t in reply.weights.values())

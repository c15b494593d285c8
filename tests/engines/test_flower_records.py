"""Records: what goes in comes out, exactly; what cannot be read is refused by name."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import federation_on_flower  # noqa: F401  (Flower's own warnings)
from fedma.algorithms import Ask, Reply
from fedma.engines.flower.records import LOST, STALE, Request, answer, arrays, read, refusal, tensors
from fedma.errors import ReplyError

METRICS = {"samples": 1, "samples_seen": 1, "epochs": 1, "loss": 0.5}
Array: Any = type(next(iter(arrays({"a": torch.zeros(1)}).values())))

tensor = st.builds(
    lambda shape, dtype: torch.arange(torch.Size(shape).numel()).view(shape).to(dtype),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(
        [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
    ),
)
named = st.dictionaries(st.text(min_size=1, max_size=6), tensor, max_size=4)
words = st.text(max_size=6)
asks = st.builds(
    Ask,
    client=st.integers(0, 99),
    name=st.lists(st.one_of(words, st.integers(0, 9)), max_size=4).map(tuple),
    weights=named,
    widen=st.dictionaries(words, st.integers(0, 5).map(torch.arange), max_size=3),
    widths=st.dictionaries(words, st.integers(1, 99), max_size=3),
    schedule=st.dictionaries(
        words, st.one_of(words, st.integers(), st.floats(allow_nan=False), st.booleans()), max_size=3
    ),
    frozen=st.lists(words, max_size=3).map(tuple),
    send=st.lists(words, max_size=3).map(tuple),
    keep=st.booleans(),
)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(asks, min_size=1, max_size=3), words)
def test_an_order_comes_out_as_it_went_in(given_asks: list[Ask], tag: str) -> None:
    request = Request(tuple(given_asks), tag, tag[:1])
    back = Request.of(request.to_records())
    assert (back.tag, back.presumes) == (request.tag, request.presumes)
    for one, other in zip(request.asks, back.asks, strict=True):
        for part in ("weights", "widen"):
            torch.testing.assert_close(dict(getattr(one, part)), dict(getattr(other, part)), rtol=0, atol=0)
        for part in ("client", "name", "widths", "fit", "schedule", "frozen", "send", "keep"):
            assert getattr(one, part) == getattr(other, part)
        assert one.bytes == other.bytes


@settings(deadline=None, max_examples=50, derandomize=True)
@given(named, st.integers(0, 5), st.floats(allow_nan=False))
def test_a_reply_comes_out_as_it_went_in(weights: dict[str, torch.Tensor], classes: int, loss: float) -> None:
    reply = Reply(
        3, weights, torch.arange(classes), {"samples": 7, "samples_seen": 8, "epochs": 2, "loss": loss}, ("round", 1)
    )
    back = read(answer("tag", reply), client=3, tag="tag")
    assert isinstance(back, Reply)
    torch.testing.assert_close(dict(back.weights), weights, rtol=0, atol=0)
    torch.testing.assert_close(back.class_counts, reply.class_counts)
    assert (back.metrics, back.name, back.bytes) == (reply.metrics, reply.name, reply.bytes)


@pytest.mark.parametrize("status", [LOST, STALE])
def test_a_client_may_say_that_it_lost_its_weights(status: str) -> None:
    assert read(refusal("tag", status), client=0, tag="tag") == status
    with pytest.raises(ReplyError, match="client 0 answered 'old'"):
        read(refusal("old", status), client=0, tag="tag")


def spoil(name: str) -> Any:
    content = answer("tag", Reply(3, {"w": torch.zeros(2, 2)}, torch.arange(2), METRICS))
    record = content["weights"]
    whole = record["w"]
    bad = {
        "cut off": lambda: record.update(w=Array(whole.dtype, whole.shape, whole.stype, whole.data[:-1])),
        "too long": lambda: record.update(w=Array(whole.dtype, (2, 2), whole.stype, whole.data * 1000)),
        "huge": lambda: record.update(w=Array(whole.dtype, (2**40, 2**40), whole.stype, whole.data)),
        "negative": lambda: record.update(w=Array(whole.dtype, (-2, -2), whole.stype, whole.data)),
        "another type": lambda: record.update(w=Array("object", whole.shape, whole.stype, whole.data)),
        "pickled": lambda: record.update(w=Array(whole.dtype, whole.shape, "pickle", whole.data)),
        "no weights": lambda: content.pop("weights"),
        "weights of another kind": lambda: content.update(weights=content["metrics"]),
        "no status": lambda: content.pop("status"),
        "no counts": lambda: content["class_counts"].clear(),
        "a list as a metric": lambda: content["metrics"].update(samples=[1, 2]),
        "no samples": lambda: content["metrics"].pop("samples"),
        "no name": lambda: content["status"].pop("name"),
        "name that is not JSON": lambda: content["status"].update(name="{"),
    }
    bad[name]()
    return content


BAD = """cut off, too long, huge, negative, another type, pickled, no weights, weights of another kind, no status,
no counts, a list as a metric, no samples, no name, name that is not JSON"""


@pytest.mark.parametrize("how", [name.strip() for name in BAD.split(",")])
def test_what_cannot_be_read_is_refused_by_name(how: str) -> None:
    with pytest.raises(ReplyError, match="client 3 sent what cannot be read"):
        read(spoil(how), client=3, tag="tag")


def test_tensors_can_be_written_to() -> None:
    back = tensors(arrays({"w": torch.zeros(2)}))["w"]
    back += 1
    assert back.tolist() == [1.0, 1.0]

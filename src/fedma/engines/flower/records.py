"""Asks and replies as Flower's records: named arrays of plain bytes, and settings as JSON. Nothing is pickled."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from fedma.algorithms import Ask, Reply
from fedma.errors import ReplyError

DONE, LOST, STALE = "DONE", "STATE_LOST", "STATE_STALE"
"""What a client says of a request: done; or that it holds no weights, or others than the request presumes."""

_PARTS = ("weights", "narrow", "widen")
"""The tensors of an ask; the rest of it is settings."""
_KIND = "fedma.tensor"
_REQUEST = "parcel"
"""The record's name in messages, which is that of earlier versions."""
_NAMES = "float64 float32 float16 bfloat16 bool int64 int32 int16 int8 uint8"
_TYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in _NAMES.split()}


@dataclass(frozen=True, eq=False)
class Request:
    """What the server sends to one client in an exchange.

    Attributes:
        asks: asks to be done one after the other; only the last is answered. If the client has lost its weights, they
            are all asks of this round so far, and the first brings all that it needs.
        tag: names the exchange, and the weights that the client holds afterwards.
        presumes: the tag of the weights that it must hold; empty if the first ask needs only its initial weights.
    """

    asks: tuple[Ask, ...]
    tag: str
    presumes: str = ""

    def to_records(self) -> RecordDict:
        """For a message."""
        content = RecordDict(
            {_REQUEST: ConfigRecord({"asks": len(self.asks), "tag": self.tag, "presumes": self.presumes})}
        )
        for number, ask in enumerate(self.asks):
            settings = {own.name: getattr(ask, own.name) for own in fields(ask) if own.name not in _PARTS}
            content[f"{number}"] = ConfigRecord({"settings": json.dumps(settings)})
            for part in _PARTS:
                content[f"{number}/{part}"] = arrays(ask.sent if part == "weights" else getattr(ask, part))
        return content

    @classmethod
    def of(cls, content: RecordDict) -> "Request":
        """The request in a message."""
        request = content.config_records[_REQUEST]
        asks = tuple(_ask(content, number) for number in range(int(str(request["asks"]))))
        return cls(asks, str(request["tag"]), str(request["presumes"]))


def _ask(content: RecordDict, number: int) -> Ask:
    settings: dict[str, Any] = _tuples(json.loads(str(content.config_records[f"{number}"]["settings"])))
    parts: dict[str, Any] = {part: tensors(content.array_records[f"{number}/{part}"]) for part in _PARTS}
    return Ask(**settings, **parts)


def answer(tag: str, reply: Reply) -> RecordDict:
    """For a message: the reply to the request of this tag."""
    return RecordDict(
        {
            "status": ConfigRecord({"status": DONE, "tag": tag, "name": json.dumps(reply.name)}),
            "weights": arrays(reply.weights),
            "class_counts": arrays({"class_counts": reply.class_counts}),
            "metrics": MetricRecord(dict(reply.metrics)),
        }
    )


def refusal(tag: str, status: str) -> RecordDict:
    """For a message: the client cannot do the request of this tag, for this reason."""
    return RecordDict({"status": ConfigRecord({"status": status, "tag": tag})})


def read(content: RecordDict, *, client: int, tag: str) -> Reply | str:
    """A client's reply to the request of this tag, or why it did not do it: `LOST` or `STALE`.

    Raises:
        ReplyError: something else, or the reply to another request.
    """
    try:
        said = content.config_records["status"]
        if said["tag"] != tag:
            raise ReplyError(f"client {client} answered {str(said['tag'])[:99]!r} where an answer to {tag!r} is due")
        if said["status"] in (LOST, STALE):
            return str(said["status"])
        return Reply(
            client,
            tensors(content.array_records["weights"]),
            tensors(content.array_records["class_counts"])["class_counts"],
            _metrics(content.metric_records["metrics"]),
            _tuples(json.loads(str(said["name"]))),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        if isinstance(error, ReplyError):
            raise
        raise ReplyError(
            f"client {client} sent what cannot be read ({type(error).__name__}: {error}); does it run the same version "
            "of fedma as the server?"
        ) from error


def arrays(named: Mapping[str, Tensor]) -> ArrayRecord:
    """Tensors, exactly, as Flower sends them."""
    return ArrayRecord({name: _array(tensor) for name, tensor in named.items()})


def tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """The tensors of such a record.

    Raises:
        ValueError: their bytes are not what they are said to be.
    """
    return {name: _tensor(array) for name, array in record.items()}


def _array(tensor: Tensor) -> Array:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return Array(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), _KIND, data)


def _tensor(array: Array) -> Tensor:
    if array.stype != _KIND or array.dtype not in _TYPES:
        raise ValueError(f"an array of {array.dtype!r}, written as {array.stype!r}")
    dtype, shape = _TYPES[array.dtype], tuple(int(size) for size in array.shape)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(array.data):
        raise ValueError(f"{len(array.data)} bytes for shape {shape} of {array.dtype}")
    if not array.data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(array.data), dtype=dtype).view(shape)


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    if isinstance(value, dict):
        return {name: _tuples(own) for name, own in value.items()}
    return (
        tuple(_tuples(item) for item in value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    )


def _metrics(record: MetricRecord) -> dict[str, float]:
    """Numbers, with those among them that every reply has."""
    for name in ("samples", "samples_seen", "epochs", "loss"):
        record[name]
    odd = [name for name, value in record.items() if not isinstance(value, (int, float))]
    if odd:
        raise TypeError(f"metrics that are no numbers: {odd}")
    return {name: value for name, value in record.items() if isinstance(value, (int, float))}

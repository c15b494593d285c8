"""What a server asks of a client, and what the client answers.

Both are values with an exact serialised form (safetensors with the settings as JSON in its header), so that every
engine delivers the same thing and bytes are counted in one place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Metrics = Mapping[str, float]

_CODES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Safetensors' names of types, in the order in which it puts tensors."""


@dataclass(frozen=True, eq=False)
class Ask:
    """Work for one client. It does these things, in this order, to the weights that it holds:

    1. `widen`: move them to the places of their slots in wider groups, readers of those in `fit` fitted to the slots;
    2. `weights`: replace these tensors; those in `known` are not sent, it finds them in what it holds;
    3. train by `schedule`, with the tensors named in `frozen` held;
    4. answer with the tensors named in `send`.

    Attributes:
        client: who.
        name: names the training for its random numbers, such as ("round", 1, "step", 2).
        weights: global tensors, or the client's own part of them.
        known: names of those that are the client's own part of global tensors that it holds.
        narrow: which part: per group, own unit → slot; int32.
        wide: the widths of what it holds.
        widen: per group, unit → slot; int32.
        widths: the client's widths when that is done.
        fit: groups of `widen` whose readers are fitted to the slots (`fedma.matching.averaging.fit_readers`).
        schedule: fields of `fedma.training.Schedule`.
        frozen: names of tensors that are not trained.
        send: names of tensors to answer with.
        keep: whether it holds its weights afterwards; one that is not asked to needs no memory between asks.
    """

    client: int
    name: tuple[str | int, ...] = ()
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    known: tuple[str, ...] = ()
    narrow: Mapping[str, Tensor] = field(default_factory=dict)
    wide: Mapping[str, int] = field(default_factory=dict)
    widen: Mapping[str, Tensor] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    fit: tuple[str, ...] = ()
    schedule: Mapping[str, Any] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    send: tuple[str, ...] = ()
    keep: bool = True

    def __post_init__(self) -> None:
        for name in ("narrow", "widen"):
            object.__setattr__(self, name, {group: slots.int() for group, slots in getattr(self, name).items()})

    @property
    def sent(self) -> Mapping[str, Tensor]:
        """The tensors of `weights` that the message holds."""
        return {name: tensor for name, tensor in self.weights.items() if name not in self.known}

    @property
    def whole(self) -> "Ask":
        """The same for a client that holds nothing of the global model."""
        return replace(self, known=(), narrow={}, wide={})

    @cached_property
    def bytes(self) -> int:
        """Length of the serialised message."""
        settings = {
            "name": self.name,
            "known": self.known,
            "wide": self.wide,
            "widths": self.widths,
            "fit": self.fit,
            "schedule": self.schedule,
            "frozen": self.frozen,
            "send": self.send,
            "keep": self.keep,
        }
        return size({"weights": self.sent, "narrow": self.narrow, "widen": self.widen}, settings)


@dataclass(frozen=True, eq=False)
class Reply:
    """A client's answer.

    Attributes:
        client: who.
        weights: the tensors asked for.
        class_counts: LongTensor (classes), the client's training samples of each class.
        metrics: numbers beside: samples, samples_seen, epochs, loss.
        name: the ask's; says which exchange is answered.
    """

    client: int
    weights: Mapping[str, Tensor]
    class_counts: Tensor
    metrics: Metrics
    name: tuple[str | int, ...] = ()

    @cached_property
    def bytes(self) -> int:
        """Length of the serialised message."""
        settings = {"name": self.name, "metrics": dict(self.metrics)}
        return size({"weights": self.weights, "": {"class_counts": self.class_counts}}, settings)


def size(arrays: Mapping[str, Mapping[str, Tensor]], settings: Mapping[str, Any]) -> int:
    """The length of these as a safetensors file, tensors named part/name and settings as JSON in its header.

    Nothing is serialised but the header: 8 bytes that hold its length, the header, filled up to a multiple of 8, and
    the tensors' data.

    Source: the safetensors format, https://github.com/huggingface/safetensors; tensors are sorted by dtype and name.
    """
    flat = {f"{part}/{name}": tensor for part, named in arrays.items() for name, tensor in named.items()}
    header: dict[str, Any] = {"__metadata__": {"settings": json.dumps(settings)}}
    order, end = list(_CODES), 0
    for name, tensor in sorted(flat.items(), key=lambda named: (order.index(named[1].dtype), named[0])):
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8 + end

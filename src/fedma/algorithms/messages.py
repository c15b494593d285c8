"""What a server asks of a client, and what the client answers.

Both are values with an exact serialised form (safetensors with the settings as JSON in its header), so that every
engine delivers the same thing and bytes are counted in one place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from safetensors.torch import save
from torch import Tensor

Metrics = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Ask:
    """Work for one client. It does these things, in this order, to the weights that it holds:

    1. `widen`: move them to the places of their slots in wider groups;
    2. `weights`: replace these tensors;
    3. `narrow`: take its own sub-network out of the wide weights;
    4. train by `schedule`, with the tensors named in `frozen` held;
    5. answer with the tensors named in `send`.

    Attributes:
        client: who.
        name: names the training for its random numbers, such as ("round", 1, "step", 2).
        weights: global tensors.
        widen: per group, unit → slot.
        widths: the groups' widths in the wide model.
        narrow: per group, own unit → slot.
        schedule: fields of `fedma.training.Schedule`.
        frozen: names of tensors that are not trained.
        send: names of tensors to answer with.
    """

    client: int
    name: tuple[str | int, ...] = ()
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    widen: Mapping[str, Tensor] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    narrow: Mapping[str, Tensor] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    send: tuple[str, ...] = ()

    @cached_property
    def bytes(self) -> int:
        """Length of the serialised message."""
        settings = {
            "name": self.name,
            "widths": self.widths,
            "schedule": self.schedule,
            "frozen": self.frozen,
            "send": self.send,
        }
        arrays = {"weights": self.weights, "widen": self.widen, "narrow": self.narrow}
        return len(_serialised(arrays, settings))


@dataclass(frozen=True, eq=False)
class Reply:
    """A client's answer.

    Attributes:
        client: who.
        weights: the tensors asked for.
        class_counts: LongTensor (classes), the client's training samples of each class.
        metrics: numbers beside: samples, samples_seen, epochs, loss.
    """

    client: int
    weights: Mapping[str, Tensor]
    class_counts: Tensor
    metrics: Metrics

    @cached_property
    def bytes(self) -> int:
        """Length of the serialised message."""
        return len(_serialised({"weights": self.weights, "": {"class_counts": self.class_counts}}, dict(self.metrics)))


def _serialised(arrays: Mapping[str, Mapping[str, Tensor]], settings: Mapping[str, Any]) -> bytes:
    flat = {f"{part}/{name}": tensor.contiguous() for part, named in arrays.items() for name, tensor in named.items()}
    return save(flat, metadata={"settings": json.dumps(settings)})

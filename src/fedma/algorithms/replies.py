"""Replies before they are used: which of them are what was asked for, and what is wrong with the others.

Nothing that a client sends is believed: whatever a reply holds, it is found good or refused by name.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fedma.algorithms.messages import Ask, Reply
from fedma.errors import ReplyError
from fedma.units import UnitGraph, Weights
from fedma.units import weights as weights_of
from fedma.units.layout import Widths

FaultKind = Literal[
    "not asked", "replayed", "duplicate", "names", "shape", "type", "values", "class counts", "metrics", "size", "norm"
]

_TOO_LONG = 30
_SPARE = 4096
"""Bytes that the metrics of a reply may take."""
_MOST = 2**53
"""Whole numbers up to here are exact as floats."""


@dataclass(frozen=True, eq=False)
class Expected:
    """What the server knows of every right reply.

    Attributes:
        graph: the model's unit graph.
        dtypes: of its tensors, by name.
        classes: number of classes.
    """

    graph: UnitGraph
    dtypes: Mapping[str, torch.dtype]
    classes: int

    @classmethod
    def of(cls, template: nn.Module, graph: UnitGraph, *, classes: int) -> "Expected":
        """What correct replies look like, in a federation with models like this one."""
        return cls(graph, {name: tensor.dtype for name, tensor in weights_of(template).items()}, classes)

    def parameters(self, widths: Widths) -> int:
        """How many a client's model of these widths has, running statistics included."""
        floating = [name for name, dtype in self.dtypes.items() if dtype.is_floating_point]
        return sum(math.prod(self.graph.shape(name, {**self.graph.widths, **widths})) for name in floating)

    def reply(self, ask: Ask) -> Reply:
        """What a right reply to this ask is like: its tensors have shapes and types, but no values (device "meta")."""
        weights = {
            name: torch.empty(self.graph.shape(name, ask.widths), dtype=self.dtypes[name], device="meta")
            for name in ask.send
        }
        counts = torch.empty(self.classes, dtype=torch.int64, device="meta")
        return Reply(ask.client, weights, counts, {}, ask.name)

    def most_bytes(self, ask: Ask) -> int:
        """The longest message that a right reply to this ask can be; longer ones need not be read."""
        return self.reply(ask).bytes + _SPARE


def parameters(models: Sequence[Weights]) -> int:
    """How many these models have, all together, running statistics included."""
    return sum(tensor.numel() for own in models for tensor in own.values() if tensor.is_floating_point())


@dataclass(frozen=True)
class Fault:
    """A reply that was refused: whose, what kind of fault, and all that is known of it."""

    client: int
    kind: FaultKind
    found: str

    def __str__(self) -> str:
        return f"client {self.client} {self.found}"


def sift(asks: Sequence[Ask], replies: Sequence[Reply], expected: Expected) -> tuple[list[Reply], list[Fault]]:
    """The replies that can be used, in the order of the asks, and what is wrong with the others.

    If a client sends several good replies, the first counts. A client that has not replied has no fault.

    A reply is refused if its parameters, or its running statistics, are more than 30 times as large as the median
    client's (root mean square): it would outweigh all others. `fedma.matching.bad_clients` has the same rule for units.
    The bound grows with the samples that a client has seen, relative to the median client. Weights that start at zero
    grow with training.
    """
    asked = {ask.client: ask for ask in asks}
    good: dict[int, Reply] = {}
    faults: list[Fault] = []
    for reply in replies:
        fault = fault_in(reply, asked.get(reply.client), expected)
        if fault is None and reply.client in good:
            fault = Fault(reply.client, "duplicate", "answered twice; the first answer counts")
        if fault is None:
            good[reply.client] = reply
        else:
            faults.append(fault)
    far = out_of_line(list(good.values()), expected.graph)
    bad = {fault.client for fault in far}
    return [good[ask.client] for ask in asks if ask.client in good and ask.client not in bad], [*faults, *far]


def check(asks: Sequence[Ask], replies: Sequence[Reply], expected: Expected) -> None:
    """Refuse the replies of an exchange unless all that were asked for are there, and good.

    Raises:
        ReplyError: naming the clients and what is wrong with their replies.
    """
    good, faults = sift(asks, replies, expected)
    missing = {ask.client for ask in asks} - {reply.client for reply in (*good, *replies)}
    found = [*map(str, faults), *(f"client {client} did not answer" for client in sorted(missing))]
    if found:
        raise ReplyError("; ".join(found))


def check_models(models: Sequence[Weights]) -> None:
    """Refuse a global model, or several, that good replies led to.

    Raises:
        ReplyError: there are values that are not finite.
    """
    for name, tensor in (item for model in models for item in model.items()):
        if not _finite(tensor):
            raise ReplyError(
                f"the global model has {name!r} with values that are not finite, though no reply has: the server's "
                "own steps diverged; lower its learning rate (server_lr)"
            )


def _finite(tensor: Tensor) -> bool:
    # The sum is a tenth of the work, but finite values can have an infinite one.
    return bool(tensor.sum().isfinite() or tensor.isfinite().all())


def fault_in(reply: Reply, ask: Ask | None, expected: Expected) -> Fault | None:
    """The first thing that is wrong with a reply by itself; None if it is good. `ask` is None if nothing was asked."""
    if ask is None:
        return Fault(reply.client, "not asked", "answered without having been asked")
    for kind, test in _TESTS.items():
        if found := test(reply, ask, expected):
            return Fault(reply.client, kind, found)
    return None


def _replayed(reply: Reply, ask: Ask, expected: Expected) -> str | None:
    if reply.name == ask.name:
        return None
    return f"answered another exchange, {_short(reply.name)}, instead of {ask.name}: an old message, or sent again"


def _names(reply: Reply, ask: Ask, expected: Expected) -> str | None:
    sent = set(reply.weights) if isinstance(reply.weights, Mapping) else set()
    odd = sorted(map(repr, sent ^ set(ask.send)))
    if not odd:
        return None
    return f"was asked for {len(ask.send)} tensors; missing or uncalled for: {_short(', '.join(odd))}"


def _types(reply: Reply, ask: Ask, expected: Expected) -> str | None:
    for name, tensor in reply.weights.items():
        if not _plain(tensor):
            return f"sent no plain tensor as {name!r}, but {_short(type(tensor).__name__)}"
        if tensor.dtype != expected.dtypes[name]:
            return f"sent {name!r} as {tensor.dtype} where {expected.dtypes[name]} was expected"
    return None


def _shapes(reply: Reply, ask: Ask, expected: Expected) -> str | None:
    for name, wanted in expected.reply(ask).weights.items():
        if reply.weights[name].shape != wanted.shape:
            found = tuple(reply.weights[name].shape)
            return f"sent {name!r} in shape {found} where {tuple(wanted.shape)} was expected"
    return None


def _values(reply: Reply, ask: Ask, expected: Expected) -> str | None:
    for name, tensor in reply.weights.items():
        if not _finite(tensor):
            return (
                f"sent {name!r} with values that are not finite: its training diverged; "
                "lower the learning rate (lr), or look at its data"
            )
        if name in expected.graph.variances and bool((tensor < 0).any()):
            return f"sent {name!r}, running variances, with values below zero"
    return None


def _class_counts(reply: Reply, ask: Ask, expected: Expected) -> str | None:
    counts = reply.class_counts
    if not _plain(counts) or counts.dtype != torch.int64 or counts.shape != (expected.classes,):
        kind = f"{counts.dtype} of shape {tuple(counts.shape)}" if _plain(counts) else type(counts).__name__
        return f"sent class counts as {_short(kind)} instead of {expected.classes} whole numbers (int64)"
    found = counts.tolist()
    if min(found) < 0 or sum(found) == 0:
        return f"sent class counts of which {'one is below' if min(found) < 0 else 'all are'} zero"
    return None


def _metrics(reply: Reply, ask: Ask, expected: Expected) -> str | None:
    metrics = reply.metrics if isinstance(reply.metrics, Mapping) else {}
    for name in ("samples", "samples_seen", "epochs"):
        if name not in metrics:
            return f"sent no {name!r} among its metrics"
        if not _number(metrics[name]) or not 0 <= metrics[name] <= _MOST:
            return f"sent {_short(metrics[name])} as {name!r} where a count was expected"
    if metrics["samples"] != (total := sum(reply.class_counts.tolist())):
        return f"says that it has {metrics['samples']} samples, but {total} by its class counts"
    loss = metrics.get("loss", 0.0)
    if not _number(loss) or not (math.isfinite(loss) or metrics["samples_seen"] == 0):
        return f"sent {_short(loss)} as its loss"
    odd = [name for name, value in metrics.items() if not isinstance(name, str) or not _number(value)]
    return f"sent metrics that are no numbers: {_short(odd)}" if odd else None


def _size(reply: Reply, ask: Ask, expected: Expected) -> str | None:
    if reply.bytes <= (most := expected.most_bytes(ask)):
        return None
    return f"sent a message of {reply.bytes} bytes where at most {most} were expected"


_TESTS: Mapping[FaultKind, Callable[[Reply, Ask, Expected], str | None]] = {
    "replayed": _replayed,
    "names": _names,
    "type": _types,
    "shape": _shapes,
    "values": _values,
    "class counts": _class_counts,
    "metrics": _metrics,
    "size": _size,
}
"""In this order: each may rely on those before it."""


def out_of_line(replies: Sequence[Reply], graph: UnitGraph) -> list[Fault]:
    """The faults of replies whose parameters or running statistics are far larger than the median client's."""
    seen = {reply.client: reply.metrics["samples_seen"] for reply in replies}
    longer = {
        client: max(1.0, samples / (usual(list(seen.values())) or samples or 1)) for client, samples in seen.items()
    }
    faults: dict[int, Fault] = {}
    for what, chosen in (("parameters", False), ("running statistics", True)):
        sizes = {
            reply.client: root_mean_square(
                [t for n, t in reply.weights.items() if (n in graph.statistics_names) == chosen]
            )
            for reply in replies
        }
        middle = usual(list(sizes.values()))
        for client, size in sizes.items():
            if size > _TOO_LONG * middle * longer[client] > 0:
                found = f"sent {what} of size {size:.3g} (root mean square) where the median client's is {middle:.3g}"
                faults.setdefault(client, Fault(client, "norm", f"{found}: its training diverged, or it lies"))
    return list(faults.values())


def root_mean_square(tensors: Sequence[Tensor]) -> float:
    """The root mean square of all floating values together; 0 if there are no such values."""
    floating = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
    count = sum(tensor.numel() for tensor in floating)
    return math.hypot(*map(_length, floating)) / math.sqrt(count) if count else 0.0


def _length(tensor: Tensor) -> float:
    """Euclidean, in the tensor's own precision where its squares are neither too large nor too small for that."""
    length = float(torch.linalg.vector_norm(tensor))
    return length if 1e-15 < length < 1e15 else float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def usual(sizes: Sequence[float]) -> float:
    """The median size, the smaller of two in the middle; 0 without sizes."""
    return sorted(sizes)[(len(sizes) - 1) // 2] if sizes else 0.0


def _plain(value: object) -> bool:
    """Whether it is a tensor with values in memory, one after the other."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(value: object) -> str:
    """The beginning of a client's reply, to be quoted in a message."""
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= 200 else f"{text[:200]}..."

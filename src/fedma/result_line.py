"""One line of `results.jsonl`: what is written of a model that was evaluated, and what reports read."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from fedma.methods import label

OPTIONAL = (
    "owners",
    "client_accuracy",
    "client_bytes_up",
    "client_bytes_down",
    "own_accuracy",
    "metrics",
    "epsilon",
    "delta",
)
"""Fields that a line may lack."""

DIVERGED = "diverged"
"""The event of a method that ended before its last round, while others went on: `method`, `round`, `why`."""


@dataclass(frozen=True)
class ResultLine:
    """A method's model on the test split after a round.

    Attributes:
        method: as in the settings, in small letters.
        round: rounds finished.
        accuracy: share of the test split, 0 to 1; nan for a task that measures none (null in the file).
        loss: mean over the test split, if it was measured; in nats where it is a likelihood.
        bytes_up: from all clients together, since the start.
        bytes_down: to all clients together, since the start.
        clients: how many took part in the last exchange.
        local_epochs: of a client that takes part in every exchange, since the start.
        samples_seen: by all clients together, since the start.
        parameters: of the global model.
        client_parameters: of one client's model, on average.
        widths: of each unit group, the widest client's and the global model's.
        seconds: since the method started.
        final: whether it is the method's last line.
        owners: of each unit group that was matched, how many slots have one owner, two, and so on.
        client_accuracy: for each client, on test samples weighted by its own class proportions: of its own model for
            `local`, else of the global one; None if it cannot be estimated. Only in the final line.
        client_bytes_up: from each client, since the start. Only in the final line of a method that sends something.
        client_bytes_down: to each client, in the same lines.
        own_accuracy: of each client's own model, on the test split; only for `local`.
        metrics: what else the task measures, by name, and further metrics: numbers, or nested lists of them.
        epsilon: privacy loss so far, if clients hide what they send; None if it is infinite.
        delta: the delta at which `epsilon` holds.
    """

    method: str
    round: int
    accuracy: float
    loss: float | None
    bytes_up: int
    bytes_down: int
    clients: int
    local_epochs: float
    samples_seen: int
    parameters: float
    client_parameters: float
    widths: Mapping[str, Any]
    seconds: float
    final: bool
    owners: Mapping[str, Sequence[int]] = field(default_factory=dict)
    client_accuracy: Sequence[float | None] = ()
    client_bytes_up: Sequence[int] = ()
    client_bytes_down: Sequence[int] = ()
    own_accuracy: Sequence[float] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float | None = None
    delta: float | None = None

    @property
    def megabytes(self) -> float:
        """Both ways together; one megabyte is 10^6 bytes."""
        return (self.bytes_up + self.bytes_down) / 1e6

    @property
    def growth(self) -> float:
        """Parameters of the global model for each of a client's."""
        return self.parameters / self.client_parameters

    @property
    def name(self) -> str:
        """The method's label."""
        return label(self.method) or self.method

    def value(self, metric: str) -> float | None:
        """A metric of this line, such as `accuracy`; None where it was not measured."""
        found = getattr(self, metric) if metric in ("accuracy", "loss") else self.metrics.get(metric)
        return found if isinstance(found, (int, float)) and not math.isnan(found) else None

    def to_dict(self, optional: Collection[str] = OPTIONAL[:-2]) -> dict[str, Any]:
        """The line as plain values.

        Args:
            optional: which of the `OPTIONAL` fields to include.
        """
        names = [own.name for own in fields(self) if own.name not in OPTIONAL or own.name in optional]
        values = {name: getattr(self, name) for name in names}
        return values | ({"accuracy": None} if math.isnan(self.accuracy) else {})


def diverged(lines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The methods that these lines of results say have diverged, each with the reason."""
    return {line["method"]: line["why"] for line in lines if line.get("event") == DIVERGED}

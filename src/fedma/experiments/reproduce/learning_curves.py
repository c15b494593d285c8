"""Accuracy against rounds, bytes and local epochs (the paper's figure 2): the same lines for every task.

Learning rate and local epochs are tuned for each method on the same grid. FedAvg and FedProx start from common initial
weights, as is usual, and, as further lines, from independent ones, as FedMA does; the optimisers at the server take
FedAvg's tuned settings and tune their own learning rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fedma.experiments.reproduce.cell import Cell, Cells, Chosen, Experiment, Scale, cell
from fedma.experiments.settings import MethodName, Settings
from fedma.report import LearningCurves

TUNED: dict[str, MethodName] = {"FedMA": "fedma", "FedAvg": "fedavg", "FedProx": "fedprox"}
SERVERS: dict[str, MethodName] = {"FedAvgM": "fedavgm", "FedAdam": "fedadam"}
SERVER_LR: Mapping[str, Sequence[float]] = {"FedAvgM": (0.3, 1.0), "FedAdam": (0.003, 0.01)}
"""Of FedAvgM and FedAdam, to choose from."""


@dataclass(frozen=True)
class CurveSetup:
    """A data set with a model, at one scale.

    Attributes:
        base: settings that all lines share; `rounds` holds for all methods but FedMA.
        fedma_rounds: FedMA's rounds, which are fewer: it trains several times in each.
        lr: learning rates to choose from.
        local_epochs: local epochs to choose from.
        fedma: FedMA's own settings that are not tuned.
        tuning: settings that differ while tuning, such as the number of samples.
        ablations: further lines of FedMA: its tuned settings with these changes.
        server_lr: learning rates of the servers with an optimiser, to choose from.
        apart: whether FedAvg and FedProx from independent initial weights are further lines.
    """

    base: Settings
    fedma_rounds: int
    lr: tuple[float, ...]
    local_epochs: tuple[int, ...]
    fedma: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)
    ablations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    server_lr: Mapping[str, Sequence[float]] = field(default_factory=lambda: SERVER_LR)
    apart: bool = True

    def rounds(self, method: MethodName, *, tuning: bool) -> int:
        """How many; half of them while tuning."""
        rounds = self.fedma_rounds if method == "fedma" else self.base.rounds
        return -(-rounds // 2) if tuning else rounds


def learning_curves(title: str, scales: Mapping[Scale, CurveSetup], **more: Any) -> Experiment:
    """The experiment of a task at its scales."""
    stages: tuple[Cells, ...] = (partial(_grid, scales), partial(_servers, scales))
    return Experiment(title, partial(_cells, scales), LearningCurves(), stages, scales=tuple(scales), **more)


def _grid(scales: Mapping[Scale, CurveSetup], scale: Scale, chosen: Chosen) -> list[Cell]:
    """Learning rate and local epochs, for each method."""
    task = scales[scale]
    base = replace(task.base, **task.tuning)
    return [
        cell(line, method, base, x=f"lr {lr:g}, {epochs} local epochs", lr=lr, local_epochs=epochs,
             rounds=task.rounds(method, tuning=True), **(task.fedma if method == "fedma" else {}))
        for line, method in TUNED.items() for lr in task.lr for epochs in task.local_epochs
    ]  # fmt: skip


def _servers(scales: Mapping[Scale, CurveSetup], scale: Scale, chosen: Chosen) -> list[Cell]:
    """The server's learning rate, at FedAvg's settings."""
    task = scales[scale]
    rounds = task.rounds("fedavg", tuning=True)
    return [
        cell(line, method, chosen["FedAvg"], x=f"server lr {lr:g}", server_lr=lr, rounds=rounds)
        for line, method in SERVERS.items()
        for lr in task.server_lr[line]
    ]


def _cells(scales: Mapping[Scale, CurveSetup], scale: Scale, chosen: Chosen) -> list[Cell]:
    task = scales[scale]
    given = {name: getattr(task.base, name) for name in task.tuning}
    tuned = {
        line: replace(own, rounds=task.rounds(own.method[0], tuning=False), **given) for line, own in chosen.items()
    }
    return [
        *(Cell(line, tuned[line]) for line in (*TUNED, *SERVERS)),
        *(
            Cell(f"{line}, independent start", replace(tuned[line], init="independent"))
            for line in ("FedAvg", "FedProx")
            if task.apart
        ),
        cell("Ensemble", "ensemble", tuned["FedMA"], init="auto"),
        # Without averages in between, the highest learning rate that they stand is often too high.
        cell("Pooled", "pooled", tuned["FedAvg"], lr=min(task.lr)),
        *(Cell(line, replace(tuned["FedMA"], **changes)) for line, changes in task.ablations.items()),
    ]

"""What FedMA's options are worth on MNIST with LeNet: one change at a time from the defaults, at equal training."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedma.experiments.reproduce.cell import Cell, Chosen, Experiment, Scale
from fedma.experiments.reproduce.mnist_lenet import SCALES
from fedma.report import LearningCurves

ROUNDS = 3
IMAGES: dict[Scale, int | None] = {"small": 4000, "paper": None}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "FedMA": {},
    "growth up to 1.2": {"max_growth": 1.2},
    "no growth": {"grow": False},
    "reference constants": {"hyper": "reference"},
    "common start": {"init": "common"},
    "common start, no growth": {"init": "common", "grow": False},
    "retraining 2 epochs, output layer 6": {"retrain_epochs": 2, "output_epochs": 6},
    "output layer at the full learning rate": {"output_lr": 0.03, "output_epochs": 5},
    "learning rate 0.01": {"lr": 0.01},
    "later rounds from the whole global model": {"later": "global"},
    "later rounds match what drifted": {"rematch": "drift"},
    "later rounds average alone": {"rematch": "never"},
    "two layers an exchange": {"steps_per_exchange": 2},
}
"""From FedMA's defaults."""


def _cells(scale: Scale, chosen: Chosen) -> list[Cell]:
    task = SCALES[scale]
    base = replace(task.base, method=("fedma",), rounds=ROUNDS, lr=0.03, local_epochs=5, limit=IMAGES[scale])
    return [Cell(line, replace(base, **changes)) for line, changes in CHANGES.items()]


ABLATION = Experiment("FedMA's options: MNIST, LeNet, 5 clients", _cells, LearningCurves())

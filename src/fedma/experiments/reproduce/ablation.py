"""What FedMA's options are worth on MNIST with LeNet: one change at a time from the defaults, at equal training."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedma.experiments.reproduce.cell import Cell, Chosen, Experiment, Scale
from fedma.experiments.reproduce.mnist_lenet import SCALES
from fedma.experiments.settings import Settings
from fedma.report import Course

ROUNDS = 3
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "FedMA": {},
    "growth up to 1.2": {"max_growth": 1.2},
    "no growth": {"grow": False},
    "reference constants": {"hyper": "reference"},
    "common start": {"init": "common"},
    "retraining 1 epoch": {"retrain_epochs": 1, "output_epochs": 15},
    "output layer 5 epochs": {"output_epochs": 5},
    "output layer at the full learning rate": {"output_lr": 0.03, "output_epochs": 5},
}
"""From FedMA's defaults; the learning rate and local epochs are those that tuning chose for mnist-lenet."""


def _cells(scale: Scale, chosen: Chosen) -> list[Cell]:
    task = SCALES[scale]
    base: Settings = replace(task.base, method=("fedma",), rounds=ROUNDS, lr=0.03, local_epochs=5)
    return [Cell(line, replace(base, **changes)) for line, changes in CHANGES.items()]


ABLATION = Experiment("FedMA's options: MNIST, LeNet, 5 clients", _cells, Course(), seeds=(0,))

"""MNIST, LeNet, five clients, the paper's Dirichlet division with alpha 0.5."""

from dataclasses import replace

from fedma.experiments.reproduce.cell import Scale
from fedma.experiments.reproduce.learning_curves import CurveSetup, learning_curves
from fedma.experiments.settings import Settings

_BASE = Settings(data="mnist", model="lenet", clients=5, partition="dirichlet-paper", alpha=0.5)

SCALES: dict[Scale, CurveSetup] = {
    "small": CurveSetup(
        replace(_BASE, rounds=10, batch_size=32, limit=30_000, test_limit=5000),
        fedma_rounds=5,
        lr=(0.01, 0.03),
        local_epochs=(5, 10),
        fedma={"grow": False},
        tuning={"limit": 10_000},
    ),
    "paper": CurveSetup(
        replace(_BASE, rounds=30, batch_size=64),
        fedma_rounds=18,
        lr=(0.003, 0.01, 0.03),
        local_epochs=(5, 10, 20),
        ablations={"FedMA, no growth": {"grow": False}, "FedMA, reference constants": {"hyper": "reference"}},
    ),
}
MNIST_LENET = learning_curves("MNIST, LeNet, 5 clients", SCALES, seeds=(0,))

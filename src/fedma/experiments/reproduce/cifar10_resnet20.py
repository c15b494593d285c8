"""One round on a residual network with batch normalisation: CIFAR-10, ResNet-20, one-shot fusion beside it.

FedMA's round sends about as many bytes as one of FedAvg (6 % more), which is also given as many local epochs.
"""

from dataclasses import replace

from fedma.experiments.reproduce.cell import Cell, Chosen, Experiment, Scale, cell
from fedma.experiments.settings import Settings
from fedma.report import LearningCurves

_BASE = Settings(data="cifar10", model="resnet20", clients=4, partition="dirichlet-paper", alpha=0.5, lr=0.05)
SCALES: dict[Scale, Settings] = {
    "small": replace(_BASE, limit=4000, test_limit=4000, retrain_epochs=3, output_epochs=6, precision="bf16"),
    "paper": replace(_BASE, clients=16, local_epochs=10, batch_size=64, augment=True),
}
TRAINED: dict[Scale, int] = {"small": 44, "paper": 150}
"""Local epochs of FedMA's round: in the first exchange, in eleven more, and for the output layer."""


def _cells(scale: Scale, chosen: Chosen) -> list[Cell]:
    base = SCALES[scale]
    return [
        cell("FedMA", "fedma", base, init="common", grow=False),
        cell("FedMA, independent start", "fedma", base, grow=False),
        cell("FedAvg", "fedavg", base),
        cell("FedAvg, learning rate 0.01", "fedavg", base, lr=0.01),
        cell("FedAvg, as many local epochs", "fedavg", base, local_epochs=TRAINED[scale]),
        cell("FedAvg, independent start", "fedavg", base, init="independent"),
        cell("One-shot matching", "pfnm", base),
        cell("One-shot matching, common start", "pfnm", base, init="common", grow=False),
        cell("Ensemble", "ensemble", base),
        cell("Pooled", "pooled", base),
    ]


CIFAR10_RESNET20 = Experiment("One round: CIFAR-10, ResNet-20, 4 clients", _cells, LearningCurves())

"""The effect of the number of local epochs on FedAvg, FedProx and FedMA (the paper's figure 3), at equal bytes."""

from dataclasses import replace

from fedma.experiments.reproduce.cell import Cell, Chosen, Experiment, Scale, cell
from fedma.experiments.settings import MethodName, Settings
from fedma.report import Ends

LINES: dict[str, MethodName] = {"FedMA": "fedma", "FedAvg": "fedavg", "FedProx": "fedprox"}

_BASE = Settings(data="cifar10", partition="dirichlet-paper", alpha=0.5)
SCALES: dict[Scale, Settings] = {
    "small": replace(_BASE, model="lenet", clients=8, limit=4000, test_limit=4000, rounds=4, lr=0.01, batch_size=32),
    "paper": replace(_BASE, model="vgg9", clients=16, rounds=10, lr=0.01, batch_size=64, augment=True),
}
EPOCHS: dict[Scale, tuple[int, ...]] = {"small": (1, 5, 10, 20), "paper": (10, 20, 50, 70, 100, 150)}
FEDMA_ROUNDS: dict[Scale, int] = {"small": 2, "paper": 6}
"""A round of FedMA sends about twice as much as one of the others."""


def _cells(scale: Scale, chosen: Chosen) -> list[Cell]:
    base = SCALES[scale]
    return [
        cell(line, method, base, x=epochs, local_epochs=epochs,
             rounds=FEDMA_ROUNDS[scale] if method == "fedma" else base.rounds)
        for line, method in LINES.items() for epochs in EPOCHS[scale]
    ]  # fmt: skip


LOCAL_EPOCHS = Experiment("Local epochs: CIFAR-10", _cells, Ends("local epochs of a round"))

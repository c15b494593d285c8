"""Data efficiency (the paper's figure 6): accuracy as clients join, each with data of its own kind.

The data are divided once, among as many clients as there are in the end; the first 2, 4, 8 … take part.
"""

from dataclasses import replace

from fedma.data import Dataset, load, partition
from fedma.experiments.reproduce.cell import Cell, Chosen, Experiment, Scale
from fedma.experiments.reproduce.cifar10 import base, with_method
from fedma.experiments.settings import MethodName, Settings
from fedma.report import Ends

LINES: dict[str, MethodName] = {
    "FedMA": "fedma",
    "FedAvg": "fedavg",
    "FedProx": "fedprox",
    "Ensemble": "ensemble",
    "Pooled": "pooled",
}
CLIENTS = (2, 4, 8, 16)
IMAGES = 8000
"""At the small scale."""


def _cells(scale: Scale, chosen: Chosen) -> list[Cell]:
    return [
        Cell(line, with_method(base(scale, limit=IMAGES, clients=clients), method, scale), clients, dataset)
        for line, method in LINES.items()
        for clients in CLIENTS
    ]


def dataset(settings: Settings) -> Dataset:
    """The samples of the first clients, whose owners are the clients."""
    whole = load(settings.data, seed=settings.seed, limit=settings.limit, test_limit=settings.test_limit)
    everyone = partition(whole.train, max(CLIENTS), scheme="dirichlet-paper", alpha=settings.alpha, seed=settings.seed)
    parts = everyone[: settings.clients]
    owners = tuple(str(client) for client, part in enumerate(parts) for _ in part)
    rows = [row for part in parts for row in part.tolist()]
    return replace(whole, train=replace(whole.train.select(rows), owners=owners))


DATA_EFFICIENCY = Experiment("Data efficiency: CIFAR-10, clients that join", _cells, Ends("clients"))

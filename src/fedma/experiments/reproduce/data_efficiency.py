"""Data efficiency (the paper's figure 6): accuracy as clients join, each with data of its own kind.

The data are divided once, among as many clients as there are in the end; the first 2, 4, 8 … take part.
"""

from dataclasses import replace

from fedma.data import Dataset, load, partition
from fedma.experiments.reproduce.cell import Cell, Chosen, Experiment, Scale
from fedma.experiments.settings import Method, Settings
from fedma.report import Ends

LINES: dict[str, Method] = {
    "FedMA": "fedma",
    "FedAvg": "fedavg",
    "FedProx": "fedprox",
    "Ensemble": "ensemble",
    "Pooled": "pooled",
}
CLIENTS = (2, 4, 8, 16)

_BASE = Settings(data="cifar10", partition="natural")
SCALES: dict[Scale, Settings] = {
    "small": replace(
        _BASE, model="lenet", limit=8000, test_limit=4000, rounds=6, local_epochs=5, lr=0.01, batch_size=32
    ),
    "paper": replace(_BASE, model="vgg9", rounds=20, local_epochs=10, lr=0.01, batch_size=64, augment=True),
}
FEDMA_ROUNDS: dict[Scale, int] = {"small": 3, "paper": 12}


def _cells(scale: Scale, chosen: Chosen) -> list[Cell]:
    base = SCALES[scale]
    rounds = {"fedma": FEDMA_ROUNDS[scale], "ensemble": 1}
    return [
        Cell(
            line,
            replace(base, method=(method,), clients=clients, rounds=rounds.get(method, base.rounds)),
            clients,
            dataset,
        )
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

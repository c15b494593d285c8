"""How much wider the global model gets with the number of clients and their heterogeneity, one round of FedMA."""

from dataclasses import replace

from fedma.experiments.reproduce.cell import Cell, Chosen, Experiment, Scale, cell
from fedma.experiments.settings import Settings
from fedma.report import Ends

ALPHAS = (0.1, 0.5, 100.0)
CLIENTS = (2, 4, 8, 16)
MAX_GROWTH = 4.0
"""Far above the default bound, which most groups would reach."""

_BASE = Settings(data="mnist", model="lenet", partition="dirichlet-paper", max_growth=MAX_GROWTH)
SCALES: dict[Scale, Settings] = {
    "small": replace(_BASE, limit=6000, test_limit=2000, local_epochs=5, retrain_epochs=2, output_epochs=2),
    "paper": replace(_BASE, model="vgg9", data="cifar10", local_epochs=20, batch_size=64),
}


def _cells(scale: Scale, chosen: Chosen) -> list[Cell]:
    return [
        cell(f"alpha {alpha:g}", "fedma", SCALES[scale], x=clients, alpha=alpha, clients=clients)
        for alpha in ALPHAS
        for clients in CLIENTS
    ]


GROWTH = Experiment("Growth with clients and heterogeneity, one round", _cells, Ends("clients", value="growth"))

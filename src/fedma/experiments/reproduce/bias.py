"""Data bias (the paper's figure 4): colour tells the class in training, and not in the test.

Two clients have one domain each, or the classes that one domain dominates. They are compared with training on all the
skewed data, on balanced data and on oversampled data.
"""

from dataclasses import replace
from functools import partial
from typing import Literal

import torch

from fedma.data import Dataset, load
from fedma.data.bias import oversampled, skewed_shares, with_grey
from fedma.experiments.reproduce.cell import Cell, Chosen, Experiment, Scale
from fedma.experiments.reproduce.cifar10 import base, with_method
from fedma.experiments.settings import MethodName, Settings
from fedma.report import Ends

Mixture = Literal["skewed", "balanced", "oversampled"]
SPLITS: dict[str, Literal["domain", "classes"]] = {"by domain": "domain", "by dominated classes": "classes"}
FEDERATED: dict[str, MethodName] = {"FedMA": "fedma", "FedAvg": "fedavg", "FedProx": "fedprox", "Ensemble": "ensemble"}

IMAGES = 6000
"""At the small scale."""


def _cells(scale: Scale, chosen: Chosen) -> list[Cell]:
    settings = base(scale, limit=IMAGES, clients=2)
    pooled = with_method(settings, "pooled", scale)
    return [
        *(
            Cell(line, with_method(settings, method, scale), x, partial(dataset, owners=owners))
            for line, method in FEDERATED.items()
            for x, owners in SPLITS.items()
        ),
        Cell("All skewed data", pooled, data=dataset),
        Cell("Oversampling", pooled, data=partial(dataset, kind="oversampled")),
        Cell("Colour-balanced", pooled, data=partial(dataset, kind="balanced")),
        Cell("No bias", replace(pooled, partition="iid")),
    ]


def dataset(
    settings: Settings, *, kind: Mixture = "skewed", owners: Literal["domain", "classes"] = "domain"
) -> Dataset:
    """The data of a cell; images are drawn by the settings' seed."""
    colour = load(settings.data, seed=settings.seed, limit=settings.limit, test_limit=settings.test_limit)
    shares = skewed_shares(len(colour.classes), seed=settings.seed)
    if kind == "balanced":
        shares = torch.full_like(shares, 0.5)
    made = with_grey(colour, shares, seed=settings.seed, owners=owners)
    return oversampled(made) if kind == "oversampled" else made


BIAS = Experiment("Data bias: CIFAR-10, partly greyscale, 2 clients", _cells, Ends("split of the clients"))

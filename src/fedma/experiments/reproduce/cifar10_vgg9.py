"""CIFAR-10, VGG-9, sixteen clients, the paper's Dirichlet division with alpha 0.5."""

from dataclasses import replace

from fedma.experiments.reproduce.learning_curves import CurveSetup, learning_curves
from fedma.experiments.settings import Settings

_BASE = Settings(data="cifar10", model="vgg9", clients=16, partition="dirichlet-paper", alpha=0.5)

CIFAR10_VGG9 = learning_curves(
    "CIFAR-10, VGG-9, 16 clients",
    {
        "small": CurveSetup(
            # Of batches of 16 or 32 a client has too few for the network to leave its first plateau.
            replace(_BASE, rounds=5, batch_size=8, limit=6000, test_limit=2000, precision="bf16"),
            fedma_rounds=3,
            # Nor has it enough to learn, from weights of its own, units that resemble another's.
            apart=False,
            fedma={"init": "common", "grow": False, "retrain_epochs": 2, "output_epochs": 6},
            lr=(0.01,),
            local_epochs=(5,),
            server_lr={"FedAvgM": (1.0,), "FedAdam": (0.01,)},
        ),
        "medium": CurveSetup(
            replace(_BASE, rounds=6, batch_size=64, precision="bf16"),
            fedma_rounds=4,
            fedma={"grow": False, "retrain_epochs": 3, "output_epochs": 5},
            lr=(0.01,),
            local_epochs=(5,),
            server_lr={"FedAvgM": (1.0,), "FedAdam": (0.003,)},
        ),
        "paper": CurveSetup(
            replace(_BASE, rounds=50, batch_size=64, augment=True),
            fedma_rounds=30,
            lr=(0.003, 0.01, 0.03),
            local_epochs=(10, 20, 50),
            ablations={"FedMA, no growth": {"grow": False}, "FedMA, reference constants": {"hyper": "reference"}},
        ),
    },
    seeds=(0,),
)

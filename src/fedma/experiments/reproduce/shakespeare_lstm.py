"""Shakespeare, the character LSTM, one speaking role a client."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedma.experiments.reproduce.learning_curves import CurveSetup, learning_curves
from fedma.experiments.settings import Settings

_BASE = Settings(data="shakespeare", model="char-lstm", partition="natural")
_FEDMA = {"init": "common", "grow": False}
"""Eight dimensions of an embedding, learnt apart on few windows, have next to nothing in common to match."""
_AT_ONCE = {"steps_per_exchange": 2, "output_epochs": 5, "recurrent": True}
"""Embedding and LSTM in one exchange: one after the other, a round has half as many epochs again, and overfits."""
_APART = {"FedMA, independent start": {"init": "auto"}}
_AS_PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "FedMA, layer by layer": {"steps_per_exchange": 1},
    "FedMA, by input weights": {"recurrent": False},
}

SHAKESPEARE_LSTM = learning_curves(
    "Shakespeare, LSTM, a role a client",
    {
        "small": CurveSetup(
            replace(_BASE, clients=8, rounds=8, batch_size=25, limit=1000, test_limit=1000, precision="bf16"),
            fedma_rounds=4,
            lr=(0.3, 0.8),
            local_epochs=(2, 5),
            fedma={**_FEDMA, **_AT_ONCE},
            ablations={**_AS_PUBLISHED, **_APART, "FedMA, growing": {"grow": True}},
            server_lr={"FedAvgM": (1.0,), "FedAdam": (0.01,)},
        ),
        "medium": CurveSetup(
            replace(_BASE, clients=66, rounds=6, batch_size=50, limit=400, test_limit=100),
            fedma_rounds=3,
            fedma={**_FEDMA, "retrain_epochs": 2, "output_epochs": 6},
            ablations={**_APART, "FedMA, embedding and LSTM at once": _AT_ONCE},
            lr=(0.8,),
            local_epochs=(5,),
            server_lr={"FedAvgM": (1.0,), "FedAdam": (0.01,)},
        ),
        "paper": CurveSetup(
            replace(_BASE, clients=66, rounds=30, batch_size=50),
            fedma_rounds=18,
            lr=(0.25, 0.5, 0.8),
            local_epochs=(2, 5, 10),
            fedma={**_FEDMA, **_AT_ONCE},
            ablations={
                **_AS_PUBLISHED,
                **_APART,
                "FedMA, growing": {"grow": True},
                "FedMA, reference constants": {"hyper": "reference", "recurrent": False},
            },
        ),
    },
    seeds=(0,),
)

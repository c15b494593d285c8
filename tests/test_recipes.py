"""The recipes of CONTRIBUTING for an algorithm, a model and an experiment, followed: they name all that is needed."""

from pathlib import Path

import pytest
import torch
from torch import nn

from algorithms.laws import LAWS, Case
from fedma.errors import InputError
from fedma.experiments.callback import SILENT
from fedma.experiments.reproduce import EXPERIMENTS, reproduce
from fedma.experiments.reproduce.cell import Experiment, cell
from fedma.experiments.run import run
from fedma.experiments.settings import Settings
from fedma.methods import METHODS, Method
from fedma.models import MODELS, build
from fedma.models.registry import Network
from fedma.report import Ends, read
from units.laws import Laws

TINY = Settings(model="mlp", clients=2, alpha=1.0, rounds=1, local_epochs=1, limit=100, test_limit=50, workers=1)

MEDIAN = '''
"""The coordinate-wise median of the clients' models."""

from dataclasses import dataclass

from fedma.algorithms import FedAvg
from fedma.algorithms.robust import Robust
from fedma.experiments.method_factories import MethodInputs, schedule


@dataclass(frozen=True)
class Median(FedAvg):
    robust: Robust = Robust(trim=0.5)


def make(inputs: MethodInputs) -> Median:
    return Median(inputs.graph, inputs.clients, schedule(inputs.settings), inputs.rounds, inputs.initial)
'''


def test_the_recipe_for_an_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "medians.py").write_text(MEDIAN)
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings(**{**vars(TINY), "method": ("median",), "clients": 3})
    with pytest.raises(InputError, match=r"method 'median' is not known.*known are fedma"):
        settings.check()
    METHODS.register(Method("median", "Median", "medians", "", "medians:make", averages=True, common_start=True))
    try:
        for law in LAWS:
            law(Case.of("median"))
        found = read(run(settings, tmp_path / "run", SILENT))
    finally:
        METHODS.remove("median")
    assert [line.method for line in found.evaluations] == ["median"]


def test_the_recipe_for_a_model() -> None:
    def wide(input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, classes))

    MODELS["nine"] = Network(wide)
    try:
        laws = Laws(build("nine", (1, 8, 8), 3, seed=0), torch.randn(4, 1, 8, 8))
        laws.permute(laws.graph())
    finally:
        del MODELS["nine"]


def test_the_recipe_for_an_experiment(tmp_path: Path) -> None:
    EXPERIMENTS["two-sizes"] = Experiment(
        "Two numbers of clients",
        lambda scale, chosen: [cell("FedAvg", "fedavg", TINY, x=count, clients=count) for count in (2, 3)],
        Ends("clients"),
        seeds=(0,),
    )
    try:
        files = reproduce("two-sizes", SILENT, out=tmp_path)
    finally:
        del EXPERIMENTS["two-sizes"]
    assert {path.name for path in files} >= {"results.jsonl", "table.md", "figure.png"}

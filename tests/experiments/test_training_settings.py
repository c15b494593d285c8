"""The settings of local training, in whole runs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fedma.errors import InputError
from fedma.experiments.run import resume, run
from fedma.experiments.settings import Settings
from fedma.models import build
from interrupting import Stop, contents

SETTINGS = Settings(
    model="mlp-8", method=("fedavg",), rounds=2, clients=2, alpha=1.0, local_epochs=1, limit=90, workers=1
)  # fmt: skip


def last(folder: Path) -> Any:
    return json.loads((folder / "results.jsonl").read_text().splitlines()[-1])


def frozen() -> nn.Module:
    """A model of which nothing can be trained."""
    return build("mlp-8", (1, 8, 8), 10, seed=0).requires_grad_(False)


def test_parts_of_an_epoch_and_steps_are_counted_and_resumed(tmp_path: Path) -> None:
    settings = replace(SETTINGS, local_epochs=0.5, batch_size=8, method=("fedma", "fedavg"), retrain_epochs=0.25)
    whole, folder = contents(run(settings, tmp_path / "whole")), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(settings, folder, Stop(reply=11))
    assert contents(resume(folder)) == whole
    assert last(folder)["local_epochs"] == 1
    steps = run(replace(SETTINGS, local_steps=3, batch_size=8), tmp_path / "steps")
    assert last(steps)["samples_seen"] == 2 * 2 * 3 * 8
    assert Settings(local_epochs=2.0) == Settings(local_epochs=2)
    assert type(Settings(local_epochs=2.0).local_epochs) is int


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "adamw", "weight_decay": 0.1}, {"lr_schedule": "cosine"}, {"warmup": 0.5}, {"clip_gradients": 1e-3},
     {"round_factor": 0.1}, {"round_schedule": "cosine"}, {"freeze": ("fc1.bias",)}],
)  # fmt: skip
def test_every_setting_reaches_the_clients(tmp_path: Path, changes: dict[str, Any]) -> None:
    small = replace(SETTINGS, batch_size=8)
    plain, changed = (
        load_file(run(own, tmp_path / name) / "models" / "fedavg.safetensors")
        for name, own in (("plain", small), ("changed", replace(small, **changes)))
    )
    assert any(not torch.equal(plain[name], changed[name]) for name in plain)


@pytest.mark.parametrize("method", ["fedavg", "pooled"])
def test_frozen_parameters_end_as_they_began(tmp_path: Path, method: str) -> None:
    folder = run(replace(SETTINGS, freeze=("fc1",), method=(method,)), tmp_path / "run")
    start = build("mlp-8", (1, 8, 8), 10, seed=0).state_dict()
    end = load_file(folder / "models" / f"{method}.safetensors")
    same = {name for name, tensor in end.items() if bool((tensor - start[name]).abs().max() < 1e-6)}
    assert same == {"fc1.weight", "fc1.bias"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"freeze": ("*",)}, "all 4 parameters are frozen"),
        ({"freeze": ("conv",)}, "no parameter is named like 'conv'"),
        ({"model": "experiments.test_training_settings:frozen"}, "all 4 parameters are frozen"),
        ({"local_epochs": 0}, "local_epochs must be positive"),
        ({"local_steps": 0}, "local_steps must be at least 1"),
        ({"optimizer": "lion"}, "optimizer 'lion' is not known; known are sgd, adam, adamw"),
        ({"lr_schedule": "step"}, "lr_schedule 'step' is not known"),
        ({"warmup": 1}, "warmup must be in"),
        ({"round_factor": 2}, "round_factor must be"),
        ({"clip_gradients": 0}, "clip_gradients must be positive"),
        ({"round_schedule": "cosine", "equal_bytes": True, "method": ("fedma",)}, "round_schedule: under equal_bytes"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run(replace(SETTINGS, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()

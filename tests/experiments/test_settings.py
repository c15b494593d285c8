"""Settings take the same values from Python as from a file: the right kinds, or one clear sentence."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedma.errors import InputError
from fedma.experiments.kinds import kind
from fedma.experiments.run import run
from fedma.experiments.settings import Settings, from_dict


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seed": (0, 1)}, r"settings: seed = \(0, 1\) should be int: a whole number; a run has one seed"),
        ({"seed": [1]}, "seed"),
        ({"seed": np.array([1])}, "seed"),
        ({"lr": "a"}, "lr = 'a' should be float: a number"),
        ({"lr": 1j}, "lr"),
        ({"lr": None}, "lr = None should be float"),
        ({"lr": 10**400}, "lr = 1000"),
        ({"clients": 2.5}, "clients = 2.5 should be int: a whole number"),
        ({"clients": np.float64(2)}, "clients"),
        ({"rounds": True}, "rounds = True should be int"),
        ({"alpha": False}, "alpha = False should be float"),
        ({"grow": 1}, "grow = 1 should be bool: True or False"),
        ({"grow": "no"}, "grow"),
        ({"model": lambda shape, classes: None}, "model = <function .* named by 'package.module:factory'"),
        ({"model": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))}, "model = Sequential.* should be str"),
        ({"data": b"digits"}, "data"),
        ({"natural": Path("owner")}, "natural"),
        ({"device": torch.device("cpu")}, "device = .* such as 'cuda:0'"),
        ({"method": {"fedavg"}}, "method = .* one or several of str"),
        ({"method": ("fedma", 3)}, r"method = \('fedma', 3\)"),
        ({"method": (("fedma",),)}, "method"),
        ({"widths": (1, "half")}, "widths"),
        ({"join": (3,)}, "join"),
    ],
)
def test_values_of_other_kinds_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Settings(**given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    with pytest.raises(InputError, match=r"file a\.toml"):
        from_dict(given, source="file a.toml")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"method": "fedavg"}, ("fedavg",)),
        ({"method": ["fedma", "fedavg"]}, ("fedma", "fedavg")),
        ({"join": "1:2"}, ("1:2",)),
        ({"widths": 1}, (1,)),
        ({"data": Path("some") / "folder"}, str(Path("some") / "folder")),
        ({"seed": np.int64(3)}, 3),
        ({"lr": np.float64(0.5)}, 0.5),
        ({"lr": torch.tensor(0.25)}, 0.25),
        ({"lr": 1}, 1),
        ({"grow": np.bool_(False)}, False),
        ({"limit": None}, None),
    ],
)
def test_natural_values_are_taken(given: dict[str, Any], wanted: object) -> None:
    ((name, _),) = given.items()
    found = getattr(Settings(**given), name)
    assert (type(found), found) == (type(wanted), wanted)


def test_every_default_is_of_its_own_kind() -> None:
    assert Settings() == from_dict({own.name: own.default for own in fields(Settings)}, source="defaults")
    assert kind(float | None).optional
    assert not kind(float).optional


def test_one_method_as_text_runs(tmp_path: Path) -> None:
    folder = run(Settings(model="mlp", method="fedavg", clients=2, limit=60, local_epochs=1), tmp_path / "run")  # type: ignore[arg-type]
    assert (folder / "models" / "fedavg.safetensors").exists()

"""Clients with little to learn from: one class, fewer samples than a batch, one sample; nothing to test on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedma.data import Dataset, Split, load, partition
from fedma.errors import InputError
from fedma.experiments.callback import Silent
from fedma.experiments.run import run
from fedma.experiments.settings import Settings
from fedma.models import build
from fedma.training import Schedule, fit

QUICK = Settings(
    model="mlp-20", method=("fedavg", "pfnm", "fedma", "ensemble"), local_epochs=1, output_epochs=1, lr=0.1, workers=1
)


def finals(folder: Path) -> dict[str, dict[str, float]]:
    """The last line of every method."""
    lines = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return {line["method"]: line for line in lines if line["final"]}


def test_clients_of_one_class_each(tmp_path: Path) -> None:
    """Each client alone can tell its own class only: together the ten of them are right once in ten, on average."""
    settings = replace(QUICK, partition="pathological", classes_per_client=1, clients=10, local_epochs=3)
    found = finals(run(settings, tmp_path / "run", Silent()))
    assert abs(found["local"]["accuracy"] - 0.1) < 0.01
    assert all(found[method]["loss"] is not None for method in ("fedavg", "pfnm", "fedma", "ensemble"))


def test_clients_with_fewer_samples_than_a_batch(tmp_path: Path) -> None:
    settings = replace(QUICK, partition="iid", clients=4, limit=48, batch_size=100)
    found = finals(run(settings, tmp_path / "run", Silent()))
    assert set(found) == {"fedavg", "pfnm", "fedma", "local", "ensemble"}


def test_too_few_samples_for_the_clients_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4 clients with 10 samples or more each need 40, and there are 20"):
        run(replace(QUICK, partition="iid", clients=4, limit=20), tmp_path / "run", Silent())


def test_a_single_sample_trains_all_but_batch_normalisation() -> None:
    one = Split(torch.ones(1, 3, 8, 8), torch.tensor([2]))
    for name in ("resnet20-gn", "cnn"):
        assert fit(build(name, (3, 8, 8), 4, seed=0), one, Schedule(epochs=1), seed=0, name=("one",)).samples_seen == 1
    with pytest.raises(InputError, match="single sample cannot train batch normalisation"):
        fit(build("resnet20", (3, 8, 8), 4, seed=0), one, Schedule(epochs=1), seed=0, name=("one",))


def test_nothing_to_test_on_is_refused() -> None:
    data = load("digits", limit=20)
    with pytest.raises(InputError, match="'mine' has 20 training and 0 test samples; both are needed"):
        Dataset("mine", data.train, data.test.select([]), data.classes)


def test_an_owner_with_little_is_passed_over_and_named_when_too_many_are_wanted() -> None:
    split = Split(torch.zeros(23, 1), torch.zeros(23, dtype=torch.int64), ("a",) * 12 + ("b",) * 11)
    few = Split(torch.zeros(24, 1), torch.zeros(24, dtype=torch.int64), ("a",) * 12 + ("b",) * 11 + ("c",))
    assert [len(part) for part in partition(few, 2, scheme="natural")] == [12, 11]
    with pytest.raises(InputError, match="2 of 2 owners hold 1 samples or more, and 3 clients are asked for"):
        partition(split, 3, scheme="natural", min_samples=1)

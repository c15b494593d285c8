"""Training on samples that are read when they are needed gives the results of samples in memory."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from fedma.data import Dataset, from_arrays, from_dataset
from fedma.errors import InputError
from fedma.experiments.callback import SILENT
from fedma.experiments.run import run
from fedma.experiments.settings import Settings
from fedma.report import read
from fedma.seeds import generator

DRAW = generator(0, "samples")
X = torch.randn(120, 5, generator=DRAW)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
SETTINGS = Settings(
    model="mlp-8", method=("fedma", "fedavg"), clients=3, alpha=5.0, min_samples=5, local_epochs=2, workers=1
)


class Rows(torch.utils.data.Dataset):
    def __init__(self, start: int, end: int, damaged: int | None = None) -> None:
        self.rows, self.damaged = range(start, end), damaged

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Any:
        if row == self.damaged:
            raise OSError("unreadable")
        return X[self.rows[row]], int(Y[self.rows[row]])


def lazy(**more: Any) -> Dataset:
    return from_dataset(Rows(0, 90), Rows(90, 120), labels=Y[:90], **more)


def lines(folder: Path) -> list[tuple[Any, ...]]:
    return [(line.method, line.accuracy, line.loss) for line in read(folder).evaluations]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    data = from_arrays((X[:90], Y[:90]), (X[90:], Y[90:]))
    return lines(run(SETTINGS, tmp_path_factory.mktemp("memory") / "run", SILENT, dataset=data))


@pytest.mark.parametrize("loaders", [0, 1])
def test_lazy_samples_train_the_same_model(tmp_path: Path, expected: list, loaders: int) -> None:
    found = lines(run(SETTINGS, tmp_path / "run", SILENT, dataset=lazy(loaders=loaders)))
    assert found == expected


def test_a_sample_that_fails_in_the_middle_of_training_is_named(tmp_path: Path) -> None:
    data = from_dataset(Rows(0, 90, damaged=57), Rows(90, 120), labels=Y[:90])
    with pytest.raises(InputError, match=r"sample 57 of train cannot be read \(OSError: unreadable\)"):
        run(SETTINGS, tmp_path / "run", SILENT, dataset=data)


def test_a_table_is_fitted_by_regression_to_numbers_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    price = (3 * X[:, 0] + 2).round().int().tolist()
    folder = tmp_path / "houses"
    folder.mkdir()
    datasets.Dataset.from_dict({"size": X[:, 0].tolist(), "price": price}).to_parquet(folder / "train.parquet")
    changes = {
        "data": str(folder),
        "label": "price",
        "task": "regression",
        "method": ("fedavg",),
        "lr": 0.01,
        "partition": "iid",
    }
    found = read(
        run(
            Settings(**{**vars(SETTINGS), **changes, "rounds": 5, "local_epochs": 20, "batch_size": 8}),
            tmp_path / "run",
            SILENT,
        )
    )
    assert found.evaluations[-1].metrics["mae"] < 0.6 < np.std(price)

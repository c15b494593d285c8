"""One's own data in runs: trained on, known again, and never confused with others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedma.data import Dataset, from_arrays
from fedma.errors import InputError
from fedma.experiments.callback import Silent
from fedma.experiments.run import resume, run
from fedma.experiments.settings import Settings
from interrupting import Stop, contents

SETTINGS = Settings(model="mlp", method=("fedavg",), clients=3, alpha=1.0, rounds=3, local_epochs=1, lr=0.05, workers=1)


def blobs(*, shift: float = 0.0) -> Dataset:
    """Three classes of points, far from each other."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    points = rng.normal(size=(150, 4)) + 5 * np.eye(4)[labels] + shift
    return from_arrays((points[:120], labels[:120]), (points[120:], labels[120:]), name="blobs")


def test_a_model_learns_from_given_data(tmp_path: Path) -> None:
    folder = run(SETTINGS, tmp_path / "run", Silent(), dataset=blobs())
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["data"]["name"], facts["data"]["train"], facts["data"]["fingerprint"]) == (
        "blobs", 120, blobs().fingerprint,
    )  # fmt: skip
    last = json.loads((folder / "results.jsonl").read_text().splitlines()[-1])
    assert last["accuracy"] > 0.9


def test_a_fingerprint_tells_data_apart() -> None:
    data = blobs()
    turned = replace(data, train=data.train.select(range(119, -1, -1)))
    relabelled = replace(data, classes=("a", "b", "c"))
    owned = replace(data, train=replace(data.train, owners=("x",) * 120))
    swapped = replace(data, train=replace(data.train, labels=(data.train.labels + 1) % 3))
    prints = [one.fingerprint for one in (data, blobs(shift=1e-3), turned, relabelled, owned, swapped)]
    assert len(set(prints)) == len(prints)
    assert blobs().fingerprint == prints[0]


@pytest.mark.parametrize("method", ["fedavg", "fedavgm", "fedadam", "fedma"])
def test_an_interrupted_run_goes_on_with_its_data_alone(tmp_path: Path, method: str) -> None:
    settings = replace(SETTINGS, method=(method,))  # type: ignore[arg-type]
    whole = contents(run(settings, tmp_path / "whole", Silent(), dataset=blobs()))
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(settings, folder, Stop(reply=8), dataset=blobs())
    with pytest.raises(InputError, match="give them again"):
        resume(folder, Silent())
    with pytest.raises(InputError, match="not those that the run"):
        resume(folder, Silent(), dataset=blobs(shift=1e-3))
    resume(folder, Silent(), dataset=blobs())
    assert contents(folder) == whole


def test_data_by_name_are_not_replaced_by_given_ones(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(replace(SETTINGS, limit=200), folder, Stop(reply=4))
    with pytest.raises(InputError, match="limit is for data loaded by name"):
        resume(folder, Silent(), dataset=blobs())


@pytest.mark.parametrize("name", ["limit", "test_limit", "natural"])
def test_what_governs_loading_is_refused(tmp_path: Path, name: str) -> None:
    changed = replace(SETTINGS, **{name: "age" if name == "natural" else 10})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{name} is for data loaded by name"):
        run(changed, tmp_path / "run", Silent(), dataset=blobs())
    assert not (tmp_path / "run").exists()

"""Robust averages and local privacy as settings of a run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedma.errors import InputError
from fedma.experiments.run import resume, run
from fedma.experiments.settings import Settings
from fedma.training.privacy import Privacy
from interrupting import Stop, contents

SETTINGS = Settings(
    model="mlp", method=("fedma", "fedavg", "ensemble", "pooled"), clients=5, alpha=1.0, local_epochs=1,
    output_epochs=1, limit=300, workers=1,
)  # fmt: skip


def lines(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return {line["method"]: line for line in found}


@pytest.mark.parametrize("option", [{"robust": "median"}, {"robust": "trimmed"}, {"clip": 0.5}])
def test_robust_options_change_the_averages_of_all_but_the_others(tmp_path: Path, option: dict[str, Any]) -> None:
    plain = contents(run(SETTINGS, tmp_path / "plain"))
    other = contents(run(replace(SETTINGS, **option), tmp_path / "other"))
    for name, changes in (("fedma", True), ("fedavg", True), ("ensemble-0", False)):
        assert (plain[f"{name}.safetensors"] != other[f"{name}.safetensors"]) == changes, name


def test_a_private_run_reports_its_price_and_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Privacy, "epsilon", lambda own, messages, *, delta: float(messages))
    settings = replace(SETTINGS, dp_clip=1.0, dp_noise=0.1)
    whole = run(settings, tmp_path / "whole")
    found = lines(whole)
    assert {name: line.get("epsilon") for name, line in found.items()} == {
        "fedma": 2, "fedavg": 1, "ensemble": 1, "local": 1, "pooled": None,
    }  # fmt: skip
    assert found["fedma"]["delta"] == 1e-5
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "cut", Stop(reply=8))
    assert contents(resume(tmp_path / "cut")) == contents(whole)


def test_only_messages_that_were_sent_have_a_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later round that matches nothing is one message, not one for each group."""
    monkeypatch.setattr(Privacy, "epsilon", lambda own, messages, *, delta: float(messages))
    settings = replace(SETTINGS, method=("fedma",), rounds=2, rematch="never", dp_clip=1.0, dp_noise=0.1)
    assert lines(run(settings, tmp_path / "run"))["fedma"]["epsilon"] == 3


def test_without_privacy_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert "epsilon" not in lines(run(replace(SETTINGS, method=("fedavg",)), tmp_path / "run"))["fedavg"]


WRONG = [
    {"robust": "mode"}, {"clip": 0.0}, {"clip": -1.0}, {"dp_clip": 0.0}, {"dp_clip": 1.0, "dp_noise": -1.0},
    {"dp_noise": 1.0}, {"dp_secure": True}, {"dp_delta": 0.0}, {"dp_delta": 1.0}, {"clip": float("inf")},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_out_of_range_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(reversed(wrong))):
        replace(SETTINGS, **wrong).check()

"""A method that diverges is marked in the results, and the others go on, on resuming too."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedma.cli import main
from fedma.errors import DivergedWarning, ReplyError
from fedma.experiments import checkpoint
from fedma.experiments.callback import SILENT, Callback
from fedma.experiments.run import resume, run
from fedma.experiments.settings import Settings
from fedma.report import read, table
from interrupting import Stop, contents

SETTINGS = Settings(
    model="mlp",
    method=("fedavgm", "fedavg"),
    rounds=2,
    clients=3,
    alpha=1.0,
    local_epochs=1,
    limit=90,
    workers=1,
    lr=0.05,
)
AT_ONCE, LATER = replace(SETTINGS, server_lr=1e39), replace(SETTINGS, server_lr=1e12, rounds=4)


def marked(settings: Settings, folder: Path, callback: Callback = SILENT) -> dict[str, object]:
    """The run's contents, and that it warned."""
    with pytest.warns(DivergedWarning, match="fedavgm ended in round .*, and the other methods go on"):
        run(settings, folder, callback)
    return contents(folder)


def events(folder: Path) -> Iterator[Any]:
    return (line for line in map(json.loads, (folder / "results.jsonl").read_text().splitlines()) if "event" in line)


@pytest.mark.parametrize("settings", [AT_ONCE, LATER])
def test_the_others_have_the_results_that_they_have_alone(tmp_path: Path, settings: Settings) -> None:
    marked(settings, tmp_path / "both")
    (event,) = events(tmp_path / "both")
    assert (event["event"], event["method"], "diverged" in event["why"]) == ("diverged", "fedavgm", True)
    assert (event["round"] == 1) == (settings is AT_ONCE)
    both, alone = (read(tmp_path / "both"), read(run(replace(settings, method=("fedavg",)), tmp_path / "alone")))
    assert [line.accuracy for line in both.of("fedavg")] == [line.accuracy for line in alone.of("fedavg")]
    assert [line.round for line in both.of("fedavgm")] == list(range(1, event["round"]))
    assert both.record["finished"]
    assert [path.stem for path in (tmp_path / "both" / "models").iterdir()] == ["fedavg"]
    assert f"FedAvgM ended in round {event['round']}: {event['why'][:40]}" in table([both])


@pytest.mark.parametrize(("settings", "replies"), [(AT_ONCE, 5), (LATER, 9)])
def test_an_interrupted_run_goes_on_past_it(tmp_path: Path, settings: Settings, replies: int) -> None:
    whole, folder = marked(settings, tmp_path / "whole"), tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergedWarning)
        with pytest.raises(KeyboardInterrupt):
            run(settings, folder, Stop(reply=replies))
        resume(folder)
    assert contents(folder) == whole
    assert not checkpoint.exists(folder)


def test_the_others_get_the_bytes_that_were_used_until_then(tmp_path: Path) -> None:
    settings = replace(SETTINGS, method=("fedma", "fedavg"), equal_bytes=True, output_lr=1e30, rounds=5)
    with pytest.warns(DivergedWarning, match="fedma ended in round 2"):
        found = read(run(settings, tmp_path / "run"))
    budget, last = found.of("fedma")[-1], found.of("fedavg")[-1]
    assert budget.round == 1
    assert budget.bytes_up + budget.bytes_down == pytest.approx(last.bytes_up + last.bytes_down, rel=0.5)


def test_what_diverges_alone_or_in_all_methods_ends_the_run_without_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ReplyError, match="server's own steps diverged"):
        run(replace(AT_ONCE, method=("fedavgm",)), tmp_path / "run")
    with (
        pytest.raises(ReplyError, match=r"every method diverged in its first round: fedavgm: .*fedavg: client"),
        pytest.warns(DivergedWarning),
    ):
        run(replace(AT_ONCE, lr=1e30, batch_size=4), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("default::fedma.errors.DivergedWarning")
def test_the_command_line_warns_and_succeeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = "--model mlp --method fedavgm fedavg --clients 3 --limit 200 --local-epochs 1 --server-lr 1e39 --quiet"
    main(["run", *given.split(), "--out", str(tmp_path / "run")])
    out, err = capsys.readouterr()
    assert "fedma: warning: fedavgm ended in round 1" in err
    assert "FedAvgM ended in round 1" in out
    assert "FedAvgM ended in round 1" in (tmp_path / "run" / "report.html").read_text()

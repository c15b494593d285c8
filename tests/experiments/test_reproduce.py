"""The paper's experiments: what they would run, and how they run it, on something small."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from fedma.cli import main
from fedma.data import load
from fedma.errors import EngineError, InputError
from fedma.experiments.callback import SILENT, Callback, Silent
from fedma.experiments.reproduce import EXPERIMENTS, reproduce
from fedma.experiments.reproduce.cell import TUNING_SEED, Cell, Chosen, Experiment, Scale, cell
from fedma.experiments.reproduce.data_efficiency import dataset as efficient
from fedma.experiments.reproduce.driver import Reproduction
from fedma.experiments.reproduce.jobs import side_by_side
from fedma.experiments.reproduce.learning_curves import CurveSetup, learning_curves
from fedma.experiments.settings import Settings
from fedma.matching.step import steps
from fedma.models import build
from fedma.report import Ends, LearningCurves, read_experiment
from fedma.units import units
from interrupting import Stop

TINY = Settings(model="mlp", clients=3, alpha=1.0, rounds=2, local_epochs=1, output_epochs=1, limit=200, workers=1)
TASK = CurveSetup(TINY, 1, lr=(1e-6, 0.05), local_epochs=(1,), ablations={"FedMA, no growth": {"grow": False}})
COURSE = learning_curves("Tiny", {"small": TASK})
ENDS = Experiment(
    "Tiny", lambda scale, chosen: [cell("FedAvg", "fedavg", TINY, x=n, clients=n) for n in (2, 3)], Ends("clients")
)


def planned(name: str, scale: Scale) -> Iterator[Cell]:
    """All cells of an experiment, as if the last of each tuning did best."""
    experiment, chosen = EXPERIMENTS[name], {}
    for stage in experiment.tuning:
        for one in stage(scale, chosen):
            chosen[one.line] = one.settings
            yield replace(one, line=f"tuning {one.line}")
    yield from experiment.cells(scale, chosen)


def made(
    experiment: Experiment, folder: Path, *, callback: Callback = SILENT, seeds: tuple[int, ...] = (0,), jobs: int = 1,
    lines: tuple[str, ...] = (),
) -> list[Path]:  # fmt: skip
    return Reproduction("tiny", experiment, folder, "small", seeds, None, {"workers": 1}, callback, jobs, lines).run()


@pytest.mark.parametrize(
    ("name", "scale"), [(name, scale) for name, own in EXPERIMENTS.items() for scale in own.scales]
)
def test_every_cell_can_be_run_and_has_a_place_of_its_own(name: str, scale: Scale) -> None:
    cells = list(planned(name, scale))
    for one in cells:
        one.settings.check()
        assert one.method
    assert len({(one.line, one.x) for one in cells}) == len(cells) > 3


@pytest.mark.parametrize(
    ("name", "scale"), [("mnist-lenet", "small"), ("cifar10-vgg9", "medium"), ("shakespeare-lstm", "small")]
)
def test_courses_compare_common_and_independent_starts_with_tuned_settings(name: str, scale: Scale) -> None:
    lines = {one.line: one.settings for one in planned(name, scale)}
    for method in ("FedAvg", "FedProx"):
        assert lines[f"{method}, independent start"] == replace(lines[method], init="independent")
        assert lines[method].rounds == 2 * lines[f"tuning {method}"].rounds
    assert {"FedMA", "FedAvgM", "FedAdam", "Ensemble", "Pooled"} <= set(lines)


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_fedavg_trains_on_resnet20_as_many_local_epochs_as_fedma(scale: Scale) -> None:
    lines = {one.line: one.settings for one in planned("cifar10-resnet20", scale)}
    fedma, later = lines["FedMA"], lines["FedMA"].retrain_epochs or lines["FedMA"].local_epochs
    count = len(steps(units(build("resnet20", (3, 32, 32), 10, seed=0), torch.zeros(2, 3, 32, 32))))
    trained = fedma.local_epochs + (count - 2) * later + (fedma.output_epochs or 3 * later)
    assert lines["FedAvg, as many local epochs"].local_epochs == trained


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduce") / "tiny"
    made(COURSE, folder, seeds=(0, 1))
    return folder


def test_results_tables_and_figure_are_written(tiny: Path) -> None:
    measured = read_experiment(tiny)
    lines = list(dict.fromkeys(own.line for own in measured if not own.tuning))
    assert lines == [
        "FedMA", "FedAvg", "FedProx", "FedAvgM", "FedAdam", "FedAvg, independent start", "FedProx, independent start",
        "Ensemble", "Pooled", "FedMA, no growth",
    ]  # fmt: skip
    assert {own.seed for own in measured if own.tuning} == {TUNING_SEED}
    assert [own.seed for own in measured if own.line == "Pooled"] == [0, 1]
    table = (tiny / "table.md").read_text()
    assert all(f"| {line} |" in table for line in lines)
    assert len((tiny / "table.csv").read_text().splitlines()) == 1 + len(measured)
    assert (tiny / "figure.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads((tiny / "run.json").read_text())
    assert (facts["scale"], facts["seeds"]) == ("small", [0, 1])
    (environment,) = facts["environments"]
    assert environment["versions"]["torch"] == version("torch")
    assert environment["seeds"] == [0, 1]
    assert facts["cells"]["FedMA, no growth"]["grow"] is False
    assert not list(tiny.rglob("*.safetensors"))


def test_tuning_chooses_what_is_most_accurate(tiny: Path) -> None:
    tried = {own.x: own.last.accuracy for own in read_experiment(tiny) if own.tuning and own.line == "FedAvg"}
    assert tried["lr 0.05, 1 local epochs"] > tried["lr 1e-06, 1 local epochs"]
    settings = json.loads((tiny / "cells" / "fedavg" / "seed0" / "run.json").read_text())["settings"]
    assert (settings["lr"], settings["rounds"]) == (0.05, 2)


def test_what_is_done_is_not_done_again(tiny: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("results.jsonl") if path.parent != tiny}
    text = (tiny / "results.jsonl").read_text()
    made(COURSE, tiny, seeds=(0, 1))
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert (tiny / "results.jsonl").read_text() == text


def results(folder: Path) -> list[dict[str, object]]:
    return [{**json.loads(line), "seconds": None} for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("reply", [1, 4, 6, 8, 10])
def test_an_interrupted_experiment_goes_on(tmp_path: Path, reply: int) -> None:
    made(ENDS, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        made(ENDS, tmp_path / "part", callback=Stop(reply=reply))
    made(ENDS, tmp_path / "part")
    assert results(tmp_path / "part") == results(tmp_path / "whole")


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[Mapping[str, Any]] = []

    def result(self, line: Mapping[str, Any]) -> None:
        self.lines.append(line)


def test_cells_side_by_side_give_the_same_results(tmp_path: Path) -> None:
    heard = Heard()
    tuned = replace(
        ENDS, tuning=(lambda scale, chosen: [replace(one, line="tried") for one in ENDS.cells(scale, chosen)],)
    )
    made(tuned, tmp_path / "one")
    made(tuned, tmp_path / "two", jobs=2, callback=heard)
    assert results(tmp_path / "two") == results(tmp_path / "one")
    assert len(heard.lines) == len(results(tmp_path / "one")) == 8


def test_cells_of_other_settings_are_refused(tmp_path: Path) -> None:
    made(ENDS, tmp_path)
    other = replace(ENDS, cells=lambda scale, chosen: [cell("FedAvg", "fedavg", TINY, x=2, clients=2, lr=0.5)])
    for jobs in (1, 2):
        with pytest.raises(InputError, match="run with other settings"):
            made(other, tmp_path, jobs=jobs)
    (tmp_path / "cells" / "fedavg-2" / "seed0" / "run.json").unlink()
    with pytest.raises(InputError, match="remove it, and it is run again"):
        made(ENDS, tmp_path)


@pytest.mark.parametrize("jobs", [1, 2])
def test_published_results_are_gone_on_from_without_their_run_folders(tmp_path: Path, jobs: int) -> None:
    tuned = replace(
        ENDS,
        tuning=(lambda scale, chosen: [replace(own, line=f"{own.line} tried") for own in ENDS.cells(scale, chosen)],),
    )
    made(tuned, tmp_path / "one")
    published = tmp_path / "published"
    published.mkdir()
    for name in ("run.json", "results.jsonl"):
        (published / name).write_bytes((tmp_path / "one" / name).read_bytes())
    facts = json.loads((published / "run.json").read_text())
    facts["environments"][0]["processor"] = "another"
    (published / "run.json").write_text(json.dumps(facts))
    made(tuned, published, seeds=(1,), jobs=jobs)
    made(tuned, tmp_path / "all", seeds=(0, 1))
    assert results(published) == results(tmp_path / "all")
    assert not list(published.rglob("seed0"))
    assert not (published / "tuning").exists()
    machines = json.loads((published / "run.json").read_text())["environments"]
    assert sorted((own["processor"] == "another", own["seeds"]) for own in machines) == [(False, [1]), (True, [0])]
    other = replace(
        ENDS,
        cells=lambda scale, chosen: [
            replace(c, settings=replace(c.settings, lr=0.5)) for c in ENDS.cells(scale, chosen)
        ],
    )
    shutil.rmtree(published / "cells")
    with pytest.raises(InputError, match=r"results.jsonl holds 'FedAvg, 2' of other settings \(seeds \[0, 1\]\)"):
        made(other, published, seeds=(0, 1))


@pytest.mark.parametrize("jobs", [1, 2])
def test_some_lines_get_further_seeds(tiny: Path, tmp_path: Path, jobs: int) -> None:
    made(COURSE, tmp_path, jobs=jobs)
    if jobs == 2:  # as from published results
        shutil.rmtree(tmp_path / "cells")
    lines = ("FedMA", "FedAvg, independent start")
    made(COURSE, tmp_path, seeds=(1,), jobs=jobs, lines=lines)
    measured = [own for own in read_experiment(tmp_path) if not own.tuning]
    wanted = [own for own in results(tiny) if not own["tuning"] and (own["seed"] == 0 or own["line"] in lines)]
    assert [own for own in results(tmp_path) if not own["tuning"]] == wanted
    assert [own.seed for own in measured if own.line == "FedMA"] == [0, 1]
    assert [own.seed for own in measured if own.line == "FedAvg"] == [0]
    table = (tmp_path / "table.md").read_text()
    assert "means over 1 to 2 seeds" in table
    assert "| FedMA | 2 |" in table
    assert "| FedAvg | 1 |" in table
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["command"] == ["reproduce", "tiny", "--scale", "small", "--seeds", "0"]
    assert facts["further_commands"] == [[*facts["command"][:-1], "1", "--lines", *lines]]
    made(COURSE, tmp_path / "apart", lines=("FedAvg",))
    facts = json.loads((tmp_path / "apart" / "run.json").read_text())
    assert facts["command"] == ["reproduce", "tiny", "--scale", "small", "--seeds", "0", "--lines", "FedAvg"]
    made(COURSE, tmp_path, seeds=(1,), jobs=jobs)
    assert results(tmp_path) == results(tiny)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert (facts["command"][-2:], facts.get("further_commands")) == (["0", "1"], None)


def test_a_line_that_is_not_known_is_refused_before_anything_is_tuned(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tiny has no line 'fedma'; its lines are FedMA; FedAvg; FedProx; "):
        made(COURSE, tmp_path, lines=("FedMA", "fedma"))
    assert not list(tmp_path.iterdir())


def test_results_without_their_settings_are_refused_untouched(tmp_path: Path) -> None:
    made(ENDS, tmp_path)
    text = (tmp_path / "results.jsonl").read_text()
    for damage in ("{", "[]", "{}"):
        (tmp_path / "run.json").write_text(damage)
        with pytest.raises(InputError, match=r"run.json does not give the settings of results.jsonl beside it"):
            made(ENDS, tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"bring it back, or remove results.jsonl"):
        made(ENDS, tmp_path)
    assert (tmp_path / "results.jsonl").read_text() == text
    (tmp_path / "results.jsonl").unlink()
    made(ENDS, tmp_path)
    assert results(tmp_path) == [{**json.loads(line), "seconds": None} for line in text.splitlines()]


def test_unknown_names_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="known are mnist-lenet"):
        reproduce("nothing", Silent(), out=tmp_path)
    with pytest.raises(InputError, match="bias has no scale 'medium'; its scales are small, paper"):
        reproduce("bias", Silent(), out=tmp_path, scale="medium")
    with pytest.raises(InputError, match="jobs must be at least 1; got 0"):
        reproduce("bias", Silent(), out=tmp_path, jobs=0)
    with pytest.raises(InputError, match=r"there is no folder .*mnist"):
        reproduce("growth", Silent(), out=tmp_path, data_folder=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit) as end:
        main(["reproduce", "growth", "--scale", "huge"])
    assert end.value.code == 2
    assert "huge" in capsys.readouterr().err


def test_clients_that_join_keep_the_data_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(limit=600, partition="natural")
    few, many = (efficient(replace(settings, clients=clients)) for clients in (2, 8))
    assert len(set(few.train.owners or ())) == 2
    assert len(set(many.train.owners or ())) == 8
    assert torch.equal(few.train.inputs, many.train.inputs[: len(few.train)])
    assert torch.equal(few.test.inputs, many.test.inputs)


def test_cells_may_make_their_data(tmp_path: Path) -> None:
    def digits(settings: Settings, *, classes: int) -> object:
        whole = load("digits", seed=settings.seed, limit=settings.limit)
        return replace(whole, train=whole.train.select((whole.train.labels < classes).nonzero().flatten()))

    base = replace(TINY, method=("pooled",))
    one = Experiment(
        "Tiny",
        lambda scale, chosen: [Cell("Pooled", base, x, partial(digits, classes=x)) for x in (3, 10)],  # type: ignore[arg-type]
        Ends("classes"),
    )
    made(one, tmp_path)
    made(one, tmp_path)
    sizes = [json.loads((tmp_path / f"cells/pooled-{x}/seed0/run.json").read_text())["data"]["train"] for x in (3, 10)]
    assert sizes[0] < sizes[1] == 200


def diverging(scale: Scale, chosen: Chosen) -> list[Cell]:
    """FedAvgM whose server leaps ever farther, beside FedAvg."""
    base = replace(TINY, rounds=30)
    return [cell("FedAvgM", "fedavgm", base, server_lr=1e12), cell("FedAvg", "fedavg", base, rounds=1)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_training_that_diverges_is_told_and_ends_nothing_else(tmp_path: Path, jobs: int) -> None:
    experiment = Experiment("Tiny", diverging, LearningCurves())
    made(experiment, tmp_path, jobs=jobs)
    diverged, other = read_experiment(tmp_path)
    assert 1 <= diverged.last.round < 30
    assert "diverged" in (diverged.failed or "")
    assert (other.last.round, other.failed) == (1, None)
    table = (tmp_path / "table.md").read_text()
    assert f"FedAvgM, seed 0, ended after round {diverged.last.round}: " in table
    assert not list(tmp_path.rglob("*.safetensors"))
    made(experiment, tmp_path, jobs=jobs)
    assert (tmp_path / "table.md").read_text() == table


def test_tuning_survives_what_diverges_at_once(tmp_path: Path) -> None:
    task = replace(TASK, lr=(1e20, 0.05), ablations={})
    made(learning_curves("Tiny", {"small": task}), tmp_path)
    tried = {own.line for own in read_experiment(tmp_path) if own.tuning and own.x == "lr 1e+20, 1 local epochs"}
    assert not tried & {"FedAvg", "FedMA"}
    settings = json.loads((tmp_path / "cells" / "fedma" / "seed0" / "run.json").read_text())["settings"]
    assert settings["lr"] == 0.05
    everything = Experiment("Tiny", lambda scale, chosen: [cell("FedAvg", "fedavg", TINY, lr=1e20)], Ends("clients"))
    with pytest.raises(InputError, match=r"no cell finished a round: client . sent"):
        made(everything, tmp_path / "all")
    milder = replace(everything, cells=lambda scale, chosen: [cell("FedAvg", "fedavg", TINY, lr=0.05)])
    with pytest.raises(InputError, match="run with other settings"):
        made(milder, tmp_path / "all")


def _stopped(number: int) -> int:
    if number == 2:
        raise InputError("the second call")
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600 * number)
    return number


def test_a_job_whose_process_is_killed_is_told() -> None:
    with pytest.raises(EngineError, match="fewer jobs"):
        list(side_by_side(2, _stopped, [(0,), (4,)]))


@pytest.mark.parametrize("how", ["error", "interrupt"])
def test_what_ends_one_job_ends_the_others_at_once(how: str) -> None:
    started = time.monotonic()
    calls = side_by_side(2, _stopped, [(0,), (1,), (2,), (3,)] if how == "error" else [(0,), (1,), (3,)])
    assert next(calls) == 0
    if how == "error":
        with pytest.raises(InputError, match="the second call"):
            next(calls)
    else:
        with pytest.raises(KeyboardInterrupt):
            calls.throw(KeyboardInterrupt())
    assert time.monotonic() - started < 300
    assert not multiprocessing.active_children()


def at_once(scale: Scale, chosen: Chosen) -> list[Cell]:
    """Training that diverges in its first round, beside one that does not."""
    return [cell("FedMA", "fedma", TINY, lr=1e20), cell("FedAvg", "fedavg", TINY)]


@pytest.mark.parametrize("drawing", [LearningCurves(), Ends("x")])
def test_a_cell_that_finishes_no_round_is_told_and_ends_nothing_else(
    tmp_path: Path, drawing: LearningCurves | Ends
) -> None:
    experiment = Experiment("Tiny", at_once, drawing)
    made(experiment, tmp_path)
    diverged, other = read_experiment(tmp_path)
    assert (diverged.line, diverged.evaluations, other.failed) == ("FedMA", (), None)
    table = (tmp_path / "table.md").read_text()
    assert "FedMA, seed 0, ended in its first round: client " in table
    assert "| FedMA |" not in table
    made(experiment, tmp_path)
    assert (tmp_path / "table.md").read_text() == table
    with pytest.raises(InputError, match=r"no cell finished a round: client .* training diverged"):
        made(Experiment("Tiny", lambda scale, chosen: at_once(scale, chosen)[:1], drawing), tmp_path / "alone")

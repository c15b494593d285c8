"""The command line: what it prints, and one clear line for every mistake."""

import io
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from rich.progress import Progress, TextColumn

from fedma.algorithms import Reply
from fedma.cli import main
from fedma.cli.progress import Left, Live
from fedma.experiments.callback import ExchangeStart

QUICK = "--model mlp --clients 3 --alpha 1.0 --local-epochs 1 --output-epochs 1 --limit 200 --workers 1".split()


def test_run_then_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    main(["run", "--method", "fedma", "fedavg", *QUICK, "--out", str(folder)])
    said = capsys.readouterr()
    assert "FedMA" in said.out
    assert "FedAvg" in said.out
    assert str(folder) in said.out
    assert "fedma     round  1: accuracy" in said.err
    assert "settings: model mlp (flag), method fedma fedavg (flag), clients 3 (flag)," in said.err
    assert said.err.count("settings:") == 1
    assert {path.suffix for path in folder.iterdir()} >= {".json", ".jsonl", ".html", ".csv"}
    assert (folder / "figures" / "accuracy_vs_megabytes.png").exists()
    main(["report", str(folder), "--out", str(tmp_path / "report")])
    assert "FedMA" in capsys.readouterr().out
    assert (tmp_path / "report" / "table.csv").exists()


def test_run_takes_a_method_of_ones_own_by_module(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_method.py").write_text(
        "from dataclasses import replace\nfrom fedma.methods import METHODS\n"
        "MINE = replace(METHODS.get('fedavg'), name='mine', label='Mine')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    main(["run", "--method", "my_method:MINE", *QUICK, "--out", str(tmp_path / "run"), "--quiet"])
    assert "my_method:MINE" in capsys.readouterr().out
    assert (tmp_path / "run" / "models" / "my_method-MINE.safetensors").exists()


def test_flags_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('model = "federation_models:good"\nclients = 3\nlocal_epochs = 2\nlimit = 200\nworkers = 1\n')
    main(
        [
            "run",
            "--config",
            str(file),
            "--local-epochs",
            "1",
            "--output-epochs=1",
            "--out",
            str(tmp_path / "run"),
            "--quiet",
        ]
    )
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    settings, sources = facts["settings"], facts["sources"]
    assert settings["model"] == "federation_models:good"
    assert sources.keys() == settings.keys()
    assert {name: source for name, source in sources.items() if source != "default"} == {
        "model": str(file),
        "clients": str(file),
        "local_epochs": "flag",
        "output_epochs": "flag",
        "limit": str(file),
        "workers": str(file),
    }
    assert settings["local_epochs"] == 1
    assert settings["clients"] == 3


def test_units_shows_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    main(["units", "lenet"])
    said = capsys.readouterr().out
    for group in ("conv1", "conv2", "fc1"):
        assert group in said


def test_units_of_a_model_that_reads_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    main("units federation_models:Speaker --input-shape 7 --integers 12".split())
    said = capsys.readouterr().out
    assert "embedding" in said
    assert "lstm" in said


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "fedma", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("fedma ")


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out.startswith("fedma 0.")
    with pytest.raises(SystemExit) as end:
        main(["run", "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "--alpha" in said
    assert "Dirichlet" in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", shell])
    assert not end.value.code
    said = capsys.readouterr().out
    assert "fedma" in said
    assert "alpha" in said
    assert "sources" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run --method magic", "magic"),
        ("run --method fedavgg", "did you mean 'fedavg'?"),
        ("run --method json:loads", "it must be a fedma.methods.Method"),
        ("run --model nothing", "nothing"),
        ("run --data no-such-data", "no-such-data"),
        ("run --data {folder}/empty", "neither parquet"),
        ("run --data {folder}/unlabelled", "label"),
        ("run --alpha 0", "alpha"),
        ("run --alpha x", "alpha"),
        ("run --clients 5000", "clients"),
        ("run --model federation_models:three_outputs", "10 classes"),
        ("run --config {folder}/none.toml", "none.toml"),
        ("run --config {folder}/bad.toml", "not TOML"),
        ("run --out {folder}", "exists already"),
        ("run --nonsense 1", "nonsense"),
        ("rin", "rin"),
        ("report {folder}", "run.json"),
        ("report", "name at least one run folder"),
        ("units nothing", "nothing"),
        ("units lenet --input-shape -1 28 28", "positive"),
        ("units mlp --classes 0", "classes and integers must be at least 1"),
        ("units char-lstm --input-shape 80 --integers 0", "classes and integers must be at least 1"),
        ("units federation_models:broken", "cannot be built"),
        ("units federation_models:number", "must return an nn.Module"),
        ("run --method fedma fedma", "twice"),
        ("app new", "PATH where to; it must not exist yet; see"),
        ("run --out {long}", "cannot be made"),
        ("run --quiet --method fedavg --lr 1e30 --model mlp --limit 200 --local-epochs 3 --workers 1", "lower the"),
        ("run --quiet --method fedma --lr 1e30 --model mlp --limit 200 --local-epochs 1 --workers 2", "lower the"),
        ("units lenet --input-shape 1 4 4", "at least 16"),
        ("--print-completion tcsh", "one of bash, zsh, fish"),
        ("--print-completion", "got nothing"),
    ],
)
def test_every_mistake_gives_one_line_and_exit_code_2(
    arguments: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text("alpha = ")
    (tmp_path / "unlabelled").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "unlabelled" / "one.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as end:
        main(arguments.format(folder=tmp_path, long="x" * 300).split())
    assert end.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("fedma: error: ")
    assert words in lines[0]
    assert sorted(path.name for path in tmp_path.rglob("*")) in (before, sorted([*before, "runs"]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_files_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    main(["run", "--method", "fedavg", *QUICK, "--out", str(tmp_path / "run"), "--tensorboard", "--quiet"])
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_tensorboard_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SystemExit):
        main(["run", *QUICK, "--out", str(tmp_path / "run"), "--tensorboard"])
    assert "pip install 'fedma[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_live_line_says_what_goes_on_before_there_is_an_estimate() -> None:
    said = io.StringIO()
    with Progress(TextColumn("{task.fields[where]}"), Left(), console=Console(file=said)) as bar:
        Live(bar)
    assert said.getvalue().strip() == "reading the data"


def test_the_time_left_is_told_once_it_is_known() -> None:
    clock = itertools.count()
    with Progress(Left(), console=Console(file=io.StringIO()), get_time=lambda: float(next(clock))) as bar:
        task = bar.add_task("", total=10)
        bar.advance(task)
        bar.advance(task)
        assert re.fullmatch(r"· 0:00:\d\d left", Left().render(bar.tasks[0]).plain)


def test_the_live_line_follows_the_run() -> None:
    said = io.StringIO()
    column = TextColumn("{task.fields[where]} {task.fields[clients]} {task.fields[sent]}")
    with Progress(column, console=Console(file=said)) as bar:
        live = Live(bar)
        live.exchange(ExchangeStart("fedma", 2, 3, 1, 4, 5, 2_000_000))
        live.reply(Reply(0, {"w": torch.zeros(250_000)}, torch.zeros(2), {}))
        (task,) = bar.tasks
        assert (task.completed, task.total) == (4 * 5 + 1, 3 * 4 * 5)
        assert task.fields["where"] == "fedma round 2/3 step 1/4"
        assert (task.fields["clients"], task.fields["sent"]) == ("1/5 clients", "3.0 MB")
        live.exchange(ExchangeStart("fedavg", 1, None, 1, 1, 5, 0))
        assert bar.tasks[0].total is None
        assert bar.tasks[0].fields["where"] == "fedavg round 1"

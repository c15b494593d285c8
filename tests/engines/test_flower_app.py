"""The app that `fedma app new` writes: complete, the same as the example, and it runs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from federation import SHAPE, split
from federation_on_flower import Context
from fedma.cli import main
from fedma.cli.app import write
from fedma.engines.flower import InProcessGrid
from fedma.errors import CheckpointError, InputError
from fedma.report import read

EXAMPLE = Path(__file__).parents[2] / "examples" / "flower"
CONFIG: dict[str, Any] = {
    "model": "mlp",
    "input-shape": " ".join(map(str, SHAPE)),
    "classes": 3,
    "seed": 0,
    "clients": 2,
    "min-replies": 2,
    "timeout": 60.0,
    "patience": 0.0,
    "rounds": 1,
    "local-epochs": 3,
    "output-epochs": 2,
    "lr": 0.05,
    "batch-size": 8,
}


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Text and mode of every file, but for what Python and Flower leave there."""
    return {
        str(path.relative_to(folder)): (path.read_text(), path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_example_is_what_the_command_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["app", "new", str(tmp_path / "app")])
    assert "is a Flower app" in capsys.readouterr().out
    assert contents(tmp_path / "app") == contents(EXAMPLE)
    with pytest.raises(SystemExit):
        main(["app", "new", str(tmp_path / "app")])
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["app", "new", str(tmp_path / "file" / "app")])
    assert "cannot be written" in capsys.readouterr().err


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the app, which can be imported, and data for two clients and the server."""
    write(tmp_path / "app")
    monkeypatch.syspath_prepend(str(tmp_path / "app"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, seed in (("client-0", 0), ("client-1", 1), ("test", 2)):
        data = split(60, seed=seed)
        save_file({"inputs": data.inputs, "labels": data.labels}, tmp_path / f"{name}.safetensors")
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "fedma_app"]:
        del sys.modules[name]


def run(folder: Path, **changed: Any) -> list[dict[str, Any]]:
    """The lines of its results."""
    from fedma_app import client_app, server_app  # type: ignore[import-not-found]

    config = {**CONFIG, "folder": str(folder / "run"), "test": str(folder / "test.safetensors"), **changed}
    grid = InProcessGrid(client_app.app, 2, run_config=config)
    for partition, context in enumerate(grid.contexts.values()):
        context.node_config["data"] = str(folder / f"client-{partition}.safetensors")
    server_app.app(grid, Context(1, 0, {}, type(next(iter(grid.contexts.values())).state)(), config))
    return [json.loads(line) for line in (folder / "run" / "results.jsonl").read_text().splitlines()]


def test_it_runs_and_a_finished_run_is_not_done_again(app: Path) -> None:
    lines = run(app)
    assert [line.get("step") for line in lines] == [1, 2, None]
    assert lines[-1]["accuracy"] > 0.8
    model = load_file(app / "run" / "model.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in model.values())
    assert run(app) == lines
    with pytest.raises(CheckpointError, match="another run"):
        run(app, rounds=2)
    assert torch.equal(load_file(app / "run" / "model.safetensors")["fc1.weight"], model["fc1.weight"])


def test_the_report_reads_its_folder_and_names_faults(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "client-1.safetensors").unlink()
    run(app, **{"min-replies": 1})
    found = read(app / "run")
    (last,) = found.evaluations
    assert (last.method, last.round, last.clients, last.final) == ("fedma", 1, 1, True)
    assert sum(last.client_bytes_up) == last.bytes_up > 0
    assert sum(last.client_bytes_down) == last.bytes_down > 0
    assert last.parameters >= last.client_parameters > 0
    assert found.settings["patience"] == 0.0
    assert found.record["finished"]
    faults = [event for event in found.events if event["event"] == "fault"]
    assert {event["step"] for event in faults} == {1}
    assert faults[-1]["what"].startswith("client 1 is left out: error ")
    main(["report", str(app / "run")])
    capsys.readouterr()
    assert "client 1 is left out" in (app / "run" / "report.html").read_text(encoding="utf-8")


def test_the_folder_of_another_run_is_refused(app: Path) -> None:
    (app / "run").mkdir()
    (app / "run" / "results.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="another run"):
        run(app)
    assert [path.name for path in (app / "run").iterdir()] == ["results.jsonl"]

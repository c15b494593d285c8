"""An interrupted run goes on to exactly the weights of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fedma.cli import main
from fedma.errors import CheckpointError, CheckpointWarning, InputError
from fedma.experiments import checkpoint
from fedma.experiments.callback import ExchangeStart, Silent
from fedma.experiments.run import resume, run
from fedma.experiments.settings import Settings
from interrupting import Stop, contents

SETTINGS = Settings(
    model="mlp",
    method=("fedma", "fedprox", "ensemble", "pooled"),
    rounds=2,
    equal_bytes=True,
    clients=3,
    alpha=1.0,
    local_epochs=1,
    output_epochs=1,
    limit=200,
    lr=0.05,
    workers=1,
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return contents(run(SETTINGS, tmp_path_factory.mktemp("whole") / "run", Silent()))


@pytest.mark.parametrize(
    "stop", [{"reply": 1}, {"reply": 5}, {"reply": 8}, {"result": 1}, {"result": 2}, {"reply": 16}, {"result": 4}]
)
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, stop: dict[str, int], uninterrupted: dict[str, object]
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(SETTINGS, folder, Stop(**stop))
    assert contents(folder) != uninterrupted
    resume(folder, Silent(), workers=2)
    assert contents(folder) == uninterrupted
    assert not checkpoint.exists(folder)
    with pytest.raises(InputError, match="has finished"):
        resume(folder, Silent())


def test_interrupted_after_every_exchange(tmp_path: Path, uninterrupted: dict[str, object]) -> None:
    class Once(Silent):
        begun = 0

        def exchange(self, exchange: ExchangeStart) -> None:
            self.begun += 1
            if self.begun == 2:
                raise KeyboardInterrupt

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(SETTINGS, folder, Once())
    for _ in range(20):
        try:
            resume(folder, Once())
            break
        except KeyboardInterrupt:
            continue
    assert contents(folder) == uninterrupted


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("after", [0.0, 0.15, 0.4])
def test_killed_and_resumed(tmp_path: Path, after: float, uninterrupted: dict[str, object]) -> None:
    folder = tmp_path / "run"
    flags = "--model mlp --method fedma fedprox ensemble pooled --rounds 2 --equal-bytes --clients 3 --alpha 1.0"
    flags += " --local-epochs 1 --output-epochs 1 --limit 200 --lr 0.05 --workers 2"
    command = [sys.executable, "-c", "from fedma.cli import main; main()", "run", *flags.split(), "--out", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (folder / "checkpoint.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(after)
        children = _children(process.pid)
        process.kill()
    if json.loads((folder / "run.json").read_text())["finished"] is None:
        resume(folder, Silent())
    assert contents(folder) == uninterrupted
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "workers outlive the run"
        time.sleep(0.05)


def _children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def test_interrupted_from_the_keyboard(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    flags = "--model cnn --method fedavg --rounds 500 --clients 3 --alpha 1.0 --local-epochs 1 --workers 2"
    # Programs that run in the background are started deaf to Ctrl-C, and so is what they start.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; from fedma.cli import main; main()"
    command = [sys.executable, "-c", code, "run", *flags.split(), "--out", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not (folder / "checkpoint.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.endswith(f"fedma: to go on: fedma run --resume {folder}\nfedma: interrupted\n")
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_damaged_checkpoint_costs_an_exchange(tmp_path: Path, uninterrupted: dict[str, object]) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(SETTINGS, folder, Stop(reply=8))
    file = folder / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.warns(CheckpointWarning):
        resume(folder, Silent())
    assert contents(folder) == uninterrupted


def test_what_cannot_be_resumed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        resume(tmp_path, Silent())
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(replace(SETTINGS, method=("fedavg",), equal_bytes=False), folder, Stop(reply=4))
    checkpoint.save(folder, {"standing": {"method": "fedavg"}})
    with pytest.raises(CheckpointError, match="another version"):
        resume(folder, Silent())
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, "data": {}}))
    with pytest.raises(InputError, match="data"):
        resume(folder, Silent())


@pytest.mark.parametrize("given", [["--rounds", "3"], ["--lr", str(Settings().lr)]])
def test_resume_takes_no_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--resume", str(tmp_path), *given])
    assert "--resume takes the run's own settings" in capsys.readouterr().err

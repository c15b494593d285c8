"""The page of common mistakes: every command on it ends as the page says, in one line and with exit code 2."""

import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fedma.cli import main
from fedma.models import build

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "mistakes.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ fedma (.*)\n(fedma: error: .*)$", PAGE, flags=re.MULTILINE)
IN_PYTHON = re.findall(r"^```python\n(.*?)^```\n+```text\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
MINE = """
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

def broken():
    return nn.Linear(64, wide)
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a finished run, some checkpoints, a module and a file of notes."""
    folder = tmp_path_factory.mktemp("desk")
    quick = "--model mlp --method fedavg --clients 2 --limit 100 --local-epochs 1 --workers 1 --quiet"
    main(["run", *quick.split(), "--out", str(folder / "runs" / "first")])
    for name, network, classes in (("a", "mlp", 10), ("b", "mlp", 7), ("c", "cnn", 10)):
        save_file(build(network, (1, 8, 8), classes, seed=0).state_dict(), folder / f"{name}.safetensors")
    torch.save(build("mlp", (1, 8, 8), 10, seed=0).state_dict(), folder / "a.pt")
    (folder / "mine.py").write_text(MINE)
    (folder / "typo.py").write_text("def net(:\n")
    (folder / "notes.txt").write_text("not a folder")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def at_desk(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(desk)
    for module in ("mine", "typo"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return desk


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command says before it ends with 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def files(folder: Path) -> dict[Path, int]:
    """What lies there, and how large each file is."""
    return {path: path.stat().st_size for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_the_page_has_ten_mistakes_or_more() -> None:
    assert len(COMMANDS) >= 10
    assert PAGE.count("fedma: error:") == len(COMMANDS)
    assert IN_PYTHON


@pytest.mark.parametrize(("command", "line"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_mistake_is_told_as_the_page_has_it(
    at_desk: Path, capsys: pytest.CaptureFixture[str], command: str, line: str
) -> None:
    before = files(at_desk)
    assert ended(shlex.split(command), capsys) == line
    assert files(at_desk) == before


@pytest.mark.parametrize(("code", "said"), IN_PYTHON)
def test_a_mistake_in_python_is_told_as_the_page_has_it(code: str, said: str) -> None:
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "mistakes.md", "exec"), {})
    assert out.getvalue() == said


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("datasets", "run --data empty/pictures", "data"),
        ("flwr_datasets", "run --model mlp", "data"),
        ("sklearn", "run --model mlp", "data"),
        ("matplotlib", "report runs/first", "report"),
        ("matplotlib", "run --model mlp", "report"),
        ("matplotlib", "inspect runs/first", "report"),
        ("matplotlib", "reproduce mnist-lenet", "report"),
        ("matplotlib", "fuse a.safetensors a.safetensors --model mlp --data digits --interpolate line.png", "report"),
        ("torch.utils.tensorboard", "run --model mlp --tensorboard", "tensorboard"),
        ("ot", "fuse a.safetensors a.safetensors --model mlp --input-shape 1 8 8 --matcher ot", "ot"),
        ("dp_accounting", "run --model mlp --method fedavg --dp-clip 1 --dp-noise 1", "privacy"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    at_desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    module: str, command: str, extra: str,
) -> None:  # fmt: skip
    for loaded in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    before = files(at_desk)
    assert f"pip install 'fedma[{extra}]'" in ended(command.split(), capsys)
    assert files(at_desk) == before


@pytest.mark.parametrize(
    ("module", "command"), [("tyro", "run"), ("rich", "run --model mlp"), ("jinja2", "report runs/first")]
)
def test_so_is_one_that_the_command_line_itself_imports(at_desk: Path, module: str, command: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from fedma.cli import main; main({command.split()})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("fedma: error: ")
    assert "pip install 'fedma[cli]'" in line


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "run --help", "report runs/first"])
def test_a_reader_that_leaves_is_no_mistake(at_desk: Path, command: str, buffered: str) -> None:
    code = f"from fedma.cli import main; main({command.split()})"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=gone, stderr=subprocess.PIPE, timeout=120, check=False,
            env={**os.environ, "PYTHONUNBUFFERED": buffered},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, b"")

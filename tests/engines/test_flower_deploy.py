"""A deployment over TLS on loopback: SuperLink, SuperNodes with keys, every message to a new process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from federation import play
from fedma.algorithms import Client, FedMA
from fedma.cli.app import write
from fedma.matching import Matcher
from fedma.models import build
from fedma.training import Schedule
from fedma.units import Weights, units, weights

NODES = 2
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="ends what it started by process groups"),
    pytest.mark.skipif("FEDMA_DEPLOY" not in os.environ, reason="takes a minute: make test-deploy"),
]


def port() -> int:
    """A free one that has free ones after it."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            number = int(first.getsockname()[1])
        if number + 10 < 65536 and all(free(number + more) for more in range(6)):
            return number


def free(number: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", number)) != 0


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process and all that it starts, ended afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        # The script ends what it started, and is given time to; then what is left of its session.
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def locally(folder: Path) -> Weights:
    """What the app's settings give on the local engine."""
    from fedma.data import Split

    files = [load_file(folder / f"client-{number}.safetensors") for number in range(NODES)]
    data = [Split(own["inputs"], own["labels"]) for own in files]
    template = build("mlp", (1, 8, 8), 10, seed=0)
    graph = units(template, data[0].inputs[:2])
    members = [Client(number, own, template, graph, 10, 0) for number, own in enumerate(data)]
    start = {number: weights(build("mlp", (1, 8, 8), 10, seed=0, client=number)) for number in range(NODES)}
    local = Schedule(epochs=1, lr=0.02, batch_size=32)
    output = Schedule(epochs=1, lr=0.002, batch_size=32)
    return dict(play(FedMA(graph, range(NODES), local, local, output, 1, Matcher(seed=0)), members, start).weights)


def test_a_round_over_tls_gives_the_weights_of_the_local_engine(tmp_path: Path) -> None:
    write(tmp_path / "app")
    folder, deploy = tmp_path / "deployment", tmp_path / "app" / "deploy"
    number = port()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PORT": str(number),
        "TMPDIR": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    divide = [sys.executable, str(deploy / "divide.py"), "digits", str(NODES), str(folder)]
    subprocess.run(divide, check=True, env=environment, timeout=120)
    settings = (
        f'model="mlp" local-epochs=1 output-epochs=1 min-replies=2 patience=400.0 test="{folder}/test.safetensors"'
    )
    command = [str(deploy / "loopback.sh"), str(folder), str(NODES), "-c", settings]
    with running(command, tmp_path / "log", environment) as process:
        stranger_refused(tmp_path, deploy, number, environment)
        assert process.wait(500) == 0, (tmp_path / "log").read_text()
    found, expected = load_file(folder / "run" / "model.safetensors"), locally(folder)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(free(number + more) for more in range(NODES + 1))


def stranger_refused(folder: Path, deploy: Path, number: int, environment: dict[str, str]) -> None:
    """A node whose key nobody registered ends; one that does not know the authority would not get that far."""
    subprocess.run([str(deploy / "certificates.sh"), str(folder / "strange"), "127.0.0.1", "1"], check=True)
    deadline = time.monotonic() + 120
    while not (folder / "deployment" / "register-1.log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    node = ["flower-supernode", "--superlink", f"127.0.0.1:{number}", "--max-retries", "3", "--port", str(number + 5)]
    node += ["--root-certificates", str(folder / "deployment" / "keys" / "ca.crt")]
    node += ["--auth-supernode-private-key", str(folder / "strange" / "node-0")]
    with running(node, folder / "stranger", environment) as process:
        assert process.wait(200) != 0
    assert "Failed to activate" in (folder / "stranger").read_text()

"""Faults of a real deployment on loopback, with TLS and node authentication, one line of results each.

    python benchmarks/faults/deployment.py MNIST_FOLDER FOLDER [NAME ...]

Four SuperNodes train FedMA on 4,000 images of MNIST for a round; the scripts are those of examples/flower/deploy.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent
APP = HERE.parents[1] / "examples" / "flower"
DEPLOY = APP / "deploy"
NODES, PORT = 4, 29400
CONFIG = 'input-shape="1 28 28" model="cnn" local-epochs=2 output-epochs=4 min-replies=3 rounds=1'


class Deployment:
    """A SuperLink and SuperNodes on this machine, each in a process group of its own."""

    def __init__(self, folder: Path, data: Path, *, patience: int = 300) -> None:
        self.folder, self.data, self.patience = folder, data, patience
        folder.mkdir(parents=True)
        home = folder / "flwr"
        home.mkdir()
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        (home / "config.toml").write_text(
            f'[superlink.lab]\naddress = "127.0.0.1:{PORT}"\nroot-certificates = "{folder}/keys/ca.crt"\n'
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.call(str(DEPLOY / "certificates.sh"), "keys", "127.0.0.1", str(NODES + 1))

    def call(self, *command: str) -> str:
        """A command's output."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """A process that goes on."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.processes[name] = process
        return process

    def superlink(self) -> None:
        """Start the server, and wait until it answers."""
        self.start("superlink", str(DEPLOY / "superlink.sh"), "keys", "127.0.0.1", str(PORT))
        until(lambda: succeeds(lambda: self.call("flwr", "list", "lab", "--format", "json")), "the SuperLink")

    def node(self, number: int, *, registered: bool = True) -> None:
        """Start a client."""
        if registered:
            self.call("flwr", "supernode", "register", f"keys/node-{number}.pub", "lab")
        data = self.data / f"client-{number}.safetensors"
        command = ("keys", f"127.0.0.1:{PORT}", str(number), str(PORT + 1 + number), str(data))
        self.start(f"node-{number}", str(DEPLOY / "supernode.sh"), *command)

    def run(self) -> str:
        """Begin the run, or go on with it; its number."""
        config = f'{CONFIG} folder="{self.folder}/run" test="{self.data}/test.safetensors" patience={self.patience}.0'
        told = json.loads(self.call("flwr", "run", str(APP), "lab", "--format", "json", "-c", config))
        return str(told["run-id"])

    def kill_node(self, number: int) -> None:
        """kill -9 of a SuperNode with all that it has started, as when its machine fails; not of its supervisor."""
        for child in children(self.processes[f"node-{number}"].pid):
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)

    def restart_node(self, number: int) -> None:
        """End a SuperNode in good order; its supervisor starts it again."""
        for child in children(self.processes[f"node-{number}"].pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    def kill_superlink(self) -> None:
        """kill -9 of the SuperLink and its ServerApp."""
        process = self.processes["superlink"]
        victims = [process.pid, *descendants(process.pid)]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What the run has told so far."""
        path = self.folder / "run" / "results.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def stop(self) -> None:
        """End all of it."""
        for process in reversed(self.processes.values()):
            everything = [process.pid, *descendants(process.pid)]
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            for pid in everything:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def descendants(process: int) -> list[int]:
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in children(process):
            found += [child, *descendants(child)]
    return found


def until(happens: Callable[[], bool], what: str, *, seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.5)


def succeeds(action: Callable[[], object]) -> bool:
    try:
        action()
    except subprocess.CalledProcessError:
        return False
    return True


@contextmanager
def deployed(folder: Path, data: Path) -> Iterator[Deployment]:
    deployment = Deployment(folder, data)
    try:
        deployment.superlink()
        for number in range(NODES):
            deployment.node(number)
        yield deployment
    finally:
        deployment.stop()


def steps(deployment: Deployment, number: int) -> None:
    """Wait until so many exchanges are over."""
    until(lambda: sum(line.get("event") == "exchange" for line in deployment.lines) >= number, f"step {number}")


def busy(deployment: Deployment, node: int, messages: int) -> None:
    """Wait until a node has begun with its so-manieth message; the first is the greeting."""
    log = deployment.folder / f"node-{node}.log"
    until(
        lambda: log.read_text(errors="replace").count("Receiving: ") >= messages, f"message {messages} at node {node}"
    )
    until(lambda: log.read_text(errors="replace").count("Start `flwr-clientapp`") >= messages, "its process")
    time.sleep(8)  # importing takes longer than this: it is in mid-step


def undisturbed(deployment: Deployment) -> None:
    """Nothing fails, but a node with a key that nobody registered is refused."""
    deployment.node(NODES, registered=False)


def node_killed(deployment: Deployment) -> None:
    """kill -9 of node 1 in the second step, node 2 restarted in the third; the supervisors start them again."""
    busy(deployment, 1, 3)
    deployment.kill_node(1)
    steps(deployment, 2)
    busy(deployment, 2, 4)
    deployment.restart_node(2)


def superlink_killed(deployment: Deployment) -> None:
    """kill -9 of the SuperLink and its ServerApp in the third step; both are started again."""
    busy(deployment, 0, 4)
    deployment.kill_superlink()
    time.sleep(5)
    deployment.superlink()
    deployment.run()


FAULTS: Mapping[str, Callable[[Deployment], None]] = {
    "undisturbed": undisturbed,
    "node killed": node_killed,
    "superlink killed": superlink_killed,
}


def main(mnist: Path, folder: Path, names: list[str]) -> None:
    """Every fault, or those named; results are added to `deployment.jsonl`."""
    data = folder / "data"
    if not data.exists():
        command = [sys.executable, str(DEPLOY / "divide.py"), str(mnist), str(NODES), str(data), "4000"]
        subprocess.run(command, check=True)
    for name in names or FAULTS:
        began = time.monotonic()
        with deployed(folder / name.replace(" ", "-"), data) as deployment:
            run = deployment.run()
            FAULTS[name](deployment)
            until(lambda own=deployment: (own.folder / "run" / "model.safetensors").exists(), "the end")  # type: ignore[misc]
            time.sleep(5)
            line = {"fault": name, "seconds": round(time.monotonic() - began), **told(deployment, run, folder)}
        with (HERE / "deployment.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line, indent=1))


def told(deployment: Deployment, run: str, folder: Path) -> dict[str, Any]:
    """What there is to say of a run."""
    lines = deployment.lines
    exchanges = [line for line in lines if line.get("event") == "exchange"]
    evaluations = [line for line in lines if "event" not in line]
    model = load_file(deployment.folder / "run" / "model.safetensors")
    other = load_file(folder / "undisturbed" / "run" / "model.safetensors")
    stranger = deployment.folder / f"node-{NODES}.log"
    listed = json.loads(deployment.call("flwr", "list", "lab", "--run-id", run, "--format", "json"))
    traffic = listed["runs"][0]["network-traffic"]
    return {
        "accuracy": evaluations[-1]["accuracy"],
        "same_weights": model.keys() == other.keys() and all(torch.equal(model[n], other[n]) for n in other),
        "answered": [line["answered"] for line in exchanges],
        "faults": [f"step {line['step']}: {line['what']}" for line in lines if line.get("event") == "fault"],
        "step_seconds": [line["seconds"] for line in exchanges],
        "counted": {"up": exchanges[-1]["bytes_up"], "down": exchanges[-1]["bytes_down"]},
        "wire": {"up": traffic["inbound-bytes"], "down": traffic["outbound-bytes"]},
        "stranger": "Failed to activate" in stranger.read_text() if stranger.exists() else None,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3:])

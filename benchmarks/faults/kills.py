"""A run killed at random points and resumed ends with the weights of one that was not.

    python benchmarks/faults/kills.py [--kills 20] [--seed 0]

Starts `fedma run` on the handwritten digits (FedMA, FedAvg, the ensemble), kills it with SIGKILL at a random point of
its course and lets `fedma run --resume` finish it; compares the models byte by byte with those of a run left alone, and
appends a JSON line a kill to kills.jsonl beside this file.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fedma.experiments import checkpoint

RESULTS = Path(__file__).parent / "kills.jsonl"
FLAGS = (
    "--model cnn --method fedma fedavg ensemble --rounds 3 --clients 4 --alpha 1.0 --local-epochs 2 --output-epochs 1 "
    "--limit 400 --workers 2 --quiet"
)


def command(*flags: str) -> list[str]:
    """The command line, in this Python."""
    return [sys.executable, "-c", "from fedma.cli import main; main()", "run", *flags]


def contents(folder: Path) -> dict[str, Any]:
    """The models, byte by byte, and the accuracies."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    models = {path.name: path.read_bytes() for path in sorted((folder / "models").iterdir())}
    return {**models, "accuracy": [(line["method"], line["round"], line["accuracy"]) for line in lines]}


def seen(folder: Path) -> str:
    """After which exchange the run was killed, as its checkpoint says."""
    kept = checkpoint.load(folder)
    if kept is None:
        return "before the first checkpoint"
    state = kept["standing"]["state"]
    over = ", over" if kept["standing"]["ended"] else ""
    return f"{kept['standing']['method']}, {state['round']} rounds and {state['exchange']} exchanges{over}"


def facts(folder: Path) -> dict[str, Any]:
    """What run.json says."""
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def begin(folder: Path) -> subprocess.Popen[bytes]:
    """A run that has made its folder."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(*FLAGS.split(), "--out", str(folder)), start_new_session=True, **quiet)
    while not (folder / "run.json").exists() and process.poll() is None:
        time.sleep(0.01)
    return process


def length(folder: Path) -> float:
    """The seconds from a run's folder to its last result."""
    process, began = begin(folder), time.monotonic()
    while not facts(folder)["finished"]:
        time.sleep(0.05)
    took = time.monotonic() - began
    process.wait()
    return took


def killed(seconds: float, folder: Path) -> dict[str, Any] | None:
    """What came of a run that was killed so many seconds after it made its folder; None where it had ended by then."""
    process = begin(folder)
    time.sleep(seconds)
    process.kill()
    process.wait()
    if facts(folder)["finished"]:
        return None
    line, began = {"seconds": round(seconds, 3), "after": seen(folder)}, time.monotonic()
    subprocess.run(command("--resume", str(folder), "--quiet"), check=True, stdout=subprocess.DEVNULL)
    return {**line, "resume_seconds": round(time.monotonic() - began, 2)}


def main() -> None:
    """One run left alone, then the kills."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, lines = random.Random(given.seed), 0
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        took = length(home / "whole")
        whole = contents(home / "whole")
        for number in range(10 * given.kills):
            folder = home / str(number)
            found = killed(draw.uniform(0, took), folder)
            if found is not None:
                lines += 1
                line = {"kill": lines, **found, "same": contents(folder) == whole}
                print(line, flush=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            if lines == given.kills:
                break


if __name__ == "__main__":
    main()

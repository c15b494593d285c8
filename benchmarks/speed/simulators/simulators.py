"""Times the same federated rounds in fedma and in other simulators, one after the other, again and again.

python simulators.py environments                   # once: a virtual environment for each of the others
python simulators.py run --data-folder FOLDER       # adds to results.jsonl what is not yet there
python simulators.py run --data-folder FOLDER --quick     # a try of them all in some minutes: prints, keeps nothing
python simulators.py table                          # the tables in README.md, from results.jsonl
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import environments
import tables
from environments import PACKAGES
from process import watched
from work import SEED, Work
from works import WORKS, prepared, quick

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
BF16 = "ours bf16"
ENTRANTS = ("ours", BF16, "bare", "plain", *PACKAGES)
LIMIT_S = 1800.0
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TQDM_DISABLE": "1",
}


def main() -> None:
    options = parsed()
    if options.step == "environments":
        environments.make(options.environments)
    elif options.step == "table":
        tables.write(HERE / "README.md", RESULTS)
    else:
        run(options)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("environments", "run", "table"))
    parser.add_argument("--environments", type=lambda text: Path(text).resolve(), default=HERE / ".environments")
    parser.add_argument("--data-folder", type=Path, help="holds the folders mnist, cifar10 and shakespeare")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--works", nargs="+", choices=[work.name for work in WORKS], help="by default all")
    parser.add_argument("--entrants", nargs="+", choices=ENTRANTS, default=ENTRANTS, help="by default all")
    parser.add_argument("--quick", action="store_true", help="hundreds of samples, once; kept nowhere")
    options = parser.parse_args()
    if options.step == "run" and options.data_folder is None:
        parser.error("run needs --data-folder")
    return options


def run(options: argparse.Namespace) -> None:
    """Every cell that has no result yet."""
    works = [quick(work) if options.quick else work for work in WORKS if work.name in (options.works or work.name)]
    known = set() if options.quick else {cell(line) for line in tables.read(RESULTS)}
    for repetition, work, entrant in cells(works, options):
        if cell({"work": work.name, "entrant": entrant, "repetition": repetition}) in known:
            continue
        task = prepared(work, options.data_folder, options.environments / "data")
        line = {"work": work.name, "entrant": entrant, "repetition": repetition}
        line |= settings(work) | one(entrant, task, options.environments)
        print(json.dumps(line), flush=True)
        if not options.quick:
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")


def cells(works: list[Work], options: argparse.Namespace) -> Iterator[tuple[int, Work, str]]:
    """All entrants after each other, then all again, another one first."""
    for repetition in range(1 if options.quick else options.repetitions):
        for work in works:
            first = repetition % len(options.entrants)
            for entrant in [*options.entrants[first:], *options.entrants[:first]]:
                yield repetition, work, entrant


def cell(line: dict[str, Any]) -> tuple[str, str, int]:
    """What is run once."""
    return line["work"], line["entrant"], line["repetition"]


def settings(work: Work) -> dict[str, Any]:
    """What a line holds besides its measurements."""
    return {
        "clients": work.clients,
        "cohort": work.cohort,
        "train": work.samples,
        "test": work.test,
        "batch": work.batch,
        "lr": work.lr,
        "momentum": work.momentum,
        "seed": SEED,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "load": round(os.getloadavg()[0], 2),
        "date": date.today().isoformat(),
    }


def processor() -> str:
    """Its name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def one(entrant: str, task: Path, folder: Path) -> dict[str, Any]:
    """One entrant's rounds."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        env = {**QUIET, "PYTHONPATH": str(HERE), "FLWR_HOME": scratch}
        *lines, last = watched(command(entrant, task, folder), env=env, cwd=Path(scratch), limit=LIMIT_S)
    ready, *rounds, final = lines
    marks = [line["cpu_s"] for line in (ready, *rounds)]
    return {
        **{key: ready[key] for key in ("package", "version", "torch")},
        "start_s": round(ready["at"], 3),
        "round_s": [round(line["seconds"], 3) for line in rounds],
        "cpu_s": [round(after - before, 2) for before, after in pairwise(marks)],
        "samples": [line["samples"] for line in rounds],
        "accuracy": [round(line["accuracy"], 4) for line in rounds],
        "final_accuracy": round(final["final_accuracy"], 4),
        "final_loss": round(final["final_loss"], 4),
        **last,
    }


def command(entrant: str, task: Path, folder: Path) -> list[str]:
    """What to run."""
    name, _, precision = entrant.partition(" ")
    start = [str(environments.python(name, folder)), "-m"]
    if name == "pfl":
        processes = str(len(os.sched_getaffinity(0)))
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", processes, "-m"]
    return [*start, f"peers.{name}", str(task), *([precision] if precision else [])]


if __name__ == "__main__":
    main()

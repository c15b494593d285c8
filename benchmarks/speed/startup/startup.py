"""How long `fedma run` takes from the start of the process to the first batch that a client trains on.

    python benchmarks/speed/startup/startup.py --data-folder DIR [--repetitions 5]    # measure, then write the table
    python benchmarks/speed/startup/startup.py --table                                # the table alone

DIR holds the folders mnist and cifar10. Rewrites results.jsonl beside this file, a line for each start, and the table
of README.md. Nothing else may run meanwhile.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
STARTS = {"digits": "cnn", "mnist": "lenet", "cifar10": "vgg9"}
"""The data and the network of each."""


def main() -> None:
    """Measure, if asked to, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        if options.data_folder is None:
            parser.error("--data-folder is needed, or --table")
        lines = measure(options.data_folder.resolve(), options.repetitions)
        RESULTS.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    results = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    readme = HERE / "README.md"
    head = readme.read_text(encoding="utf-8").partition("<!-- table -->")[0]
    readme.write_text(f"{head}<!-- table -->\n\n{table(results)}\n", encoding="utf-8")


def measure(folder: Path, repetitions: int) -> Iterator[dict[str, Any]]:
    """A line for each start, the data sets by turns; before them each is started once, which fills the disk's cache."""
    for repetition in range(-1, repetitions):
        for data in STARTS:
            line = start(data, folder)
            if repetition >= 0:
                yield {"data": data, "repetition": repetition, **line}
                sys.stdout.write(f"{data}: {line['seconds']:.2f} s, {line['cpu_seconds']:.2f} s of CPU\n")
                sys.stdout.flush()


def start(data: str, folder: Path) -> dict[str, Any]:
    """Start one run and wait for its first batch."""
    source = data if data == "digits" else str(folder / data)
    with tempfile.TemporaryDirectory() as out:
        fedma = str(Path(sys.executable).with_name("fedma"))
        command = [fedma, "run", "--data", source, "--model", f"watched:{STARTS[data]}"]
        command += ["--method", "fedavg", "--workers", "1", "--quiet", "--out", f"{out}/run"]
        begun = time.monotonic()
        said = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout
    now, cpu = map(float, said.partition("first batch: ")[2].split())
    return {
        "seconds": round(now - begun, 3),
        "cpu_seconds": round(cpu, 3),
        "versions": {package: metadata.version(package) for package in ("fedma", "torch", "datasets")},
        "python": platform.python_version(),
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Medians, and the fastest and slowest start."""
    rows = ["| data | network | seconds | of CPU | fastest | slowest | starts |", "|---|---|---|---|---|---|---|"]
    for data, network in STARTS.items():
        seconds = [line["seconds"] for line in results if line["data"] == data]
        cpu = statistics.median(line["cpu_seconds"] for line in results if line["data"] == data)
        rows.append(
            f"| {data} | {network} | {statistics.median(seconds):.2f} | {cpu:.2f} | {min(seconds):.2f} "
            f"| {max(seconds):.2f} | {len(seconds)} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()

"""What `--precision bf16` costs in accuracy: the same runs, seed by seed, in fp32 and in bf16.

    python benchmarks/accuracy/precision/precision.py --data-folder DIR    # about 20 minutes on one core
    python benchmarks/accuracy/precision/precision.py --table              # the table alone

DIR holds the folders mnist and cifar10. Adds a JSON line for each run to results.jsonl beside this file, but for runs
that it has already, and writes the table into README.md.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from fedma.experiments.run import run
from fedma.experiments.settings import Settings

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
SEEDS = (0, 1, 2)
PRECISIONS = ("fp32", "bf16")
WORKS: dict[str, dict[str, Any]] = {
    "LeNet, MNIST": {
        "data": "mnist",
        "model": "lenet",
        "clients": 16,
        "limit": 8000,
        "rounds": 3,
        "local_epochs": 2,
        "lr": 0.02,
    },
    "VGG-9, CIFAR-10": {
        "data": "cifar10",
        "model": "vgg9",
        "clients": 4,
        "limit": 4000,
        "test_limit": 3000,
        "rounds": 2,
        "local_epochs": 2,
        "optimizer": "adam",
        "lr": 0.001,
    },
}


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", type=Path)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        if options.data_folder is None:
            parser.error("--data-folder is needed, or --table")
        measure(options.data_folder)
    readme = HERE / "README.md"
    head = readme.read_text(encoding="utf-8").partition("<!-- table -->")[0]
    readme.write_text(f"{head}<!-- table -->\n\n{table(lines())}\n", encoding="utf-8")


def measure(data: Path) -> None:
    """Add the runs that there are no lines of."""
    known = {(line["work"], line["seed"], line["precision"]) for line in lines()}
    for work, settings in WORKS.items():
        for seed in SEEDS:
            for precision in PRECISIONS:
                if (work, seed, precision) not in known:
                    line = {"work": work, "seed": seed, "precision": precision, **one(settings, seed, precision, data)}
                    with RESULTS.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    sys.stdout.write(f"{work} seed {seed} {precision}: {line['accuracy']}\n")
                    sys.stdout.flush()


def one(settings: Mapping[str, Any], seed: int, precision: str, data: Path) -> dict[str, Any]:
    """What one run of FedAvg gives."""
    asked = Settings(
        **{**settings, "data": str(data / settings["data"])},
        method=("fedavg",),
        partition="iid",
        seed=seed,
        workers=1,
        device="cpu",
        precision=precision,
    )
    with tempfile.TemporaryDirectory() as folder:
        results = run(asked, Path(folder) / "run") / "results.jsonl"
        rounds = [json.loads(text) for text in results.read_text(encoding="utf-8").splitlines()]
    return {
        "accuracy": rounds[-1]["accuracy"],
        "loss": rounds[-1]["loss"],
        "by_round": [line["accuracy"] for line in rounds],
        "settings": dict(settings),
        "versions": {package: metadata.version(package) for package in ("fedma", "torch")},
        "machine": platform.machine(),
    }


def lines() -> list[dict[str, Any]]:
    """The results so far."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Accuracies in %, and the mean of the seeds' differences in points with its 95 % interval (Student's t)."""
    rows = ["| work | fp32 | bf16 | bf16 - fp32, by seed | mean difference |", "|---|---|---|---|---|"]
    return "\n".join([*rows, *_rows(results)])


def _rows(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for work in WORKS:
        found = {(line["precision"], line["seed"]): 100 * line["accuracy"] for line in results if line["work"] == work}
        fp32, bf16 = (np.array([found[precision, seed] for seed in SEEDS]) for precision in PRECISIONS)
        gaps = bf16 - fp32
        half = stats.t.ppf(0.975, len(gaps) - 1) * stats.sem(gaps)
        by_seed = ", ".join(f"{gap:+.2f}" for gap in gaps)
        yield f"| {work} | {fp32.mean():.2f} | {bf16.mean():.2f} | {by_seed} | {gaps.mean():+.2f} ± {half:.2f} |"


if __name__ == "__main__":
    main()

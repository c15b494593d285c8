"""Memory over rounds, and the server's time by the number of sampled clients, with a thousand and more clients.

    python benchmarks/speed/clients/clients.py --data-folder DIR    # about three minutes on two cores
    python benchmarks/speed/clients/clients.py --draw               # table and plot alone

DIR holds the folder mnist. Rewrites results.jsonl beside this file, a line for each round, clients.png, and the tables
of README.md.
"""

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fedma.experiments.callback import Exchange, Silent
from fedma.experiments.run import run
from fedma.experiments.settings import Settings

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
WARM = 3
"""Rounds before times are taken."""


@dataclass(frozen=True)
class Case:
    """How many clients there are, how many of them take part in a round, and how many rounds."""

    clients: int
    sampled: int
    rounds: int


MEMORY = (Case(1000, 50, 100), Case(10_000, 50, 100))
TIME = tuple(Case(1000, sampled, 12) for sampled in (25, 50, 100, 200))


class Meter(Silent):
    """After each round, what it has cost."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def exchange(self, exchange: Exchange) -> None:
        """The clients are chosen: from here to the next round's choice."""
        now = time.process_time(), time.monotonic()
        if self.lines:
            self._close(*now)
        self.begun = now
        self.lines.append({"round": exchange.round})

    def _close(self, cpu: float, clock: float) -> None:
        self.lines[-1] |= {
            "server_cpu_seconds": round(cpu - self.begun[0], 4),
            "seconds": round(clock - self.begun[1], 4),
            "megabytes": round(_megabytes(), 2),
        }

    def finish(self) -> list[dict[str, Any]]:
        """All lines but the last round's, whose end comes with the run's own."""
        return self.lines[:-1]


def _megabytes() -> float:
    """Memory of this process and its workers: what is shared among several counts once (proportional set size)."""
    processes = [os.getpid(), *(process.pid for process in multiprocessing.active_children())]
    rolled = (Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes)
    return sum(int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) for text in rolled) / 1024


def measure(case: Case, data: Path) -> list[dict[str, Any]]:
    """A line for each round of FedAvg on MNIST, divided evenly among the clients."""
    meter = Meter()
    settings = Settings(
        data=str(data / "mnist"),
        model="lenet",
        method=("fedavg",),
        clients=case.clients,
        partition="iid",
        min_samples=1,
        participation=case.sampled / case.clients,
        rounds=case.rounds + 1,
        local_epochs=1,
        limit=20_000,
        test_limit=500,
        device="cpu",
        workers=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        run(settings, Path(folder) / "run", meter)
    about = {"clients": case.clients, "sampled": case.sampled, "torch": metadata.version("torch")}
    return [{**about, **line} for line in meter.finish()]


def every(data: Path) -> Iterator[dict[str, Any]]:
    """All lines; each case in a process of its own, which knows nothing of the others' memory."""
    spawn = multiprocessing.get_context("spawn")
    for case in (*MEMORY, *TIME):
        pipe, theirs = spawn.Pipe()
        process = spawn.Process(target=_alone, args=(case, data, theirs))
        process.start()
        lines = pipe.recv()
        process.join()
        kind = "memory" if case in MEMORY else "time"
        yield from ({"kind": kind, **line} for line in lines)
        sys.stdout.write(f"{kind}: {case.clients} clients, {case.sampled} a round: {lines[-1]}\n")
        sys.stdout.flush()


def _alone(case: Case, data: Path, pipe: Any) -> None:
    pipe.send(measure(case, data))


def main() -> None:
    """Measure, if asked to, then write tables and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", type=Path)
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    if not options.draw:
        if options.data_folder is None:
            parser.error("--data-folder is needed, or --draw")
        lines = [json.dumps(line) for line in every(options.data_folder.resolve())]
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    results = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    readme = HERE / "README.md"
    head = readme.read_text(encoding="utf-8").partition("<!-- table -->")[0]
    readme.write_text(f"{head}<!-- table -->\n\n{tables(results)}\n", encoding="utf-8")
    draw(results)


def _of(results: Sequence[Mapping[str, Any]], kind: str, case: Case, value: str) -> np.ndarray:
    """One value of every round of a case."""
    wanted = (kind, case.clients, case.sampled)
    return np.array([line[value] for line in results if (line["kind"], line["clients"], line["sampled"]) == wanted])


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """Memory and its growth, then the server's time and how straight its line is."""
    rows = [
        "| clients | a round | MB after round 1 | after half of all | after the last | kB a round in the last half |",
        "|---|---|---|---|---|---|",
    ]
    for case in MEMORY:
        memory = _of(results, "memory", case, "megabytes")
        late = memory[len(memory) // 2 :]
        growth, error = _slope(np.arange(len(late)), late)
        rows.append(
            f"| {case.clients} | {case.sampled} | {memory[0]:.0f} | {late[0]:.0f} | {late[-1]:.0f} "
            f"| {1024 * growth:+.0f} ± {1024 * error:.0f} |"
        )
    rows += ["", "| sampled clients | server, CPU ms a round (median) | a client |", "|---|---|---|"]
    medians = _medians(results)
    for sampled, median in medians.items():
        rows.append(f"| {sampled} | {median:.0f} | {median / sampled:.2f} |")
    slope, start, fit = _line(medians)
    rows += ["", f"Straight line: {start:.0f} ms + {slope:.2f} ms a sampled client, R² = {fit:.4f}."]
    return "\n".join(rows)


def _medians(results: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """The server's CPU time in a round, in milliseconds, by the number of sampled clients."""
    rounds = {case.sampled: _of(results, "time", case, "server_cpu_seconds")[WARM:] for case in TIME}
    return {sampled: 1000 * float(np.median(seconds)) for sampled, seconds in rounds.items()}


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def _line(medians: Mapping[int, float]) -> tuple[float, float, float]:
    x, y = np.array(list(medians), dtype=float), np.array(list(medians.values()))
    slope, start = np.polyfit(x, y, 1)
    return float(slope), float(start), float(np.corrcoef(x, y)[0, 1] ** 2)


def draw(results: Sequence[Mapping[str, Any]]) -> None:
    """The plot of both."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5))
    for case in MEMORY:
        memory = _of(results, "memory", case, "megabytes")
        left.plot(range(1, len(memory) + 1), memory, ".-", label=f"{case.clients} clients, {case.sampled} a round")
    left.set(xlabel="round", ylabel="memory of all processes (MB)", ylim=(0, None))
    left.legend(fontsize=8)
    medians = _medians(results)
    slope, start, _ = _line(medians)
    right.plot(list(medians), list(medians.values()), "o")
    ends = np.array([0, max(medians)])
    right.plot(ends, start + slope * ends, ":", color="grey", label=f"{start:.0f} ms + {slope:.2f} ms a client")
    right.set(xlabel="sampled clients", ylabel="server's CPU time a round (ms)", ylim=(0, None), xlim=(0, None))
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(HERE / "clients.png", dpi=120)


if __name__ == "__main__":
    main()

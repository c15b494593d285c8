"""What two malicious clients of ten do to the accuracy, and what the robust options make of it.

    python -m benchmarks.accuracy.robust.robust [--seeds 0 1 2]

trains FedAvg and FedMA on the handwritten digits, two clients of ten flipping their labels (class c to 9 - c) or
sending ten times their update (FedMA: ten times their weights), under each of the options; appends a JSON line a
cell to results.jsonl beside this file, skips cells that are there, and writes the table into README.md.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from benchmarks.accuracy.loop import put_table, run_missing, train

from fedma.algorithms import Ask, Client, Reply
from fedma.algorithms.replies import Expected, sift
from fedma.data import Split
from fedma.experiments.federation import assemble
from fedma.experiments.settings import Settings
from fedma.units import Weights

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
BOUNDS: Mapping[str, dict[str, Any]] = {
    "mean": {},
    "clip": {"clip": 1.0},
    "trimmed": {"robust": "trimmed"},
    "median": {"robust": "median"},
    "median, clip": {"robust": "median", "clip": 1.0},
}
MALICIOUS = (3, 7)


class Scaler(Client):
    """A client that sends ten times its update."""

    def answer(self, ask: Ask, own: Mapping[str, torch.Tensor], **how: Any) -> tuple[Reply, Weights]:
        """The reply, exaggerated."""
        reply, held = super().answer(ask, own, **how)
        start = ask.weights
        sent = {name: start.get(name, 0) + 10 * (t - start.get(name, 0)) for name, t in reply.weights.items()}
        return replace(reply, weights=sent), held


def attacked(client: Client, *, attack: str) -> Client:
    """The client, malicious where it is one of those."""
    if client.number not in MALICIOUS or attack == "none":
        return client
    if attack == "scale":
        return Scaler(**{own.name: getattr(client, own.name) for own in fields(client)})
    return replace(client, data=Split(client.data.inputs, 9 - client.data.labels))


def cell(method: str, attack: str, bound: str, seed: int) -> dict[str, Any]:
    """One training, from its first exchange to its last."""
    settings = Settings(
        method=(method,), clients=10, alpha=1.0, local_epochs=10, lr=0.02, batch_size=16, seed=seed,
        rounds=4 if method == "fedavg" else 1, **BOUNDS[bound],
    )  # fmt: skip
    refused = 0

    def take(asks: Sequence[Ask], replies: list[Reply]) -> list[Reply]:
        nonlocal refused
        good, faults = sift(asks, replies, expected)
        refused += len(faults)
        return good

    federation = assemble(settings)
    expected = Expected.of(federation.template, federation.graph, classes=10)
    done = train(settings, client=partial(attacked, attack=attack), take=take)
    return {
        "method": method, "attack": attack, "bound": bound, "seed": seed, "accuracy": done.accuracy,
        "refused": refused, "widths": done.federation.graph.widths_in(done.state.weights),
        "cpu_seconds": done.cpu_seconds,
    }  # fmt: skip


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy in %, mean over seeds."""
    rows = ["| method | attack | " + " | ".join(BOUNDS) + " |", "|---" * (2 + len(BOUNDS)) + "|"]
    for method in ("fedavg", "fedma"):
        for attack in ("none", "flip", "scale"):
            own = [
                [x["accuracy"] for x in lines if (x["method"], x["attack"], x["bound"]) == (method, attack, b)]
                for b in BOUNDS
            ]
            rows.append(
                f"| {method} | {attack} | " + " | ".join(f"{100 * mean(o):.1f}" if o else "" for o in own) + " |"
            )
    return "\n".join(rows)


def main() -> None:
    """Every cell that is not there yet, then the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    torch.set_num_threads(1)
    methods, attacks = ("fedavg", "fedma"), ("none", "flip", "scale")
    seeds = parser.parse_args().seeds
    keys = [(m, a, b, seed) for seed in seeds for m in methods for a in attacks for b in BOUNDS]
    lines = run_missing(RESULTS, ("method", "attack", "bound", "seed"), keys, cell)
    put_table(HERE / "README.md", table(lines))


if __name__ == "__main__":
    main()

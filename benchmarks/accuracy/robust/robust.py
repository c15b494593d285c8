"""What two malicious clients of ten do to the accuracy, and what the robust options make of it.

    python benchmarks/accuracy/robust/robust.py [--seeds 0 1 2]

trains FedAvg and FedMA on the handwritten digits, two clients of ten flipping their labels (class c to 9 - c) or
sending ten times their update (FedMA: ten times their weights), under each of the options; appends a JSON line a
cell to results.jsonl beside this file, skips cells that are there, and writes the table into README.md.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from fedma.algorithms import Ask, Client, Reply
from fedma.algorithms.replies import Expected, sift
from fedma.data import Split
from fedma.engines import LocalEngine
from fedma.experiments.federation import assemble
from fedma.experiments.method_factories import algorithm
from fedma.experiments.settings import Settings
from fedma.training import score
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


def attacked(client: Client, attack: str) -> Client:
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
    federation = assemble(settings)
    initial = federation.initial(common=method == "fedavg")
    start = initial[0] if method == "fedavg" else {}
    server = algorithm(
        method, settings, federation.graph, clients=range(10), rounds=settings.rounds, initial=start, widths={}
    )
    expected = Expected.of(federation.template, federation.graph, classes=10)
    began, refused = time.process_time(), 0
    members = [attacked(client, attack) for client in federation.clients[:-1]]
    test = federation.dataset.test
    with LocalEngine(members, workers=1, test=test.inputs) as engine:
        engine.reset(initial)
        state = server.start()
        while asks := server.asks(state):
            good, faults = sift(asks, engine.deliver(asks), expected)
            refused += len(faults)
            state = server.absorb(state, good)
        accuracy = score(engine.predict([state.weights]), test.labels).accuracy
    return {
        "method": method, "attack": attack, "bound": bound, "seed": seed, "accuracy": accuracy, "refused": refused,
        "widths": federation.graph.widths_in(state.weights), "cpu_seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def table(lines: list[dict[str, Any]]) -> str:
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
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = {(x["method"], x["attack"], x["bound"], x["seed"]) for x in lines}
    for seed in parser.parse_args().seeds:
        for key in [(m, a, b, seed) for m in ("fedavg", "fedma") for a in ("none", "flip", "scale") for b in BOUNDS]:
            if key in done:
                continue
            lines.append(cell(*key))
            with RESULTS.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    readme = HERE / "README.md"
    if readme.exists():
        head, _, rest = readme.read_text().partition("<!-- table -->\n")
        _, _, tail = rest.partition("<!-- end -->\n")
        readme.write_text(f"{head}<!-- table -->\n\n{table(lines)}\n\n<!-- end -->\n{tail}")


if __name__ == "__main__":
    main()

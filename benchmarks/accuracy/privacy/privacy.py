"""What local differential privacy costs in accuracy and in matching.

    python benchmarks/accuracy/privacy/privacy.py MNIST_FOLDER [--seeds 0 1 2]

trains FedAvg and FedMA on 2,000 images of MNIST, five clients, with clipped and noisy messages; appends a JSON line a
cell to results.jsonl beside this file, skips cells that are there, and writes the table into README.md. Needs
fedma[privacy].
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from fedma.engines import LocalEngine
from fedma.experiments.federation import assemble
from fedma.experiments.method_factories import algorithm, privacy
from fedma.experiments.settings import Settings
from fedma.training import score

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
NOISES = (None, 0.0, 0.001, 0.01, 0.1, 0.5, 1.0)
"""None is without clipping."""
CLIPS = {"fedavg": 1.0, "fedma": 7.0}
"""A fifth of the median update of FedAvg; the median weights of FedMA, of which less would be another model."""


def cell(method: str, noise: float | None, seed: int, data: str) -> dict[str, Any]:
    """One training, from its first exchange to its last; FedMA's matches too."""
    settings = Settings(
        data=data, model="mlp-50", method=(method,), clients=5, alpha=1.0, limit=2000, test_limit=2000, seed=seed,
        local_epochs=5, lr=0.05, rounds=3 if method == "fedavg" else 1,
        dp_clip=None if noise is None else CLIPS[method], dp_noise=noise or 0.0,
    )  # fmt: skip
    federation = assemble(settings)
    initial = federation.initial(common=method == "fedavg")
    start = initial[0] if method == "fedavg" else {}
    server = algorithm(
        method, settings, federation.graph, clients=range(5), rounds=settings.rounds, initial=start, widths={}
    )
    began, test = time.process_time(), federation.dataset.test
    norms: list[float] = []
    with LocalEngine(federation.clients, workers=1, test=test.inputs) as engine:
        engine.reset(initial)
        state = server.start()
        while asks := server.asks(state):
            replies = engine.deliver(asks)
            norms += [_change(ask.weights, reply.weights) for ask, reply in zip(asks, replies, strict=True)]
            state = server.absorb(state, replies)
        accuracy = score(engine.predict([state.weights]), test.labels).accuracy
    hiding = privacy(settings)
    return {
        "method": method, "noise": noise, "clip": settings.dp_clip, "seed": seed, "accuracy": accuracy,
        "epsilon": hiding.epsilon(settings.rounds * server.exchanges, delta=1e-5) if hiding and noise else None,
        "delta": 1e-5, "messages": settings.rounds * server.exchanges, "median_norm": sorted(norms)[len(norms) // 2],
        "shared_slots": _shared(state.maps), "widths": federation.graph.widths_in(state.weights),
        "cpu_seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def _change(start: Any, sent: Any) -> float:
    """The Euclidean norm of what was sent beyond what was known."""
    return float(sum(float((t - start.get(n, 0)).double().square().sum()) for n, t in sent.items()) ** 0.5)


def _shared(maps: Any) -> float | None:
    """Of the first group's slots, the part with more than one owner."""
    if not maps:
        return None
    group = next(iter(next(iter(maps.values()))))
    owners = torch.bincount(torch.cat([own[group] for own in maps.values()]))
    return round(float((owners > 1).double().mean()), 3)


def table(lines: list[dict[str, Any]]) -> str:
    """Accuracy in %, mean over seeds."""
    rows = ["| method | noise | epsilon | accuracy | slots with several owners | widths |", "|---" * 6 + "|"]
    for method in CLIPS:
        for noise in NOISES:
            own = [x for x in lines if (x["method"], x["noise"]) == (method, noise)]
            if not own:
                continue
            price = "∞" if own[0]["epsilon"] is None else f"{own[0]['epsilon']:.3g}"
            shared = "" if own[0]["shared_slots"] is None else f"{100 * mean(x['shared_slots'] for x in own):.0f} %"
            name = "none, not clipped" if noise is None else f"{noise:g}"
            wide = ", ".join(str(width) for width in own[0]["widths"].values())
            accuracy = 100 * mean(x["accuracy"] for x in own)
            rows.append(f"| {method} | {name} | {price} | {accuracy:.1f} | {shared} | {wide} |")
    return "\n".join(rows)


def main() -> None:
    """Every cell that is not there yet, then the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="a folder with MNIST, or a name as --data takes it")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = {(x["method"], x["noise"], x["seed"]) for x in lines}
    for seed in given.seeds:
        for key in [(method, noise, seed) for method in CLIPS for noise in NOISES]:
            if key in done:
                continue
            lines.append(cell(*key, given.data))
            with RESULTS.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    readme = HERE / "README.md"
    if readme.exists():
        head, _, rest = readme.read_text().partition("<!-- table -->\n")
        _, _, tail = rest.partition("<!-- end -->\n")
        readme.write_text(f"{head}<!-- table -->\n\n{table(lines)}\n\n<!-- end -->\n{tail}")


if __name__ == "__main__":
    main()

"""What local differential privacy costs in accuracy and in matching.

    python -m benchmarks.accuracy.privacy.privacy MNIST_FOLDER [--seeds 0 1 2]

trains FedAvg and FedMA on 2,000 images of MNIST, five clients, with clipped and noisy messages; appends a JSON line a
cell to results.jsonl beside this file, skips cells that are there, and writes the table into README.md. Needs
fedma[privacy].
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from benchmarks.accuracy.loop import put_table, run_missing, train

from fedma.algorithms import Ask, MatchedState, Reply, State
from fedma.experiments.method_factories import privacy
from fedma.experiments.settings import Settings

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
    norms: list[float] = []

    def take(asks: Sequence[Ask], replies: list[Reply]) -> list[Reply]:
        norms.extend(_change(ask.weights, reply.weights) for ask, reply in zip(asks, replies, strict=True))
        return replies

    done, hiding = train(settings, take=take), privacy(settings)
    messages = settings.rounds * done.server.exchanges
    return {
        "method": method, "noise": noise, "clip": settings.dp_clip, "seed": seed, "accuracy": done.accuracy,
        "epsilon": hiding.epsilon(messages, delta=1e-5) if hiding and noise else None,
        "delta": 1e-5, "messages": messages, "median_norm": sorted(norms)[len(norms) // 2],
        "shared_slots": _shared(done.state), "widths": done.federation.graph.widths_in(done.state.weights),
        "cpu_seconds": done.cpu_seconds,
    }  # fmt: skip


def _change(start: Any, sent: Any) -> float:
    """The Euclidean norm of what was sent beyond what was known."""
    return float(sum(float((t - start.get(n, 0)).double().square().sum()) for n, t in sent.items()) ** 0.5)


def _shared(state: State) -> float | None:
    """Of the first group's slots, the part with more than one owner."""
    if not isinstance(state, MatchedState):
        return None
    group = next(iter(next(iter(state.assignments.values()))))
    owners = torch.bincount(torch.cat([own[group] for own in state.assignments.values()]))
    return round(float((owners > 1).double().mean()), 3)


def table(lines: Sequence[Mapping[str, Any]]) -> str:
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
    keys = [(method, noise, seed) for seed in given.seeds for method in CLIPS for noise in NOISES]
    lines = run_missing(RESULTS, ("method", "noise", "seed"), keys, partial(cell, data=given.data))
    put_table(HERE / "README.md", table(lines))


if __name__ == "__main__":
    main()

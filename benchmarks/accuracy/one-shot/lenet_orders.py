"""One-shot fusion of real trained clients: what the matching's settings are worth, over data seeds and sweep orders.

    python benchmarks/accuracy/one-shot/lenet_orders.py --data DIR [--seeds 0 1 2 3 4] [--orders 5]

trains five LeNet clients on MNIST (Dirichlet 0.5, independent initial weights, 5 local epochs) for each seed, fuses
them under each setting in several orders, and appends one JSON line for each fusion to lenet_orders.jsonl beside it.
With --table it prints the mean, minimum and maximum of each setting instead.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import torch

from fedma.algorithms import Ensemble
from fedma.engines import LocalEngine
from fedma.experiments.federation import Federation, assemble
from fedma.experiments.methods import schedule
from fedma.experiments.settings import Settings
from fedma.matching import Matcher, fuse_weights
from fedma.training import evaluate
from fedma.units import Weights, rebuild

RESULTS = Path(__file__).with_suffix(".jsonl")
SETTINGS: dict[str, tuple[Matcher, int]] = {
    "plain averaging": (Matcher(name="identity"), 0),
    "reference constants, placed": (Matcher(options={"hyper": "reference"}), 0),
    "permutation, placed": (Matcher(grow=False), 0),
    "all tensors as features (rebasin), placed": (Matcher(name="rebasin"), 0),
    "default matching, placed": (Matcher(), 0),
    "placed, best of 5 by objective": (Matcher(options={"restarts": 5}), 0),
    "placed, growth unbounded": (Matcher(max_growth=float("inf")), 0),
    "permutation, fitted, one try": (Matcher(grow=False), 1),
    "fitted, one try": (Matcher(), 1),
    "default: fitted, best of 5 tries": (Matcher(), 5),
}
"""Of each the matcher, and of how many tries the best is fitted to the fused units; 0 places."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ylecun/mnist")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        return print_table()
    for seed in options.seeds:
        settings = Settings(
            data=options.data, model="lenet", clients=5, partition="dirichlet-paper", batch_size=64, seed=seed
        )
        federation = assemble(settings)
        measure(federation, train(federation), options.orders, names=options.settings)


def train(federation: Federation) -> tuple[Weights, ...]:
    """Every client's own model."""
    server = Ensemble(federation.graph, federation.members, schedule(federation.settings))
    with LocalEngine(federation.clients) as engine:
        engine.reset(federation.initial(common=False))
        return server.absorb(server.start(), engine.deliver(server.asks(server.start()))).models


def measure(federation: Federation, models: tuple[Weights, ...], orders: int, *, names: Sequence[str]) -> None:
    """Fuse the clients under every setting and order."""
    own = [rebuild(federation.template, weights) for weights in models]
    test = federation.dataset.test
    common = {
        "seed": federation.settings.seed,
        "clients": statistics.mean(evaluate([model], test).accuracy for model in own),
        "ensemble": evaluate(own, test).accuracy,
        "versions": {name: metadata.version(name) for name in ("fedma", "torch", "scipy")},
    }
    counts = torch.stack([client.class_counts for client in federation.clients[:-1]])
    for name in names:
        matcher, tries = SETTINGS[name]
        for order in range(orders if matcher.name != "identity" else 1):
            weights, _ = fuse_weights(
                models,
                federation.graph,
                widths=[federation.graph.widths] * len(models),
                shares=[1.0] * len(models),
                class_counts=counts,
                matcher=replace(matcher, seed=order),
                fitted=tries > 0,
                tries=tries,
            )
            accuracy = evaluate([rebuild(federation.template, weights)], test).accuracy
            widths = federation.graph.widths_in(weights)
            line = {"setting": name, "order": order, "accuracy": accuracy, "widths": widths, **common}
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def print_table() -> None:
    found = defaultdict(list)
    reference = {}
    for line in map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines()):
        found[line["setting"]].append(line)
        reference[line["seed"]] = line
    print("| setting | mean | min | max | mean sd over orders | mean half-range over orders | mean widths |")
    print("|---|---|---|---|---|---|---|")
    for name, lines in found.items():
        accuracy = [line["accuracy"] for line in lines]
        seeds = {line["seed"] for line in lines}
        spread = statistics.mean(
            statistics.pstdev([line["accuracy"] for line in lines if line["seed"] == s]) for s in seeds
        )
        half = statistics.mean(
            (max(own) - min(own)) / 2
            for own in ([line["accuracy"] for line in lines if line["seed"] == s] for s in seeds)
        )
        widths = "/".join(
            f"{statistics.mean(line['widths'][group] for line in lines):.0f}" for group in lines[0]["widths"]
        )
        print(
            f"| {name} | {statistics.mean(accuracy):.4f} | {min(accuracy):.4f} | {max(accuracy):.4f} "
            f"| {spread:.4f} | {half:.4f} | {widths} |"
        )
    for kind in ("clients", "ensemble"):
        values = [line[kind] for line in reference.values()]
        print(f"| {kind} | {statistics.mean(values):.4f} | {min(values):.4f} | {max(values):.4f} | | | |")


if __name__ == "__main__":
    main()

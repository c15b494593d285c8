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
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from fedma.algorithms import Ensemble
from fedma.engines import LocalEngine
from fedma.experiments.federation import Federation, assemble
from fedma.experiments.method_factories import schedule
from fedma.experiments.settings import Settings
from fedma.matching import Matcher, fuse_weights
from fedma.training import evaluate
from fedma.units import Weights, rebuild

RESULTS = Path(__file__).with_suffix(".jsonl")


@dataclass(frozen=True)
class Setting:
    """How clients are fused.

    Attributes:
        matcher: how their units are matched.
        tries: of how many matchings the best is fitted to the fused units; 0 places.
        precisions: whether a client's units count in the matching by its number of samples.
        shares: whether they do so in the averages.
        posterior: whether a slot is its posterior mean under the reference's constants, not its owners' mean.
    """

    matcher: Matcher
    tries: int = 0
    precisions: bool = False
    shares: bool = False
    posterior: bool = False


REFERENCE = Matcher(options={"hyper": "reference"})
SETTINGS: dict[str, Setting] = {
    "plain averaging": Setting(Matcher(name="identity")),
    "reference constants, placed": Setting(REFERENCE),
    "reference constants, placed, posterior means": Setting(REFERENCE, posterior=True),
    "permutation, placed": Setting(Matcher(grow=False)),
    "all tensors as features (rebasin), placed": Setting(Matcher(name="rebasin")),
    "default matching, placed": Setting(Matcher()),
    "placed, outgoing weights as features too": Setting(Matcher(outgoing=True)),
    "placed, precisions by samples": Setting(Matcher(), precisions=True),
    "placed, averages by samples": Setting(Matcher(), shares=True),
    "placed, best of 5 by objective": Setting(Matcher(options={"restarts": 5})),
    "placed, growth unbounded": Setting(Matcher(max_growth=float("inf"))),
    "permutation, fitted, one try": Setting(Matcher(grow=False), 1),
    "fitted, one try": Setting(Matcher(), 1),
    "default: fitted, best of 5 tries": Setting(Matcher(), 5),
    "fitted, best of 5 tries, averages by samples": Setting(Matcher(), 5, shares=True),
}
ONE_HIDDEN = "placed, outgoing weights as features too"
"""Needs outgoing weights in an order that is known: those on the classes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ylecun/mnist")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--model", choices=("lenet", "mlp"), default="lenet")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        return print_table(options.model)
    names = [name for name in options.settings if name != ONE_HIDDEN or options.model == "mlp"]
    for seed in options.seeds:
        settings = Settings(
            data=options.data, model=options.model, clients=5, partition="dirichlet-paper", batch_size=64, seed=seed
        )
        federation = assemble(settings)
        measure(federation, train(federation), options.orders, names=names)


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
        "model": federation.settings.model,
        "seed": federation.settings.seed,
        "clients": statistics.mean(evaluate([model], test).accuracy for model in own),
        "ensemble": evaluate(own, test).accuracy,
        "versions": {name: metadata.version(name) for name in ("fedma", "torch", "scipy")},
    }
    counts = torch.stack([client.class_counts for client in federation.clients[:-1]])
    for name in names:
        for order in range(orders if SETTINGS[name].matcher.name != "identity" else 1):
            weights = fused(models, federation, counts, SETTINGS[name], seed=order)
            accuracy = evaluate([rebuild(federation.template, weights)], test).accuracy
            widths = federation.graph.widths_in(weights)
            line = {"setting": name, "order": order, "accuracy": accuracy, "widths": widths, **common}
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def fused(models: tuple[Weights, ...], federation: Federation, counts: Tensor, how: Setting, *, seed: int) -> Weights:
    """The fused weights under one setting."""
    graph, samples = federation.graph, counts.sum(1).double()
    options = {**how.matcher.options, **({"sigma": (samples.mean() / samples).tolist()} if how.precisions else {})}
    weights, assignments = fuse_weights(
        models,
        graph,
        widths=[graph.widths] * len(models),
        shares=samples.tolist() if how.shares else [1.0] * len(models),
        class_counts=counts,
        matcher=replace(how.matcher, options=options, seed=seed),
        fitted=how.tries > 0,
        tries=how.tries,
    )
    if how.posterior:
        for group, own in assignments.items():
            owners = torch.cat(own).bincount()
            for place in graph.places(group):
                if place.role == "out":
                    shape = [-1 if axis == place.axis else 1 for axis in range(weights[place.tensor].dim())]
                    weights[place.tensor] = weights[place.tensor] * (owners / (owners + 1)).view(shape)
    return weights


def print_table(model: str) -> None:
    found = defaultdict(list)
    reference = {}
    for line in map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines()):
        if line.get("model", "lenet") != model:
            continue
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

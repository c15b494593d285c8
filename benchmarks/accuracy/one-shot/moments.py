"""What second moments of the clients' activations are worth in one-shot fusion: as regression means, as weights.

python benchmarks/accuracy/one-shot/moments.py cells --data-folder DIR --cache CACHE
python benchmarks/accuracy/one-shot/moments.py common --data-folder DIR
python benchmarks/accuracy/one-shot/moments.py lenets --data-folder DIR
python benchmarks/accuracy/one-shot/moments.py table

`cells` fuses clients that `one_shot.py train` has left in CACHE; `common` the same trained from common initial weights,
and `lenets` the five of `lenet_orders.py`, which they train. They append a JSON line for each fusion to moments.jsonl
beside this file; `table` writes the means of what it holds into decision 5.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from cells import SCHEMES, TASKS, Cell, compute, shared, template, trained
from lenet_orders import train
from table import SCHEMES as PLACES
from table import put
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import fedma
from fedma.data import Split, class_counts, model_inputs
from fedma.experiments.federation import assemble
from fedma.experiments.settings import Settings
from fedma.seeds import generator
from fedma.training import Compute, evaluate, fit
from fedma.units import rebuild

RESULTS = Path(__file__).with_suffix(".jsonl")
DECISION = Path(__file__).parents[3] / "docs" / "decisions" / "0005-moments.md"
SEEN = 500
"""Training samples of each client on which its moments are measured."""
SETTINGS: dict[str, dict[str, Any]] = {
    "identity": {"matcher": "identity"},
    "identity, regression means": {"matcher": "identity", "moments": True},
    "identity, no class counts": {"matcher": "identity", "by_class": False},
    "identity, regression means, no class counts": {"matcher": "identity", "moments": True, "by_class": False},
    "placed": {"fitted": False},
    "placed, regression means": {"fitted": False, "moments": True},
    "fitted": {},
    "fitted, regression means": {"moments": True},
    "fitted, no class counts": {"by_class": False},
    "fitted, regression means, no class counts": {"moments": True, "by_class": False},
    "placed, weighted features": {"fitted": False, "weighted": True},
    "fitted, weighted features": {"weighted": True},
    "fitted, weighted features, regression means": {"weighted": True, "moments": True},
}
"""Arguments of `fedma.fuse`; whether it has moments, class counts, and features weighted by the moments' diagonals."""


@dataclass(frozen=True)
class Case:
    """Trained clients, what they hold, and the test samples."""

    told: dict[str, Any]
    models: Sequence[nn.Module]
    inputs: Sequence[Tensor]
    counts: Tensor
    test: Split
    compute: Compute


class Weighted:
    """Matches as usual, after each feature is multiplied by the standard deviation of the unit that it reads.

    For layers in a row: the features of each group are the slots of the one before times positions, and a bias.
    """

    def __init__(self, moments: Sequence[fedma.units.Weights], seed: int) -> None:
        self.deviations = [[own.diagonal().sqrt() for own in client.values()] for client in moments]
        self.seed = seed
        self.before: tuple[Tensor, ...] = ()
        self.group = 0

    def __call__(self, clients: Sequence[Tensor], most: int | None) -> tuple[Tensor, ...]:
        """A matching of one's own, as `fedma.fuse` takes it; called for each group in turn."""
        if self.before:
            read = [client[self.group - 1] for client in self.deviations]
            slots = 1 + max(int(own.max()) for own in self.before)
            total, owners = torch.zeros(2, slots, dtype=torch.float64)
            for own, deviation in zip(self.before, read, strict=True):
                total[own] += deviation
                owners[own] += 1
            scale = (total / owners).repeat_interleave((clients[0].shape[1] - 1) // slots)
            clients = [own * torch.cat([scale, torch.ones(1)]).to(own.dtype) for own in clients]
        self.group += 1
        self.before = fedma.match(clients, max_slots=most, generator=generator(self.seed, "weighted")).assignments
        return self.before


def measure(case: Case, names: Sequence[str], orders: int) -> None:
    """Fuse under each setting, in so many orders of the sweeps, and append what came of it."""
    graph = fedma.units(case.models[0], case.inputs[0][:2])
    moments = [
        fedma.moments(model, [own[:SEEN]], graph=graph) for model, own in zip(case.models, case.inputs, strict=True)
    ]
    for name, order in product(names, range(orders)):
        arguments = dict(SETTINGS[name])
        if arguments.pop("weighted", False):
            arguments = {"matcher": Weighted(moments, order), "fitted": True, **arguments}
        if arguments.pop("moments", False):
            arguments["moments"] = moments
        counts = case.counts if arguments.pop("by_class", True) else None
        fused = fedma.fuse(case.models, case.inputs[0][:2], class_counts=counts, tries=1, seed=order, **arguments).model
        line = {**case.told, "setting": name, "order": order, "accuracy": score(case, fused)}
        if any(isinstance(module, _BatchNorm) for module in fused.modules()):
            fedma.recalibrate(fused, [own[:200] for own in case.inputs])
            line["re_estimated"] = score(case, fused)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def score(case: Case, model: nn.Module) -> float:
    """Accuracy on the test samples."""
    return evaluate([model], case.test, compute=case.compute).accuracy


def from_cells(options: argparse.Namespace) -> Iterator[Case]:
    """The clients of `one_shot.py`, five each."""
    for seed, model in product(options.seeds, options.models):
        for scheme in SCHEMES[TASKS[model].data]:
            cell = Cell(model, 5, scheme, seed)
            data = shared(cell, options.data_folder)
            found = trained(cell, data, options.cache)
            if found is not None:
                models, facts = found
                told = {name: facts[name] for name in ("model", "scheme", "seed", "clients_mean", "ensemble")}
                inputs = [model_inputs(data.train.inputs[part[:SEEN]]) for part in data.parts]
                how = compute(cell, models[0], data)
                yield Case(told, models, inputs, torch.tensor(facts["class_counts"]), data.test, how)


def from_common_weights(options: argparse.Namespace) -> Iterator[Case]:
    """Clients on the same samples as those of `one_shot.py`, all from the same initial weights."""
    for seed, model in product(options.seeds, options.models):
        for scheme in SCHEMES[TASKS[model].data]:
            cell = Cell(model, 5, scheme, seed)
            data = shared(cell, options.data_folder)
            models = [template(cell, data.dataset) for _ in data.parts]
            how = compute(cell, models[0], data)
            for client, (own, part) in enumerate(zip(models, data.parts, strict=True)):
                fit(own, data.train, cell.task.schedule, rows=part, seed=seed, name=("common", client), compute=how)
            told = {
                "model": model,
                "scheme": f"{scheme}, common start",
                "seed": seed,
                "clients_mean": statistics.mean(evaluate([own], data.test, compute=how).accuracy for own in models),
                "ensemble": evaluate(models, data.test, compute=how).accuracy,
            }
            inputs = [model_inputs(data.train.inputs[part[:SEEN]]) for part in data.parts]
            counts = class_counts(data.train, data.parts, len(data.dataset.classes))
            yield Case(told, models, inputs, counts, data.test, how)


def five_lenets(options: argparse.Namespace) -> Iterator[Case]:
    """The clients of `lenet_orders.py`."""
    for seed in options.seeds:
        data = str(options.data_folder / "mnist")
        federation = assemble(
            Settings(data=data, model="lenet", clients=5, partition="dirichlet-paper", batch_size=64, seed=seed)
        )
        models = [rebuild(federation.template, weights) for weights in train(federation)]
        test, clients = federation.dataset.test, federation.clients[:-1]
        told = {
            "model": "lenet",
            "scheme": "lenet_orders",
            "seed": seed,
            "clients_mean": statistics.mean(evaluate([model], test).accuracy for model in models),
            "ensemble": evaluate(models, test).accuracy,
        }
        inputs = [federation.dataset.train.inputs[client.rows[:SEEN]] for client in clients]
        counts = torch.stack([client.class_counts for client in clients])
        yield Case(told, models, inputs, counts, test, Compute())


SOURCES = {"cells": from_cells, "common": from_common_weights, "lenets": five_lenets}


def table() -> str:
    """Mean accuracies in %, of networks with batch normalisation after its statistics are re-estimated; of equal
    fusions the last counts.
    """
    lines = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    latest = {(line["model"], line["scheme"], line["seed"], line["order"], line["setting"]): line for line in lines}
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for line in latest.values():
        row = found[line["model"], line["scheme"]]
        row[line["setting"]].append(100 * line.get("re_estimated", line["accuracy"]))
        seeds[line["model"], line["scheme"]].add(line["seed"])
        for name in ("clients_mean", "ensemble"):
            row[name].append(100 * line[name])
    rows = sorted(found)
    heads = [f"{model}, {_place(scheme)} ({len(seeds[model, scheme])})" for model, scheme in rows]
    text = [f"| | {' | '.join(heads)} |", "|:--|" + "--:|" * len(rows)]
    for name in ("clients_mean", "ensemble", *SETTINGS):
        text.append(f"| {name} | {' | '.join(_mean(found[row].get(name, [])) for row in rows)} |")
    return "\n".join(text) + "\n"


def _place(scheme: str) -> str:
    """The partition's name in tables, and how the clients started."""
    name, comma, start = scheme.partition(",")
    return PLACES.get(name, name) + comma + start


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f}" if values else ""


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=(*SOURCES, "table"))
    parser.add_argument("--data-folder", type=Path, help="holds mnist, cifar10 and shakespeare")
    parser.add_argument("--cache", type=Path, help="where one_shot.py has left trained clients")
    parser.add_argument("--models", nargs="+", choices=TASKS, default=["lenet", "vgg9-bn", "mlp", "char-lstm"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--orders", type=int, default=1)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--into", type=Path, default=DECISION, help="where the table goes, between markers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.stage == "table":
        return put(table(), options.into)
    for case in SOURCES[options.stage](options):
        row = case.told["model"] in ("mlp", "lenet", "vgg9")  # layers in a row, without normalisation
        names = [name for name in options.settings if row or "weighted" not in name]
        measure(case, names, options.orders)


if __name__ == "__main__":
    main()

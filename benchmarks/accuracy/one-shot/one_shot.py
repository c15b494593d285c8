"""One-shot fusion of real trained clients: architectures × clients × partitions × seeds, under every matcher.

python benchmarks/accuracy/one-shot/one_shot.py train --data-folder DIR --cache CACHE
python benchmarks/accuracy/one-shot/one_shot.py fuse --data-folder DIR --cache CACHE
python benchmarks/accuracy/one-shot/one_shot.py table

`train` keeps the clients of each cell (`cells.py`) in CACHE, skipping those that are there. `fuse` appends a JSON line
for each fusion to results.jsonl beside this file, under the settings below and those that `--variant` adds. `table`
writes the means of what the file holds into README.md. `--models`, `--clients`, `--schemes`, `--seeds` and `--settings`
choose a part.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import torch
from cells import SCHEMES, TASKS, Cell, Shared, cells, compute, shared, train, trained
from table import write
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedma import fuse, recalibrate
from fedma.data import model_inputs
from fedma.errors import FedmaError
from fedma.matching import MATCHERS
from fedma.training import evaluate
from fedma.training.compute import Precision

FRESH = 200
"""Samples of each client that batch-norm statistics are estimated anew on."""
RESULTS = Path(__file__).with_name("results.jsonl")
README = Path(__file__).with_name("README.md")
SETTINGS: dict[str, dict[str, Any]] = {
    "identity": {"matcher": "identity"},
    "permutation": {"grow": False, "fitted": False},
    "reference": {"hyper": "reference", "fitted": False},
    "bbp, placed": {"fitted": False},
    "bbp": {},
    "rebasin": {"matcher": "rebasin"},
    "c2m3": {"matcher": "c2m3"},
    "ot": {"matcher": "ot"},
}
"""Arguments of `fedma.fuse` by the names that the table has."""
REFERENCE_LSTM = {"gamma": 1e-3}
"""What the authors' code has for its LSTM instead of 7."""


def main() -> None:
    """Run one stage."""
    options = _options()
    torch.set_num_threads(1)
    if options.precision:
        TASKS.update({name: replace(task, precision=options.precision) for name, task in TASKS.items()})
    if options.stage == "table":
        for file in options.into:
            write(options.results, file)
        return
    chosen = [cell for cell in cells(options.models, options.clients, options.seeds) if cell.scheme in options.schemes]
    if options.stage == "train":
        options.cache.mkdir(parents=True, exist_ok=True)
        for cell in chosen:
            train(cell, options.data_folder, options.cache, options.device)
            print(cell.name, flush=True)
        return
    settings = _known({name: SETTINGS[name] for name in options.settings} | dict(options.variant), options.results)
    for cell in chosen:
        measure(cell, settings, data_folder=options.data_folder, cache=options.cache, results=options.results)


def measure(
    cell: Cell, settings: Mapping[str, Mapping[str, Any]], *, data_folder: Path, cache: Path, results: Path
) -> None:
    """Fuse the cell's clients under each setting and append what came of it."""
    data = shared(cell, data_folder)
    found = trained(cell, data, cache)
    if found is None:
        return
    models, facts = found
    fuse(models[:1], model_inputs(data.train.inputs[:2]), matcher="identity")  # loads what first use loads, untimed
    told = {name: facts[name] for name in ("model", "clients", "scheme", "seed")}
    told |= {"samples": cell.task.samples, "device": facts.get("device", "cpu")}
    for name in ("clients_mean", "ensemble"):
        _append(results, {**told, "setting": name, "accuracy": facts[name]})
    for name, arguments in settings.items():
        line = {**told, "setting": name}
        try:
            _append(results, *({**line, **row} for row in _fused(cell, data, models, facts, arguments)))
        except FedmaError as error:
            _append(results, {**line, "failed": str(error)})


def _fused(
    cell: Cell, data: Shared, models: Sequence[nn.Module], facts: Mapping[str, Any], arguments: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Accuracy, widths and processor seconds of one fusion; under batch normalisation also with fresh statistics."""
    counts, example = torch.tensor(facts["class_counts"]), model_inputs(data.train.inputs[:2])
    if cell.model == "char-lstm" and arguments.get("hyper") == "reference":
        arguments = {**REFERENCE_LSTM, **arguments}
    started = time.process_time()
    fusion = fuse(
        models,
        example,
        weights=counts.sum(1).tolist(),
        class_counts=counts,
        seed=cell.seed,
        **arguments,
    )
    seconds = time.process_time() - started
    row = {
        "widths": fusion.widths,
        "growth": _parameters(fusion.model) / _parameters(models[0]),
        "seconds": round(seconds, 3),
    }
    how = compute(cell, fusion.model, data)
    rows = [{"accuracy": evaluate([fusion.model], data.test, compute=how).accuracy, **row}]
    if any(isinstance(module, _BatchNorm) for module in fusion.model.modules()):
        recalibrate(fusion.model, data.batches(FRESH))
        accuracy = evaluate([fusion.model], data.test, compute=how).accuracy
        rows.append({"accuracy": accuracy, **row, "batch_norm": "re-estimated"})
    return rows


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _known(settings: Mapping[str, Mapping[str, Any]], results: Path) -> dict[str, Mapping[str, Any]]:
    """The settings whose matcher the library has; the others are noted, and so is what this run is made with."""
    versions = {name: metadata.version(name) for name in ("fedma", "torch", "numpy", "scipy")}
    tasks = {name: asdict(task) for name, task in TASKS.items()}
    missing = [name for name, own in settings.items() if own.get("matcher", "bbp") not in MATCHERS]
    _append(results, {"versions": versions, "threads": 1, "tasks": tasks, "settings": settings, "unavailable": missing})
    return {name: own for name, own in settings.items() if name not in missing}


def _append(results: Path, *lines: Mapping[str, Any]) -> None:
    with results.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _variant(text: str) -> tuple[str, dict[str, Any]]:
    """`name={"option": value}`: a setting of one's own, with arguments of `fedma.fuse`."""
    name, _, arguments = text.partition("=")
    return name, json.loads(arguments)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    schemes = list(dict.fromkeys(scheme for two in SCHEMES.values() for scheme in two))
    parser.add_argument("stage", choices=("train", "fuse", "table"))
    parser.add_argument("--data-folder", type=Path, help="holds mnist, cifar10 and shakespeare")
    parser.add_argument("--cache", type=Path, help="where the trained clients are kept")
    parser.add_argument("--models", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--clients", type=int, nargs="+", default=[5, 2, 16])
    parser.add_argument("--schemes", nargs="+", choices=schemes, default=schemes)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--precision", choices=get_args(Precision), help="of all models, where it is not to be their own"
    )
    parser.add_argument("--device", default="cpu", help="where clients are trained: cpu, cuda, mps")
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--variant", nargs="+", type=_variant, default=[], metavar="NAME=JSON")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--into", type=Path, nargs="+", default=[README], help="files that hold the table's markers")
    options = parser.parse_args()
    if options.stage != "table" and not (options.data_folder and options.cache):
        parser.error(f"{options.stage} needs --data-folder and --cache")
    return options


if __name__ == "__main__":
    main()

"""What growth means on trained clients: widths, owners of the slots, objective and one-shot accuracy.

    python benchmarks/accuracy/growth/growth.py --data-folder DIR --cache CACHE

reads the clients that `../one-shot/one_shot.py train` keeps in CACHE, fuses five of LeNet (MNIST), VGG-9 with batch
normalisation (CIFAR-10) and the character LSTM (Shakespeare), replaces their JSON lines in results.jsonl beside this
file and writes the table into README.md.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1] / "one-shot"))
from cells import TASKS, Cell, compute, shared, trained
from one_shot import REFERENCE_LSTM

from fedma import Fusion, fuse, match
from fedma.data import model_inputs
from fedma.matching.features import incoming
from fedma.matching.step import steps
from fedma.training import evaluate
from fedma.training.compute import Precision
from fedma.units import Weights
from fedma.units import weights as weights_of

HERE = Path(__file__).parent
CELLS = [
    Cell(model, 5, scheme, seed)
    for model, scheme in (("lenet", "dirichlet-paper"), ("char-lstm", "natural"), ("vgg9-bn", "dirichlet-paper"))
    for seed in (0, 1, 2)
]
SETTINGS: dict[str, dict[str, Any]] = {
    "permutation": {"grow": False, "fitted": False},
    "reference": {"hyper": "reference", "fitted": False},
    "default, placed": {"fitted": False},
    "default, placed, unbounded": {"fitted": False, "max_growth": float("inf")},
}


def main() -> None:
    """Measure what is in the cache, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument(
        "--precision", choices=get_args(Precision), help="of all models, where it is not to be their own"
    )
    options = parser.parse_args()
    if options.precision:
        TASKS.update({name: replace(task, precision=options.precision) for name, task in TASKS.items()})
    lines = [json.loads(text) for text in (HERE / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    for cell in CELLS:
        if measured := measure(cell, options.data_folder, options.cache):
            lines = [line for line in lines if (line["model"], line["seed"]) != (cell.model, cell.seed)] + measured
    models = [cell.model for cell in CELLS]
    lines.sort(key=lambda line: (models.index(line["model"]), line["seed"]))
    (HERE / "results.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    readme = HERE / "README.md"
    head = readme.read_text(encoding="utf-8").partition("<!-- table -->")[0]
    readme.write_text(f"{head}<!-- table -->\n\n{table(lines)}\n", encoding="utf-8")


def measure(cell: Cell, data_folder: Path, cache: Path) -> list[dict[str, Any]]:
    """One line for each setting."""
    data = shared(cell, data_folder)
    found = trained(cell, data, cache)
    if found is None:
        return []
    models, facts = found
    counts = torch.tensor(facts["class_counts"])
    lines = []
    for name, arguments in SETTINGS.items():
        example = model_inputs(data.train.inputs[:2])
        if cell.model == "char-lstm" and name == "reference":
            arguments = {**REFERENCE_LSTM, **arguments}
        shares = counts.sum(1).tolist()
        fusion = fuse(models, example, weights=shares, class_counts=counts, seed=cell.seed, **arguments)
        how = compute(cell, fusion.model, data)
        lines.append(
            {
                "model": cell.model,
                "seed": cell.seed,
                "setting": name,
                "widths": fusion.widths,
                "own": fusion.graph.widths,
                "owners": {group: owners(own) for group, own in fusion.assignments.items()},
                "objective": first_objective([weights_of(m) for m in models], fusion, arguments),
                "accuracy": evaluate([fusion.model], data.test, compute=how).accuracy,
                "ensemble": facts["ensemble"],
                "clients": facts["clients_mean"],
                "versions": {package: metadata.version(package) for package in ("fedma", "torch", "scipy")},
            }
        )
    return lines


def owners(assignments: Sequence[Tensor]) -> list[int]:
    """How many slots have one owner, two owners, ..."""
    counts = torch.bincount(torch.cat(list(assignments)))
    return torch.bincount(counts, minlength=len(assignments) + 1)[1:].tolist()


def first_objective(models: Sequence[Weights], fusion: Fusion, arguments: Mapping[str, Any]) -> float:
    """The first group's objective for each unit, of the matching at the width that it has in the fusion; the
    reference's is on a scale of its own."""
    graph, group = fusion.graph, next(iter(fusion.graph.groups))
    tensors = steps(graph)[0].tensors
    rows = [incoming(model, graph, group, names=tensors, widths=graph.widths) for model in models]
    options = {name: value for name, value in arguments.items() if name in ("grow", "hyper", "gamma")}
    if options.get("hyper") != "reference":
        options["max_slots"] = fusion.widths[group]
    return match(rows, **options).objective / sum(map(len, rows))


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Mean accuracy over seeds; widths, owners and objective of the first seed."""
    rows = [
        "| model | setting | accuracy | widths | slots with 1, 2, … owners | objective a unit, first group |",
        "|---|---|---|---|---|---|",
    ]
    for model in dict.fromkeys(line["model"] for line in lines):
        same = [line for line in lines if line["model"] == model]
        for setting in dict.fromkeys(line["setting"] for line in same):
            own = [line for line in same if line["setting"] == setting]
            accuracy = 100 * sum(line["accuracy"] for line in own) / len(own)
            first = own[0]
            widths = ", ".join(f"{first['own'][group]} → {width}" for group, width in first["widths"].items())
            histogram = "; ".join(" ".join(map(str, counts)) for counts in first["owners"].values())
            rows.append(f"| {model} | {setting} | {accuracy:.1f} | {widths} | {histogram} | {first['objective']:.1f} |")
        for kind in ("clients", "ensemble"):
            mean = (
                100
                * sum(line[kind] for line in {line["seed"]: line for line in same}.values())
                / len({line["seed"] for line in same})
            )
            rows.append(f"| {model} | {kind} | {mean:.1f} | | | |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()

"""Whether running statistics alone are what FedAvg's round on ResNet-20 lacks: its models with these measured anew.

    python benchmarks/accuracy/reproduce/fresh_statistics.py --data-folder path/to/cifar10 --seeds 0 1 2

runs lines of `fedma reproduce cifar10-resnet20` again and appends to benchmarks/results/trials/fresh-statistics.jsonl
their accuracy before and after `fedma.recalibrate` on 2,000 training images, which no server has.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from fedma import recalibrate
from fedma.data import model_inputs
from fedma.experiments.callback import SILENT
from fedma.experiments.federation import assemble
from fedma.experiments.reproduce.cifar10_resnet20 import CIFAR10_RESNET20
from fedma.experiments.run import run
from fedma.experiments.run_folder import load_model
from fedma.experiments.settings import Settings
from fedma.training import evaluate

RESULTS = Path(__file__).parents[2] / "results" / "trials" / "fresh-statistics.jsonl"
IMAGES, BATCH = 2000, 200


def main() -> None:
    """The lines named, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-folder", default="cifar10", help="where CIFAR-10 lies")
    parser.add_argument("--lines", nargs="+", default=["FedAvg"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    for seed in options.seeds:
        for cell in CIFAR10_RESNET20.cells("small", {}):
            if cell.line in options.lines:
                settings = replace(cell.settings, data=options.data_folder, seed=seed, workers=1)
                line = {"line": cell.line, "seed": seed, **measured(settings), "torch": metadata.version("torch")}
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(f"{json.dumps(line)}\n")


def measured(settings: Settings) -> dict[str, float]:
    """Accuracy of a run's global model, with its own statistics and with new ones."""
    data = assemble(settings).dataset
    with tempfile.TemporaryDirectory() as folder:
        run(settings, Path(folder) / "run", SILENT)
        model = load_model(Path(folder) / "run" / "models" / f"{settings.method[0]}.safetensors")
    before = evaluate([model], data.test).accuracy
    images = data.train.inputs[:IMAGES]
    recalibrate(model, [model_inputs(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])
    return {"accuracy": before, "fresh": evaluate([model], data.test).accuracy}


if __name__ == "__main__":
    main()

"""The paper's experiments, each with one call: cells, tuning, result file, tables and figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedma.errors import InputError
from fedma.experiments.reproduce.ablation import ABLATION
from fedma.experiments.reproduce.bias import BIAS
from fedma.experiments.reproduce.cell import Experiment, Scale
from fedma.experiments.reproduce.cifar10_vgg9 import CIFAR10_VGG9
from fedma.experiments.reproduce.data_efficiency import DATA_EFFICIENCY
from fedma.experiments.reproduce.driver import Reproduction
from fedma.experiments.reproduce.growth import GROWTH
from fedma.experiments.reproduce.local_epochs import LOCAL_EPOCHS
from fedma.experiments.reproduce.mnist_lenet import MNIST_LENET
from fedma.experiments.reproduce.shakespeare_lstm import SHAKESPEARE_LSTM
from fedma.experiments.watch import Watch

EXPERIMENTS: dict[str, Experiment] = {
    "mnist-lenet": MNIST_LENET,
    "cifar10-vgg9": CIFAR10_VGG9,
    "shakespeare-lstm": SHAKESPEARE_LSTM,
    "data-efficiency": DATA_EFFICIENCY,
    "bias": BIAS,
    "local-epochs": LOCAL_EPOCHS,
    "growth": GROWTH,
    "ablation": ABLATION,
}
"""By name."""

PAPER_SEEDS = (0, 1, 2)


def reproduce(
    name: str,
    watch: Watch,
    *,
    out: Path,
    scale: Scale = "small",
    seeds: Sequence[int] = (),
    data_folder: Path | None = None,
    **changes: Any,
) -> list[Path]:
    """Run an experiment, or what is left of it; its result file, tables and figure, in `out`/`name`/`scale`.

    Args:
        name: one of `EXPERIMENTS`.
        watch: hears of progress.
        out: the folder of all experiments.
        scale: "small" takes two cores an hour or two; "paper" is the full setting.
        seeds: of the runs; by default the experiment's own.
        data_folder: where data lie, in a folder of their name each; None for the hub.
        changes: settings that change no result: workers, device.

    Raises:
        InputError: no such experiment or scale, data that are not there, cells in `out` of other settings.
    """
    if name not in EXPERIMENTS:
        raise InputError(f"experiment {name!r} is not known; known are {', '.join(EXPERIMENTS)}")
    if scale not in ("small", "paper"):
        raise InputError(f"scale {scale!r} is not known; known are small, paper")
    experiment = EXPERIMENTS[name]
    seeds = tuple(dict.fromkeys(seeds)) or (experiment.seeds if scale == "small" else PAPER_SEEDS)
    return Reproduction(name, experiment, out / name / scale, scale, seeds, data_folder, changes, watch).run()

"""The paper's experiments, each with one call: cells, tuning, result file, tables and figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedma.errors import InputError
from fedma.experiments.callback import Callback
from fedma.experiments.reproduce.ablation import ABLATION
from fedma.experiments.reproduce.bias import BIAS
from fedma.experiments.reproduce.cell import Experiment, Scale
from fedma.experiments.reproduce.cifar10_resnet20 import CIFAR10_RESNET20
from fedma.experiments.reproduce.cifar10_vgg9 import CIFAR10_VGG9
from fedma.experiments.reproduce.data_efficiency import DATA_EFFICIENCY
from fedma.experiments.reproduce.driver import Reproduction
from fedma.experiments.reproduce.growth import GROWTH
from fedma.experiments.reproduce.local_epochs import LOCAL_EPOCHS
from fedma.experiments.reproduce.mnist_lenet import MNIST_LENET
from fedma.experiments.reproduce.shakespeare_lstm import SHAKESPEARE_LSTM

EXPERIMENTS: dict[str, Experiment] = {
    "mnist-lenet": MNIST_LENET,
    "cifar10-vgg9": CIFAR10_VGG9,
    "shakespeare-lstm": SHAKESPEARE_LSTM,
    "cifar10-resnet20": CIFAR10_RESNET20,
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
    callback: Callback,
    *,
    out: Path,
    scale: Scale = "small",
    seeds: Sequence[int] = (),
    lines: Sequence[str] = (),
    data_folder: Path | None = None,
    jobs: int = 1,
    workers: int = 0,
    **changes: Any,
) -> list[Path]:
    """Run an experiment, or what is left of it; its result file, tables and figure, in `out`/`name`/`scale`.

    Args:
        name: one of `EXPERIMENTS`.
        callback: hears of progress.
        out: the folder of all experiments.
        scale: "small" takes two cores an hour or two; "medium", of those that have it, one GPU half an hour; "paper" is
            the full setting.
        seeds: of the runs; by default the experiment's own.
        lines: which to run of these seeds, as the table calls them; by default all.
        data_folder: where data lie, in a folder of their name each; None for the hub.
        jobs: how many runs to do side by side, each in a process of its own.
        workers: worker processes of each; 0 for one for each core or GPU, or, of several jobs, for none.
        changes: further settings that change no result: device.

    Raises:
        InputError: no such experiment, scale or line, data that are not there, cells in `out` of other settings.
    """
    if name not in EXPERIMENTS:
        raise InputError(f"experiment {name!r} is not known; known are {', '.join(EXPERIMENTS)}")
    if jobs < 1:
        raise InputError(f"jobs must be at least 1; got {jobs}")
    experiment = EXPERIMENTS[name]
    if scale not in experiment.scales:
        raise InputError(f"{name} has no scale {scale!r}; its scales are {', '.join(experiment.scales)}")
    seeds = tuple(dict.fromkeys(seeds)) or (PAPER_SEEDS if scale == "paper" else experiment.seeds)
    changes = {"workers": workers or (1 if jobs > 1 else 0), **changes}
    folder = out / name / scale
    return Reproduction(name, experiment, folder, scale, seeds, data_folder, changes, callback, jobs, lines).run()

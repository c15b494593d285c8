"""What the experiments on CIFAR-10 that compare ends of runs share: LeNet on some images, or VGG-9 on all."""

from dataclasses import replace
from typing import Any

from fedma.experiments.reproduce.cell import Scale
from fedma.experiments.settings import MethodName, Settings

_ROUNDS: dict[Scale, dict[MethodName, int]] = {
    "small": {"fedma": 3, "ensemble": 1},
    "paper": {"fedma": 12, "ensemble": 1},
}
"""A round of FedMA sends about twice as much as one of the others."""


def base(scale: Scale, *, limit: int, **changes: Any) -> Settings:
    """Settings of all lines except their methods; the small scale has fewer training images."""
    common = Settings(data="cifar10", partition="natural", lr=0.01, **changes)
    if scale == "paper":
        return replace(common, model="vgg9", rounds=20, local_epochs=10, batch_size=64, augment=True)
    small = replace(common, model="lenet", rounds=6, local_epochs=5, retrain_epochs=2, output_epochs=6)
    return replace(small, batch_size=32, limit=limit, test_limit=4000)


def with_method(settings: Settings, method: MethodName, scale: Scale) -> Settings:
    """For this method, with its number of rounds."""
    return replace(settings, method=(method,), rounds=_ROUNDS[scale].get(method, settings.rounds))

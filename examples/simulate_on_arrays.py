"""A federation of your own arrays: three sites learn to tell faults of machines apart, and share no reading."""

import tempfile
from pathlib import Path

import numpy as np

from fedma.data import from_arrays
from fedma.experiments.run import run
from fedma.experiments.settings import Settings
from fedma.report import read, table

FAULTS = ("none", "bearing", "belt", "leak")
SITES = {"north": (0.7, 0.3, 0, 0), "south": (0.4, 0, 0.6, 0), "coast": (0.4, 0, 0, 0.6)}  # how often each sees what

rng = np.random.default_rng(0)
centres = rng.normal(size=(len(FAULTS), 2, 8))  # each fault looks like one of two patterns of eight sensors


def readings(samples, shares=None):
    """Sensor values (samples × 8, real numbers, scaled) and the number of each one's fault."""
    faults = rng.choice(len(FAULTS), size=samples, p=shares)
    values = centres[faults, rng.integers(2, size=samples)] + rng.normal(scale=0.5, size=(samples, 8))
    return values.astype("float32"), faults


parts = [readings(300, shares) for shares in SITES.values()]
train = tuple(np.concatenate(part) for part in zip(*parts, strict=True))
owners = np.repeat(list(SITES), 300)  # whose each training sample is

data = from_arrays(train, readings(600), owners=owners, classes=FAULTS, name="faults")
settings = Settings(
    data="faults",
    model="mlp-32",
    method=("fedma", "fedavg"),
    clients=len(SITES),
    partition="natural",
    local_epochs=8,
    batch_size=16,
    lr=0.02,
)
with tempfile.TemporaryDirectory() as folder:  # a folder of your own keeps the models, and `fedma report` shows it
    print(table([read(run(settings, Path(folder) / "run", dataset=data))]))

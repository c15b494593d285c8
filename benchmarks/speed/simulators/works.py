"""The four works at their sizes, and their data, written once for all simulators to read."""

from dataclasses import replace
from pathlib import Path

import torch
from work import MODELS, SEED, Task, Work

from fedma.data import Dataset, load, partition
from fedma.seeds import global_generator

MNIST, CIFAR, SHAKESPEARE = "mnist", "cifar10", "shakespeare"
WORKS = (
    Work("lenet", "LeNet on MNIST, 16 clients", "lenet", MNIST, 16, 16, samples=60_000, test=10_000, rounds=1),
    Work("vgg9", "VGG-9 on 4000 images of CIFAR-10, 16 clients", "vgg9", CIFAR, 16, 16, 4000, 1000, rounds=1),
    Work("char-lstm", "LSTM on 2000 windows of Shakespeare, 10 roles", "char-lstm", SHAKESPEARE, 10, 10, 2000, 500, 3),
    Work("small", "LeNet on MNIST, 1000 clients, 50 a round", "lenet", MNIST, 1000, 50, 60_000, 10_000, rounds=5),
)


def quick(work: Work) -> Work:
    """The same in seconds."""
    clients = min(work.clients, 40)
    return replace(work, clients=clients, cohort=min(work.cohort, 20), samples=800, test=500, rounds=1)


def prepared(work: Work, data: Path, folder: Path) -> Path:
    """The file that holds the work's data, partition and initial weights; made if there is none."""
    path = folder / f"{work.name}-{work.samples}.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _task(work, data / work.data).write(path)
    return path


def _task(work: Work, folder: Path) -> Task:
    dataset, parts = _divided(work, folder)
    classes = len(dataset.classes)
    with global_generator(SEED):
        weights = MODELS[work.model](classes).state_dict()
    splits = [(_ready(split.inputs), split.labels) for split in (dataset.train, dataset.test)]
    return Task(work, splits[0], splits[1], parts, classes, weights)


def _divided(work: Work, folder: Path) -> tuple[Dataset, tuple[torch.Tensor, ...]]:
    """Roles are clients; images are dealt out evenly among many clients, unevenly among few."""
    if work.data == SHAKESPEARE:
        each = work.samples // work.clients
        dataset = load(folder, seed=SEED, limit=each, test_limit=each)
        parts = partition(dataset.train, work.clients, scheme="natural", seed=SEED)
        test = dataset.test.select(torch.randperm(len(dataset.test), generator=torch.Generator().manual_seed(SEED)))
        return replace(dataset, test=test.select(range(work.test))), parts
    dataset = load(folder, seed=SEED, limit=work.samples, test_limit=work.test)
    scheme = "iid" if work.cohort < work.clients else "dirichlet"
    return dataset, partition(dataset.train, work.clients, scheme=scheme, alpha=0.5, seed=SEED)


def _ready(inputs: torch.Tensor) -> torch.Tensor:
    """As models take them."""
    return inputs if inputs.is_floating_point() else inputs.long()

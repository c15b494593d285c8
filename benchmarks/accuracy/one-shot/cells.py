"""The cells of the one-shot benchmark, architecture × clients × partition × seed, and their trained clients."""

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from fedma.data import Dataset, Split, class_counts, load, model_inputs, partition, shared_test
from fedma.models import build
from fedma.seeds import generator
from fedma.training import Compute, Schedule, choose, fit, probabilities, score
from fedma.training.compute import Precision
from fedma.units import rebuild
from fedma.units import weights as weights_of


@dataclass(frozen=True)
class Task:
    """How clients of one architecture are trained: on which data, how many samples each (on average) and how."""

    data: str
    samples: int
    schedule: Schedule
    precision: Precision = "fp32"
    test: int = 2000


TASKS = {
    "mlp": Task("mnist", 1000, Schedule(epochs=10, lr=0.05), test=10_000),
    "lenet": Task("mnist", 600, Schedule(epochs=5, lr=0.01), test=10_000),
    "vgg9": Task("cifar10", 2000, Schedule(epochs=8, optimizer="adam", lr=5e-4), "bf16"),
    "vgg9-bn": Task("cifar10", 2000, Schedule(epochs=6, optimizer="adam", lr=1e-3), "bf16"),
    "resnet20": Task("cifar10", 2000, Schedule(epochs=8, optimizer="adam", lr=3e-3), "bf16"),
    "char-lstm": Task("shakespeare", 800, Schedule(epochs=3, optimizer="adam", lr=5e-3), "bf16"),
    "transformer": Task("shakespeare", 800, Schedule(epochs=2, optimizer="adam", lr=3e-3)),
}
_USUAL = 24_000
"""Training samples that are loaded of CIFAR-10 and MNIST; a cell that needs more loads as many as it needs."""
SCHEMES = {
    "mnist": ("iid", "dirichlet-paper"),
    "cifar10": ("iid", "dirichlet-paper"),
    "shakespeare": ("iid", "natural"),
}


@dataclass(frozen=True)
class Cell:
    """One federation: who takes part, and what each holds."""

    model: str
    clients: int
    scheme: str
    seed: int

    @property
    def task(self) -> Task:
        """How its clients are trained."""
        return TASKS[self.model]

    @property
    def name(self) -> str:
        """For file names."""
        return f"{self.model}-{self.clients}-{self.scheme}-{self.seed}"


def cells(models: Sequence[str], clients: Sequence[int], seeds: Sequence[int]) -> Iterator[Cell]:
    """All of them: clients vary slowest, then seeds, so that a run cut short still fills a table's first columns."""
    for number, seed, model in product(clients, seeds, models):
        for scheme in SCHEMES[TASKS[model].data]:
            yield Cell(model, number, scheme, seed)


@dataclass(frozen=True, eq=False)
class Shared:
    """A cell's data: the training samples with the clients' rows in them, and the test samples."""

    train: Split
    parts: tuple[Tensor, ...]
    test: Split
    dataset: Dataset

    def batches(self, samples: int) -> list[Tensor]:
        """Inputs of at most so many samples of each client, a batch a client."""
        return [model_inputs(self.train.inputs[part[:samples]]) for part in self.parts]


def shared(cell: Cell, folder: Path) -> Shared:
    """The cell's samples: as many for each client as its task says, on average where the partition is uneven."""
    count = cell.clients * cell.task.samples
    dataset = _dataset(cell.task.data, folder, max(count, _USUAL))
    train, test = dataset.train, dataset.test
    if cell.scheme == "natural":
        owners = partition(train, cell.clients, scheme="natural", seed=cell.seed, min_samples=cell.task.samples)
        parts = tuple(_some(part, cell.task.samples, cell, "owner") for part in owners)
        test = shared_test(dataset, parts)
    else:
        train = train.select(_some(torch.arange(len(train)), count, cell, "train"))
        parts = partition(train, cell.clients, scheme=cell.scheme, alpha=0.5, seed=cell.seed)
    test = test.select(_some(torch.arange(len(test)), cell.task.test, cell, "test"))
    return Shared(train, parts, test, dataset)


def template(cell: Cell, dataset: Dataset, client: int = 0) -> nn.Module:
    """A model with the client's own initial weights."""
    classes = len(dataset.classes)
    shape, tokens = dataset.input_shape, dataset.vocabulary
    return build(cell.model, shape, classes, seed=cell.seed, client=client, vocabulary=tokens)


def compute(cell: Cell, model: nn.Module, data: Shared, device: str = "cpu") -> Compute:
    """How its arithmetic is done, in training and in tests."""
    example = model_inputs(data.train.inputs[:2])
    return choose(model, example, device=device, precision=cell.task.precision)


def train(cell: Cell, data_folder: Path, cache_folder: Path, device: str = "cpu") -> None:
    """Train the cell's clients and keep them, unless they are kept already."""
    path = cache_folder / f"{cell.name}.safetensors"
    if path.exists():
        return
    data, started, models = shared(cell, data_folder), time.perf_counter(), []
    for client, part in enumerate(data.parts):
        model = template(cell, data.dataset, client)
        name = ("one-shot", client)
        how = compute(cell, model, data, device)
        fit(model, data.train, cell.task.schedule, rows=part, seed=cell.seed, name=name, compute=how)
        models.append(model)
    seconds = time.perf_counter() - started
    predictions = [probabilities(model, data.test.inputs, compute=how) for model in models]
    accuracies = [score([own], data.test.labels).accuracy for own in predictions]
    facts = {
        **asdict(cell),
        "task": asdict(cell.task),
        "class_counts": class_counts(data.train, data.parts, len(data.dataset.classes)).tolist(),
        "accuracies": accuracies,
        "clients_mean": statistics.mean(accuracies),
        "ensemble": score(predictions, data.test.labels).accuracy,
        "train_seconds": seconds,
        "device": device,
    }
    tensors = {f"{j}.{name}": t.cpu().contiguous() for j, m in enumerate(models) for name, t in weights_of(m).items()}
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished, metadata={"facts": json.dumps(facts)})
    unfinished.rename(path)


def trained(cell: Cell, data: Shared, cache_folder: Path) -> tuple[list[nn.Module], dict[str, object]] | None:
    """The cell's clients and what was noted of them, or None where they have not been trained."""
    path = cache_folder / f"{cell.name}.safetensors"
    if not path.exists():
        return None
    model = template(cell, data.dataset)
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
        if facts["task"] != asdict(cell.task):
            raise SystemExit(f"{path} was trained otherwise than cells.py says; remove it and train again")
        own: list[dict[str, Tensor]] = [{} for _ in range(cell.clients)]
        for key in file.keys():  # noqa: SIM118 (not a mapping)
            client, _, name = key.partition(".")
            own[int(client)][name] = file.get_tensor(key)
    return [rebuild(model, weights) for weights in own], facts


@cache
def _dataset(name: str, folder: Path, limit: int) -> Dataset:
    """The data set, of CIFAR-10 and MNIST so many samples; CIFAR-10 at half its height and width."""
    if name == "shakespeare":
        return load(folder / name, limit=max(task.samples for task in TASKS.values()), test_limit=500)
    dataset = load(folder / name, limit=limit)
    if name == "mnist":
        return dataset
    halves = [replace(split, inputs=avg_pool2d(split.inputs, 2)) for split in (dataset.train, dataset.test)]
    return replace(dataset, train=halves[0], test=halves[1])


def _some(rows: Tensor, count: int, cell: Cell, purpose: str) -> Tensor:
    """So many of these rows, drawn by the cell's seed."""
    draw = generator(cell.seed, "one-shot", purpose, int(rows[0]))
    return rows[torch.randperm(len(rows), generator=draw)[:count]]

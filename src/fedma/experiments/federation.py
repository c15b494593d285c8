"""From settings to clients: data, their partition, the model and its unit graph, all checked before work starts."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedma.algorithms import Client
from fedma.data import Dataset, Split, load, partition, shared_test
from fedma.errors import InputError
from fedma.experiments.method_factories import privacy, schedule
from fedma.experiments.settings import Settings
from fedma.methods import METHODS
from fedma.models import build
from fedma.tasks import BaseTask, Better, Judge, Regression, Task, can_combine, metrics_of, task_of
from fedma.tasks.checking import check_fit
from fedma.training import Compute
from fedma.training.freezing import check_trainable, freeze
from fedma.units import UnitGraph, Weights, units, weights
from fedma.units.layout import Widths


@dataclass(frozen=True, eq=False)
class Federation:
    """What all methods of a run share.

    Attributes:
        settings: of the run.
        dataset: its data.
        clients: one for each part of the training data, and last one that holds all of it (for pooled training).
        template: the model that every client's is like; common initial weights.
        graph: its unit graph.
        device: where clients train.
        judge: the task, and further metrics.
        metrics: what models are judged by, the main metric first, each with the direction that is better.
        given: whether the data were handed over, and not loaded by name.
        given_task: whether the task was handed over, and not named.
    """

    settings: Settings
    dataset: Dataset
    clients: tuple[Client, ...]
    template: nn.Module
    graph: UnitGraph
    device: str
    judge: Judge
    metrics: Mapping[str, Better]
    given: bool = False
    given_task: bool = False

    @property
    def members(self) -> tuple[int, ...]:
        """The numbers of the clients that take part in federated training."""
        return tuple(range(self.settings.clients))

    @cached_property
    def widths(self) -> dict[int, Widths]:
        """The units per group of clients that are narrower than the template."""
        factors, groups = self.settings.widths, self.graph.groups.values()
        return {
            client: {group.name: max(1, round(factor * group.size)) for group in groups if group.growable}
            for client, factor in zip(self.members, cycle(factors), strict=False)
            if factor < 1
        }

    def widths_of(self, client: int) -> Widths:
        """All of a client's units per group."""
        return {**self.graph.widths, **self.widths.get(client, {})}

    @property
    def pooled(self) -> int:
        """The number of the client that holds all training data."""
        return self.settings.clients

    def initial(self, *, common: bool) -> Mapping[int, Weights]:
        """The weights that each client starts from; clients' own are made when looked up, not to lie about."""
        numbers = [client.number for client in self.clients]
        shared = weights(self.template)
        if common and not self.widths:
            return dict.fromkeys(numbers, shared)
        return _Made(numbers, lambda client: self._cut(shared if common else self._fresh(client), client))

    def _fresh(self, client: int) -> Weights:
        return weights(_model(self.settings, self.dataset, self.judge.task, client))

    def _cut(self, own: Weights, client: int) -> Weights:
        """The first units of each group, as many as the client has."""
        narrow, found = self.widths.get(client, {}), self.widths_of(client)
        blocks = {group: [found[block] for block in self.graph.groups[group].per] for group in narrow}
        keep = {group: torch.arange(width).expand(*blocks[group], -1) for group, width in narrow.items()}
        return self.graph.gather(own, keep, self.graph.widths)

    def facts(self) -> dict[str, Any]:
        """The data and their partition, for the run folder."""
        own = self.clients[:-1]
        return {
            "name": self.dataset.name,
            "train": len(self.dataset.train),
            "test": len(self.dataset.test),
            "classes": list(self.dataset.classes),
            "class_counts": [client.class_counts.tolist() for client in own],
            **({"fingerprint": self.dataset.fingerprint} if self.given else {}),
        }

    def task_facts(self) -> dict[str, Any]:
        """The task and its metrics, for the run folder."""
        return {"name": self.judge.task.name, "metrics": dict(self.metrics), "given": self.given_task}

    def header(self) -> Mapping[str, Any]:
        """What is needed to build a model of this federation again, given its weights."""
        return {
            "model": self.settings.model,
            "input_shape": list(self.dataset.input_shape),
            "classes": self.judge.task.outputs(self.dataset),
            "vocabulary": self.dataset.vocabulary,
            "mean": list(self.dataset.mean),
            "std": list(self.dataset.std),
        }


class _Made(Mapping[int, Weights]):
    """Weights by client, made at each look."""

    def __init__(self, numbers: Sequence[int], make: Callable[[int], Weights]) -> None:
        self._numbers, self._make = numbers, make

    def __getitem__(self, client: int) -> Weights:
        return self._make(client)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def assemble(
    settings: Settings,
    dataset: Dataset | None = None,
    *,
    task: Task | None = None,
    metrics: Sequence[Any] = (),
) -> Federation:
    """The federation that these settings describe.

    Args:
        settings: what to run.
        dataset: your own data (`fedma.data.from_arrays`) instead of the data that the settings name.
        task: your own task instead of the one that the settings name.
        metrics: metrics of torchmetrics, as objects or by name, beside those that the settings name.

    Raises:
        InputError: settings are out of range, the data cannot be read or divided this way, or the model, the task, a
            method or a metric does not fit.
        GraphError: a method needs unit groups, and the model's cannot be derived, or none can move.
    """
    settings.check()
    schedule(settings)  # refuses what cannot be trained by
    device, meaning = _device(settings.device), task_of(task or settings.task)
    _check_task(settings, meaning)
    given = dataset is not None
    dataset = _taken(settings, dataset) if dataset is not None else _loaded(settings, meaning)
    outputs = meaning.outputs(dataset)
    _check_labels(meaning, dataset, outputs)
    parts = partition(
        _by_class(meaning, dataset.train, settings.partition),
        settings.clients,
        scheme=settings.partition,
        alpha=settings.alpha,
        classes_per_client=settings.classes_per_client,
        min_samples=settings.min_samples,
        seed=settings.seed,
    )
    dataset = replace(dataset, test=shared_test(dataset, parts))
    template = _model(settings, dataset, meaning, None)
    _check_weights(template, settings.model)
    freeze(template, settings.freeze)
    check_trainable(template)
    judge = Judge(meaning, metrics_of((*settings.metrics, *metrics), meaning, outputs=outputs))
    example = Compute().batch(dataset.train.example())
    measured = check_fit(judge, template, example, outputs=outputs, name=settings.model)
    graph = units(template, meaning.inputs(example))
    if any(METHODS.get(name).matches for name in settings.method):
        graph.check_movable()
    everyone = torch.cat(list(parts))
    hiding = privacy(settings)
    if hiding is not None:
        hiding.epsilon(1, delta=settings.dp_delta)  # refuses what cannot be accounted for
    known = meaning.has_classes and meaning.classes_of(dataset.train.labels) is not None
    classes = outputs if known else 1
    clients = tuple(
        Client(number, dataset.train, template, graph, classes, settings.seed, rows=part, privacy=own, task=meaning)
        for number, (part, own) in enumerate([*((part, hiding) for part in parts), (everyone, None)])
    )
    directions = judge.directions(measured)
    return Federation(
        settings, dataset, clients, template, graph, device, judge, directions, given, given_task=task is not None
    )


def _check_task(settings: Settings, task: BaseTask) -> None:
    """Refuse methods and settings that the task cannot do."""
    if settings.augment and not task.augments:
        raise InputError(f"augment changes images, but not the targets of task {task.name!r}; leave it out")
    ensembles = [name for name in settings.method if METHODS.get(name).ensemble]
    if ensembles and not can_combine(task):
        raise InputError(
            f"task {task.name!r} does not say how predictions are averaged, which {ensembles[0]} needs: give it the "
            f"methods predict and sums, or leave {ensembles[0]} out"
        )


def _check_labels(task: BaseTask, dataset: Dataset, outputs: int) -> None:
    """Refuse targets that are out of range, as far as they are known."""
    for word, split in (("training", dataset.train), ("test", dataset.test)):
        if not _in_memory(split) and not task.has_classes:
            continue
        try:
            task.check_labels(split.labels, outputs=outputs)
        except InputError as error:
            raise InputError(f"{word} samples of {dataset.name!r}: {error}") from error


def _in_memory(split: Split) -> bool:
    """Whether the split's labels are what the task predicts; else they only say how to divide it."""
    return type(split) is Split


def _by_class(task: BaseTask, split: Split, scheme: str) -> Split:
    """The split with the labels by which it is divided: classes, where there are some, else all alike."""
    classes = task.classes_of(split.labels)
    if classes is None and not _in_memory(split):
        classes = split.labels  # given for this alone
    if classes is None:
        if scheme in ("pathological", "shards"):
            raise InputError(
                f"partition {scheme!r} divides by class, and task {task.name!r} has no classes; take iid, natural or "
                "dirichlet (clients of unequal sizes)"
            )
        classes = torch.zeros(len(split), dtype=torch.int64)
    return Split(classes, classes, split.owners)


def reassemble(
    settings: Settings,
    facts: Mapping[str, Any],
    folder: Path,
    *,
    dataset: Dataset | None = None,
    task: Task | None = None,
    metrics: Sequence[Any] = (),
) -> Federation:
    """The federation of a run that has begun already.

    Args:
        settings: the run's settings; only workers and device may differ.
        facts: the content of its `run.json`.
        folder: the run folder.
        dataset: the data that `run` was given, if any; run folders keep no copy.
        task: the task that `run` was given, if any.
        metrics: the metrics that `run` was given, if any.

    Raises:
        InputError: other data than at first, and whatever `assemble` refuses.
    """
    if dataset is None and facts["data"].get("fingerprint"):
        raise InputError(f"the run in {folder} was given its data; give them again, in Python: dataset=...")
    if task is None and facts.get("task", {}).get("given"):
        raise InputError(f"the run in {folder} was given its task; give it again, in Python: task=...")
    federation = assemble(settings, dataset, task=task, metrics=metrics)
    if facts["data"] != json.loads(json.dumps(federation.facts())):
        raise InputError(f"the data are not those that the run in {folder} began with; bring them back, or start anew")
    return federation


def _loaded(settings: Settings, task: BaseTask) -> Dataset:
    return load(
        settings.data,
        seed=settings.seed,
        limit=settings.limit,
        test_limit=settings.test_limit,
        natural=settings.natural,
        min_windows=settings.min_windows,
        inputs=settings.inputs,
        label=settings.label,
        numbers=isinstance(task, Regression),
    )


def _taken(settings: Settings, dataset: Dataset) -> Dataset:
    """The data that were handed over; what governs loading would be ignored, and is refused."""
    for name in ("limit", "test_limit", "natural", "inputs", "label"):
        if getattr(settings, name) not in (None, ()):
            raise InputError(f"{name} is for data loaded by name; leave it out, and hand over the samples you want")
    return dataset


def _model(settings: Settings, dataset: Dataset, task: BaseTask, client: int | None) -> nn.Module:
    return build(
        settings.model,
        dataset.input_shape,
        task.outputs(dataset),
        seed=settings.seed,
        client=client,
        vocabulary=dataset.vocabulary,
    )


def _check_weights(model: nn.Module, name: str) -> None:
    """The model has real weights."""
    for parameter, tensor in model.named_parameters():
        if tensor.is_complex():
            raise InputError(
                f"model {name!r}: parameter {parameter!r} is {tensor.dtype}, and complex weights cannot be trained "
                "or averaged here; keep real and imaginary parts as two parameters"
            )


def _device(name: str) -> str:
    """The device to train on; "auto" is the GPU if there is one.

    CUDA is only counted here: a process that has used it cannot fork workers that do.
    """
    gpus = torch.cuda.device_count()
    if name == "auto":
        return "cuda" if gpus else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type != "cuda" or not gpus:
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise InputError(f"device {name!r} cannot be used here: the GPUs of this machine are numbered 0 to {gpus - 1}")
    return name

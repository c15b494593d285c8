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
from fedma.data import Dataset, load, model_inputs, partition, shared_test
from fedma.errors import InputError
from fedma.experiments.method_factories import privacy, schedule
from fedma.experiments.settings import Settings
from fedma.methods import METHODS
from fedma.models import build
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
        given: whether the data were handed over, and not loaded by name.
    """

    settings: Settings
    dataset: Dataset
    clients: tuple[Client, ...]
    template: nn.Module
    graph: UnitGraph
    device: str
    given: bool = False

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
        return weights(_model(self.settings, self.dataset, client))

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

    def header(self) -> Mapping[str, Any]:
        """What is needed to build a model of this federation again, given its weights."""
        return {
            "model": self.settings.model,
            "input_shape": list(self.dataset.input_shape),
            "classes": len(self.dataset.classes),
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


def assemble(settings: Settings, dataset: Dataset | None = None) -> Federation:
    """The federation that these settings describe.

    Args:
        settings: what to run.
        dataset: your own data (`fedma.data.from_arrays`) instead of the data that the settings name.

    Raises:
        InputError: settings out of range, data that cannot be read or divided so, a model that does not fit the data.
        GraphError: a model whose unit groups cannot be derived, or of which none can be matched, by a method that does.
    """
    settings.check()
    schedule(settings)  # refuses what cannot be trained by
    device = _device(settings.device)
    given = dataset is not None
    dataset = _taken(settings, dataset) if dataset is not None else _loaded(settings)
    parts = partition(
        dataset.train,
        settings.clients,
        scheme=settings.partition,
        alpha=settings.alpha,
        classes_per_client=settings.classes_per_client,
        min_samples=settings.min_samples,
        seed=settings.seed,
    )
    dataset = replace(dataset, test=shared_test(dataset, parts))
    template = _model(settings, dataset, None)
    freeze(template, settings.freeze)
    check_trainable(template)
    example = model_inputs(dataset.train.inputs[:2])
    _check_model(template, example, settings.model, len(dataset.classes))
    graph = units(template, example)
    if any(METHODS.get(name).matches for name in settings.method):
        graph.check_movable()
    everyone = torch.cat(list(parts))
    hiding = privacy(settings)
    if hiding is not None:
        hiding.epsilon(1, delta=settings.dp_delta)  # refuses what cannot be accounted for
    clients = tuple(
        Client(number, dataset.train, template, graph, len(dataset.classes), settings.seed, rows=part, privacy=own)
        for number, (part, own) in enumerate([*((part, hiding) for part in parts), (everyone, None)])
    )
    return Federation(settings, dataset, clients, template, graph, device, given)


def reassemble(
    settings: Settings, facts: Mapping[str, Any], folder: Path, *, dataset: Dataset | None = None
) -> Federation:
    """The federation of a run that has begun already.

    Args:
        settings: the run's own, but for where it is computed.
        facts: what its `run.json` says.
        folder: of the run.
        dataset: the data that `run` was given, if any; run folders keep no copy.

    Raises:
        InputError: other data than at first, and whatever `assemble` refuses.
    """
    if dataset is None and facts["data"].get("fingerprint"):
        raise InputError(f"the run in {folder} was given its data; give them again, in Python: dataset=...")
    federation = assemble(settings, dataset)
    if facts["data"] != json.loads(json.dumps(federation.facts())):
        raise InputError(f"the data are not those that the run in {folder} began with; bring them back, or start anew")
    return federation


def _loaded(settings: Settings) -> Dataset:
    return load(
        settings.data,
        seed=settings.seed,
        limit=settings.limit,
        test_limit=settings.test_limit,
        natural=settings.natural,
        min_windows=settings.min_windows,
    )


def _taken(settings: Settings, dataset: Dataset) -> Dataset:
    """The data that were handed over; what governs loading would be ignored, and is refused."""
    for name in ("limit", "test_limit", "natural"):
        if getattr(settings, name) is not None:
            raise InputError(f"{name} is for data loaded by name; leave it out, and hand over the samples you want")
    return dataset


def _model(settings: Settings, dataset: Dataset, client: int | None) -> nn.Module:
    return build(
        settings.model,
        dataset.input_shape,
        len(dataset.classes),
        seed=settings.seed,
        client=client,
        vocabulary=dataset.vocabulary,
    )


def _check_model(model: nn.Module, example: torch.Tensor, name: str, classes: int) -> None:
    """The model takes the data's inputs, makes one output for each class, and has real weights."""
    for parameter, tensor in model.named_parameters():
        if tensor.is_complex():
            raise InputError(
                f"model {name!r}: parameter {parameter!r} is {tensor.dtype}, and complex weights cannot be trained "
                "or averaged here; keep real and imaginary parts as two parameters"
            )
    try:
        with torch.no_grad():
            outputs = model.eval()(example)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"model {name!r} does not take inputs of shape {tuple(example.shape[1:])}: {error}") from error
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != (len(example), classes):
        raise InputError(
            f"model {name!r} answers {len(example)} inputs with {shape}, but the data have {classes} classes: "
            f"its output must be of shape ({len(example)}, {classes})"
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

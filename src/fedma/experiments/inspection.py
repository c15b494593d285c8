"""What the slots of a run's global model are: whose units each averages, and which test samples excite it most."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fedma.data import Dataset, model_inputs
from fedma.errors import CheckpointError, InputError
from fedma.experiments.assignments import ClientAssignments, load_assignments, model_path
from fedma.experiments.federation import reassemble
from fedma.experiments.metrics import owners
from fedma.experiments.run_folder import load_model, recorded
from fedma.experiments.settings import Settings
from fedma.methods import METHODS
from fedma.tasks import Task
from fedma.training.evaluation import BATCH
from fedma.units import UnitGraph, weights
from fedma.units.activity import excitations
from fedma.units.layout import Widths


@dataclass(frozen=True)
class Slot:
    """A unit of the global model.

    Attributes:
        group: its unit group.
        place: its number in the group; of a group in blocks the block's numbers come first.
        owners: the clients that have a unit in it.
        samples: the test samples that excite it most, the strongest first; none where all excite it alike, or where
            that cannot be measured.
        excitations: how strongly these do (see `fedma.units.activity.excitations`).
    """

    group: str
    place: tuple[int, ...]
    owners: tuple[int, ...]
    samples: tuple[int, ...] = ()
    excitations: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """Its number, or numbers."""
        return ".".join(map(str, self.place))


@dataclass(frozen=True, eq=False)
class Inspection:
    """A method's global model, slot by slot.

    Attributes:
        method: that made it.
        clients: how many have units in it.
        data: what the run was judged by; `Slot.samples` are numbers in its test split.
        owners: per group, how many slots have one owner, two, and so on.
        slots: of all groups.
        measured: the groups whose excitations are known.
    """

    method: str
    clients: int
    data: Dataset
    owners: Mapping[str, Sequence[int]]
    slots: tuple[Slot, ...]
    measured: frozenset[str]

    def of(self, group: str) -> tuple[Slot, ...]:
        """The slots of a group.

        Raises:
            InputError: there is no such group.
        """
        if group not in self.owners:
            raise InputError(f"there is no group {group!r}; groups are {', '.join(self.owners)}")
        return tuple(slot for slot in self.slots if slot.group == group)

    @property
    def kind(self) -> str:
        """What the samples are: images, windows of text, or samples of another kind."""
        inputs = self.data.test.inputs
        if self.data.vocabulary is not None:
            return "windows"
        return "images" if inputs.dim() == 4 and inputs.shape[1] in (1, 3) else "samples"

    def label(self, sample: int) -> str:
        """The class of a test sample; "sample" where it is of no single class."""
        labels = self.data.test.labels
        if labels.dim() != 1 or labels.is_floating_point() or not self.data.classes:
            return "sample"
        return _printable(self.data.classes[int(labels[sample])])

    def shown(self, sample: int) -> str:
        """A test sample in a line: its class and its number, or a window of text and what comes after it."""
        if self.kind != "windows":
            return f"{self.label(sample)} ({sample})"
        tokens = self.data.test.inputs[sample].tolist()
        letters = self.data.vocabulary == len(self.data.classes) and all(len(name) == 1 for name in self.data.classes)
        window = "".join(self.data.classes[token] for token in tokens) if letters else " ".join(map(str, tokens))
        return f"{_printable(window)} → {self.label(sample)}"

    def pictures(self, samples: Sequence[int]) -> Tensor:
        """These test images as they were before they were scaled: images × height × width × channels, from 0 to 1.

        Where that is not known, the darkest value of all is 0 and the brightest 1.
        """
        images = self.data.test.inputs
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.data.mean, self.data.std))
        if not self.data.mean:
            low, high = images.aminmax()
            std = 1 / (high - low).clamp(min=1e-9)
            mean = -low * std
        return (images[list(samples)] * std + mean).clamp(0, 1).movedim(1, -1)

    def rows(self) -> list[dict[str, str]]:
        """All slots, as a table."""
        return [
            {"group": slot.group, "slot": slot.name, "owners": _joined(slot.owners), "samples": _joined(slot.samples)}
            | {"classes": _joined(map(self.label, slot.samples))}
            | {"excitations": _joined(f"{value:.6g}" for value in slot.excitations)}
            for slot in self.slots
        ]


def inspect(
    folder: Path,
    *,
    method: str | None = None,
    samples: int = 8,
    dataset: Dataset | None = None,
    task: Task | None = None,
) -> Inspection:
    """The slots of the global model that a run has made.

    Args:
        folder: the run folder.
        method: of the run; by default the first that matches units.
        samples: how many test samples to name for each slot.
        dataset: the data that were given to the run, if they were; others it loads again.
        task: the task that was given to the run, if one was.

    Raises:
        InputError: no run folder, no method that matches units, other data than at first, a damaged model.
        CheckpointError: assignments that are missing, damaged, or of another model.
    """
    facts, settings = recorded(folder)
    chosen = _chosen(settings, method, folder)
    maps = load_assignments(folder, chosen)
    model = load_model(model_path(folder, chosen))
    federation = reassemble(replace(settings, device="cpu"), facts, folder, dataset=dataset, task=task)
    data, graph = federation.dataset, federation.graph
    widths = graph.widths_in(weights(model))
    _check(maps, graph, widths, folder)
    counted = owners(maps)
    histogram = {group: counted[group] for group in graph.groups if group in counted}
    if not histogram:
        raise InputError(f"the model of {chosen} in {folder} has no hidden units; there is nothing to show")
    found = excitations(model, [model_inputs(batch) for batch in data.test.inputs.split(BATCH)], graph=graph)
    slots = tuple(_excited(slot, found, samples) for group in histogram for slot in _slots(group, maps, graph, widths))
    return Inspection(chosen, len(maps), data, histogram, slots, frozenset(found))


def _chosen(settings: Settings, method: str | None, folder: Path) -> str:
    """The method to look at."""
    wanted = settings.method if method is None else (method,)
    if method is not None and method not in settings.method:
        raise InputError(f"the run in {folder} has no method {method!r}; it has {', '.join(settings.method)}")
    matching = [name for name in wanted if METHODS.get(name).matches]
    if not matching:
        raise InputError(
            f"{', '.join(wanted)} in {folder} matched no units, so nothing is known of whose they are; name a run of "
            f"{' or '.join(entry.name for entry in METHODS if entry.matches)}"
        )
    return matching[0]


def _check(maps: ClientAssignments, graph: UnitGraph, widths: Widths, folder: Path) -> None:
    """The assignments are those of this model: of each group slots that it has, none twice for a client."""
    for client, own in maps.items():
        for group, units in own.items():
            blocks = [widths[block] for block in graph.groups[group].per] if group in widths else []
            fits = group in widths and list(units.shape[:-1]) == blocks and units.dim() > 0
            if not fits or not _distinct(units, widths[group]):
                raise CheckpointError(
                    f"the assignments of client {client} in {folder} do not fit the model beside them (group "
                    f"{group!r}); repeat the run"
                )


def _distinct(units: Tensor, width: int) -> bool:
    """Whether all are slots of a group of this width, none twice in a block."""
    ordered = units.sort(dim=-1).values
    inside = bool(((units >= 0) & (units < width)).all())
    return inside and bool((ordered.diff(dim=-1) > 0).all())


def _slots(group: str, maps: ClientAssignments, graph: UnitGraph, widths: Widths) -> Iterator[Slot]:
    """A group's slots with their owners."""
    sizes = [*(widths[block] for block in graph.groups[group].per), widths[group]]
    clients = [client for client, own in maps.items() if group in own]
    has = torch.stack([torch.zeros(sizes).scatter(-1, maps[client][group], 1.0) for client in clients], dim=-1) > 0
    for place in itertools.product(*map(range, sizes)):
        yield Slot(group, place, tuple(client for client, own in zip(clients, has[place].tolist(), strict=True) if own))


def _excited(slot: Slot, found: Mapping[str, Tensor], samples: int) -> Slot:
    """The slot with the samples that excite it most, in order; samples that excite it least are left out."""
    if slot.group not in found:
        return slot
    values = found[slot.group][:, slot.place[-1]]
    if values.min() == values.max():
        return slot
    order = values.argsort(descending=True, stable=True)[:samples]
    order = order[values[order] > values.min()]
    return replace(slot, samples=tuple(order.tolist()), excitations=tuple(values[order].tolist()))


def _joined(values: Iterable[object]) -> str:
    return ";".join(map(str, values))


def _printable(text: str) -> str:
    """The text with line ends and the like spelt out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)

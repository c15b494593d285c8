"""The rules by which samples are divided: most are flwr-datasets' partitioners, kept quiet and seeded by name."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from fedma import seeds
from fedma.data.dirichlet import Rows, paper_dirichlet, too_uneven
from fedma.errors import InputError
from fedma.optional_dependencies import imported

ATTEMPTS = 5
"""How many seeds the `dirichlet` scheme tries; each draws up to eleven divisions."""

_PLOTS = "flwr_datasets.visualization"


@dataclass(frozen=True)
class Wish:
    """What was asked of `partition`, with the labels (and owners) of the samples to divide."""

    labels: Rows
    owners: tuple[str, ...] | None
    clients: int
    scheme: str
    alpha: float
    seed: int
    min_samples: int
    classes_per_client: int

    def number(self, *name: str | int) -> int:
        """A seed for one purpose of this scheme."""
        return seeds.number(self.seed, "partition", self.scheme, *name)


def _dirichlet(wish: Wish) -> list[Rows]:
    """Dirichlet shares as flwr-datasets draws them, which gives up by itself after eleven draws."""
    with _flower_partitioners() as flower:
        for attempt in range(ATTEMPTS):
            partitioner = flower.DirichletPartitioner(
                wish.clients,
                partition_by="label",
                alpha=float(wish.alpha),
                min_partition_size=wish.min_samples,
                self_balancing=True,
                seed=wish.number("draw", attempt),
            )
            # Shares that vanish altogether (a tiny alpha) would go unnoticed into the cuts.
            with contextlib.suppress(ValueError, FloatingPointError), np.errstate(invalid="raise"):
                return _divide(wish, partitioner, wish.clients)
    raise too_uneven(wish.clients, wish.alpha, wish.min_samples)


def _paper(wish: Wish) -> list[Rows]:
    """The reference code's rule."""
    rng = np.random.default_rng(wish.number("draw"))
    return paper_dirichlet(wish.labels, wish.clients, alpha=wish.alpha, min_samples=wish.min_samples, rng=rng)


def _iid(wish: Wish) -> list[Rows]:
    """Even parts of the samples in random order."""
    return np.array_split(_order(wish), wish.clients)


def _pathological(wish: Wish) -> list[Rows]:
    """A few classes each; the first of them by turns, so that with enough clients no class is left out."""
    present = len(np.unique(wish.labels))
    if wish.classes_per_client > present:
        raise InputError(
            f"classes_per_client is {wish.classes_per_client}, and the samples have {present} classes; lower it"
        )
    with _flower_partitioners() as flower:
        partitioner = flower.PathologicalPartitioner(
            wish.clients,
            partition_by="label",
            num_classes_per_partition=wish.classes_per_client,
            class_assignment_mode="first-deterministic",
            seed=wish.number("draw"),
        )
        try:
            return _divide(wish, partitioner, wish.clients)
        except ValueError as error:
            raise InputError(
                f"some class has fewer samples than clients that shall hold it ({wish.clients} clients with "
                f"{wish.classes_per_client} classes each); take fewer clients or classes_per_client"
            ) from error


def _shards(wish: Wish) -> list[Rows]:
    """Even shards of the samples sorted by class."""
    shards = wish.clients * wish.classes_per_client
    if shards > len(wish.labels):
        raise InputError(
            f"{wish.clients} clients with {wish.classes_per_client} shards each need {shards} samples, and there "
            f"are {len(wish.labels)}; take fewer clients or classes_per_client"
        )
    with _flower_partitioners() as flower:
        partitioner = flower.ShardPartitioner(
            wish.clients,
            partition_by="label",
            num_shards_per_partition=wish.classes_per_client,
            seed=wish.number("draw"),
        )
        return _divide(wish, partitioner, wish.clients)


def _natural(wish: Wish) -> list[Rows]:
    """The samples of `clients` owners, drawn among those who have enough."""
    numbers = {owner: number for number, owner in enumerate(dict.fromkeys(wish.owners or ()))}
    own = np.fromiter((numbers[owner] for owner in wish.owners or ()), dtype=np.int64, count=len(wish.labels))
    owners = np.split(np.argsort(own, kind="stable"), np.cumsum(np.bincount(own))[:-1])
    eligible = [rows for rows in owners if len(rows) >= wish.min_samples]
    if len(eligible) < wish.clients:
        raise InputError(
            f"{len(eligible)} of {len(owners)} owners hold {wish.min_samples} samples or more, and {wish.clients} "
            "clients are asked for; take fewer clients or a lower min_samples"
        )
    chosen = np.random.default_rng(wish.number("owners")).permutation(len(eligible))[: wish.clients]
    return [eligible[owner] for owner in sorted(chosen)]


def _order(wish: Wish) -> Rows:
    """The rows in random order."""
    return np.random.default_rng(wish.number("order")).permutation(len(wish.labels))


def _divide(wish: Wish, partitioner: Any, parts: int) -> list[Rows]:
    """The rows that a partitioner gives to each part, of the samples in random order."""
    order = _order(wish)
    partitioner.dataset = _table(order, wish.labels[order])
    # As arrays: one by one they take seconds.
    tables = (partitioner.load_partition(part).with_format("arrow")[:] for part in range(parts))
    return [table["row"].to_numpy().copy() for table in tables]


def _table(rows: Rows, labels: Rows) -> Any:
    """A `datasets.Dataset` of two columns, `row` and `label`, whose labels partitioners get as one array."""

    class Labelled(imported("datasets", extra="data").Dataset):  # type: ignore[misc]
        def __getitem__(self, key: Any) -> Any:
            return labels if key == "label" else super().__getitem__(key)

    return Labelled.from_dict({"row": rows, "label": labels})


@contextlib.contextmanager
def _flower_partitioners() -> Iterator[Any]:
    """The partitioners of flwr-datasets, kept quiet.

    They warn of every redraw and of classes left out, which our docstring and errors mention already. They sort in a
    way that pyarrow warns of, and draw a progress bar.
    """
    with _lightly():
        flower = imported("flwr_datasets.partitioner", extra="data")
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", category=UserWarning, module=r"flwr_datasets\.partitioner")
        warnings.filterwarnings("ignore", "Specifying null_placement", category=FutureWarning)
        yield flower


@contextlib.contextmanager
def _lightly() -> Iterator[None]:
    """Inside, the first import of flwr-datasets leaves out its plots and its telemetry.

    Its plots import Matplotlib and seaborn, which takes a second. Code that imports them later gets them. Parts of the
    package can report their use to its makers, though its partitioners never do. It reads an environment variable on
    its first import. Unless the user has set this variable, it is set to forbid all reports.
    """
    if "flwr_datasets" in sys.modules:
        yield
        return
    user = os.environ.get("FLWR_TELEMETRY_ENABLED")
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    sys.modules[_PLOTS] = ModuleType(_PLOTS)
    try:
        yield
    finally:
        del sys.modules[_PLOTS]
        if "flwr_datasets" in sys.modules:
            vars(sys.modules["flwr_datasets"]).pop("visualization", None)
        if user is None:
            del os.environ["FLWR_TELEMETRY_ENABLED"]


DIVIDERS: dict[str, Callable[[Wish], list[Rows]]] = {
    "dirichlet": _dirichlet,
    "dirichlet-paper": _paper,
    "iid": _iid,
    "pathological": _pathological,
    "shards": _shards,
    "natural": _natural,
}

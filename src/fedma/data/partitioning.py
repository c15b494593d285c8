"""Who holds which samples: seeded divisions of a split over clients."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedma.data.schemes import DIVIDERS, Wish
from fedma.data.split import Dataset, Split
from fedma.errors import InputError

SCHEMES = tuple(DIVIDERS)
"""The names that `partition` knows."""


def partition(
    split: Split,
    clients: int,
    *,
    scheme: str = "dirichlet",
    alpha: float = 0.5,
    seed: int = 0,
    min_samples: int = 10,
    classes_per_client: int = 2,
) -> tuple[Tensor, ...]:
    """The positions in `split` of each client's samples, int64: no sample twice, the same for the same seed.

    Args:
        split: what to divide.
        clients: how many parts.
        scheme: one of `SCHEMES`:
            `dirichlet`: each class spread by shares from Dirichlet(alpha), those who hold their even part
            left out, as flwr-datasets does it; `dirichlet-paper`: the same rule in the reference code's
            exact form; `iid`: at random and even; `pathological`: `classes_per_client` classes each, classes
            that no client draws left out; `shards`: samples sorted by class, cut into
            clients × `classes_per_client` even shards (the remainder left out), that many dealt to each;
            `natural`: one owner a client, drawn among the owners with enough samples.
            `dirichlet`, `dirichlet-paper` and `iid` hand out every sample.
        alpha: evenness of the Dirichlet shares; 0.5 is uneven, 100 nearly even.
        seed: decides every draw.
        min_samples: the least that any client holds.
        classes_per_client: for `pathological` and `shards`.

    Raises:
        InputError: an argument is out of range, or no such division exists.
        MissingExtra: flwr-datasets is not installed (`dirichlet`, `pathological` and `shards` need it).
    """
    wish = Wish(_labels(split, scheme), split.owners, clients, scheme, alpha, seed, min_samples, classes_per_client)
    _check(wish)
    parts = DIVIDERS[scheme](wish)
    for client, part in enumerate(parts):
        if len(part) < min_samples:
            raise InputError(
                f"client {client} would hold {len(part)} samples under scheme {scheme!r}, fewer than "
                f"min_samples = {min_samples}; take fewer clients or a lower min_samples"
            )
    return tuple(torch.from_numpy(np.ascontiguousarray(part)).long() for part in parts)


def _labels(split: Split, scheme: str) -> NDArray[np.int64]:
    """The classes by which samples are divided; all alike where nobody has said, for schemes that do not need them."""
    if split.labels is None and scheme not in ("iid", "natural"):
        raise InputError(
            f"scheme {scheme!r} divides by class, and nobody has said of which class samples are; give from_dataset "
            "their labels, or take iid or natural"
        )
    labels: NDArray[np.int64] = np.zeros(len(split), dtype=np.int64) if split.labels is None else split.labels.numpy()
    return labels


def class_counts(split: Split, parts: Sequence[Tensor], classes: int) -> Tensor:
    """How many samples of each class each client holds: clients × classes, int64."""
    counts = [torch.bincount(split.labels[part], minlength=classes) for part in parts]
    return torch.stack(counts).long()


def shared_test(dataset: Dataset, parts: Sequence[Tensor]) -> Split:
    """The test samples of the owners of these parts of the training split.

    All test samples if samples have no owners, or if the test split has other owners.

    Source: FedMA, section 4 (Shakespeare): the held-out text of the roles that take part, all together.
    """
    train, test = dataset.train, dataset.test
    if train.owners is None or test.owners is None:
        return test
    present = {train.owners[row] for part in parts for row in part.tolist()}
    return test.owned_by(present) if present & set(test.owners) else test


def _check(wish: Wish) -> None:
    """Refuse what cannot work, before any work."""
    samples, clients = len(wish.labels), wish.clients
    if wish.scheme not in SCHEMES:
        raise InputError(f"unknown partition scheme {wish.scheme!r}; known: {', '.join(SCHEMES)}")
    if not (math.isfinite(wish.alpha) and wish.alpha > 0):
        raise InputError(f"alpha is {wish.alpha}; it must be finite and greater than 0 (0.5 is usual)")
    for name in ("clients", "min_samples", "classes_per_client"):
        if getattr(wish, name) < 1:
            raise InputError(f"{name} is {getattr(wish, name)}; it must be 1 or more")
    if clients > samples:
        raise InputError(f"{clients} clients for {samples} training samples; take {samples} clients or fewer")
    if wish.min_samples * clients > samples:
        raise InputError(
            f"{clients} clients with {wish.min_samples} samples or more each need {wish.min_samples * clients}, "
            f"and there are {samples}; take fewer clients or a lower min_samples"
        )
    if wish.scheme == "natural" and wish.owners is None:
        raise InputError("scheme 'natural' needs samples with owners; load the data with natural=<their column>")

"""Metrics of a result line beyond accuracy and bytes: the owners of slots, and the accuracy for each client."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def owners(maps: Mapping[int, Mapping[str, Tensor]]) -> dict[str, list[int]]:
    """Per group, how many slots have one owner, two, and so on up to the number of clients; empty without maps.

    Args:
        maps: per client and group, own unit → slot; of a group in blocks, (blocks, units).
    """
    groups = dict.fromkeys(group for own in maps.values() for group in own)
    return {group: _owners([own[group] for own in maps.values() if group in own]) for group in groups}


def by_client(right: Tensor, present: Tensor, class_counts: Tensor) -> list[float | None]:
    """For each client, the accuracy that its model would have on data of the client's own class proportions.

    Estimated from the test split, whose classes are weighted as in the client's training data; None where the test
    split has none of them.

    Args:
        right: (models, classes) test samples that each client's model, or the one for all, classifies rightly.
        present: (classes,) test samples.
        class_counts: (clients, classes) training samples.
    """
    weights = class_counts.double() * (present > 0)
    mean = (weights * right.double() / present.clamp(min=1)).sum(1) / weights.sum(1)
    return [None if math.isnan(value) else value for value in mean.tolist()]


def _owners(assignments: Sequence[Tensor]) -> list[int]:
    slots = max(int(own.max()) for own in assignments) + 1
    counts = torch.zeros(*assignments[0].shape[:-1], slots, dtype=torch.long)
    for own in assignments:
        counts.scatter_add_(-1, own.long(), torch.ones_like(own, dtype=torch.long))
    return torch.bincount(counts.flatten(), minlength=len(assignments) + 1)[1:].tolist()

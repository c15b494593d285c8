"""The result of a matching: the slot of each unit of each client."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Matching:
    """An injective map from each client's units to the slots of the global model.

    Attributes:
        assignments: one LongTensor per client, `assignments[j][l]` the slot of unit `l`; no slot twice in it.
            Of length 0 for a client that was left out.
        slots: the slots' posterior means, slots × features, in the clients' dtype. They are shrunk towards
            `mu0`; the plain mean of a slot's owners is what one-shot fusion wants.
        counts: how many clients own each slot, at least one.
        objective: the last entry of `history`; see `fedma.matching.match` for what it measures.
        history: the objective after the first pass and after each sweep.
        mu0: prior mean of a slot's features: a scalar, or one number per feature.
        sigma: variance of units around their slot: a scalar, or clients × features; infinite where a feature
            carries no weight.
        sigma0: prior variance of a slot's features: a scalar, or one number per feature.
        excluded: clients that were left out because they could not be matched, and why.

    Example:
        >>> import torch
        >>> import fedma
        >>> units = torch.eye(4)
        >>> fedma.match([units, units.flip(0)]).assignments[1]
        tensor([3, 2, 1, 0])
    """

    assignments: tuple[Tensor, ...]
    slots: Tensor
    counts: Tensor
    objective: float
    history: tuple[float, ...]
    mu0: Tensor
    sigma: Tensor
    sigma0: Tensor
    excluded: Mapping[int, str]

"""The hyper-parameters of a matching: as the caller gave them, and as they are learnt.

Inside, variances are precisions. The precision axis has one entry per feature. Where no precision varies over the
features it has a single entry: sums over features are then taken first, which is cheaper.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedma.errors import MatchingError
from fedma.matching.arrays import Array

Variance = float | Tensor | Sequence[float | Tensor]


@dataclass(frozen=True)
class Prior:
    """Slots are N(mean, slot_scale / slot), units of client j are N(their slot, unit_scale / unit[j])."""

    mean: Array
    slot: Array
    unit: tuple[Array, ...]
    slot_scale: float = 1.0
    unit_scale: float = 1.0

    @property
    def repeat(self) -> int:
        """The number of features that share one entry of the precision axis."""
        return len(self.mean) // len(self.slot)

    def of(self, clients: Iterable[int]) -> "Prior":
        """The same for some of the clients."""
        return replace(self, unit=tuple(self.unit[client] for client in clients))

    @property
    def tau(self) -> Array:
        """Precision of a slot's prior."""
        return self.slot / self.slot_scale

    @property
    def relative_tau(self) -> Array:
        """Precision of a slot's prior on the scale of the clients' relative ones."""
        return self.tau * self.unit_scale

    def residuals(self, client: int, units: Tensor) -> Array:
        """A client's units around the prior mean, times their relative precision; in float64, a new array."""
        values: Array = np.empty(units.shape)
        torch.from_numpy(values).copy_(units)
        values -= self.mean
        if (self.unit[client] != 1).any():
            values *= self.unit[client]
        return values

    def variances(self) -> tuple[Tensor, Tensor, Tensor]:
        """mu0, sigma and sigma0 as `Matching` shows them: scalars where nothing varies."""
        with np.errstate(divide="ignore"):
            sigma = self.unit_scale / np.stack(self.unit)
        if (sigma == sigma[0, 0]).all():
            sigma = sigma[0, 0]
        elif sigma.shape[1] < len(self.mean):
            sigma = np.repeat(sigma, len(self.mean), axis=1)
        mean = self.mean[0] if (self.mean == self.mean[0]).all() else self.mean
        sigma0 = self.slot_scale / self.slot
        return torch.tensor(mean), torch.tensor(sigma), torch.tensor(sigma0[0] if len(sigma0) == 1 else sigma0)


def read_prior(
    mu0: float | Tensor | None,
    sigma: Variance | None,
    sigma0: float | Tensor | None,
    *,
    clients: int,
    features: int,
) -> Prior:
    """The hyper-parameters that the caller gave; 0, 1 and 1 where none was given.

    Raises:
        MatchingError: wrong lengths, variances that are not positive, an infinite sigma0, a mean not finite.
    """
    mean = _vector("mu0", 0.0 if mu0 is None else mu0, features)
    if not np.isfinite(mean).all():
        raise MatchingError("mu0 has values that are not finite; give the prior mean of each feature")
    slot = _vector("sigma0", 1.0 if sigma0 is None else sigma0, features)
    if not (np.isfinite(slot).all() and (slot > 0).all()):
        raise MatchingError("sigma0 is a variance and must be positive and finite in every feature")
    given = 1.0 if sigma is None else sigma
    if isinstance(given, Tensor) and given.ndim == 2:
        given = list(given)
    each: Sequence[float | Tensor] = [given] * clients if isinstance(given, int | float | Tensor) else given
    if len(each) != clients:
        raise MatchingError(f"sigma is given for {len(each)} clients, but there are {clients}")
    unit = [_vector(f"sigma of client {j}", value, features) for j, value in enumerate(each)]
    for j, value in enumerate(unit):
        if not (value > 0).all():
            raise MatchingError(f"sigma of client {j} must be positive: it is a variance (infinite: no weight)")
        if np.isinf(value).all():
            raise MatchingError(f"sigma of client {j} is infinite in every feature: nothing is left to match")
    return Prior(mean, *_compact(1 / slot, [1 / value for value in unit]))


def _vector(name: str, value: float | Tensor, features: int) -> Array:
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    if array.ndim > 1 or array.size not in (1, features):
        raise MatchingError(
            f"{name} has shape {tuple(array.shape)}; give a scalar or one value for each of {features} features"
        )
    return np.broadcast_to(array.reshape(-1), features).copy()


def _compact(slot: Array, unit: Sequence[Array]) -> tuple[Array, tuple[Array, ...]]:
    """The same precisions with one entry instead of one per feature, where that loses nothing."""
    if all((precision == precision[0]).all() for precision in (slot, *unit)):
        return slot[:1], tuple(precision[:1] for precision in unit)
    return slot, tuple(unit)

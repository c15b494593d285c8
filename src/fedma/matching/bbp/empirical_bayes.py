"""Empirical Bayes: the hyper-parameters of a matching, learnt from the clients' units between sweeps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedma.matching.arrays import Array
from fedma.matching.bbp.prior import Prior

# Learnt variances stay above this share of the data's own variance: identical clients would drive sigma to 0.
_FLOOR = 1e-10
_STEPS = 100
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Spread:
    """How the clients' units spread around the prior mean, which no assignment changes.

    Attributes:
        units: how many there are.
        variance: mean square of all features; 1 where they all equal the mean.
        square: sum of all squares, times relative precision.
        observed: how many features of units carry weight.
        log_precision: sum of their log relative precisions.
    """

    units: int
    variance: float
    square: float
    observed: int
    log_precision: float

    @staticmethod
    def of(prior: Prior, clients: Sequence[Tensor]) -> "Spread":
        """Read all clients, one at a time."""
        total, square, observed, log_precision = 0.0, 0.0, 0, 0.0
        for unit, w in zip(prior.unit, clients, strict=True):
            by_feature = ((w - torch.from_numpy(prior.mean)) ** 2).sum(0).numpy()
            total += float(by_feature.sum())
            square += float((unit * by_feature).sum())
            observed += len(w) * int(np.count_nonzero(unit)) * prior.repeat
            log_precision += len(w) * prior.repeat * float(np.log(unit[unit > 0]).sum())
        variance = total / sum(map(Tensor.numel, clients)) or 1.0
        return Spread(sum(map(len, clients)), variance, square, observed, log_precision)


def centred(prior: Prior, clients: Sequence[Tensor]) -> Prior:
    """The same with each feature's mean over all units as mu0.

    A feature that is the same in all units, such as a fresh normalisation's scale, then has no say.
    """
    total = torch.stack([w.sum(0, dtype=torch.float64) for w in clients]).sum(0)
    return replace(prior, mean=(total / sum(map(len, clients))).numpy())


def first_guess(prior: Prior, spread: Spread) -> Prior:
    """A prior at the data's own scale, half of the variance between slots and half within.

    The variances only serve the first pass, which at a fixed width hardly depends on them. The ratios of the prior's
    precisions stay.
    """
    half = spread.variance / 2
    noise = float(np.mean([unit[unit > 0].mean() for unit in prior.unit]))
    return replace(prior, slot_scale=half * prior.slot.mean(), unit_scale=half * noise)


def learn(prior: Prior, spread: Spread, *, weight: Array, squares: Array) -> Prior:
    """The prior under which the clients' units are likeliest, their slots given.

    Args:
        prior: where to start; its scales are learnt, the ratios of its precisions stay.
        spread: of the clients' units under this prior.
        weight: sums of relative precision over each slot's owners, slots × precision axis.
        squares: squares of the sums of their units around the prior mean, times relative precision; as `weight`.

    Source: expectation maximisation of the model of Wang et al. 2020, section 2, with the slots' values as the
        hidden variables. The paper keeps its hyper-parameters; SPAHM (Yurochkin et al. 2019) learns them.
    """
    floor = _FLOOR * spread.variance
    if len(weight) == spread.units:
        # Nothing is shared, so only the sum of both variances is known: take the units at their word.
        return replace(prior, slot_scale=spread.variance * float(prior.slot.mean()), unit_scale=floor)
    for _ in range(_STEPS):
        slot_scale, unit_scale = _maximise(prior, spread, weight, squares)
        slot_scale, unit_scale = max(slot_scale, floor), max(unit_scale, floor)
        moved = max(abs(slot_scale / prior.slot_scale - 1), abs(unit_scale / prior.unit_scale - 1))
        prior = replace(prior, slot_scale=slot_scale, unit_scale=unit_scale)
        if moved < _TOLERANCE:
            break
    return prior


def _maximise(prior: Prior, spread: Spread, weight: Array, squares: Array) -> tuple[float, float]:
    """One EM step: slot scale and unit scale.

    A slot's value has posterior precision R = tau + weight / s and mean `prior mean + sum / (s R)`. The square of that
    sum is in `squares`.
    """
    s, n = prior.unit_scale, prior.repeat
    posterior = prior.tau + weight / s
    expected = squares / (s * posterior) ** 2 + n / posterior
    between = float((prior.slot * expected).sum()) / (n * posterior.size)
    within = spread.square + float((weight * expected - 2 * squares / (s * posterior)).sum())
    return between, within / spread.observed

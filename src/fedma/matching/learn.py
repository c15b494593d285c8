"""Empirical Bayes: the hyper-parameters of a matching, learnt from the clients' units between sweeps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fedma.matching.prior import Array, Prior

# Learnt variances stay above this share of the data's own variance: identical clients would drive sigma to 0.
_FLOOR = 1e-10
_STEPS = 100
_TOLERANCE = 1e-6

Slots = Sequence[npt.NDArray[np.int64]]


def first_guess(prior: Prior, clients: Sequence[Array], *, learn_mean: bool) -> Prior:
    """A prior at the data's own scale, half of the variance between slots and half within.

    The variances only serve the first pass, which at a fixed width hardly depends on them. The ratios of the prior's
    precisions stay.

    Args:
        prior: where to start.
        clients: units × features of each client.
        learn_mean: take each feature's mean over all units as mu0. A feature that is the same in all units, as a fresh
            normalisation's scale is, then tells no unit from another, as it should.
    """
    if learn_mean:
        prior = replace(prior, mean=np.concatenate(clients).mean(axis=0))
    half = _variance(prior, clients) / 2
    noise = np.mean([unit[unit > 0].mean() for unit in prior.unit])
    return replace(prior, slot_scale=half * prior.slot.mean(), unit_scale=half * float(noise))


def learn(prior: Prior, clients: Sequence[Array], slots: Slots) -> Prior:
    """The prior under which the clients' units are likeliest, their assignments given.

    Args:
        prior: where to start; its scales are learnt, the ratios of its precisions stay.
        clients: units × features of each client.
        slots: for each client, the slot of each unit.

    Source: expectation maximisation of the model of Wang et al. 2020, section 2, with the slots' values as the
        hidden variables. The paper keeps its hyper-parameters; SPAHM (Yurochkin et al. 2019) learns them.
    """
    variance = _variance(prior, clients)
    floor = _FLOOR * variance
    if len({int(place) for places in slots for place in places}) == sum(len(places) for places in slots):
        # Nothing is shared, so only the sum of both variances is known: take the units at their word.
        return replace(prior, slot_scale=variance * float(prior.slot.mean()), unit_scale=floor)
    sums = _Sums.gather(prior, clients, slots)
    for _ in range(_STEPS):
        slot_scale, unit_scale = sums.maximise(prior)
        slot_scale, unit_scale = max(slot_scale, floor), max(unit_scale, floor)
        moved = max(abs(slot_scale / prior.slot_scale - 1), abs(unit_scale / prior.unit_scale - 1))
        prior = replace(prior, slot_scale=slot_scale, unit_scale=unit_scale)
        if moved < _TOLERANCE:
            break
    return prior


@dataclass(frozen=True)
class _Sums:
    """Sums over each slot's owners around the prior mean, weighted by relative precision; slots × precision axis."""

    weight: Array
    second: Array
    observed: int
    square: float

    @staticmethod
    def gather(prior: Prior, clients: Sequence[Array], slots: Slots) -> "_Sums":
        count = 1 + max(int(slot.max()) for slot in slots)
        total, weight = np.zeros((count, len(prior.mean))), np.zeros((count, len(prior.slot)))
        square, observed = 0.0, 0
        for unit, w, slot in zip(prior.unit, clients, slots, strict=True):
            centred = w - prior.mean
            total[slot] += unit * centred
            weight[slot] += unit
            square += float((unit * centred**2).sum())
            observed += len(w) * int(np.count_nonzero(unit)) * prior.repeat
        return _Sums(weight, prior.reduce(total**2), observed, square)

    def maximise(self, prior: Prior) -> tuple[float, float]:
        """One EM step: slot scale and unit scale.

        A slot's value has posterior precision R = tau + weight / s and mean `prior mean + first / (s R)`, where first
        is the sum whose square is `second`.
        """
        s, n = prior.unit_scale, prior.repeat
        posterior = prior.tau + self.weight / s
        expected = self.second / (s * posterior) ** 2 + n / posterior
        between = float((prior.slot * expected).sum()) / (n * posterior.size)
        within = self.square + float((self.weight * expected - 2 * self.second / (s * posterior)).sum())
        return between, within / self.observed


def _variance(prior: Prior, clients: Sequence[Array]) -> float:
    """Mean square of all features around the prior mean; 1 where they all equal it."""
    squares = sum(float(((w - prior.mean) ** 2).sum()) for w in clients)
    return squares / sum(w.size for w in clients) or 1.0

"""Quadratic assignment by Frank–Wolfe: the score of a unit in a slot depends on the slots of the others."""

from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

import numpy as np

from fedma.matching.arrays import Array, Index, best_columns

_STEPS = 30
_GAP = 1e-9


@dataclass(frozen=True)
class QuadraticAssignment:
    """The score of an assignment of units to slots, no slot twice. With unit l in slot s(l) and m in s(m):

        Σ_l gains[l, s(l)] + Σ_lm { Σ_k left[k, l, m] right[k, s(l), s(m)] + prices[s(l), s(m)] }

    Attributes:
        gains: units × slots.
        left: terms × units × units.
        right: terms × slots × slots.
        prices: slots × slots, the score of both being filled, by any units.
    """

    gains: Array
    left: Array
    right: Array
    prices: Array

    def value(self, slots_of: Index) -> float:
        """The score of this assignment."""
        return self._value(slots_of, self._slope(slots_of))

    def maximise(self, start: Index | None = None) -> tuple[Index, float]:
        """Climb from this assignment, or from the middle of all; returns the best one met and its score.

        The ascent is over all matrices whose rows sum to one and columns to at most one.

        Source: Frank-Wolfe with exact line search, as FAQ (Vogelstein et al., "Fast approximate quadratic programming
            for graph matching", 2015). Departures: several pairs of matrices and a linear term, more slots than units,
            and every corner that a step aims at is a candidate.
        """
        units, slots = self.gains.shape
        each = np.arange(units)
        if start is None:
            P, slope = np.full((units, slots), 1 / slots), self._middle()
            best = -np.inf, best_columns(self.gains, maximize=True)
        else:
            P, slope = np.zeros((units, slots)), self._slope(start)
            P[each, start] = 1
            best = self._value(start, slope), start
        for _ in range(_STEPS):
            gradient = self.gains + slope
            corner = best_columns(gradient, maximize=True)
            up = float(gradient[each, corner].sum() - np.vdot(P, gradient))
            if up <= _GAP * float(np.abs(gradient[each, corner]).sum()):
                break
            there = self._slope(corner)
            best = max(best, (self._value(corner, there), corner), key=itemgetter(0))
            change = there - slope
            bend = float(change[each, corner].sum() - np.vdot(P, change))
            step = 1.0 if bend >= -up else -up / bend
            P *= 1 - step
            P[each, corner] += step
            slope += step * change
        rounded = best_columns(P, maximize=True)
        if (rounded != best[1]).any():
            best = max(best, (self.value(rounded), rounded), key=itemgetter(0))
        return best[1], best[0]

    def _value(self, slots_of: Index, slope: Array) -> float:
        each = np.arange(len(slots_of))
        return float((self.gains + slope / 2)[each, slots_of].sum())

    def _slope(self, slots_of: Index) -> Array:
        """The gradient of the quadratic part at a map, units × slots: one matrix product for all terms."""
        moved = np.concatenate([self._turned[:, slots_of], self.right[:, slots_of]]).reshape(-1, self.gains.shape[1])
        return self._beside @ moved + self._pairs[slots_of].sum(axis=0)

    def _middle(self) -> Array:
        """The same at the matrix whose entries are all equal."""
        units, slots = self.gains.shape
        slope = np.einsum("kl,kp->lp", self.left.sum(axis=2), self.right.sum(axis=2))
        slope += np.einsum("kl,kp->lp", self.left.sum(axis=1), self.right.sum(axis=1))
        return (slope + units * self._pairs.sum(axis=0)) / slots

    @cached_property
    def _beside(self) -> Array:
        """The left matrices, then their transposes, side by side: units × (2 · terms · units)."""
        return np.concatenate([*self.left, *self.left.transpose(0, 2, 1)], axis=1)

    @cached_property
    def _turned(self) -> Array:
        return np.ascontiguousarray(self.right.transpose(0, 2, 1))

    @cached_property
    def _pairs(self) -> Array:
        return self.prices + self.prices.T

"""Matching written once more, straight from its definition: loops, densities and factorials, no algebra.

Variances come as clients × features (sigma) and features (sigma0); infinite: the client's value is not observed.
"""

from itertools import product
from math import factorial, inf, log, pi
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import multivariate_normal


def objective(clients: Any, assignments: Any, *, mu0: Any, sigma: Any, sigma0: Any, gamma: float) -> float:
    """Twice the log joint density of units and assignments, up to the constant of the Gaussians."""
    total, J = 0.0, len(clients)
    for slot in {place for places in assignments for place in places}:
        owners = [(j, places.index(slot)) for j, places in enumerate(assignments) if slot in places]
        m = len(owners)
        total += log(factorial(m - 1) * factorial(J - m) / factorial(J)) + log(gamma)
        for d in range(len(mu0)):
            seen = [(j, unit) for j, unit in owners if sigma[j][d] < inf]
            if seen:
                x = [clients[j][unit][d] for j, unit in seen]
                spread = sigma0[d] + np.diag([sigma[j][d] for j, _ in seen])
                total += multivariate_normal(np.full(len(x), mu0[d]), spread).logpdf(x) + len(x) / 2 * log(2 * pi)
    return 2 * total


def choices(units: int, slots: int, first_new: int) -> Any:
    """Every way to give units to distinct slots below `slots`, or to slots of their own from `first_new` on."""
    for picks in product([*range(slots), None], repeat=units):
        taken = [pick for pick in picks if pick is not None]
        if len(set(taken)) == len(taken):
            yield [first_new + unit if pick is None else pick for unit, pick in enumerate(picks)]


def reference(clients: Any, *, mu0: Any, sigma: Any, sigma0: Any, gamma: float, orders: Any) -> Any:
    """The public reference's matching, one unit and one slot at a time: a list of slots per client."""
    J = len(clients)
    first, *rest = sorted(range(J), key=lambda j: -len(clients[j]))
    seated = {first: list(range(len(clients[first])))}
    for j in [*rest, *(j for order in orders for j in order)]:
        seated.pop(j, None)
        left = sorted({place for places in seated.values() for place in places})
        seated = {q: [left.index(place) for place in places] for q, places in seated.items()}
        scores = _reference_scores(j, clients, seated, len(left), mu0=mu0, sigma=sigma, sigma0=sigma0, gamma=gamma)
        seated[j] = []
        for column in linear_sum_assignment(scores, maximize=True)[1]:
            opened = sum(place >= len(left) for place in seated[j])
            seated[j].append(int(column) if column < len(left) else len(left) + opened)
    return [seated[j] for j in range(J)]


def _reference_scores(
    j: int, clients: Any, seated: Any, count: int, *, mu0: Any, sigma: Any, sigma0: Any, gamma: float
) -> Any:
    J, a, tau, h0 = len(clients), 1 / sigma[j], 1 / sigma0, mu0 / sigma0
    new = min(len(clients[j]), max(700 - count, 1))
    scores = np.zeros((len(clients[j]), count + new))
    for unit, w in enumerate(clients[j]):
        for i in range(count):
            owners = [(q, places.index(i)) for q, places in seated.items() if i in places]
            H = h0 + sum(clients[q][other] / sigma[q] for q, other in owners)
            R = tau + sum(1 / sigma[q] for q, _ in owners)
            c = min(len(owners), 10)
            scores[unit, i] = ((a * w + H) ** 2 / (a + R)).sum() - (H**2 / R).sum() + log(c / (J - c))
        for k in range(1, new + 1):
            fit = ((a * w + h0) ** 2 / (tau + a)).sum() - (h0**2 / tau).sum()
            scores[unit, count + k - 1] = fit + 2 * log(gamma / J) - 2 * log(k)
    return scores

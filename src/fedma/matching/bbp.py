"""Matching by maximum a posteriori inference in a beta-Bernoulli process (BBP-MAP)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedma.matching.learn import first_guess, learn
from fedma.matching.plan import Hyper, Plan, read_clients
from fedma.matching.prior import Array, Prior, Variance, read_prior
from fedma.matching.result import Matching
from fedma.matching.sweeps import Index, Rule, Slots, sweep


def match(
    clients: Sequence[Tensor],
    *,
    mu0: float | Tensor | None = None,
    sigma: Variance | None = None,
    sigma0: float | Tensor | None = None,
    gamma: float | None = None,
    hyper: Hyper = "empirical",
    sweeps: int | None = None,
    orders: Sequence[Sequence[int]] | None = None,
    init_order: Sequence[int] | None = None,
    grow: bool = True,
    max_slots: int | None = None,
    restarts: int | None = None,
    generator: torch.Generator | None = None,
) -> Matching:
    """The slots of the global model, and which of them each client's units sit in.

    Client j's unit l has features w_jl. Slots are drawn from N(mu0, sigma0), a unit from N(its slot, sigma_j), and
    a beta-Bernoulli process of mass gamma says which clients own a slot. What is maximised is twice the log joint
    density of features and assignments, the slots' values integrated out, up to a constant:

        Σ_i Σ_d [H²/R − h0²/tau − log(R / tau)] + 2 Σ_i log[(m_i−1)! (J−m_i)! / J!] + 2 L log gamma
        + Σ_jl Σ_d [log a_j − a_j w²]

    over L slots of m_i owners, with tau = 1/sigma0, a_j = 1/sigma_j, h0 = tau mu0, H = h0 + Σ a_j w and
    R = tau + Σ a_j over the owners. The last line matters only where the variances are learnt. Clients are seated
    one after the other by an exact linear assignment, which cannot lower this objective.

    Args:
        clients: units × features of each client; floating, finite; widths may differ. Matched in float64.
        mu0: prior mean of a slot, a scalar or one per feature.
        sigma: *variance* of units around their slot: a scalar, one per feature, clients × features, or a sequence
            with one of the former per client. Infinite: this client says nothing about this feature.
        sigma0: prior *variance* of a slot, a scalar or one per feature.
        gamma: mass of the beta process, above 0; the larger, the sooner units get slots of their own. By default
            the process expects as many slots as the widest client has units (7 for "reference").
        hyper: "empirical" takes the mean of all units as mu0 and learns one sigma and one sigma0 between sweeps.
            Given, mu0 is kept, and of sigma and sigma0 the ratios are. The result does not depend on the clients'
            scale. "fixed" keeps what is given (0, 1, 1). "reference" follows the rules of the public reference code
            to the letter.
        sweeps: sweeps over all clients at most; they end when nobody moves ("reference": always 5).
        orders: the order of the clients in each sweep, instead of random ones.
        init_order: their order in the first pass; by default the widest first.
        grow: False keeps the width of the widest client.
        max_slots: the most slots there may be, at least the widest client's units; None for no bound.
        restarts: how many times to match, each with its own random orders; the best objective is kept. 1 by
            default: on trained networks a better objective has not meant a more accurate average.
        generator: for the random orders; without one the same call gives the same matching.

    Returns:
        The matching. Slots are numbered as the clients' units come, client 0 first ("reference": as its code does).
        With hyper="reference" the objective is F + prior: the first line above without its log.

    Raises:
        MatchingError: clients or variances that cannot be matched; the message names the client.
        InputError: another argument out of its range.

    Source: Wang et al., "Federated Learning with Matched Averaging", ICLR 2020, section 2. Departures: slot
        values integrated out, hyper-parameters learnt. And no −2 log k for the k-th new slot: it belongs to binary
        matrices up to the order of columns, but the units that fill equal columns can be exchanged in as many
        ways, so for assignments of distinct units the factorials cancel.
    """
    values = read_clients(clients)
    plan = Plan.read(
        [len(w) for w in values],
        hyper=hyper,
        gamma=gamma,
        sweeps=sweeps,
        orders=orders,
        init_order=init_order,
        grow=grow,
        max_slots=max_slots,
        restarts=restarts,
        generator=generator,
    )
    prior = read_prior(mu0, sigma, sigma0, clients=len(values), features=values[0].shape[1])
    outcomes = (_run(values, prior, plan, attempt=attempt, learn_mean=mu0 is None) for attempt in range(plan.restarts))
    best = max(outcomes, key=lambda outcome: outcome.history[-1])
    return _answer(best, values, clients[0].dtype, renumber=hyper != "reference")


@dataclass(frozen=True)
class _Outcome:
    prior: Prior
    assignments: list[Index]
    history: list[float]


def _run(values: list[Array], prior: Prior, plan: Plan, *, attempt: int, learn_mean: bool) -> _Outcome:
    """One matching from scratch."""
    empirical = plan.hyper == "empirical"
    if empirical:
        prior = first_guess(prior, values, learn_mean=learn_mean)
    # Before sigma is known nothing tells a private unit from a poor fit. A first pass that opened slots by a wrong
    # guess could leave every unit of a noisy layer alone for good, so it keeps the width.
    slots = Slots(values, prior, plan.rule(fixed_width=empirical))
    sweep(slots, plan.first_order(attempt))
    history = [slots.objective()]
    for number in range(plan.sweeps):
        if empirical:
            assignments = slots.ordered()
            prior = learn(prior, values, assignments)
            slots = Slots(values, prior, plan.rule(), assignments)
        moved = sweep(slots, plan.order(number))
        history.append(slots.objective())
        if not moved and plan.hyper != "reference":
            break
    return _Outcome(prior, slots.ordered(), history)


def _answer(outcome: _Outcome, values: list[Array], dtype: torch.dtype, *, renumber: bool) -> Matching:
    assignments = _renumber(outcome.assignments) if renumber else outcome.assignments
    slots = Slots(values, outcome.prior, Rule(gamma=1.0, clients=len(values)), assignments)
    mu0, sigma, sigma0 = outcome.prior.variances()
    return Matching(
        assignments=tuple(torch.from_numpy(places) for places in assignments),
        slots=torch.from_numpy(outcome.prior.mean + slots.sums / slots.precision).to(dtype),
        counts=torch.from_numpy(slots.owners),
        objective=outcome.history[-1],
        history=tuple(outcome.history),
        mu0=mu0,
        sigma=sigma,
        sigma0=sigma0,
    )


def _renumber(assignments: list[Index]) -> list[Index]:
    """The same matching, its slots numbered as the units come: client 0's first, then client 1's new ones."""
    _, first, places = np.unique(np.concatenate(assignments), return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.split(rank[places], np.cumsum([len(a) for a in assignments])[:-1])

"""Matching by maximum a posteriori inference in a beta-Bernoulli process (BBP-MAP)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedma.matching.arrays import Array, Index
from fedma.matching.bbp.arguments import Arguments, Hyper
from fedma.matching.bbp.checks import OnBad, read_clients
from fedma.matching.bbp.empirical_bayes import Spread, centred, first_guess, learn
from fedma.matching.bbp.matching import Matching
from fedma.matching.bbp.prior import Prior, Variance, read_prior
from fedma.matching.bbp.slots import Slots
from fedma.matching.bbp.sweep import sweep


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
    on_bad: OnBad = "raise",
) -> Matching:
    """Assign each client's units to the slots of the global model.

    Client j's unit l has features w_jl. A slot is drawn from N(mu0, sigma0), and a unit from N(its slot, sigma_j). A
    beta-Bernoulli process of mass gamma decides which clients own a slot. The objective is twice the log joint density
    of features and assignments, with the slots' values integrated out, up to a constant:

        Σ_i Σ_d [H²/R − h0²/tau − log(R / tau)] + 2 Σ_i log[(m_i−1)! (J−m_i)! / J!] + 2 L log gamma
        + Σ_jl Σ_d [log a_j − a_j w²]

    There are L slots, of m_i owners each. tau = 1/sigma0, a_j = 1/sigma_j and h0 = tau mu0; H = h0 + Σ a_j w and
    R = tau + Σ a_j over the owners. The last line matters only where the variances are learnt. Clients are assigned one
    after the other by an exact linear assignment, which cannot lower this objective.

    Args:
        clients: units × features of each client, floating and finite. Widths may differ. They are matched in float64,
            one read at a time, without copies.
        mu0: prior mean of a slot, a scalar or one per feature.
        sigma: *variance* of units around their slot: a scalar, one per feature, clients × features, or a sequence
            with a scalar or one per feature for each client. Infinite means that the client's feature does not count.
        sigma0: prior *variance* of a slot, a scalar or one per feature.
        gamma: mass of the beta process, above 0. The larger it is, the sooner units get slots of their own. By default
            the process expects as many slots as the widest client has units (7 for "reference").
        hyper: how hyper-parameters are treated. "empirical" takes the mean of all units as mu0, and learns one sigma
            and one sigma0 between sweeps. A given mu0 is kept; of a given sigma and sigma0 the ratios are kept. The
            result does not depend on the clients' scale. "fixed" keeps what is given (by default 0, 1 and 1).
            "reference" follows the rules of the public reference code. Given the same arguments, it gives the same
            assignments: mu0 is 0 (0.1 for the bias), gamma is 7 for images and 0.001 for the LSTM.
        sweeps: the most sweeps over all clients. They end when no client moves ("reference": always 5).
        orders: the order of the clients in each sweep, instead of random ones.
        init_order: the order of the clients in the first pass; by default the widest comes first.
        grow: whether there may be more slots than the widest client has units.
        max_slots: the most slots there may be, at least the widest client's units; None for no bound.
        restarts: how many times to match, each with other random orders. The matching of the best objective is kept. By
            default 1: on trained networks a better objective has not meant a more accurate average.
        generator: draws the random orders. Without one, the same call gives the same matching.
        on_bad: what to do about a client that cannot be matched (see `bad_clients`). "raise" refuses it. "exclude"
            matches the others as if it were not there; `orders` and `sigma` still count it.

    Returns:
        The matching. Slots are numbered as the clients' units come, client 0 first ("reference": as its code does).
        With hyper="reference" the objective is F + prior: the first line above without its log.

    Raises:
        MatchingError: clients or variances that cannot be matched; the message names the client.
        InputError: another argument out of its range.

    Source: Wang et al., "Federated Learning with Matched Averaging", ICLR 2020, section 2. Departures: slot
        values integrated out, hyper-parameters learnt. There is no −2 log k for the k-th new slot. That term belongs to
        binary matrices up to the order of columns. Units in equal columns can be exchanged in as many ways, so the
        factorials cancel for assignments of distinct units.

    Example:
        >>> import torch
        >>> import fedma
        >>> first = torch.eye(4)
        >>> second = first.flip(0)  # the same units in reverse
        >>> found = fedma.match([first, second])
        >>> [slots.tolist() for slots in found.assignments]
        [[0, 1, 2, 3], [3, 2, 1, 0]]
        >>> found.counts.tolist()
        [2, 2, 2, 2]
    """
    matched, excluded = read_clients(clients, on_bad=on_bad)
    values = list(matched.values())
    arguments = Arguments.read(
        {j: len(w) for j, w in matched.items()},
        clients=len(clients),
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
    given = read_prior(mu0, sigma, sigma0, clients=len(clients), features=values[0].shape[1])
    prior = given.of(matched)
    if hyper == "empirical" and mu0 is None:
        prior = centred(prior, values)
    spread = Spread.of(prior, values)
    outcomes = (_run(values, prior, spread, arguments, attempt=attempt) for attempt in range(arguments.restarts))
    best = max(outcomes, key=lambda outcome: outcome.history[-1])
    order = np.arange(len(best.slots.rows)) if hyper == "reference" else _by_first_unit(best.slots.assignments())
    return _answer(best, order, dtype=values[0].dtype, unit=given.unit, matched=list(matched), excluded=excluded)


def assignments(rows: Sequence[Tensor], most: int | None, **options: Any) -> tuple[Tensor, ...]:
    """The matcher "bbp": what `match` assigns, into no more slots than `most`.

    Args:
        rows: units × features of each client.
        most: how many slots there may be; None for any number.
        options: further arguments of `match`.
    """
    return match(rows, max_slots=most, **options).assignments


@dataclass(frozen=True)
class _Outcome:
    slots: Slots
    history: list[float]


def _run(values: list[Tensor], prior: Prior, spread: Spread, arguments: Arguments, *, attempt: int) -> _Outcome:
    """One matching from scratch."""
    empirical = arguments.hyper == "empirical"
    # Before sigma is known, a private unit looks like a poor fit. A first pass that opened slots by a wrong
    # guess could leave every unit of a noisy layer alone for good, so it keeps the width.
    slots = Slots(values, first_guess(prior, spread) if empirical else prior, arguments.scoring(fixed_width=empirical))
    sweep(slots, arguments.first_order(attempt))
    slots.scoring = arguments.scoring()
    history = [slots.objective(spread)]
    for number in range(arguments.sweeps):
        if empirical:
            slots.believe(learn(slots.prior, spread, weight=slots.weights(), squares=slots.squares()))
        moved = sweep(slots, arguments.order(number))
        history.append(slots.objective(spread))
        if not moved and arguments.hyper != "reference":
            break
    return _Outcome(slots, history)


def _answer(
    outcome: _Outcome,
    order: Index,
    *,
    dtype: torch.dtype,
    unit: tuple[Array, ...],
    matched: list[int],
    excluded: dict[int, str],
) -> Matching:
    """The matching with its slots in this order, for all clients whether matched or not."""
    slots = outcome.slots
    mu0, sigma, sigma0 = replace(slots.prior, unit=unit).variances()
    number = np.argsort(order)
    found = {j: torch.from_numpy(number[own]) for j, own in zip(matched, slots.assignments(), strict=True)}
    return Matching(
        assignments=tuple(found.get(j, torch.empty(0, dtype=torch.long)) for j in range(len(unit))),
        slots=torch.from_numpy(slots.means()[order]).to(dtype),
        counts=torch.from_numpy(slots.owners[slots.rows][order]),
        objective=outcome.history[-1],
        history=tuple(outcome.history),
        mu0=mu0,
        sigma=sigma,
        sigma0=sigma0,
        excluded=excluded,
    )


def _by_first_unit(assignments: list[Index]) -> Index:
    """The slots in the order in which the clients' units come: client 0's first, then client 1's new ones."""
    first: Index = np.unique(np.concatenate(assignments), return_index=True)[1]
    return np.argsort(first)

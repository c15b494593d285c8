"""Which clients of a matching can be matched, and why the others cannot."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from fedma.errors import InputError, MatchingError

OnBad = Literal["raise", "exclude"]

_TOO_LONG = 30
_ALONE = 1e4
_SQUARED = (1e-140, 1e140)
"""Lengths whose squares and their sums float64 can hold."""


def bad_clients(clients: Sequence[Tensor], *, aligned: bool = True) -> dict[int, str]:
    """The clients that cannot be matched, and for each what is wrong with it.

    A client is bad if it is no floating matrix, is empty, has values that are not finite, or has other features than
    most clients. It is also bad if its units are far too long: if its median unit is more than 30 times as long as the
    median client's. The same holds if its longest unit is more than 10,000 times as long as the median client's
    longest.

    A client with units that are too long outweighs all others in the learnt variances, and the others' units can no
    longer be distinguished. Clients trained apart on skewed data stay within 1.2 times of each other. Units that are
    far too *short* get slots of their own and spoil nothing else, so they are not bad.

    Args:
        clients: units × features of each client.
        aligned: whether all must have the same features, as `match` needs them.
    """
    bad = {j: why for j, client in enumerate(clients) if (why := _unreadable(client))}
    widths = [client.shape[1] for j, client in enumerate(clients) if j not in bad]
    usual = max(widths, key=widths.count, default=0)
    for j, client in enumerate(clients):
        if aligned and j not in bad and client.shape[1] != usual:
            bad[j] = f"has {client.shape[1]} features where most have {usual}; units are matched by the same features"
    bad |= _too_long({j: client for j, client in enumerate(clients) if j not in bad})
    return dict(sorted(bad.items()))


def read_clients(clients: Sequence[Tensor], *, on_bad: OnBad) -> tuple[dict[int, Tensor], dict[int, str]]:
    """The clients to match, by number; and those left out, each with the reason.

    Raises:
        MatchingError: no client that can be matched, or a bad one where on_bad is "raise".
        InputError: another `on_bad`.
    """
    if on_bad not in get_args(OnBad):
        raise InputError(f"on_bad={on_bad!r} is not known; it must be one of {', '.join(map(repr, get_args(OnBad)))}")
    if not len(clients):
        raise MatchingError("there are no clients to match; give one tensor (units × features) for each")
    bad = bad_clients(clients)
    _check_scale([client for j, client in enumerate(clients) if j not in bad])
    if bad and (on_bad == "raise" or len(bad) == len(clients)):
        found = "; ".join(f"client {j} {why}" for j, why in bad.items())
        raise MatchingError(f"{found}. {advice('clients', on_bad)}")
    return {j: client.detach().cpu() for j, client in enumerate(clients) if j not in bad}, bad


def advice(what: str, on_bad: OnBad) -> str:
    """What to do about bad clients or models."""
    if on_bad == "exclude":
        return f"None of the {what} is left"
    return f'Leave such {what} out, or give on_bad="exclude"'


def _unreadable(client: Tensor) -> str | None:
    if not isinstance(client, Tensor):
        return f"is {type(client)}, no floating tensor of units × features"
    if client.ndim != 2 or not client.is_floating_point():
        return f"is {client.dtype} of shape {tuple(client.shape)}, no floating tensor of units × features"
    if 0 in client.shape:
        return f"has {client.shape[0]} units of {client.shape[1]} features"
    if not torch.stack(client.detach().aminmax()).isfinite().all():  # either is NaN where a value is
        return "has values that are not finite: its training diverged"
    return None


def _lengths(client: Tensor) -> Tensor:
    return torch.linalg.vector_norm(client.detach().double(), dim=1)


def _too_long(clients: dict[int, Tensor]) -> dict[int, str]:
    """Those whose units, or the longest of them, are far longer than the median client's."""
    lengths = {j: _lengths(client) for j, client in clients.items()}
    bad = {}
    for times, what, measure in ((_ALONE, "a unit of", torch.max), (_TOO_LONG, "units of median", torch.median)):
        found = {j: measure(own).item() for j, own in lengths.items()}
        usual = sorted(found.values())[(len(found) - 1) // 2] if found else 0.0
        for j, length in found.items():
            if length > times * usual > 0:
                found_length = f"has {what} length {length:.3g} where the median client's is {usual:.3g}"
                bad[j] = f"{found_length}: its training diverged"
    return bad


def _check_scale(clients: Sequence[Tensor]) -> None:
    longest = max((_lengths(client).max().item() for client in clients), default=0.0)
    if longest and not _SQUARED[0] < longest < _SQUARED[1]:
        raise MatchingError(
            f"the longest unit has length {longest:.3g}, whose square float64 cannot hold with all its digits; "
            "scale the clients' weights, all by the same factor, and match again"
        )

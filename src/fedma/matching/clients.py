"""The clients of a matching: which of them can be matched, and why the others cannot."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from fedma.errors import GraphError, InputError, MatchingError
from fedma.matching.features import incoming
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Widths

OnBad = Literal["raise", "exclude"]

_TOO_LONG = 30
_ALONE = 1e4
_SQUARED = (1e-140, 1e140)
"""Lengths whose squares and their sums float64 can hold."""


def bad_clients(clients: Sequence[Tensor], *, aligned: bool = True) -> dict[int, str]:
    """The clients that cannot be matched, and for each what is wrong with it.

    A client is bad if it is no floating matrix, is empty, has values that are not finite, has other features than most
    clients, or units that are far too long: its median unit is more than 30 times as long as the median client's, or
    its longest unit 10,000 times as long as the median client's longest. Such a client outweighs all others in the
    variances that are learnt, and then nothing tells the others' units apart. Clients trained apart on skewed data
    stay within 1.2 times of each other. Units that are far too *short* find no slot but their own, spoil nothing else,
    and are not bad.

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
    """The clients to match, by number, and those left out with the reason.

    Raises:
        MatchingError: no client that can be matched, or a bad one where on_bad is "raise".
        InputError: another `on_bad`.
    """
    if on_bad not in get_args(OnBad):
        raise InputError(f"on_bad={on_bad!r} is none of {', '.join(map(repr, get_args(OnBad)))}")
    if not len(clients):
        raise MatchingError("there are no clients to match; give one tensor (units × features) for each")
    bad = bad_clients(clients)
    _check_scale([client for j, client in enumerate(clients) if j not in bad])
    if bad and (on_bad == "raise" or len(bad) == len(clients)):
        found = "; ".join(f"client {j} {why}" for j, why in bad.items())
        raise MatchingError(f"{found}. {_advice('clients', on_bad)}")
    return {j: client.detach().cpu() for j, client in enumerate(clients) if j not in bad}, bad


def bad_models(
    models: Sequence[Weights], graph: UnitGraph, *, widths: Sequence[Widths], on_bad: OnBad
) -> dict[int, str]:
    """The models that cannot be fused, by number, and why: one bad tensor or group spoils the whole model.

    Args:
        models: each model's tensors.
        graph: the unit graph of their architecture.
        widths: each model's units per group.
        on_bad: "raise", or "exclude".

    Raises:
        MatchingError: a bad model where on_bad is "raise", or no good one.
        InputError: another `on_bad`.
    """
    if on_bad not in get_args(OnBad):
        raise InputError(f"on_bad={on_bad!r} is none of {', '.join(map(repr, get_args(OnBad)))}")
    bad = {
        j: f"{name!r} ({_where(graph, name)}) has values that are not finite: its training diverged"
        for j, model in enumerate(models)
        for name, tensor in reversed(model.items())
        if not tensor.isfinite().all()
    }
    for group in graph.groups:
        good = [j for j in range(len(models)) if j not in bad]
        rows = [incoming(models[j], graph, group, names=models[j], widths=widths[j]).flatten(0, -2) for j in good]
        if rows and rows[0].shape[-1]:
            bad |= {good[j]: f"group {group!r} {why}" for j, why in bad_clients(rows, aligned=False).items()}
    if bad and (on_bad == "raise" or len(bad) == len(models)):
        found = "; ".join(f"model {j}: {why}" for j, why in sorted(bad.items()))
        raise MatchingError(f"{found}. {_advice('models', on_bad)}")
    return dict(sorted(bad.items()))


def check_alike(models: Sequence[Weights], graph: UnitGraph, *, widths: Sequence[Widths]) -> None:
    """Whether the models' tensors differ in the widths of unit groups alone, and hold numbers that can be averaged.

    Args:
        models: each model's tensors, all of the graph's names.
        graph: the unit graph of the first model.
        widths: each model's units per group.

    Raises:
        GraphError: a shape or dtype that is not the first model's at the model's own widths; a complex tensor that
            units index, or that the models do not have in common.
    """
    for number, (model, own) in enumerate(zip(models, widths, strict=True)):
        for name, tensor in model.items():
            where, first = f"model {number}: tensor {name!r}", models[0][name]
            wanted = graph.shape(name, own)
            if tuple(tensor.shape) != wanted:
                raise GraphError(
                    f"{where} has shape {tuple(tensor.shape)}, where model 0 at these widths has {wanted}; "
                    "models of one architecture differ in the widths of their unit groups alone, so leave it out"
                )
            if tensor.dtype != first.dtype:
                raise GraphError(
                    f"{where} is {tensor.dtype}, and {first.dtype} in model 0; give models of one dtype (model.float())"
                )
            if tensor.is_complex() and (graph.groups_of(name) or not torch.equal(tensor, first)):
                raise GraphError(
                    f"{where} is {tensor.dtype}, and complex tensors cannot be matched or averaged; "
                    "keep its real and imaginary parts as two tensors"
                )


def _advice(what: str, on_bad: OnBad) -> str:
    """What to do about bad clients or models."""
    if on_bad == "exclude":
        return f"None of the {what} is left"
    return f'Leave such {what} out, or give on_bad="exclude"'


def _where(graph: UnitGraph, tensor: str) -> str:
    """Which units a tensor makes, for a message."""
    made = sorted(graph.made_by(tensor))
    return f"group {', '.join(map(repr, made))}" if made else "output layer"


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
                told = f"has {what} length {length:.3g} where the median client's is {usual:.3g}"
                bad[j] = f"{told}: its training diverged"
    return bad


def _check_scale(clients: Sequence[Tensor]) -> None:
    longest = max((_lengths(client).max().item() for client in clients), default=0.0)
    if longest and not _SQUARED[0] < longest < _SQUARED[1]:
        raise MatchingError(
            f"the longest unit has length {longest:.3g}, whose square float64 cannot hold with all its digits; "
            "scale the clients' weights, all by the same factor, and match again"
        )

"""The algorithm that each method's name stands for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fedma.algorithms import PFNM, Algorithm, Ensemble, FedAdam, FedAvg, FedAvgM, FedMA
from fedma.algorithms.robust import Robust
from fedma.experiments.availability import presence
from fedma.experiments.settings import Settings
from fedma.matching import Matcher
from fedma.training import Schedule
from fedma.training.privacy import Privacy
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Widths

AVERAGING = ("fedavg", "fedprox", "fedavgm", "fedadam")
"""Methods that average coordinate by coordinate."""

COMMON_INIT = (*AVERAGING, "pooled")
"""Methods whose clients start from common weights unless the settings say otherwise."""


def algorithm(
    method: str,
    settings: Settings,
    graph: UnitGraph,
    *,
    clients: Sequence[int],
    rounds: int,
    initial: Weights,
    widths: Mapping[int, Widths],
) -> Algorithm:
    """The server's side of a method.

    Args:
        method: its name.
        settings: of the run.
        graph: the model's unit graph.
        clients: the numbers of those that take part.
        rounds: how many.
        initial: weights that all start from; empty where each has its own.
        widths: the units per group of clients that do not have the graph's.
    """
    local = schedule(settings)
    here: dict[str, Any] = {
        "present": presence(settings.join, settings.leave, clients=settings.clients, rounds=settings.rounds),
        "participants": max(1, round(settings.participation * len(clients))),
        "seed": settings.seed,
        "robust": robust(settings),
    }
    if method in COMMON_INIT:
        return _averaging(method, settings)(
            graph,
            clients,
            replace(local, proximal=settings.proximal) if method == "fedprox" else local,
            rounds,
            initial,
            **here,
        )
    if method == "ensemble":
        return Ensemble(graph, clients, local, widths=widths)
    if method == "pfnm":
        how = replace(matcher(settings), outgoing=len(graph.groups) == 1)
        return PFNM(graph, clients, local, widths=widths, matcher=how)
    retrain = replace(local, epochs=_or(settings.retrain_epochs, settings.local_epochs))
    output = replace(
        retrain, epochs=_or(settings.output_epochs, 3 * retrain.epochs), lr=_or(settings.output_lr, local.lr / 10)
    )
    return FedMA(
        graph,
        clients,
        local,
        retrain,
        output,
        rounds,
        matcher(settings),
        widths=widths,
        newcomers=settings.newcomers,
        later=settings.later,
        rematch=settings.rematch,
        steps_per_exchange=settings.steps_per_exchange,
        fitted=settings.fitted,
        **here,
    )


def _averaging(method: str, settings: Settings) -> Callable[..., FedAvg]:
    """FedAvg, or one of those with an optimiser at the server."""
    if method not in ("fedavgm", "fedadam"):
        return FedAvg
    lr: dict[str, Any] = {} if settings.server_lr is None else {"server_lr": settings.server_lr}
    kind = FedAvgM if method == "fedavgm" else FedAdam
    return partial(kind, server_momentum=settings.server_momentum, **lr)


def schedule(settings: Settings) -> Schedule:
    """Local training as the settings have it."""
    return Schedule(
        epochs=settings.local_epochs,
        optimizer=settings.optimizer,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        batch_size=settings.batch_size,
        augment=settings.augment,
    )


def robust(settings: Settings) -> Robust:
    """Bounds on single clients as the settings have them."""
    return Robust({"mean": 0.0, "trimmed": 0.2, "median": 0.5}[settings.robust], settings.clip)


def privacy(settings: Settings) -> Privacy | None:
    """What clients do to what they send."""
    if settings.dp_clip is None:
        return None
    return Privacy(settings.dp_clip, settings.dp_noise, settings.dp_secure)


def matcher(settings: Settings) -> Matcher:
    """Matching as the settings have it."""
    options: dict[str, Any] = {"hyper": settings.hyper}
    if settings.gamma is not None:
        options["gamma"] = settings.gamma
    return Matcher(
        grow=settings.grow,
        max_growth=settings.max_growth,
        recurrent=settings.recurrent,
        options=options,
        seed=settings.seed,
    )


def _or(value: float | None, default: float) -> Any:
    return default if value is None else value

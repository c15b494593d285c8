"""The algorithm that each method's name stands for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fedma.algorithms import PFNM, Algorithm, Ensemble, FedAvg, FedMA
from fedma.experiments.settings import Settings
from fedma.matching import Matcher
from fedma.training import Schedule
from fedma.units import UnitGraph, Weights

COMMON_INIT = ("fedavg", "fedprox", "pooled")
"""Methods whose clients start from common weights unless the settings say otherwise."""


def algorithm(
    method: str, settings: Settings, graph: UnitGraph, *, clients: Sequence[int], rounds: int, initial: Weights
) -> Algorithm:
    """The server's side of a method."""
    local = schedule(settings)
    if method in COMMON_INIT:
        return FedAvg(
            graph,
            clients,
            replace(local, proximal=settings.proximal) if method == "fedprox" else local,
            rounds,
            initial,
            participants=max(1, round(settings.participation * len(clients))),
            seed=settings.seed,
        )
    if method == "ensemble":
        return Ensemble(graph, clients, local)
    if method == "pfnm":
        return PFNM(graph, clients, local, matcher=replace(matcher(settings), outgoing=len(graph.groups) == 1))
    retrain = replace(local, epochs=_or(settings.retrain_epochs, settings.local_epochs))
    output = replace(
        retrain, epochs=_or(settings.output_epochs, 3 * retrain.epochs), lr=_or(settings.output_lr, local.lr / 10)
    )
    return FedMA(graph, clients, local, retrain, output, rounds, matcher(settings))


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


def matcher(settings: Settings) -> Matcher:
    """Matching as the settings have it."""
    options: dict[str, Any] = {"hyper": settings.hyper}
    if settings.gamma is not None:
        options["gamma"] = settings.gamma
    return Matcher(grow=settings.grow, max_growth=settings.max_growth, options=options, seed=settings.seed)


def _or(value: float | None, default: float) -> Any:
    return default if value is None else value

"""From the settings of a run to the algorithm of each method: the factories that `fedma.methods.METHODS` names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedma.algorithms import PFNM, Algorithm, Ensemble, FedAdam, FedAvg, FedAvgM, FedMA
from fedma.algorithms.robust import Robust
from fedma.experiments.availability import availability
from fedma.experiments.settings import Settings
from fedma.matching import Matcher
from fedma.methods import METHODS
from fedma.training import Schedule
from fedma.training.privacy import Privacy
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Widths


@dataclass(frozen=True, eq=False)
class MethodInputs:
    """What a factory makes an algorithm of.

    Attributes:
        settings: of the run.
        graph: the model's unit graph.
        clients: the numbers of the clients that take part.
        rounds: how many.
        initial: weights that all clients start from; empty if each client has its own.
        widths: the units per group of clients that do not have the graph's.
    """

    settings: Settings
    graph: UnitGraph
    clients: Sequence[int]
    rounds: int
    initial: Weights
    widths: Mapping[int, Widths]

    @property
    def participation(self) -> dict[str, Any]:
        """Arguments of algorithms of several rounds: who takes part in each, and how replies are bounded."""
        settings = self.settings
        return {
            "present": availability(settings.join, settings.leave, clients=settings.clients, rounds=settings.rounds),
            "participants": max(1, round(settings.participation * len(self.clients))),
            "seed": settings.seed,
            "robust": robust(settings),
        }

    @property
    def server_steps(self) -> dict[str, Any]:
        """Arguments of algorithms with an optimiser at the server."""
        settings = self.settings
        lr = {} if settings.server_lr is None else {"server_lr": settings.server_lr}
        return {"server_momentum": settings.server_momentum, **lr}


def algorithm(method: str, inputs: MethodInputs) -> Algorithm:
    """The server's side of a method.

    Raises:
        InputError: the method is not known.
    """
    made: Algorithm = METHODS.get(method).make()(inputs)
    return made


def fedavg(inputs: MethodInputs) -> FedAvg:
    """Plain averaging; with a single client, that client's training."""
    return _averaging(FedAvg, inputs)


def fedprox(inputs: MethodInputs) -> FedAvg:
    """Plain averaging with the proximal term in the clients' loss."""
    return _averaging(FedAvg, inputs, schedule=replace(schedule(inputs.settings), proximal=inputs.settings.proximal))


def fedavgm(inputs: MethodInputs) -> FedAvg:
    """Averaging with momentum at the server."""
    return _averaging(FedAvgM, inputs, **inputs.server_steps)


def fedadam(inputs: MethodInputs) -> FedAvg:
    """Averaging with Adam at the server."""
    return _averaging(FedAdam, inputs, **inputs.server_steps)


def _averaging(kind: type[FedAvg], inputs: MethodInputs, **more: Any) -> FedAvg:
    """An averaging algorithm of this kind, with further arguments."""
    return kind(
        graph=inputs.graph,
        clients=inputs.clients,
        rounds=inputs.rounds,
        initial=inputs.initial,
        **{"schedule": schedule(inputs.settings), **inputs.participation, **more},
    )


def ensemble(inputs: MethodInputs) -> Ensemble:
    """The clients' models side by side."""
    return Ensemble(inputs.graph, inputs.clients, schedule(inputs.settings), widths=inputs.widths)


def pfnm(inputs: MethodInputs) -> PFNM:
    """One-shot matching; networks of one hidden layer are matched by their outgoing weights, too."""
    how = replace(matcher(inputs.settings), outgoing=len(inputs.graph.groups) == 1)
    return PFNM(inputs.graph, inputs.clients, schedule(inputs.settings), widths=inputs.widths, matcher=how)


def fedma(inputs: MethodInputs) -> FedMA:
    """Matched averaging, with the schedules after each matching and of the output layer."""
    settings, local = inputs.settings, schedule(inputs.settings)
    retrain = _epochs(local, settings.retrain_epochs, 1)
    output = replace(_epochs(retrain, settings.output_epochs, 3), lr=_or(settings.output_lr, local.lr / 10))
    return FedMA(
        inputs.graph,
        inputs.clients,
        local,
        retrain,
        output,
        inputs.rounds,
        matcher(settings),
        widths=inputs.widths,
        newcomers=settings.newcomers,
        later=settings.later,
        rematch=settings.rematch,
        steps_per_exchange=settings.steps_per_exchange,
        fitted=settings.fitted,
        **inputs.participation,
    )


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
        steps=settings.local_steps,
        lr_schedule=settings.lr_schedule,
        warmup=settings.warmup,
        round_schedule=settings.round_schedule,
        round_factor=settings.round_factor,
        clip_gradients=settings.clip_gradients,
    )


def robust(settings: Settings) -> Robust:
    """Bounds on single clients as the settings have them."""
    return Robust({"mean": 0.0, "trimmed": 0.2, "median": 0.5}[settings.robust], settings.clip)


def privacy(settings: Settings) -> Privacy | None:
    """What clients do to hide what they send; None if they send it as it is."""
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


def _epochs(schedule: Schedule, given: float | None, times: int) -> Schedule:
    """The schedule with these epochs if they are given, otherwise with so many times its own epochs or steps."""
    if given is not None:
        return replace(schedule, epochs=given, steps=None)
    steps = None if schedule.steps is None else times * schedule.steps
    return replace(schedule, epochs=times * schedule.epochs, steps=steps)


def _or(value: float | None, default: float) -> Any:
    return default if value is None else value

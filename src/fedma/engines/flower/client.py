"""A Flower ClientApp that does what an algorithm asks."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from fedma.algorithms import Ask, Client, Reply
from fedma.data import Split
from fedma.engines.flower.records import LOST, STALE, Request, answer, arrays, refusal, tensors
from fedma.errors import InputError
from fedma.seeds import global_generator, number
from fedma.tasks import BaseTask, Task, task_of
from fedma.training import Compute, Schedule
from fedma.units import UnitGraph, Weights, rebuild, units, weights
from fedma.units.inputs import Examples

_GRAPH, _HELD, _TAG = "fedma.graph", "fedma.held", "fedma.tag"
"""The names of what a client remembers in its context."""


@dataclass(frozen=True)
class LocalTraining:
    """What a user's own training is told.

    Attributes:
        schedule: how the server wants it trained.
        seed: for the training's random numbers; another one in each exchange, the same when it is done again.
    """

    schedule: Schedule
    seed: int


Train = Callable[[nn.Module, Split, LocalTraining], Mapping[str, float]]
"""Trains a model in place and returns metrics, such as `loss`. Parameters to be held do not require gradients."""


def make_client_app(
    model_fn: Callable[[Context], nn.Module],
    data_fn: Callable[[Context], Split],
    *,
    train: Train | None = None,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    task: str | Task = "classification",
) -> ClientApp:
    """A ClientApp for `Strategy`; more functions can be registered with it as with any other.

    A client's number is its node's `partition-id`. If that is not set, the server assigns a number.

    Args:
        model_fn: makes the model, with the weights that this client begins with; all clients' have one architecture.
        data_fn: the client's own training samples.
        train: the user's own training, instead of `fedma.training.fit`.
        seed: the run's seed. A client's work depends only on the seed, its number and its requests.
        device: the device on which it trains.
        threads: processor threads. With one, results equal the local engine's bit by bit.
        task: a name of `fedma.tasks.TASKS`, `package.module:name`, or an object of your own.

    Example:
        app = make_client_app(lambda context: Net(), lambda context: Split(images, labels))
    """
    app, meaning = ClientApp(), task_of(task)

    @app.query("hello")
    def hello(message: Message, context: Context) -> Message:
        """Who is there."""
        own = int(context.node_config.get("partition-id", -1))
        return Message(RecordDict({"hello": ConfigRecord({"number": own})}), reply_to=message)

    @app.train("ask")
    def ask(message: Message, context: Context) -> Message:
        """Do a request."""
        request = Request.of(message.content)
        state = context.state
        held = str(state.config_records[_TAG]["tag"]) if _TAG in state else ""
        if request.presumes and held != request.presumes:
            return Message(refusal(request.tag, STALE if held else LOST), reply_to=message)
        with _threads(threads):
            site = _Site(model_fn, data_fn, train, seed, device, context, request.asks[-1].client, meaning)
            own = tensors(state.array_records[_HELD]) if request.presumes else weights(site.client.template)
            for one in request.asks:
                reply, own = site.answer(one, own)
        if request.asks[-1].keep:
            state[_HELD], state[_TAG] = arrays(own), ConfigRecord({"tag": request.tag})
        else:
            for name in (_HELD, _TAG):
                state.pop(name, None)
        return Message(answer(request.tag, reply), reply_to=message)

    return app


class _Site:
    """A client while it does a request."""

    def __init__(
        self,
        model_fn: Callable[[Context], nn.Module],
        data_fn: Callable[[Context], Split],
        train: Train | None,
        seed: int,
        device: str,
        context: Context,
        client: int,
        task: BaseTask,
    ) -> None:
        data = data_fn(context)
        if not len(data):
            raise InputError(f"client {client} has no samples to train on; give its node data, or leave it out")
        # A model function of the user's own draws from PyTorch's global generator: the same weights, whenever it does.
        with global_generator(number(seed, "init", client)):
            template = model_fn(context)
        example = Compute().batch(data.example())
        with torch.no_grad():
            known = task.classes_of(data.labels) is not None
            classes = task.class_count(template.eval(), example) if known else 1
        graph = _graph(template, task.inputs(example), context.state)
        self.client = Client(client, data, template, graph, classes, seed, task=task)
        self.compute: Compute = self.client.compute(device=device)
        self.train = train

    def answer(self, ask: Ask, own: Weights) -> tuple[Reply, Weights]:
        """As `Client.answer`."""
        self._check(ask)
        if self.train is None:
            return self.client.answer(ask, own, compute=self.compute)
        placed, held = self.client.answer(replace(ask, schedule={**ask.schedule, "epochs": 0, "steps": None}), own)
        model = rebuild(self.client.template, held)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name not in ask.frozen)
        schedule = Schedule.from_dict(ask.schedule)
        draw = number(self.client.seed, "client", ask.client, *ask.name)
        with global_generator(draw):
            metrics_ = self.train(self.compute.place(model), self.client.data, LocalTraining(schedule, draw)) or {}
        held = {name: tensor.cpu().contiguous() for name, tensor in weights(model).items()}
        seen = round(schedule.epochs * len(self.client))
        metrics = {**placed.metrics, "epochs": schedule.epochs, "samples_seen": seen, **metrics_}
        return replace(placed, weights={name: held[name] for name in ask.send}, metrics=metrics), held

    def _check(self, ask: Ask) -> None:
        """Refuse what the server asks of another model than this client's."""
        graph = self.client.graph
        odd = {*ask.widths, *ask.widen} - {*graph.groups} | {*ask.send, *ask.weights} - {*graph.layouts}
        if odd:
            raise InputError(
                f"client {ask.client} is asked for {', '.join(sorted(odd))}, which its model does not have: the server "
                "and the clients must build the same model"
            )


def _graph(template: nn.Module, example: Examples, state: RecordDict) -> UnitGraph:
    """The model's unit graph, derived once in a client's life; every message comes to a new process."""
    shapes = json.dumps({name: list(tensor.shape) for name, tensor in weights(template).items()})
    if _GRAPH in state and state.config_records[_GRAPH]["shapes"] == shapes:
        return UnitGraph.from_dict(json.loads(str(state.config_records[_GRAPH]["graph"])))
    graph = units(template, example)
    state[_GRAPH] = ConfigRecord({"shapes": shapes, "graph": json.dumps(graph.to_dict())})
    return graph


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""A client: its data, its weights, and how it answers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fedma.algorithms.messages import Ask, Reply
from fedma.data import Split
from fedma.training import Schedule, fit
from fedma.units import UnitGraph, Weights, rebuild, weights


@dataclass(frozen=True, eq=False)
class Client:
    """One site of the federation.

    Attributes:
        number: its number, from 0.
        data: its private samples; they never leave it.
        template: a model of the federation's architecture.
        graph: the template's unit graph.
        classes: number of classes.
        seed: of the run.
        device: where it trains; messages are always on the CPU.
    """

    number: int
    data: Split
    template: nn.Module
    graph: UnitGraph
    classes: int
    seed: int
    device: str = "cpu"

    def answer(self, ask: Ask, own: Mapping[str, torch.Tensor]) -> tuple[Reply, Weights]:
        """The reply, and the weights that the client holds from now on.

        Args:
            ask: what to do.
            own: the weights that the client holds.
        """
        held = self.graph.scatter(own, ask.widen, ask.widths) if ask.widen else dict(own)
        held = {name: ask.weights.get(name, tensor) for name, tensor in held.items()}
        if ask.narrow:
            held = self.graph.gather(held, ask.narrow, ask.widths)
        model = rebuild(self.template, held).to(self.device)
        done = fit(
            model,
            self.data,
            Schedule.from_dict(ask.schedule),
            frozen=ask.frozen,
            seed=self.seed,
            name=("client", self.number, *ask.name),
        )
        held = {name: tensor.cpu().contiguous() for name, tensor in weights(model).items()}
        metrics = {
            "samples": len(self.data),
            "samples_seen": done.samples_seen,
            "epochs": int(ask.schedule.get("epochs", 0)),
            "loss": done.loss,
        }
        return Reply(self.number, {name: held[name] for name in ask.send}, self.class_counts, metrics), held

    @property
    def class_counts(self) -> torch.Tensor:
        """Its samples of each class."""
        return torch.bincount(self.data.labels, minlength=self.classes)

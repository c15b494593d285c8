"""A client: its data, its weights, and how it answers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fedma.algorithms.messages import Ask, Reply
from fedma.data import Split
from fedma.training import Compute, Schedule, fit
from fedma.units import UnitGraph, Weights, rebuild, weights

_PLAIN = Compute()


@dataclass(frozen=True, eq=False)
class Client:
    """One site of the federation.

    Attributes:
        number: its number, from 0.
        data: holds its private samples, which never leave it.
        template: a model of the federation's architecture.
        graph: the template's unit graph.
        classes: number of classes.
        seed: of the run.
        rows: the positions of its samples in `data`, int64; None where all are its own. So thousands of clients can
            share one tensor.
    """

    number: int
    data: Split
    template: nn.Module
    graph: UnitGraph
    classes: int
    seed: int
    rows: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.data if self.rows is None else self.rows)

    def answer(self, ask: Ask, own: Mapping[str, torch.Tensor], *, compute: Compute = _PLAIN) -> tuple[Reply, Weights]:
        """The reply, and the weights that the client holds from now on.

        Args:
            ask: what to do.
            own: the weights that the client holds; none are needed where the ask brings all.
            compute: how it computes; messages and weights are on the CPU all the same.
        """
        held = self.graph.scatter(own, _positions(ask.widen), ask.widths) if ask.widen else dict(own)
        held = {**held, **ask.weights}
        if ask.narrow:
            held = self.graph.gather(held, _positions(ask.narrow), ask.widths)
        model = rebuild(self.template, held)
        done = fit(
            model,
            self.data,
            Schedule.from_dict(ask.schedule),
            rows=self.rows,
            frozen=ask.frozen,
            seed=self.seed,
            name=("client", self.number, *ask.name),
            compute=compute,
        )
        held = {name: tensor.cpu().contiguous() for name, tensor in weights(model).items()}
        metrics = {
            "samples": len(self),
            "samples_seen": done.samples_seen,
            "epochs": int(ask.schedule.get("epochs", 0)),
            "loss": done.loss,
        }
        return Reply(self.number, {name: held[name] for name in ask.send}, self.class_counts, metrics), held

    @property
    def class_counts(self) -> torch.Tensor:
        """Its samples of each class."""
        labels = self.data.labels if self.rows is None else self.data.labels[self.rows]
        return torch.bincount(labels, minlength=self.classes)


def _positions(maps: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Assignments as indices."""
    return {group: slots.long() for group, slots in maps.items()}

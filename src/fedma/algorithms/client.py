"""A client: its data, its weights, and how it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from fedma.algorithms.messages import Ask, Reply
from fedma.algorithms.relabel import in_global_order
from fedma.data import Split
from fedma.training import Compute, Schedule, fit
from fedma.training.privacy import Privacy
from fedma.units import UnitGraph, Weights, rebuild, weights

_PLAIN = Compute()


@dataclass(frozen=True, eq=False)
class Client:
    """One site of the federation.

    Attributes:
        number: its number, from 0.
        data: holds its private samples, which never leave it.
        template: a model of the federation's architecture; the client's own may have other widths.
        graph: the template's unit graph.
        classes: number of classes.
        seed: of the run.
        rows: the positions of its samples in `data`, int64; None where all are its own. So thousands of clients can
            share one tensor.
        privacy: bounds and hides what it sends; None sends it as it is. The number of samples is public all the same.
    """

    number: int
    data: Split
    template: nn.Module
    graph: UnitGraph
    classes: int
    seed: int
    rows: torch.Tensor | None = None
    privacy: Privacy | None = None

    def __len__(self) -> int:
        return len(self.data if self.rows is None else self.rows)

    def answer(self, ask: Ask, own: Mapping[str, torch.Tensor], *, compute: Compute = _PLAIN) -> tuple[Reply, Weights]:
        """The reply, and the weights that the client holds from now on.

        Args:
            ask: what to do.
            own: the weights that the client holds; none are needed where the ask brings all.
            compute: how it computes; messages and weights are on the CPU all the same.
        """
        ask = self._recalled(ask, own)
        held = in_global_order(
            own, self.graph, assignments=_long(ask.widen), widths=ask.widths, slots=ask.weights, fit=ask.fit
        )
        model = rebuild(self.template, {**held, **ask.weights})
        schedule = Schedule.from_dict(ask.schedule)
        done = fit(
            model,
            self.data,
            schedule,
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
            "epochs": ask.schedule.get("epochs", 0) if schedule.steps is None else done.samples_seen / len(self),
            "loss": done.loss,
        }
        reply = Reply(self.number, {name: held[name] for name in ask.send}, self.class_counts, metrics, ask.name)
        return (reply if self.privacy is None else self._hidden(reply, ask, self.privacy)), held

    def _recalled(self, ask: Ask, own: Mapping[str, torch.Tensor]) -> Ask:
        """The ask with the tensors that were not sent."""
        known = {name: own[name] for name in ask.known if name not in ask.weights}
        return replace(ask, weights={**self.graph.gather(known, _long(ask.narrow), ask.wide), **ask.weights})

    def _hidden(self, reply: Reply, ask: Ask, privacy: Privacy) -> Reply:
        """The reply that may be sent: its weights bounded and noisy, and of the data only how many samples there are.

        Class counts are those of even classes, the loss is left out, running variances stay positive.
        """
        name = ("client", self.number, *ask.name)
        sent = privacy.applied(reply.weights, ask.weights, seed=self.seed, name=name)
        for _, variance in self.graph.statistics:
            if variance in sent:
                sent[variance] = sent[variance].clamp(min=0)
        even = (torch.arange(self.classes) + len(self)) // self.classes
        metrics = {name: value for name, value in reply.metrics.items() if name != "loss"}
        return replace(reply, weights=sent, class_counts=even, metrics=metrics)

    @property
    def class_counts(self) -> torch.Tensor:
        """Its samples of each class."""
        labels = self.data.labels if self.rows is None else self.data.labels[self.rows]
        return torch.bincount(labels, minlength=self.classes)


def _long(assignments: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The assignments as int64, which indexing needs; messages hold int32."""
    return {group: units.long() for group, units in assignments.items()}

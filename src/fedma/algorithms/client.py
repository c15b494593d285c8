"""A client: its data, its weights, and how it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from fedma.algorithms.messages import Ask, Reply
from fedma.algorithms.relabel import in_global_order
from fedma.data import Split
from fedma.tasks import BaseTask, Classification
from fedma.training import Compute, Schedule, choose, fit
from fedma.training.compute import Precision
from fedma.training.privacy import Privacy
from fedma.units import UnitGraph, Weights, rebuild, weights

_PLAIN = Compute()
_CLASSIFICATION = Classification()


@dataclass(frozen=True, eq=False)
class Client:
    """One site of the federation.

    Attributes:
        number: its number, from 0.
        data: holds its private samples, which never leave it.
        template: a model of the federation's architecture; the client's own may have other widths.
        graph: the template's unit graph.
        classes: number of classes; 1 where the task has none.
        seed: of the run.
        rows: the positions of its samples in `data`, int64; None where all are its own. So thousands of clients can
            share one tensor.
        privacy: bounds and hides what it sends; None sends it as it is. The number of samples is always public.
        task: what its samples mean.
    """

    number: int
    data: Split
    template: nn.Module
    graph: UnitGraph
    classes: int
    seed: int
    rows: torch.Tensor | None = None
    privacy: Privacy | None = None
    task: BaseTask = _CLASSIFICATION

    def __len__(self) -> int:
        return len(self.data if self.rows is None else self.rows)

    def answer(self, ask: Ask, own: Mapping[str, torch.Tensor], *, compute: Compute = _PLAIN) -> tuple[Reply, Weights]:
        """The reply, and the weights that the client holds from now on.

        Args:
            ask: what to do.
            own: the weights that the client holds; unused if the ask brings all weights.
            compute: where and how it computes; messages and weights are always on the CPU.
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
            task=self.task,
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
        """The private reply: bounded, noisy weights, and no fact about the data but the number of samples.

        Class counts pretend that all classes are equally frequent. There is no loss. Running variances stay positive.
        """
        name = ("client", self.number, *ask.name)
        sent = privacy.applied(reply.weights, ask.weights, seed=self.seed, name=name)
        for variance in self.graph.variances:
            if variance in sent:
                sent[variance] = sent[variance].clamp(min=0)
        even = (torch.arange(self.classes) + len(self)) // self.classes
        metrics = {name: value for name, value in reply.metrics.items() if name != "loss"}
        return replace(reply, weights=sent, class_counts=even, metrics=metrics)

    @property
    def class_counts(self) -> torch.Tensor:
        """Its samples of each class; of all together where the task has no classes."""
        labels = self.task.classes_of(self.data.labels)
        if labels is None:
            return torch.tensor([len(self)])
        return torch.bincount(labels if self.rows is None else labels[self.rows], minlength=self.classes)

    def compute(self, *, device: str = "cpu", precision: Precision = "fp32") -> Compute:
        """The fastest way to run its model on its data."""
        inputs = self.task.inputs(self.data.example())
        if not isinstance(inputs, torch.Tensor):
            return Compute(device, precision=precision)
        return choose(self.template, inputs, device=device, precision=precision)


def _long(assignments: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The assignments as int64, which indexing needs; messages hold int32."""
    return {group: units.long() for group, units in assignments.items()}

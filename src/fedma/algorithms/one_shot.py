"""One exchange: every client trains alone and sends its whole model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedma.algorithms.base import MatchedState, State, class_counts, in_client_order, sample_counts
from fedma.algorithms.messages import Ask, Reply
from fedma.matching import Matcher, fuse_weights, slots
from fedma.training import Schedule
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Widths


@dataclass(frozen=True, eq=False)
class EnsembleState(State):
    """The state of an ensemble, which has no global model.

    Attributes:
        models: the clients' models.
    """

    models: tuple[Weights, ...] = ()


@dataclass(frozen=True)
class _OneShot:
    """What one-shot algorithms share: every client trains alone and sends its whole model."""

    graph: UnitGraph
    clients: Sequence[int]
    schedule: Schedule
    rounds: int = 1
    exchanges: int = 1
    widths: Mapping[int, Widths] = field(default_factory=dict)

    def asks(self, state: State) -> Sequence[Ask]:
        """Every client trains from its own initial weights and sends its model."""
        if state.round == self.rounds:
            return []
        ask = Ask(0, ("round", 0), schedule=self.schedule.to_dict(), send=tuple(self.graph.layouts))
        return [replace(ask, client=client, widths=self.widths.get(client, {})) for client in self.clients]


@dataclass(frozen=True)
class Ensemble(_OneShot):
    """The clients' own models, kept side by side; predictions are the uniform mean of class probabilities.

    Attributes:
        graph: the model's unit graph.
        clients: their numbers.
        schedule: local training.
        widths: the units per group of clients that do not have the graph's.
    """

    def start(self) -> EnsembleState:
        """No model yet."""
        return EnsembleState()

    def absorb(self, state: State, replies: Sequence[Reply]) -> EnsembleState:
        """All models."""
        replies = in_client_order(replies, self.clients)
        return EnsembleState(round=1, models=tuple(dict(reply.weights) for reply in replies))


@dataclass(frozen=True)
class PFNM(_OneShot):
    """Probabilistic federated neural matching: the clients' models fused in one shot, without retraining.

    Attributes:
        matcher: how to match. In networks with one hidden layer a unit's vector holds its outgoing weights too, with
            class proportions as precisions, as in the paper; deeper networks are matched layer by layer.

    Source: Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks", ICML 2019, sections 3.1
        and 3.2. Departures: hyper-parameters are learnt where `matcher` says so; a slot's value is the plain mean of
        its owners, and the output layer a mean over all clients by class proportions (see `average`); deeper networks
        go from the input upwards, as FedMA does, where PFNM goes down from the output.
    """

    matcher: Matcher = field(default_factory=Matcher)

    def start(self) -> MatchedState:
        """Nothing global yet."""
        return MatchedState()

    def absorb(self, state: State, replies: Sequence[Reply]) -> MatchedState:
        """The fused model."""
        replies = in_client_order(replies, self.clients)
        weights, found = fuse_weights(
            [dict(reply.weights) for reply in replies],
            self.graph,
            widths=[{**self.graph.widths, **self.widths.get(reply.client, {})} for reply in replies],
            shares=[1.0] * len(replies),
            samples=sample_counts(replies),
            class_counts=class_counts(replies),
            matcher=self.matcher,
        )
        assignments = {reply.client: {group: own[j] for group, own in found.items()} for j, reply in enumerate(replies)}
        widths = {group: slots(own) for group, own in found.items()}
        return MatchedState(round=1, weights=weights, assignments=assignments, widths=widths)

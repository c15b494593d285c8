"""Plain averaging: FedAvg, and FedProx, which holds the clients near the global model."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fedma.algorithms.base import State, in_client_order, sample_counts
from fedma.algorithms.messages import Ask, Reply
from fedma.algorithms.participation import Availability, participating
from fedma.algorithms.robust import Robust
from fedma.matching import average
from fedma.training import Schedule
from fedma.units import UnitGraph, Weights


@dataclass(frozen=True)
class FedAvg:
    """Coordinate-wise average of the clients' models, weighted by their samples, once a round.

    Attributes:
        graph: the model's unit graph (only its tensors' names and statistics are used).
        clients: their numbers.
        schedule: local training; `proximal` above zero makes this FedProx.
        rounds: how many.
        initial: the weights that all clients start from; empty where each starts from its own.
        participants: how many clients take part in a round, drawn anew for each; None for all.
        seed: decides the draws.
        robust: bounds on what a single client can change.
        present: the rounds in which clients are available; the others always are.

    Source: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017,
        Algorithm 1 (its C is the participants' part of the clients); Li et al., "Federated Optimization in
        Heterogeneous Networks", 2020.
    """

    graph: UnitGraph
    clients: Sequence[int]
    schedule: Schedule
    rounds: int
    initial: Weights = field(default_factory=dict)
    exchanges: int = 1
    participants: int | None = None
    seed: int = 0
    robust: Robust = field(default_factory=Robust)
    present: Availability = field(default_factory=dict)

    def start(self) -> State:
        """The initial weights."""
        return State(weights=self.initial)

    def asks(self, state: State) -> Sequence[Ask]:
        """The round's clients train the global model and send all of it; between rounds they hold nothing."""
        if state.round == self.rounds:
            return []
        ask = Ask(
            client=0,
            name=("round", state.round),
            weights=state.weights,
            schedule=self.schedule.in_round(state.round, self.rounds).to_dict(),
            send=tuple(self.graph.layouts),
            keep=False,
        )
        here = participating(
            self.clients, state.round, present=self.present, participants=self.participants, seed=self.seed
        )
        return [replace(ask, client=client) for client in here]

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        """The weighted average."""
        replies = self.robust.clipped(in_client_order(replies, self.clients), self.graph, state.weights)
        weights = average(
            [reply.weights for reply in replies],
            self.graph,
            names=self.graph.layouts,
            maps=[{}] * len(replies),
            widths=self.graph.widths,
            shares=sample_counts(replies),
            trim=self.robust.trim,
        )
        return State(round=state.round + 1, weights=weights)

"""FedMA on one page: Algorithm 1 of the paper, as a server that asks its clients and absorbs their replies.

W(j, n) are the weights of client j in layer n of N. Π(j) is its assignment of units to slots. Algorithm 1 of the
paper is then, line by line:

    (a)  for each layer n = 1 … N:
    (b)      if n < N:  Π(1) … Π(J) = BBP-MAP(W(1, n) … W(J, n))
    (c)                 W(n) = mean over the clients of W(j, n) Π(j)ᵀ
    (d)      else:      W(n) = mean over the clients by class proportions
    (e)      for each client j:  W(j, n+1) ← Π(j) W(j, n+1)
    (f)                          train W(j, n+1) … W(j, N) with W(n) held

Comments below name these lines. Here a step is a unit group and not a layer, and `steps_per_exchange` steps share the
training of (f).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import get_args

from fedma.algorithms.base import in_client_order
from fedma.algorithms.fedma.asks import Asks
from fedma.algorithms.fedma.participants import Later, Newcomers, Participants, Rematch
from fedma.algorithms.fedma.round_steps import RoundSteps
from fedma.algorithms.fedma.server import Aggregation
from fedma.algorithms.fedma.state import FedMAState
from fedma.algorithms.messages import Ask, Reply
from fedma.algorithms.participation import Availability
from fedma.algorithms.robust import Robust
from fedma.errors import InputError
from fedma.matching import Matcher
from fedma.seeds import number
from fedma.training import Schedule
from fedma.units import UnitGraph
from fedma.units.layout import Widths


@dataclass(frozen=True)
class FedMA:
    """Federated matched averaging.

    A round has one exchange for each unit group (see `fedma.matching.step`) and one for the output layer. In each
    exchange the clients send the tensors that make the next group's units. The server matches these units, averages
    the matched ones and sends the result. The clients put it into their models, hold it, and train the rest.

    A later round starts each client from its own sub-network of the global model, so clients keep their widths while
    they take part. Slots that no participant of a round owns are dropped. So if no wide client
    takes part in a round, the global model becomes narrower, and so do clients that come back.

    A client that comes late, or was away while units were matched, starts from the slots that most clients own, up to
    its own widths.

    Attributes:
        graph: the model's unit graph.
        clients: their numbers.
        schedule: local training at the start of a round.
        retrain: training after each matching; the last, of the output layer alone, is `output`.
        output: training of the output layer when all groups are matched.
        rounds: how many.
        matcher: how units are matched.
        widths: the units per group of clients that do not have the graph's.
        participants: how many clients take part in a round, drawn anew for each; None for all.
        seed: decides the draws.
        present: the rounds in which clients are available; the others always are.
        newcomers: where a client starts that takes part for the first time after round 0: from its part of the
            "global" model, or from its "own" model. The latter is matched as in round 0.
        later: where clients start later rounds: from their "own" part of the global model, or from all of the "global"
            model. The latter then keeps its widths.
        rematch: when to match in later rounds. "always": in every round. "never": a round is one exchange that averages
            each slot over its owners. "drift": from the first group on in which a unit has come nearer to another slot
            than to its own.
        steps_per_exchange: groups that an exchange settles. More groups mean fewer exchanges and local epochs.
        fitted: for one round only: clients fit the weights that read matched units to the slots (see
            `fedma.matching.averaging.fit_readers`) before they train them; by default they place them, as published.
        robust: bounds on what a single client can change.

    Source: Wang et al., "Federated Learning with Matched Averaging", ICLR 2020, Algorithm 1 and section 3.2.
        Departures: steps follow unit groups (`fedma.matching.step`); running statistics of normalisation layers
        are never held: clients update them while they train, and every exchange pools them; all from `widths` on.
    """

    graph: UnitGraph
    clients: Sequence[int]
    schedule: Schedule
    retrain: Schedule
    output: Schedule
    rounds: int
    matcher: Matcher = field(default_factory=Matcher)
    widths: Mapping[int, Widths] = field(default_factory=dict)
    participants: int | None = None
    seed: int = 0
    present: Availability = field(default_factory=dict)
    newcomers: Newcomers = "global"
    later: Later = "own"
    rematch: Rematch = "always"
    steps_per_exchange: int = 1
    fitted: bool = False
    robust: Robust = field(default_factory=Robust)

    def __post_init__(self) -> None:
        self.graph.check_movable()
        self.matcher.check_by_steps()
        if self.fitted and self.rounds > 1:
            raise InputError(
                f"fitted is for a single round, not {self.rounds}: it makes the output layer's weights so large that a "
                "second round's training diverges; leave it out"
            )
        if self.steps_per_exchange < 1:
            raise InputError(f"steps_per_exchange must be at least 1; got {self.steps_per_exchange}")
        for name, kinds in {"newcomers": Newcomers, "later": Later, "rematch": Rematch}.items():
            if (found := getattr(self, name)) not in get_args(kinds):
                raise InputError(f"{name} is {found!r}; it must be one of {', '.join(get_args(kinds))}")

    @property
    def exchanges(self) -> int:
        """The most exchanges that a round can have."""
        return self.round_steps.exchanges + (self.rematch == "drift" and self.rounds > 1)

    def start(self) -> FedMAState:
        """Nothing global yet."""
        return FedMAState()

    def asks(self, state: FedMAState) -> Sequence[Ask]:
        """The asks of the next exchange, to each client of the round that has missed no exchange of it."""
        if state.round == self.rounds:
            return []
        write = self._asks.next if state.exchange else self._asks.first  # (e) and (f) are done by the clients
        return [write(state, client) for client in self._participants.remaining(state)]

    def absorb(self, state: FedMAState, replies: Sequence[Reply]) -> FedMAState:
        """Match and average the steps of one exchange; after the last step the round is over.

        In a later round, groups may first keep their slots (`rematch`), which averages their steps unmatched.

        Raises:
            ReplyError: there is no reply, a client answered twice, or somebody who is no client answered.
        """
        replies = self.robust.clipped(in_client_order(replies, self.clients), self.graph, {})
        keeps = self._participants.keep_slots(state)
        work = Aggregation.of(self.round_steps, self._begun(state, replies), replies, trim=self.robust.trim)
        before = at = first = state.settled[1]
        if keeps:
            work, first = work.keep_slots(until_drift=self.rematch == "drift")
        work = work.pool_statistics()
        end = self.round_steps.end(first)
        for k in range(first, end):  # (a)
            work = work.relabel(at, k)  # (e), for the later steps of this exchange; the clients do it for those after
            work, at = work.match(k, self._matcher(state.round)), k  # (b) and (c); (d) if the step has no group
        return self._ended(work.state, replies, before, end)

    @cached_property
    def round_steps(self) -> RoundSteps:
        """The steps of a round: what the n of Algorithm 1 counts."""
        return RoundSteps(self.graph, self.widths, self.steps_per_exchange, self.fitted)

    @cached_property
    def _participants(self) -> Participants:
        """Who takes part in a round, and where each client starts."""
        return Participants(
            self.round_steps,
            self.clients,
            self.rounds,
            self.participants,
            self.seed,
            self.present,
            self.newcomers,
            self.later,
            self.rematch,
        )

    @cached_property
    def _asks(self) -> Asks:
        """Writes the messages to the clients."""
        return Asks(self.round_steps, self._participants, self.schedule, self.retrain, self.output, self.rounds)

    def _matcher(self, round_: int) -> Matcher:
        """How this round matches."""
        grow = self.matcher.grow and (round_ == 0 or self.later == "own")
        return replace(self.matcher, seed=number(self.matcher.seed, "round", round_), grow=grow)

    def _begun(self, state: FedMAState, replies: Sequence[Reply]) -> FedMAState:
        """The state with the slots in which these clients begin the round; the same within a round."""
        if state.exchange:
            return state
        begun = {reply.client: self._participants.start_slots(state, reply.client) or {} for reply in replies}
        return replace(state, assignments={**state.assignments, **begun})

    def _ended(self, state: FedMAState, replies: Sequence[Reply], before: int, end: int) -> FedMAState:
        """The state after the exchange that settled the steps up to `end`, or after the round."""
        if end < len(self.round_steps):
            return replace(state, exchange=state.exchange + 1, settled=(before, end))
        staying = self._participants.staying(state.round + 1)
        holders = tuple(reply.client for reply in replies if reply.client in staying)
        return replace(state, round=state.round + 1, exchange=0, settled=(0, 0), holders=holders)

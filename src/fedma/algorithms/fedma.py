"""FedMA: match and average one group of units at a time, while the clients adapt the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

from fedma.algorithms import settling
from fedma.algorithms.base import State
from fedma.algorithms.course import Course, lengths
from fedma.algorithms.membership import Presence, popular, taking_part
from fedma.algorithms.messages import Ask, Reply
from fedma.algorithms.robust import Robust
from fedma.errors import InputError, ReplyError
from fedma.matching import Matcher, original_order
from fedma.seeds import number
from fedma.training import Schedule
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Maps, Widths

Newcomers = Literal["global", "own"]
Later = Literal["own", "global"]
Rematch = Literal["always", "drift", "never"]


@dataclass(frozen=True)
class FedMA:
    """Federated matched averaging.

    A round has one exchange for each unit group (see `fedma.matching.steps`) and one for the output layer. In each,
    the clients send the tensors that make the next group's units; the server matches these units, averages the
    matched ones and sends the result; the clients put it into their models, hold it, and train the rest. A later
    round starts each client from its own sub-network of the global model, so that clients keep their width as long as
    they take part: slots that no participant of a round owns are dropped. After a round without the wide clients the
    global model is no wider than its participants made it, and so are clients that come back.

    A client that comes late, or was away while units were matched, starts from the part of the global model whose
    slots most clients own, up to its own widths.

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
        present: the rounds in which clients are there, for those that are not always.
        newcomers: a client that takes part for the first time later than round 0 starts from its part of the "global"
            model, or from its "own" model, which is matched as in round 0.
        later: later rounds start each client from its "own" part of the global model, or from all of the "global" one,
            which then keeps its widths.
        rematch: in later rounds, match "always"; "never", so that a round is one exchange in which each slot is
            averaged over its owners; or from the first group on that has drifted ("drift"): where some client's unit
            has come nearer to another slot than to its own.
        steps_per_exchange: groups that an exchange settles: the more, the fewer exchanges and local epochs.
        fitted: for one round alone: clients fit the weights that read matched units to the slots (see
            `fedma.matching.averaging.fit_readers`) before they train them; by default they place them, as published.
        robust: bounds on what a single client can change.

    Source: Wang et al., "Federated Learning with Matched Averaging", ICLR 2020, Algorithm 1 and section 3.2.
        Departures: steps follow unit groups (`fedma.matching.steps`); running statistics of normalisation layers
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
    present: Presence = field(default_factory=dict)
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

    @cached_property
    def course(self) -> Course:
        """The steps of a round."""
        return Course(self.graph, self.widths, self.steps_per_exchange, self.fitted, self.robust.trim)

    @property
    def exchanges(self) -> int:
        """Exchanges in a round, at most."""
        return self.course.exchanges + (self.rematch == "drift" and self.rounds > 1)

    def start(self) -> State:
        """Nothing global yet."""
        return State()

    def asks(self, state: State) -> Sequence[Ask]:
        """What the next exchange asks of every client of the round that has answered so far."""
        if state.round == self.rounds:
            return []
        members = self._members(state)
        if not state.exchange:
            return [self._first_ask(state, client) for client in members]
        staying = self._staying(state.round + 1)
        return [self._next_ask(state, client, stays=client in staying) for client in members]

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        """Average the steps that keep their slots; match the next ones; after the last one the round is over.

        Raises:
            ReplyError: no reply.
        """
        if not replies:
            raise ReplyError(f"round {state.round + 1}: no client answered; ask again")
        replies = self.robust.clipped(replies, self.graph, {})
        before = at = first = state.settled[1]
        if not state.exchange:
            keeps, state = self._keeps(state), self._begun(state, replies)
            if keeps:
                state, first = settling.keep(self.course, state, replies, drifting=self.rematch == "drift")
        state = settling.pool(self.course, state, replies)
        own: list[Weights] = [dict(reply.weights) for reply in replies]
        for k in range(first, end := self.course.end(first)):
            own, at = settling.move(self.course, state, replies, own, start=at, end=k), k
            state = settling.match(self.course, state, replies, own, k=k, matcher=self._matcher(state.round))
        if end == len(self.course):
            staying = self._staying(state.round + 1)
            holders = tuple(reply.client for reply in replies if reply.client in staying)
            return replace(state, round=state.round + 1, exchange=0, settled=(0, 0), holders=holders)
        return replace(state, exchange=state.exchange + 1, settled=(before, end))

    def _matcher(self, round_: int) -> Matcher:
        """How this round matches."""
        grow = self.matcher.grow and (round_ == 0 or self.later == "own")
        return replace(self.matcher, seed=number(self.matcher.seed, "round", round_), grow=grow)

    def _members(self, state: State) -> list[int]:
        """The clients of the round, but for those that missed an exchange of it."""
        settled = set(self.course.groups(0, state.settled[1]))
        return [c for c in self._drawn(state.round) if settled <= state.maps.get(c, {}).keys()]

    def _drawn(self, round_: int) -> list[int]:
        """The clients of a round."""
        return taking_part(self.clients, round_, present=self.present, participants=self.participants, seed=self.seed)

    def _first_ask(self, state: State, client: int) -> Ask:
        """The ask that begins a round: train your own model, or this part of the global one."""
        places = self._places(state, client)
        narrow = original_order(places or {}, self.graph)
        known = self._known(state, client)
        end = len(self.course) if self._keeps(state) else self.course.end(0)
        return Ask(
            client,
            ("round", state.round, "step", 0),
            weights={} if places is None else self.graph.gather(state.weights, narrow, state.widths),
            known=known,
            narrow=narrow if known else {},
            wide=state.widths if known else {},
            widths={**self.course.own_widths(client), **lengths(places or {})},
            schedule=asdict(self.schedule),
            send=self.course.tensors(0, end),
            keep=end < len(self.course) or self.rematch == "drift",
        )

    def _next_ask(self, state: State, client: int, *, stays: bool) -> Ask:
        """An ask within a round: take over what was settled, train the rest."""
        before, k = state.settled
        end = self.course.end(k)
        own = {group: state.maps[client][group] for group in self.course.groups(before, k)}
        return Ask(
            client,
            ("round", state.round, "step", k),
            weights={
                name: state.weights[name] for name in (*self.course.tensors(before, k), *self.course.statistics(before))
            },
            widen=original_order(own, self.graph),
            widths=self.course.widths(state, client, self.course.wide(state, k)),
            fit=self.course.fits(before, k),
            schedule=asdict(self.retrain if self.course.groups(k, end) else self.output),
            frozen=self.course.tensors(0, k),
            send=(*self.course.statistics(k), *self.course.tensors(k, end)),
            keep=end < len(self.course) or stays,
        )

    def _known(self, state: State, client: int) -> tuple[str, ...]:
        """What a client has held since the round before: all but the output layer, running statistics and counters."""
        if client not in state.holders:
            return ()
        names, statistics = self.course.tensors(0, len(self.course) - 1), self.course.statistics(len(self.course))
        return tuple(n for n in names if n not in statistics and state.weights[n].is_floating_point())

    def _staying(self, round_: int) -> set[int]:
        """The clients of this round that can begin it with what they held at the end of the one before.

        None where groups kept their slots in that one: clients have not seen the averages.
        """
        if not 0 < round_ < self.rounds or (round_ > 1 and self.rematch != "always"):
            return set()
        return {*self._drawn(round_ - 1)} & {*self._drawn(round_)}

    def _keeps(self, state: State) -> bool:
        """Whether groups can keep their slots in the round that begins: not where somebody brings units without."""
        later = state.round > 0 and not state.exchange
        return later and self.rematch != "always" and not any(self._new(state, c) for c in self._members(state))

    def _new(self, state: State, client: int) -> bool:
        """Whether a client starts from its own model."""
        return not state.weights or (self.newcomers == "own" and client not in state.maps)

    def _places(self, state: State, client: int) -> Maps | None:
        """Where a client starts in the global model: unit → slot; None where it starts from its own model."""
        if self._new(state, client):
            return None
        own = state.maps.get(client, {})
        if self.later == "own" and own.keys() == self.graph.groups.keys():
            return own
        most = self.course.own_widths(client) if self.later == "own" else state.widths
        owned = {group: [maps[group] for maps in state.maps.values() if group in maps] for group in state.widths}
        return {group: popular(owned[group], slots, most[group]) for group, slots in state.widths.items()}

    def _begun(self, state: State, replies: Sequence[Reply]) -> State:
        """The state once these clients have started: their units' slots in the global model before this round."""
        begun = {reply.client: self._places(state, reply.client) or {} for reply in replies}
        return replace(state, maps={**state.maps, **begun})

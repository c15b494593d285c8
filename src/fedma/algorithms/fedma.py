"""FedMA: match and average one group of units at a time, while the clients adapt the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial

from torch import Tensor

from fedma.algorithms.base import State, class_counts, sample_counts
from fedma.algorithms.messages import Ask, Reply
from fedma.errors import InputError
from fedma.matching import BY_STEPS, Matcher, Step, average, match_step, original_order, slots, steps
from fedma.seeds import number
from fedma.training import Schedule
from fedma.units import UnitGraph, Weights


@dataclass(frozen=True)
class FedMA:
    """Federated matched averaging.

    A round has one exchange for each unit group (see `fedma.matching.steps`) and one for the output layer. In each,
    the clients send the tensors that make the next group's units; the server matches these units, averages the
    matched ones and sends the result; the clients put it into their models, hold it, and train the rest. A later
    round starts each client from its own sub-network of the global model, so that clients keep their width.

    Attributes:
        graph: the model's unit graph.
        clients: their numbers.
        schedule: local training at the start of a round.
        retrain: training after each matching; the last, of the output layer alone, is `output`.
        output: training of the output layer when all groups are matched.
        rounds: how many.
        matcher: how units are matched.

    Source: Wang et al., "Federated Learning with Matched Averaging", ICLR 2020, Algorithm 1 and section 3.2.
        Departures: steps follow unit groups (`fedma.matching.steps`); running statistics of normalisation layers
        are never held: clients update them while they train, and every exchange pools them.
    """

    graph: UnitGraph
    clients: Sequence[int]
    schedule: Schedule
    retrain: Schedule
    output: Schedule
    rounds: int
    matcher: Matcher = field(default_factory=Matcher)

    def __post_init__(self) -> None:
        if self.matcher.name not in BY_STEPS:
            raise InputError(
                f"matcher {self.matcher.name!r} matches whole models, not one group after the other; "
                f"FedMA needs one of {', '.join(BY_STEPS)}"
            )

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What each exchange settles."""
        return steps(self.graph)

    @property
    def exchanges(self) -> int:
        """Exchanges in a round."""
        return len(self.steps)

    def start(self) -> State:
        """Nothing global yet."""
        return State()

    def asks(self, state: State) -> Sequence[Ask]:
        """What the next step asks of every client."""
        if state.round == self.rounds:
            return []
        return [self._ask(state, client) for client in self.clients]

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        """Match the step's groups and average what is now complete; after the last step, the round is over."""
        k = state.exchange
        known = {} if k == 0 else state.maps
        widths = {**self.graph.widths, **_widths(known)}
        matched = match_step(
            [reply.weights for reply in replies],
            self.graph,
            self.steps[k],
            widths=[widths] * len(replies),
            matcher=replace(self.matcher, seed=number(self.matcher.seed, "round", state.round)),
        )
        now = [{group: found[j] for group, found in matched.items()} for j in range(len(replies))]
        maps = {reply.client: {**known.get(reply.client, {}), **own} for reply, own in zip(replies, now, strict=True)}
        start = State(state.round, k, {} if k == 0 else state.weights, maps=maps)
        weights = self._average(start, replies, maps=[original_order(own, self.graph) for own in now])
        after = replace(start, exchange=k + 1, weights={**start.weights, **weights})
        return replace(after, round=state.round + 1, exchange=0) if k + 1 == self.exchanges else after

    def _ask(self, state: State, client: int) -> Ask:
        """The next ask of one client."""
        k = state.exchange
        name = ("round", state.round, "step", k)
        send = (*self._statistics(k), *self.steps[k].tensors)
        if k == 0 and state.round == 0:
            return Ask(client, name, schedule=asdict(self.schedule), send=send)
        widths = {**self.graph.widths, **_widths(state.maps)}
        own = state.maps.get(client, {})
        if k == 0:
            return Ask(
                client,
                name,
                weights=self._tensors(state.weights, len(self.steps)),
                narrow=original_order(own, self.graph),
                widths=widths,
                schedule=asdict(self.schedule),
                send=send,
            )
        before = {group: own[group] for group in self.steps[k - 1].groups}
        return Ask(
            client,
            name,
            weights=self._tensors(state.weights, k),
            widen=original_order(before, self.graph),
            widths=widths,
            schedule=asdict(self.retrain if self.steps[k].groups else self.output),
            frozen=tuple(tensor for step in self.steps[:k] for tensor in step.tensors),
            send=send,
        )

    def _tensors(self, weights: Weights, k: int) -> Weights:
        """What step k-1 completed, and the statistics pooled since."""
        return {name: weights[name] for name in (*self.steps[k - 1].tensors, *self._statistics(k - 1))}

    def _statistics(self, k: int) -> tuple[str, ...]:
        """Running statistics that were complete before step k."""
        complete = {tensor for step in self.steps[:k] for tensor in step.tensors}
        return tuple(name for pair in self.graph.statistics for name in pair if name in complete)

    def _average(self, state: State, replies: Sequence[Reply], *, maps: Sequence[Mapping[str, Tensor]]) -> Weights:
        """The step's tensors, averaged over their owners, and the statistics of earlier steps, pooled.

        Below a finished step all clients have the same units, so its statistics are pooled over all of them.
        """
        complete = partial(
            average,
            [reply.weights for reply in replies],
            self.graph,
            widths={**self.graph.widths, **_widths(state.maps)},
            shares=[1.0] * len(replies),
            samples=sample_counts(replies),
            class_counts=class_counts(replies),
        )
        owned = [self._owned(state.maps.get(reply.client, {})) for reply in replies]
        return {
            **complete(names=self._statistics(state.exchange), maps=[{}] * len(replies)),
            **complete(names=self.steps[state.exchange].tensors, maps=maps, owned=owned),
        }

    def _owned(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The slots that a client owns, in the groups that may have others."""
        return {group: slots for group, slots in maps.items() if self.graph.groups[group].growable}


def _widths(maps: Mapping[int, Mapping[str, Tensor]]) -> dict[str, int]:
    """The global widths that assignments imply."""
    clients = list(maps.values())
    return {group: slots([own[group] for own in clients]) for group in clients[0]} if clients else {}

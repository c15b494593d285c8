"""What FedMA asks of a client: the ask that begins a round, and those within it."""

from dataclasses import dataclass

from fedma.algorithms.fedma.participants import Participants
from fedma.algorithms.fedma.round_steps import RoundSteps, lengths
from fedma.algorithms.fedma.state import FedMAState
from fedma.algorithms.messages import Ask
from fedma.matching import original_order
from fedma.training import Schedule


@dataclass(frozen=True)
class Asks:
    """Writes the asks of an exchange.

    Attributes:
        steps: the steps of a round.
        participants: who takes part.
        schedule: local training at the start of a round.
        retrain: training after each matching.
        output: training of the output layer when all groups are matched.
    """

    steps: RoundSteps
    participants: Participants
    schedule: Schedule
    retrain: Schedule
    output: Schedule
    rounds: int

    def first(self, state: FedMAState, client: int) -> Ask:
        """The ask that begins a round: train your own model, or this part of the global one."""
        steps, start = self.steps, self.participants.start_slots(state, client)
        narrow = original_order(start or {}, steps.graph)
        known = self._known(state, client)
        end = len(steps) if self.participants.keep_slots(state) else steps.end(0)
        return Ask(
            client,
            ("round", state.round, "step", 0),
            weights={} if start is None else steps.graph.gather(state.weights, narrow, state.widths),
            known=known,
            narrow=narrow if known else {},
            wide=state.widths if known else {},
            widths={**steps.own_widths(client), **lengths(start or {})},
            schedule=self.schedule.in_round(state.round, self.rounds).to_dict(),
            send=steps.tensors(0, end),
            keep=end < len(steps) or self.participants.rematch == "drift",
        )

    def next(self, state: FedMAState, client: int) -> Ask:
        """An ask within a round: take over what was settled, hold it, and train the rest."""
        steps, (before, k) = self.steps, state.settled
        end = steps.end(k)
        own = {group: state.assignments[client][group] for group in steps.groups(before, k)}
        training = self.retrain if steps.groups(k, end) else self.output
        return Ask(
            client,
            ("round", state.round, "step", k),
            weights={name: state.weights[name] for name in (*steps.tensors(before, k), *steps.statistics(before))},
            widen=original_order(own, steps.graph),
            widths=steps.widths(state, client, steps.global_widths(state, k)),
            fit=steps.fits(before, k),
            schedule=training.in_round(state.round, self.rounds).to_dict(),
            frozen=steps.tensors(0, k),
            send=(*steps.statistics(k), *steps.tensors(k, end)),
            keep=end < len(steps) or client in self.participants.staying(state.round + 1),
        )

    def _known(self, state: FedMAState, client: int) -> tuple[str, ...]:
        """What a client has held since the round before: all but the output layer, running statistics and counters."""
        if client not in state.holders:
            return ()
        names, statistics = self.steps.tensors(0, len(self.steps) - 1), self.steps.statistics(len(self.steps))
        return tuple(n for n in names if n not in statistics and state.weights[n].is_floating_point())

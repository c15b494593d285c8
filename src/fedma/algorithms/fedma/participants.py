"""Who takes part in a round of FedMA, and where in the global model each client starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fedma.algorithms.fedma.round_steps import RoundSteps
from fedma.algorithms.fedma.state import FedMAState
from fedma.algorithms.participation import Availability, most_owned_slots, participating
from fedma.units.layout import Maps

Newcomers = Literal["global", "own"]
Later = Literal["own", "global"]
Rematch = Literal["always", "drift", "never"]


@dataclass(frozen=True)
class Participants:
    """The clients of a federation, as rounds draw them. Attributes are those of `FedMA`."""

    steps: RoundSteps
    clients: Sequence[int]
    rounds: int
    per_round: int | None
    seed: int
    present: Availability
    newcomers: Newcomers
    later: Later
    rematch: Rematch

    def of_round(self, round_: int) -> list[int]:
        """The clients of a round, drawn anew for each."""
        return participating(self.clients, round_, present=self.present, participants=self.per_round, seed=self.seed)

    def remaining(self, state: FedMAState) -> list[int]:
        """The clients of the present round that have missed no exchange of it."""
        settled = set(self.steps.groups(0, state.settled[1]))
        return [c for c in self.of_round(state.round) if settled <= state.assignments.get(c, {}).keys()]

    def staying(self, round_: int) -> set[int]:
        """The clients of this round that can begin it with what they held at the end of the one before.

        None where groups kept their slots in that one: clients have not seen the averages.
        """
        if not 0 < round_ < self.rounds or (round_ > 1 and self.rematch != "always"):
            return set()
        return {*self.of_round(round_ - 1)} & {*self.of_round(round_)}

    def keep_slots(self, state: FedMAState) -> bool:
        """Whether groups can keep their slots in the round that begins: not if a client brings units without slots."""
        later = state.round > 0 and not state.exchange
        return later and self.rematch != "always" and not any(self._from_own(state, c) for c in self.remaining(state))

    def start_slots(self, state: FedMAState, client: int) -> Maps | None:
        """Where a client starts in the global model: unit → slot; None if it starts from its own model.

        A client without slots of its own starts from the slots that most clients own, up to its widths.
        """
        if self._from_own(state, client):
            return None
        own = state.assignments.get(client, {})
        if self.later == "own" and own.keys() == self.steps.graph.groups.keys():
            return own
        most: Mapping[str, int] = self.steps.own_widths(client) if self.later == "own" else state.widths
        known = state.assignments.values()
        owned = {group: [own[group] for own in known if group in own] for group in state.widths}
        return {group: most_owned_slots(owned[group], slots, most[group]) for group, slots in state.widths.items()}

    def _from_own(self, state: FedMAState, client: int) -> bool:
        """Whether a client starts from its own model."""
        return not state.weights or (self.newcomers == "own" and client not in state.assignments)

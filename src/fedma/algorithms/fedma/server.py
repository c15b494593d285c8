"""The server's work on the replies of one exchange: slots are kept or matched, tensors averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from fedma.algorithms.base import class_counts, sample_counts
from fedma.algorithms.fedma.round_steps import RoundSteps
from fedma.algorithms.fedma.state import FedMAState
from fedma.algorithms.messages import Reply
from fedma.algorithms.relabel import in_global_order, overlaid, share_nearest_own_slot
from fedma.matching import Matcher, Step, average, match_step, original_order, slots
from fedma.units import Weights
from fedma.units.layout import Maps, Widths


@dataclass(frozen=True, eq=False)
class Aggregation:
    """The server's work on one exchange. Each method returns it with one more thing done.

    Attributes:
        steps: the steps of a round.
        state: the state so far.
        replies: the clients' replies.
        own: each reply's tensors, in the global order of the groups that are settled so far.
        trim: the part of the owners left out at each end of an average.
    """

    steps: RoundSteps
    state: FedMAState
    replies: Sequence[Reply]
    own: Sequence[Weights]
    trim: float = 0.0

    @classmethod
    def of(cls, steps: RoundSteps, state: FedMAState, replies: Sequence[Reply], *, trim: float) -> Self:
        """The work before anything is done."""
        return cls(steps, state, replies, [dict(reply.weights) for reply in replies], trim)

    def keep_slots(self, *, until_drift: bool) -> tuple[Self, int]:
        """Average the first steps, as far as their groups keep their slots; also returns the number of these steps.

        A client counts with the global weights in slots that it does not own, so unchanged values stay.

        Args:
            until_drift: stop before the first group with a unit that has come nearer to another slot than to its own.
        """
        steps, graph = self.steps, self.steps.graph
        wide = steps.global_widths(self.state, len(steps))
        orders = [original_order(self.state.assignments[reply.client], graph) for reply in self.replies]
        over = [
            overlaid(reply.weights, self.state.weights, graph, own, wide)
            for reply, own in zip(self.replies, orders, strict=True)
        ]
        kept = len(steps)
        if until_drift:
            drifted = (k for k, step in enumerate(steps.steps) if self._drifted(step, over, wide))
            kept = next(drifted, kept)
        averaged = self._averaged(
            over,
            names=steps.tensors(0, kept),
            widths=wide,
            owned=self._owned(),
            shares=sample_counts(self.replies),
            unowned=self.state.weights,
        )
        return averaged, kept

    def pool_statistics(self) -> Self:
        """Average the running statistics of earlier steps: below these, all clients have the same units."""
        k = self.state.settled[1]
        own = [reply.weights for reply in self.replies]
        return self._averaged(own, names=self.steps.statistics(k), widths=self.steps.global_widths(self.state, k))

    def relabel(self, start: int, end: int) -> Self:
        """Bring the clients' tensors into the order that steps `start` to `end` have settled."""
        steps, state = self.steps, self.state
        made = {name: state.weights[name] for name in steps.tensors(start, end)}
        wide, groups = steps.global_widths(state, end), steps.groups(start, end)
        own = [
            in_global_order(
                weights,
                steps.graph,
                assignments=original_order({g: state.assignments[reply.client][g] for g in groups}, steps.graph),
                widths=steps.widths(state, reply.client, wide),
                slots=made,
                fit=steps.fits(start, end),
            )
            for reply, weights in zip(self.replies, self.own, strict=True)
        ]
        return replace(self, own=own)

    def match(self, k: int, matcher: Matcher) -> Self:
        """Match the units of step k, and average its tensors under the assignments that were found.

        Clients that did not reply lose their slots in these groups.
        """
        steps, state, step = self.steps, self.state, self.steps.steps[k]
        wide = steps.global_widths(state, k)
        widths = [steps.widths(state, reply.client, wide) for reply in self.replies]
        matched = match_step(self.own, steps.graph, step, widths=widths, matcher=matcher)
        now = {reply.client: {g: found[j] for g, found in matched.items()} for j, reply in enumerate(self.replies)}
        earlier = {c: {g: u for g, u in own.items() if g not in matched} for c, own in state.assignments.items()}
        found = {group: slots(own) for group, own in matched.items()}
        state = replace(
            state,
            assignments={client: {**own, **now.get(client, {})} for client, own in earlier.items()},
            widths={**state.widths, **found},
        )
        return replace(self, state=state)._averaged(
            self.own,
            names=step.tensors,
            widths=steps.global_widths(state, k + 1),
            assignments=[original_order(now[reply.client], steps.graph) for reply in self.replies],
            owned=replace(self, state=state)._owned(),
        )

    def _averaged(
        self,
        own: Sequence[Mapping[str, Tensor]],
        *,
        names: Sequence[str],
        widths: Widths,
        assignments: Sequence[Maps] | None = None,
        owned: Sequence[Maps] | None = None,
        shares: Sequence[float] | None = None,
        unowned: Weights | None = None,
    ) -> Self:
        """The work with the means of these tensors; arguments as for `average`. By default all shares are equal."""
        weights = average(
            own,
            self.steps.graph,
            names=names,
            maps=assignments or [{}] * len(own),
            widths={**self.steps.graph.widths, **widths},
            shares=shares or [1.0] * len(own),
            owned=owned,
            samples=sample_counts(self.replies),
            class_counts=class_counts(self.replies),
            unowned=unowned,
            trim=self.trim,
        )
        return replace(self, state=replace(self.state, weights={**self.state.weights, **weights}))

    def _owned(self) -> list[dict[str, Tensor]]:
        """The slots that each client owns, in the groups that other clients can own more of."""
        groups = self.steps.graph.groups
        assignments = [self.state.assignments[reply.client] for reply in self.replies]
        return [{group: units for group, units in own.items() if groups[group].growable} for own in assignments]

    def _drifted(self, step: Step, over: Sequence[Weights], wide: Widths) -> bool:
        """Whether units of this step's groups have come nearer to other slots than to their own."""
        state, graph = self.state, self.steps.graph
        shares = (
            share_nearest_own_slot(
                weights,
                state.weights,
                graph,
                group,
                names=step.tensors,
                units=state.assignments[reply.client][group],
                widths=wide,
            )
            for group in step.groups
            for reply, weights in zip(self.replies, over, strict=True)
        )
        return any(share < 1 for share in shares)

"""The steps of a FedMA round: which groups and tensors each step settles, and how wide models are by then."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from fedma.algorithms.fedma.state import FedMAState
from fedma.matching import Step, steps
from fedma.matching.averaging.fit_readers import can_fit
from fedma.units import UnitGraph
from fedma.units.layout import Maps, Widths


@dataclass(frozen=True)
class RoundSteps:
    """The steps of a model's rounds. Ranges of steps are half open, as in Python.

    Attributes:
        graph: the model's unit graph.
        client_widths: the units per group of clients that do not have the graph's.
        at_once: how many steps an exchange settles; the last step, of the output layer, has its own exchange.
        fitted: whether clients' weights on matched units are fitted to the slots.
    """

    graph: UnitGraph
    client_widths: Mapping[int, Widths]
    at_once: int
    fitted: bool

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps in the order in which a round settles them."""
        return steps(self.graph)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def exchanges(self) -> int:
        """Exchanges in a round."""
        return -(-(len(self) - 1) // self.at_once) + 1

    def end(self, k: int) -> int:
        """The end of the exchange that begins with step k."""
        last = len(self) - 1
        return min(k + self.at_once, last) if k < last else len(self)

    def groups(self, start: int, end: int) -> tuple[str, ...]:
        """The groups that these steps match."""
        return tuple(group for step in self.steps[start:end] for group in step.groups)

    def tensors(self, start: int, end: int) -> tuple[str, ...]:
        """The tensors that these steps complete."""
        return tuple(name for step in self.steps[start:end] for name in step.tensors)

    def statistics(self, k: int) -> tuple[str, ...]:
        """Running statistics that were complete before step k."""
        complete = set(self.tensors(0, k))
        return tuple(name for pair in self.graph.statistics for name in pair if name in complete)

    def fits(self, start: int, end: int) -> tuple[str, ...]:
        """The groups of these steps whose readers are fitted."""
        alone = [step.groups[0] for step in self.steps[start:end] if self.fitted and len(step.groups) == 1]
        return tuple(group for group in alone if can_fit(self.graph, group))

    def own_widths(self, client: int) -> dict[str, int]:
        """A client's widths before it takes over anything."""
        return {**self.graph.widths, **self.client_widths.get(client, {})}

    def global_widths(self, state: FedMAState, k: int) -> dict[str, int]:
        """The global widths of the groups that are matched before step k."""
        return {group: state.widths[group] for group in self.groups(0, k)}

    def widths(self, state: FedMAState, client: int, settled: Widths) -> dict[str, int]:
        """A client's widths when it has taken over groups of these global widths."""
        return {**self.own_widths(client), **lengths(state.assignments.get(client, {})), **settled}


def lengths(assignments: Maps) -> dict[str, int]:
    """A client's units per group, where their slots are known."""
    return {group: slots.shape[-1] for group, slots in assignments.items()}

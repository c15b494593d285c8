"""The steps of matching on a unit graph: which tensors become complete when one more group is matched."""

from dataclasses import dataclass

from fedma.units import UnitGraph


@dataclass(frozen=True)
class Step:
    """What one exchange settles.

    Attributes:
        groups: whose units are matched, in this order; none in the last step, as a rule.
        tensors: the tensors that are complete then, by name.
    """

    groups: tuple[str, ...]
    tensors: tuple[str, ...]


def steps(graph: UnitGraph) -> tuple[Step, ...]:
    """One step for each group in order, and a last one for what is averaged unmatched.

    A tensor that reads units and makes units is complete once all its groups are. One that reads units and makes
    none (the output layer) belongs to the last step. One that reads nothing (a bias, a normalisation) goes with the
    tensor that made its units last before it in the forward pass. So a network of layers in a row gives exactly the
    paper's steps, and in a residual network a normalisation waits for the branch that it normalises. A group that
    completes no tensor (attention heads, whose dimensions come next) shares the next group's step.

    Source: FedMA, Algorithm 1, generalised from layers to unit groups.
    """
    result: list[Step] = []
    waiting: tuple[str, ...] = ()
    for group, tensors in zip([*graph.groups, None], _completed(graph), strict=True):
        waiting = waiting if group is None else (*waiting, group)
        if tensors or group is None:
            result.append(Step(waiting, tensors))
            waiting = ()
    return tuple(result)


def _completed(graph: UnitGraph) -> list[tuple[str, ...]]:
    """For each group the tensors that it completes, and last those of the output layer."""
    made = {group: number for number, group in enumerate(graph.groups)}
    order = dict(made)
    reads = {tensor for tensor, _ in graph.incoming}
    result: list[list[str]] = [[] for _ in range(len(order) + 1)]
    before = 0
    for tensor in graph.layouts:
        groups = graph.groups_of(tensor)
        own = graph.made_by(tensor)
        if tensor not in reads:
            step = max((made[group] for group in groups), default=before)
        elif own:
            step = max(order[group] for group in groups)
            made.update((group, max(made[group], step)) for group in own)
        else:
            step = len(order)
        before = step
        result[step].append(tensor)
    return [tuple(tensors) for tensors in result]

"""The steps of matching on a unit graph: which tensors become complete when one more group is matched."""

from fedma.units import UnitGraph


def steps(graph: UnitGraph) -> tuple[tuple[str, ...], ...]:
    """The tensors' names, by step: one for each group in order, and a last one for what is averaged unmatched.

    A tensor that reads units and makes units is complete once all its groups are. One that reads units and makes
    none (the output layer) belongs to the last step. One that reads nothing (a bias, a normalisation) goes with the
    tensor that made its units last before it in the forward pass. So a network of layers in a row gives exactly the
    paper's steps, and in a residual network a normalisation waits for the branch that it normalises.

    Source: FedMA, Algorithm 1, generalised from layers to unit groups.
    """
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
    return tuple(tuple(names) for names in result)

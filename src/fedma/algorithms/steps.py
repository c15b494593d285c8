"""The steps of FedMA on a unit graph: which tensors become complete when one more group is matched."""

from fedma.units import UnitGraph


def steps(graph: UnitGraph) -> tuple[tuple[str, ...], ...]:
    """The tensors' names, by step: one for each group in order, and a last one for what is averaged unmatched.

    A tensor that reads units and makes units is complete once all its groups are. One that reads units and makes
    none (the output layer) belongs to the last step. One that reads nothing (a bias, a normalisation) goes with the
    last tensor before it that does, though not before its own groups. So a network of layers in a row gives exactly
    the paper's steps.

    Source: FedMA, Algorithm 1, generalised from layers to unit groups.
    """
    order = {group: number for number, group in enumerate(graph.groups)}
    reads = {tensor for tensor, _ in graph.incoming}
    result: list[list[str]] = [[] for _ in range(len(order) + 1)]
    before = 0
    for tensor in graph.layouts:
        own = max((order[group] for group in graph.groups_of(tensor)), default=0)
        if tensor in reads:
            before = own if _makes_units(graph, tensor) else len(order)
            result[before].append(tensor)
        else:
            result[max(own, before)].append(tensor)
    return tuple(tuple(names) for names in result)


def _makes_units(graph: UnitGraph, tensor: str) -> bool:
    return any(
        place.role == "out"
        for group in graph.groups_of(tensor)
        for place in graph.places(group)
        if place.tensor == tensor
    )

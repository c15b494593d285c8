"""Git Re-Basin for many clients: every client's units are assigned to the mean of the other clients, group by group."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedma.matching.assignment import original_order, own_numbers
from fedma.matching.features import incoming
from fedma.matching.slices import blocks_first, comparable, inner
from fedma.matching.whole_model.weights import assign, checked, inner_product, products, widest
from fedma.seeds import generator
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Maps, Widths


def rebasin(
    models: Sequence[Weights], graph: UnitGraph, *, widths: Sequence[Widths], seed: int = 0, sweeps: int = 100
) -> dict[str, tuple[Tensor, ...]]:
    """Per group, for each client the slot of each of its units: LongTensor (units), or (blocks…, units).

    Maximises ‖Σ_j P_j w_j‖², the squared norm of the sum of the aligned clients, by coordinate ascent. One client and
    group is assigned at a time, all else held. The gains are its units' products with the sum of the other clients,
    over every place of every tensor. Blocks are assigned by the best that their inner units can do.

    Args:
        models: each client's tensors.
        graph: the model's unit graph.
        widths: each client's units per group. The widest client's are the slots; a narrower client has no unit in some
            slots.
        seed: decides in which order clients and groups are visited.
        sweeps: the most passes over the clients; they end when no client moves. The first pass takes the widest client
            first and joins each client to those before it. It tries two starts, the present order and layer by layer,
            and keeps the better. After it the objective never falls.

    Returns:
        Assignments as those of `match_group`: blocks in global order.

    Raises:
        MatchingError: no client; weights that are not finite.

    Source: Git Re-Basin (Ainsworth et al., ICLR 2023), algorithms 1 and 3. Departures: the first pass, where the paper
        starts at the identity, from which many independent clients end in different agreements; a recurrent matrix,
        linearised at the present assignment as in the authors' code, is taken only where the objective itself rises;
        blocks; different widths.
    """
    own = checked(models, graph)
    wide = widest(widths)
    clients = [
        Aligned.at(tensors, own_numbers(graph, narrow, wide), graph, wide)
        for tensors, narrow in zip(own, widths, strict=True)
    ]
    if sweeps > 0:
        clients = _join(clients, graph, seed)
    for sweep in range(1, sweeps):
        random = generator(seed, "rebasin", sweep)
        everyone = _sum(clients)
        before = list(clients)
        for j in torch.randperm(len(clients), generator=random).tolist():
            others = {name: everyone[name] - tensor for name, tensor in clients[j].aligned.items()}
            clients[j] = _ascended(clients[j], others, graph, random)
            everyone = {name: others[name] + tensor for name, tensor in clients[j].aligned.items()}
        if all(new is old for new, old in zip(clients, before, strict=True)):
            break
    return {group: tuple(client.assignments[group] for client in clients) for group in graph.groups}


@dataclass(frozen=True)
class Aligned:
    """One client in the global order.

    Attributes:
        tensors: its own.
        assignments: per group unit → slot, blocks in global order.
        aligned: its tensors in global order, zero where it has no unit.
        wide: the global widths.
    """

    tensors: Weights
    assignments: dict[str, Tensor]
    aligned: Weights
    wide: Widths

    @classmethod
    def at(cls, tensors: Weights, assignments: Maps, graph: UnitGraph, wide: Widths) -> "Aligned":
        """A client whose units are in these slots."""
        return cls(tensors, dict(assignments), graph.scatter(tensors, original_order(assignments, graph), wide), wide)

    def moved(self, assignments: Maps, graph: UnitGraph) -> "Aligned":
        """The client with some groups' units in other slots."""
        merged = {**self.assignments, **assignments}
        touched = {name: tensor for name, tensor in self.tensors.items() if graph.groups_of(name) & set(assignments)}
        aligned = {**self.aligned, **graph.scatter(touched, original_order(merged, graph), self.wide)}
        return replace(self, assignments=merged, aligned=aligned)


def layerwise(client: Aligned, others: Weights, graph: UnitGraph) -> Aligned:
    """The client with each group assigned by the tensors that are complete with it, groups in the model's order."""
    settled: set[str] = set()
    for group in blocks_first(graph):
        client = client.moved(_best(client, others, graph, group, settled), graph)
        settled.add(group)
    return client


def _join(clients: Sequence[Aligned], graph: UnitGraph, seed: int) -> list[Aligned]:
    """Each client, widest first, assigned to the sum of those before it."""
    order = sorted(range(len(clients)), key=lambda j: -sum(t.numel() for t in clients[j].tensors.values()))
    result = list(clients)
    for done, j in enumerate(order[1:], 1):
        random = generator(seed, "rebasin", "join", j)
        others = _sum([result[i] for i in order[:done]])
        starts = (clients[j], layerwise(clients[j], others, graph))
        ends = [_ascended(start, others, graph, random) for start in starts]
        result[j] = max(ends, key=lambda end: inner_product(end.aligned, others, end.aligned))
    return result


def _ascended(client: Aligned, others: Weights, graph: UnitGraph, random: torch.Generator) -> Aligned:
    """The client after assigning group after group, in random order, until none gains."""
    names = list(graph.groups)
    open_groups = set(names)
    while open_groups:
        for g in torch.randperm(len(names), generator=random).tolist():
            if names[g] not in open_groups:
                continue
            better = _step(client, others, graph, names[g])
            open_groups.discard(names[g])
            if better is not None:
                client = better
                open_groups |= _neighbours(graph, names[g])
    return client


def _neighbours(graph: UnitGraph, group: str) -> set[str]:
    """The groups whose best assignment may change when this group, with its inner units, moves."""
    moved = {group, *inner(graph, group)}
    held = [graph.groups_of(name) for name in graph.layouts]
    return set().union(*(groups for groups in held if groups & moved)) - {group} | _twice(graph, group)


def _twice(graph: UnitGraph, group: str) -> set[str]:
    """The group itself where some tensor holds it on two axes, so that it is its own neighbour."""
    places = [place.tensor for place in graph.places(group)]
    return {group} if len(places) > len(set(places)) else set()


def _step(client: Aligned, others: Weights, graph: UnitGraph, group: str) -> Aligned | None:
    """The client with one group reassigned, or None where that gains nothing."""
    assignments = _best(client, others, graph, group, graph.groups)
    if all(torch.equal(own, client.assignments[name]) for name, own in assignments.items()):
        return None
    new = client.moved(assignments, graph)
    names = [name for name in client.tensors if graph.groups_of(name) & set(assignments)]
    before, after = (inner_product(c.aligned, others, names) for c in (client, new))
    size = sum(float(client.aligned[n].norm().double() * others[n].norm().double()) for n in names)
    rounding = max(torch.finfo(client.tensors[name].dtype).eps for name in names)
    return new if after - before > 8 * rounding * size else None


def _best(client: Aligned, others: Weights, graph: UnitGraph, group: str, settled: Iterable[str]) -> dict[str, Tensor]:
    """The assignment of largest gain for a group, settled ones held; groups inside it go with their best."""
    inside = [] if graph.groups[group].per else inner(graph, group)
    places = comparable(graph, group, names=client.tensors, settled=set(settled) - set(inside))
    gain = products(client.aligned, others, graph, group, places=places, widths=client.wide)
    compared = bool(places)
    options = {}
    for name in inside:
        places = comparable(graph, name, names=client.tensors, settled={*settled, group})
        compared |= bool(places)
        each = products(client.aligned, others, graph, name, places=places, widths=client.wide, across=group)
        dim = graph.groups[name].per.index(group)
        slots = client.assignments[name].movedim(dim, 0).unsqueeze(1).expand(*each.shape[:-2], -1)
        options[name] = _reassigned(each, slots)
        gain += _gains(each, slots).gather(-1, options[name].unsqueeze(-1)).flatten(2).sum(-1)
    if not compared:
        later = graph.groups.keys() - {*settled, group}
        mine, theirs = (
            incoming(own, graph, group, names=client.tensors, widths=client.wide, later=later).double()
            for own in (client.aligned, others)
        )
        gain = mine @ theirs.mT
    best = _reassigned(gain, client.assignments[group])
    result = {group: best}
    for name, chosen in options.items():
        dim = graph.groups[name].per.index(group)
        slots = client.assignments[name].movedim(dim, 0).clone()
        slots[best] = chosen[client.assignments[group], best]
        result[name] = slots.movedim(0, dim)
    return result


def _reassigned(products: Tensor, slots: Tensor) -> Tensor:
    """The best slots, given products (…, present slot, new slot) and the present slots (…, units)."""
    return assign(_gains(products, slots))


def _gains(products: Tensor, slots: Tensor) -> Tensor:
    """Products of present slots with new ones as those of units with new slots: (…, units, new slot)."""
    return products.gather(-2, slots.unsqueeze(-1).expand(*slots.shape, products.shape[-1]))


def _sum(clients: Sequence[Aligned]) -> Weights:
    """The sum of the clients' tensors in global order."""
    return {name: torch.stack([c.aligned[name] for c in clients]).sum(0) for name in clients[0].aligned}

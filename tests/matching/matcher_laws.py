"""The laws that every registered matcher obeys, and what they are tried on.

A law takes a registered matcher and a kind of network, and fails by an AssertionError. A matcher of your own passes
them too: register it, and call each.
"""

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from torch import Tensor

from fedma.errors import MatchingError
from fedma.matching import Matcher, average, fuse_weights, original_order
from fedma.matching.registry import Entry
from fedma.seeds import generator
from fedma.units import UnitGraph, Weights, units, weights
from fedma.units.layout import Maps
from networks import made

KINDS = ("mlp", "cnn", "residual", "speaker", "attention")
GRAPHS: dict[str, UnitGraph] = {}
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
Law = Callable[[Entry, str], None]
LAWS: list[tuple[Law, str]] = []
"""Each law with each kind of network that it is tried on."""


def law(*kinds: str) -> Callable[[Law], Law]:
    def add(function: Law) -> Law:
        LAWS.extend((function, kind) for kind in kinds)
        return function

    return add


def network(kind: str, seed: int) -> tuple[Weights, UnitGraph]:
    """A network's weights, with normalisations that tell channels apart, and its graph."""
    model = made(kind, seed=seed).double()
    shape = (torch.zeros(2, 6, dtype=torch.long),) if kind == "speaker" else (torch.zeros(2, 1, 8, 8).double(),)
    if kind not in GRAPHS:
        GRAPHS[kind] = units(model, shape)
    own, random = weights(model), generator(seed, "perturbed")
    return {
        name: tensor + 0.1 * torch.rand(tensor.shape, generator=random) if tensor.is_floating_point() else tensor
        for name, tensor in own.items()
    }, GRAPHS[kind]


def copies(
    own: Weights, graph: UnitGraph, seed: int, *, count: int, noise: float = 0.0
) -> tuple[list[Weights], list[dict[str, Tensor]]]:
    """Permuted copies, each with its own noise (in standard deviations of a tensor), and their orders."""
    result, orders = [], []
    for j in range(count):
        random = generator(seed, "copy", j)
        orders.append(graph.random_orders(random))
        noisy = {
            n: t + noise * t.std() * torch.randn(t.shape, generator=random) if noise and t.numel() > 1 else t
            for n, t in own.items()
        }
        result.append(graph.gather(noisy, orders[-1]))
    return result, orders


def own_maps(found: dict[str, tuple[Tensor, ...]], graph: UnitGraph) -> list[Maps]:
    """Each client's assignments, with blocks in its own order."""
    count = len(next(iter(found.values())))
    return [original_order({group: own[j] for group, own in found.items()}, graph) for j in range(count)]


def fused(
    entry: Entry, models: list[Weights], graph: UnitGraph, *, widths: list | None = None, **how: object
) -> tuple[Weights, dict[str, tuple[Tensor, ...]]]:
    """What one-shot fusion by this matcher gives, all models counting alike."""
    return fuse_weights(
        models,
        graph,
        widths=widths or [graph.widths] * len(models),
        shares=[1.0] * len(models),
        matcher=Matcher(entry.name, **how),
    )


def as_client(
    entry: Entry, found: tuple[Weights, dict[str, tuple[Tensor, ...]]], graph: UnitGraph, client: int
) -> Weights:
    """The fused model's part that a client owns, in the client's own order."""
    model, assignments = found
    return graph.gather(model, own_maps(assignments, graph)[client]) if entry.assigns else model


def strangers(kind: str, count: int = 2) -> tuple[list[Weights], UnitGraph]:
    """Models that have nothing in common."""
    return [network(kind, seed)[0] for seed in range(count)], network(kind, 0)[1]


@law(*KINDS)
def one_client_comes_back(entry: Entry, kind: str) -> None:
    own, graph = network(kind, 1)
    torch.testing.assert_close(as_client(entry, fused(entry, [own], graph), graph, 0), own, **CLOSE)


@law(*KINDS)
def identical_clients_give_that_client(entry: Entry, kind: str) -> None:
    own, graph = network(kind, 2)
    found = fused(entry, [own] * 3, graph)
    for client in range(3):
        torch.testing.assert_close(as_client(entry, found, graph, client), own, **CLOSE)


@law(*KINDS)
def permuted_copies_are_recovered(entry: Entry, kind: str) -> None:
    """By every matcher that moves units: each copy finds itself in the fused model, whatever the clients' weights."""
    own, graph = network(kind, 3)
    models, _ = copies(own, graph, 3, count=3)
    found = fused(entry, models, graph)
    if not entry.moves:
        assert all((own == torch.arange(own.shape[-1])).all() for group in found[1].values() for own in group)
        return
    for client, model in enumerate(models if entry.assigns else models[:1]):
        torch.testing.assert_close(as_client(entry, found, graph, client), model, **CLOSE)


@law("mlp", "residual", "attention")
def assignments_are_valid(entry: Entry, kind: str) -> None:
    """No client uses a slot twice, and slots are numbered 0…k−1 without gaps, in every block."""
    models, graph = strangers(kind)
    assignments = fused(entry, models, graph)[1]
    assert set(assignments) == (set(graph.groups) if entry.assigns else set())
    for group, found in assignments.items():
        for own in found:
            assert own.dtype == torch.long
            assert own.shape[-1] == graph.widths[group]
        for block in zip(*(own.reshape(-1, own.shape[-1]) for own in found), strict=True):
            assert all(len(own.unique()) == len(own) for own in block)
            assert torch.cat(block).unique().tolist() == list(range(int(torch.cat(block).max()) + 1))


@law("mlp", "residual")
def the_average_is_that_of_the_assignments(entry: Entry, kind: str) -> None:
    models, graph = strangers(kind)
    model, assignments = fused(entry, models, graph)
    if entry.assigns:
        wide = {**graph.widths, **{group: 1 + max(int(a.max()) for a in own) for group, own in assignments.items()}}
        maps = own_maps(assignments, graph)
        mean = average(models, graph, names=models[0], maps=maps, widths=wide, shares=[1.0] * len(models))
        torch.testing.assert_close(model, mean, **CLOSE)
    else:
        assert {name: tensor.shape for name, tensor in model.items()} == {n: t.shape for n, t in models[0].items()}


@law("mlp", "residual")
def widths_are_respected(entry: Entry, kind: str) -> None:
    """At most `max_growth` times the widest client, and its width where the matcher or the call does not grow."""
    models, graph = strangers(kind)
    for how, most in (({"max_growth": 1.25}, 1.25 if entry.grows else 1.0), ({"grow": False}, 1.0)):
        found = graph.widths_in(fused(entry, models, graph, **how)[0])
        for group, width in found.items():
            assert graph.widths[group] <= width <= int(most * graph.widths[group] + 1e-9)


@law(*KINDS)
def clients_of_other_widths_are_matched_or_refused(entry: Entry, kind: str) -> None:
    own, graph = network(kind, 4)
    slim = {name: group.size - 2 for name, group in graph.groups.items() if group.growable and not group.per}
    narrow = graph.gather(own, {name: torch.arange(size) for name, size in slim.items()})
    widths = [graph.widths, {**graph.widths, **slim}]
    with suppress(MatchingError):
        found = graph.widths_in(fused(entry, [own, narrow], graph, widths=widths, grow=False)[0])
        assert found == graph.widths


@law("mlp", "speaker")
def the_same_call_gives_the_same_result_and_leaves_the_clients_alone(entry: Entry, kind: str) -> None:
    models, graph = strangers(kind)
    before = [{name: tensor.clone() for name, tensor in own.items()} for own in models]
    first, second = (fused(entry, models, graph, seed=5) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(models, before, rtol=0, atol=0)


@law(*KINDS)
def where_it_says_so_the_order_of_the_clients_is_irrelevant(entry: Entry, kind: str) -> None:
    models, graph = strangers(kind)
    if entry.symmetric:
        torch.testing.assert_close(fused(entry, models[::-1], graph)[0], fused(entry, models, graph)[0], **CLOSE)


@law("mlp", "cnn")
def weights_that_are_not_finite_are_refused(entry: Entry, kind: str) -> None:
    models, graph = strangers(kind)
    name = next(name for name in models[1] if graph.made_by(name) and models[1][name].dim() > 1)
    models[1][name] = models[1][name] * float("nan")
    with pytest.raises(MatchingError, match="not finite"):
        fused(entry, models, graph)

"""Settling steps of a FedMA round at the server: groups keep their slots or are matched, tensors are averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from fedma.algorithms.base import State, class_counts, sample_counts
from fedma.algorithms.fedma.round_steps import Course
from fedma.algorithms.messages import Reply
from fedma.algorithms.relabel import laid, moved, nearest
from fedma.matching import Matcher, Step, average, match_step, original_order, slots
from fedma.units import Weights
from fedma.units.layout import Maps, Widths


def keep(course: Course, state: State, replies: Sequence[Reply], *, drifting: bool) -> tuple[State, int]:
    """The state with the first steps averaged, as far as groups keep their slots; the number of these steps.

    A client counts with the global weights where it has none of its own, so what nobody changed stays.

    Args: `drifting`: end before the first group of which some client's unit has come nearer to another slot than to
        its own.
    """
    graph, wide = course.graph, course.wide(state, len(course))
    orders = [original_order(state.maps[reply.client], graph) for reply in replies]
    over = [laid(reply.weights, state.weights, graph, own, wide) for reply, own in zip(replies, orders, strict=True)]
    kept = len(course)
    if drifting:
        drifted = (k for k, step in enumerate(course.steps) if _drifted(course, state, replies, over, step))
        kept = next(drifted, kept)
    owned = [_owned(course, state, reply) for reply in replies]
    names = course.tensors(0, kept)
    shares, rest = sample_counts(replies), state.weights
    mean = partial(_averaged, course, state, replies=replies, own=over, shares=shares, unowned=rest)
    return mean(names=names, owned=owned, widths=wide), kept


def match(
    course: Course, state: State, replies: Sequence[Reply], own: Sequence[Weights], *, k: int, matcher: Matcher
) -> State:
    """The state after step k: its groups matched, its tensors averaged over their owners.

    Args: `own` are the clients' tensors, of earlier groups in global order. Who did not reply loses its slots.
    """
    step, wide = course.steps[k], course.wide(state, k)
    widths = [course.widths(state, reply.client, wide) for reply in replies]
    matched = match_step(own, course.graph, step, widths=widths, matcher=matcher)
    now = {reply.client: {group: found[j] for group, found in matched.items()} for j, reply in enumerate(replies)}
    kept = {c: {g: units for g, units in maps.items() if g not in matched} for c, maps in state.maps.items()}
    found = {group: slots(own) for group, own in matched.items()}
    maps = {client: {**maps, **now.get(client, {})} for client, maps in kept.items()}
    state = replace(state, maps=maps, widths={**state.widths, **found})
    return _averaged(
        course,
        state,
        replies=replies,
        own=own,
        names=step.tensors,
        widths=course.wide(state, k + 1),
        maps=[original_order(now[reply.client], course.graph) for reply in replies],
        owned=[_owned(course, state, reply) for reply in replies],
    )


def pool(course: Course, state: State, replies: Sequence[Reply]) -> State:
    """The state with the running statistics of earlier steps pooled: below these, all clients have the same units."""
    k = state.settled[1]
    own = [reply.weights for reply in replies]
    return _averaged(course, state, replies=replies, own=own, names=course.statistics(k), widths=course.wide(state, k))


def move(
    course: Course, state: State, replies: Sequence[Reply], own: Sequence[Weights], *, start: int, end: int
) -> list[Weights]:
    """The clients' tensors, brought into the order that these steps have settled."""
    made = {name: state.weights[name] for name in course.tensors(start, end)}
    wide = course.wide(state, end)
    return [
        moved(
            weights,
            course.graph,
            maps=original_order({g: state.maps[reply.client][g] for g in course.groups(start, end)}, course.graph),
            widths=course.widths(state, reply.client, wide),
            slots=made,
            fit=course.fits(start, end),
        )
        for reply, weights in zip(replies, own, strict=True)
    ]


def _averaged(
    course: Course,
    state: State,
    *,
    replies: Sequence[Reply],
    own: Sequence[Mapping[str, Tensor]],
    names: Sequence[str],
    widths: Widths,
    maps: Sequence[Maps] | None = None,
    owned: Sequence[Maps] | None = None,
    shares: Sequence[float] | None = None,
    unowned: Weights | None = None,
) -> State:
    """The state with the means of some tensors, arguments as for `average`; by default clients have equal shares."""
    weights = average(
        own,
        course.graph,
        names=names,
        maps=maps or [{}] * len(own),
        widths={**course.graph.widths, **widths},
        shares=shares or [1.0] * len(own),
        owned=owned,
        samples=sample_counts(replies),
        class_counts=class_counts(replies),
        unowned=unowned,
        trim=course.trim,
    )
    return replace(state, weights={**state.weights, **weights})


def _owned(course: Course, state: State, reply: Reply) -> dict[str, Tensor]:
    """The slots that a client owns, in the groups that may have others."""
    return {g: units for g, units in state.maps[reply.client].items() if course.graph.groups[g].growable}


def _drifted(course: Course, state: State, replies: Sequence[Reply], over: Sequence[Weights], step: Step) -> bool:
    """Whether units of this step's groups have come nearer to other slots than to their own."""
    graph, wide = course.graph, course.wide(state, len(course))
    return any(
        nearest(
            weights, state.weights, graph, group, names=step.tensors, units=state.maps[reply.client][group], widths=wide
        )
        < 1
        for group in step.groups
        for reply, weights in zip(replies, over, strict=True)
    )

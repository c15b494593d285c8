"""Fuses several models into one, and brings several models into the order of the fused one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fedma.errors import GraphError, InputError, MatchingError
from fedma.fusion.alike import check_names, same_code, scaled, sound
from fedma.fusion.arguments import check_call, check_matcher, checked_counts, list_of, shares_of
from fedma.matching import Function, Matcher, fuse_weights, original_order, slots
from fedma.matching.averaging.regmean import check_moments
from fedma.matching.clients import OnBad, bad_models, check_alike
from fedma.matching.one_shot import TRIES
from fedma.matching.registry import DEFAULT
from fedma.norms import settle_spectral_norms
from fedma.units import UnitGraph, rebuild, units
from fedma.units import weights as weights_of
from fedma.units.activity import Moments
from fedma.units.inputs import Examples, Inputs, run
from fedma.units.layout import Widths


@dataclass(frozen=True)
class Fusion:
    """The result of `fuse`.

    Attributes:
        model: the fused model, a new module.
        assignments: per group, for each model a LongTensor unit → slot; empty for a model that was left out. A
            matcher of couplings does not match units one to one, so it gives no groups.
        graph: the unit graph of the first model that was not left out.
        excluded: the models that were left out, by number, and why.
        inputs: the example inputs, on which the models were compared.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import fedma
        >>> models = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2)]
        >>> fusion = fedma.fuse(models, torch.ones(1, 4), grow=False)
        >>> fusion.widths
        {'0': 8}
        >>> [len(slots) for slots in fusion.assignments["0"]]
        [8, 8]
    """

    model: nn.Module
    assignments: Mapping[str, tuple[Tensor, ...]]
    graph: UnitGraph
    excluded: Mapping[int, str] = field(default_factory=dict)
    inputs: Any = field(default=None, repr=False, compare=False)

    @property
    def widths(self) -> dict[str, int]:
        """The fused model's units per group."""
        return self.graph.widths_in(weights_of(self.model))


def fuse(
    models: Sequence[nn.Module],
    example_inputs: Any,
    *,
    weights: Sequence[float] | None = None,
    class_counts: Tensor | None = None,
    matcher: str | Function = DEFAULT,
    fitted: bool | None = None,
    tries: int = TRIES,
    grow: bool = True,
    max_growth: float = 1.5,
    recurrent: bool = False,
    moments: Sequence[Moments] | None = None,
    on_bad: OnBad = "raise",
    seed: int = 0,
    **options: Any,
) -> Fusion:
    """One model out of several that were trained apart: their units are matched, then averaged. Needs no data.

    Args:
        models: models of one architecture and dtype, on any devices; widths may differ. Their code must compute the
            same, apart from factors of single terms (the scales of adapters), which are moved into the weights.
        example_inputs: what a model is called with: a tensor, a tuple of tensors, or a dict of keyword arguments.
        weights: per model, its weight in the averages, such as its number of training samples (default: equal).
            Only their ratios count.
        class_counts: (models, classes) training samples of each class. If given, the layers with an output per class
            are averaged by class proportions.
        matcher: how units are matched: the name of a registered matcher, `package.module:name`, or a function of your
            own. See `fedma.matching.registry` and `fedma.matching.Function`.
        fitted: whether a model's weights on matched units are fitted to the fused units, or only reordered, as in FedMA
            and PFNM. See `fedma.matching.averaging.fit_readers`. By default True for "bbp" only.
        tries: number of client orders to try per group (only if fitted). The matching whose fused units best explain
            the inputs of the next layers is kept. Time grows linearly.
        grow: whether the fused model may be wider than the models.
        max_growth: largest width of the fused model, as a multiple of the widest model's; at least 1. It has no effect
            with hyper="reference".
        recurrent: whether recurrent units are also matched by their recurrent weights; see `Matcher`.
        moments: the result of `fedma.moments` for each model. Weights that read units are then averaged by regression
            (`fedma.matching.averaging.regmean`), except those averaged by class. This repairs part of what averaging
            unlike units loses; it has not improved fitted weights.
        on_bad: "exclude" leaves out models with weights that are not finite or far out of scale; "raise" refuses them.
        seed: decides the order in which the models are visited.
        options: further arguments of `fedma.match`.

    Returns:
        The fused model and how it was made. The model copies the code, device and mode of the first model that can have
        its widths. Spectral norms are recomputed from the fused weights.

    Raises:
        InputError: there is no model, a weight is not positive, class counts or moments do not fit, or a matcher or
            option is unknown.
        GraphError: the models differ in architecture or dtype, or compute different functions with the same weights.
            Or they have complex weights, or no unit can be moved.
        MatchingError: weights are not finite or out of scale, or a function of your own returned no usable matching.
            Or the matcher cannot join these widths, or no model can have the fused widths.
        MissingExtra: the matcher's package is not installed.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import fedma
        >>> first = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> order = torch.arange(8).flip(0)
        >>> second = fedma.units(first, torch.ones(1, 4)).permute(first, {"0": order})  # the same units in reverse
        >>> fused = fedma.fuse([first, second], torch.ones(1, 4)).model
        >>> x = torch.linspace(-1, 1, 12).reshape(3, 4)
        >>> bool(torch.allclose(fused(x), first(x), atol=1e-4))
        True

    Source: PFNM (Yurochkin et al., ICML 2019); FedMA, Algorithm 1, without retraining.
    """
    models = list_of(models)
    check_matcher(matcher)
    shares = shares_of(weights, len(models))
    how = Matcher(
        name=matcher if isinstance(matcher, str) else DEFAULT,
        function=None if isinstance(matcher, str) else matcher,
        grow=grow,
        max_growth=max_growth,
        recurrent=recurrent,
        options=options,
        seed=seed,
    )
    check_call(how.entry, fitted=fitted, tries=tries, moments=moments)
    graphs = _graphs(models, example_inputs)
    own, widths = [_on_cpu(model) for model in models], [graph.widths for graph in graphs]
    check_alike(own, graphs[0], widths=widths)
    factors = same_code(models, example_inputs)
    own = [scaled(tensors, moved) for tensors, moved in zip(own, factors, strict=True)]
    if how.entry.moves:
        graphs[0].check_movable()
    if class_counts is not None:
        class_counts = checked_counts(class_counts, len(models), graphs[0])
    if moments is not None:
        check_moments(moments, graphs[0], widths=widths)
    excluded = bad_models(own, graphs[0], widths=widths, on_bad=on_bad)
    kept = [number for number in range(len(models)) if number not in excluded]
    if excluded and (own_options := sorted({"sigma", "orders", "init_order"} & options.keys())):
        raise InputError(
            f"models {list(excluded)} are left out, but {', '.join(own_options)} may count them; leave these models out"
        )
    graph = graphs[0] if kept[0] == 0 else _graph(models, kept[0], example_inputs)
    fused, assignments = fuse_weights(
        [own[number] for number in kept],
        graph,
        widths=[widths[number] for number in kept],
        shares=[shares[number] for number in kept],
        class_counts=None if class_counts is None else class_counts[kept],
        matcher=how,
        fitted=matcher == DEFAULT if fitted is None else fitted,
        tries=tries if how.entry.random else 1,
        moments=None if moments is None else [moments[number] for number in kept],
    )
    wide = {**widths[kept[0]], **{group: slots(found) for group, found in assignments.items()}}
    codes = [models[0] if factors[number] else models[number] for number in kept]
    bases = _nearest(codes, graph, widths=[widths[number] for number in kept], wide=wide)
    model = _rebuilt(bases, fused, example_inputs)
    return Fusion(model, _numbered(assignments, kept, len(models)), graph, excluded, example_inputs)


def aligned(models: Sequence[nn.Module], fusion: Fusion) -> list[nn.Module]:
    """New modules that compute what the models do, with their units in the fused model's order.

    They have the fused widths. If a model owns no unit of a slot, it gets a unit without effect. All modules compute
    the same function of their weights, as in `fuse`, so their weights can be averaged.

    Args:
        models: the models that were fused.
        fusion: the result of `fuse`.

    Raises:
        GraphError: the models compute different functions with the same weights.
        InputError: the matcher coupled units, a model was left out of the fusion, or a group would have to grow but
            cannot.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import fedma
        >>> models = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2)]
        >>> fusion = fedma.fuse(models, torch.ones(1, 4))
        >>> both = fedma.aligned(models, fusion)
        >>> x = torch.linspace(-1, 1, 12).reshape(3, 4)
        >>> all(torch.allclose(new(x), old(x), atol=1e-5) for new, old in zip(both, models))
        True
    """
    models = list_of(models)
    if fusion.excluded or (fusion.graph.groups and not fusion.assignments):
        raise InputError("models can be aligned only where all were matched unit by unit (no coupling, none excluded)")
    widths = {**fusion.graph.widths, **fusion.widths}
    _check_growth(fusion, widths)
    maps = [
        original_order({group: own[j] for group, own in fusion.assignments.items()}, fusion.graph)
        for j in range(len(models))
    ]
    factors = [{} for _ in models] if fusion.inputs is None else same_code(models, fusion.inputs)
    found = []
    for model, own, moved in zip(models, maps, factors, strict=True):
        weights = scaled(weights_of(model), moved)
        found.append(rebuild(models[0] if moved else model, {**weights, **fusion.graph.scatter(weights, own, widths)}))
    return found


def _numbered(
    assignments: Mapping[str, Sequence[Tensor]], kept: Sequence[int], models: int
) -> dict[str, tuple[Tensor, ...]]:
    """The assignments of all models; empty for models that were left out."""
    place = {number: j for j, number in enumerate(kept)}
    none = torch.zeros(0, dtype=torch.long)
    return {
        group: tuple(own[place[number]] if number in place else none for number in range(models))
        for group, own in assignments.items()
    }


def _on_cpu(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by name, on the CPU."""
    return {name: tensor.cpu() for name, tensor in weights_of(model).items()}


def _graphs(models: Sequence[nn.Module], example_inputs: Any) -> list[UnitGraph]:
    """Each model's unit graph. Models with the first one's shapes share its graph."""
    check_names(models)
    first = _graph(models, 0, example_inputs)
    shapes = _shapes(models[0])
    graphs = [
        first if _shapes(model) == shapes else _graph(models, number, example_inputs)
        for number, model in enumerate(models)
    ]
    for number, graph in enumerate(graphs):
        if list(graph.groups) != list(first.groups):
            raise GraphError(
                f"model {number} is of another architecture than model 0: it has {len(graph.groups)} unit groups, "
                f"model 0 has {len(first.groups)}; "
                "only models of one architecture can be fused (their widths may differ)"
            )
    return graphs


def _graph(models: Sequence[nn.Module], number: int, example_inputs: Any) -> UnitGraph:
    """One model's unit graph.

    Raises:
        GraphError: the model has none; the message names the model.
    """
    try:
        return units(sound(models[number]), example_inputs)
    except GraphError as error:
        raise GraphError(f"model {number}: {error}") from error


def _nearest(
    models: Sequence[nn.Module], graph: UnitGraph, *, widths: Sequence[Widths], wide: Widths
) -> list[nn.Module]:
    """The models, ordered by how many groups that cannot grow have these widths already."""
    held = [name for name, group in graph.groups.items() if not group.growable]
    off = [sum(own[name] != wide[name] for name in held) for own in widths]
    return [models[number] for number in sorted(range(len(models)), key=off.__getitem__)]


def _rebuilt(models: Sequence[nn.Module], weights: Mapping[str, Tensor], example_inputs: Examples) -> nn.Module:
    """A model with these weights, made from the first of these models whose code runs with them."""
    reasons = []
    for model in models:
        fresh = rebuild(model, weights)
        settle_spectral_norms(fresh)
        try:
            run(fresh, Inputs.of(example_inputs))
        except GraphError as error:
            reasons.append(error)
        else:
            return fresh
    raise MatchingError(
        f"none of the models can have the fused widths, as they keep widths of their own: {reasons[0]}; "
        "fuse models of one width"
    ) from reasons[0]


def _check_growth(fusion: Fusion, widths: Widths) -> None:
    """Refuse to align models that would have to grow where they cannot."""
    for group, own in fusion.assignments.items():
        for number, placed in enumerate(own):
            if placed.shape[-1] < widths[group] and not fusion.graph.groups[group].growable:
                raise InputError(
                    f"model {number} has {placed.shape[-1]} units in group {group!r}, the fused one {widths[group]}, "
                    f"and this group cannot grow: {fusion.graph.groups[group].reason}; align models of one width"
                )


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights_of(model).items()}

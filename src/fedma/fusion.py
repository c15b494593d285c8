"""Fusing models that were trained apart: match one group, bring every model to the global order, go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fedma.errors import GraphError, InputError, MatchingError
from fedma.matching import Function, Matcher, fuse_weights, original_order, slots
from fedma.matching.averaging.owners_mean import class_axes
from fedma.matching.averaging.regmean import check_moments
from fedma.matching.clients import OnBad, bad_models, check_alike
from fedma.matching.one_shot import TRIES
from fedma.matching.registry import DEFAULT, Entry
from fedma.norms import settle_spectral_norms
from fedma.units import UnitGraph, rebuild, units
from fedma.units import weights as weights_of
from fedma.units.activity import Moments
from fedma.units.inputs import Examples, Inputs, run
from fedma.units.layout import Widths


@dataclass(frozen=True)
class Fusion:
    """What `fuse` gives.

    Attributes:
        model: the fused model, a new module.
        assignments: per group, for each model a LongTensor unit → slot, empty for a model that was left out; no
            groups where units are not matched one to one (a matcher of couplings).
        graph: the unit graph of the first model that was not left out.
        excluded: the models that were left out, by number, and why.
    """

    model: nn.Module
    assignments: Mapping[str, tuple[Tensor, ...]]
    graph: UnitGraph
    excluded: Mapping[int, str] = field(default_factory=dict)

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
        models: models of one architecture and dtype, on any devices; widths may differ.
        example_inputs: what a model is called with: a tensor, a tuple of tensors, or a dict of keyword arguments.
        weights: per model, its weight in the averages, such as its number of training samples (default: equal).
            Only their ratios count.
        class_counts: (models, classes) training samples of each class; where given, the output layer is averaged
            by class proportions. Other outputs, of which there are not as many as classes, are not.
        matcher: how units are matched: a registered matcher or `package.module:name`, see `fedma.matching.registry`;
            or a function of your own, see `fedma.matching.Function`.
        fitted: whether a model's weights on matched units are fitted to the fused units, see
            `fedma.matching.averaging.fit_readers`, or only placed, as FedMA and PFNM do. By default fitted for "bbp".
        tries: where weights are fitted, in how many orders each group is matched; kept is the matching whose fused
            units explain most of what the next layers read. The time grows with it.
        grow: whether the fused model may be wider than the models.
        max_growth: how many times as wide as the widest model at most; hyper="reference" knows no such bound.
        recurrent: whether recurrent units are matched by what they read of each other, too; see `Matcher`.
        moments: what `fedma.moments` gives of each model: the weights that read units are then averaged by regression
            (`fedma.matching.averaging.regmean`), except those averaged by class. It repairs part of what averaging
            unlike units loses; fitted weights have gained nothing from it.
        on_bad: "exclude" leaves out models that cannot be fused, as if they were not there: weights that are not
            finite, or far out of scale.
        seed: decides the order in which the models are visited.
        options: further arguments of `fedma.match`.

    Returns:
        The fused model is in the code, on the device and in the mode of the first model that can have its widths: some
        keep a width of their own in an attribute. Spectral norms are those of the fused weights.

    Raises:
        InputError: no model, weights that are not positive, class counts or moments that do not fit, an unknown
            matcher or option.
        GraphError: the models are not of one architecture or dtype, have complex weights, or units of which none can
            be moved.
        MatchingError: weights that are not finite or out of scale, widths that the matcher cannot join or that no
            model can have, a matching of one's own that cannot be used.
        MissingExtra: a matcher whose package is not installed.

    Source: PFNM (Yurochkin et al., ICML 2019); FedMA, Algorithm 1, without retraining.
    """
    models = _modules(models)
    shares = _shares(weights, len(models))
    if not (isinstance(matcher, str) or callable(matcher)):
        raise InputError(f"matcher is {matcher!r}; give the name of a matcher, or a function of your own")
    how = Matcher(
        name=matcher if isinstance(matcher, str) else DEFAULT,
        function=None if isinstance(matcher, str) else matcher,
        grow=grow,
        max_growth=max_growth,
        recurrent=recurrent,
        options=options,
        seed=seed,
    )
    _check_call(how.entry, fitted=fitted, tries=tries, moments=moments)
    graphs = _graphs(models, example_inputs)
    own, widths = [_on_cpu(model) for model in models], [graph.widths for graph in graphs]
    check_alike(own, graphs[0], widths=widths)
    if how.entry.moves:
        graphs[0].check_movable()
    if class_counts is not None:
        class_counts = _counts(class_counts, len(models), graphs[0])
    if moments is not None:
        check_moments(moments, graphs[0], widths=widths)
    excluded = bad_models(own, graphs[0], widths=widths, on_bad=on_bad)
    kept = [number for number in range(len(models)) if number not in excluded]
    if excluded and (own_options := sorted({"sigma", "orders", "init_order"} & options.keys())):
        raise InputError(
            f"models {list(excluded)} are left out, but {', '.join(own_options)} may count them; leave these models out"
        )
    graph = graphs[0] if kept[0] == 0 else units(models[kept[0]], example_inputs)
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
    bases = _nearest([models[number] for number in kept], graph, widths=[widths[number] for number in kept], wide=wide)
    model = _rebuilt(bases, fused, example_inputs)
    return Fusion(model, _numbered(assignments, kept, len(models)), graph, excluded)


def aligned(models: Sequence[nn.Module], fusion: Fusion) -> list[nn.Module]:
    """The models with their units where the fused model has them: new modules that compute what the models do.

    At the fused widths: where a model owns no unit of a slot, it has a unit that says nothing.

    Args:
        models: those that were fused.
        fusion: what `fuse` gave.

    Raises:
        InputError: the matcher coupled units, and so moves none; a model was left out of the fusion; or a model would
            have to be wider where it cannot grow.
    """
    models = _modules(models)
    if fusion.excluded or (fusion.graph.groups and not fusion.assignments):
        raise InputError("models can be aligned only where all were matched unit by unit (no coupling, none excluded)")
    widths = {**fusion.graph.widths, **fusion.widths}
    _check_growth(fusion, widths)
    maps = [
        original_order({group: own[j] for group, own in fusion.assignments.items()}, fusion.graph)
        for j in range(len(models))
    ]
    return [
        rebuild(model, {**weights_of(model), **fusion.graph.scatter(weights_of(model), own, widths)})
        for model, own in zip(models, maps, strict=True)
    ]


def _numbered(
    assignments: Mapping[str, Sequence[Tensor]], kept: Sequence[int], models: int
) -> dict[str, tuple[Tensor, ...]]:
    """The assignments of all models, empty ones for those that were left out."""
    place = {number: j for j, number in enumerate(kept)}
    none = torch.zeros(0, dtype=torch.long)
    return {
        group: tuple(own[place[number]] if number in place else none for number in range(models))
        for group, own in assignments.items()
    }


def _modules(models: Sequence[nn.Module]) -> list[nn.Module]:
    """The models, as a list.

    Raises:
        InputError: one module, whose parts are no models to fuse; no model; something else among them.
    """
    if isinstance(models, nn.Module):
        raise InputError(f"models is one {type(models).__name__}; give a list of models: [first, second, ...]")
    models = list(models)
    if not models:
        raise InputError("there is no model to fuse; give at least one")
    for number, model in enumerate(models):
        if not isinstance(model, nn.Module):
            raise InputError(f"model {number} is {type(model).__name__}; give a list of nn.Modules")
    return models


def _check_call(entry: Entry, *, fitted: bool | None, tries: int, moments: Sequence[Moments] | None) -> None:
    """Refuse arguments that do not go together."""
    if fitted and not entry.by_steps:
        raise InputError(
            f"fitted=True means nothing to the matcher {entry.name!r}, which moves units as a whole; leave it out"
        )
    if tries < 1:
        raise InputError(f"tries is {tries}; matching each group once is tries=1")
    if moments is not None and not entry.assigns:
        raise InputError(f"moments mean nothing to the matcher {entry.name!r}, which couples units; leave them out")


def _on_cpu(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by name, where those of all models can meet."""
    return {name: tensor.cpu() for name, tensor in weights_of(model).items()}


def _shares(weights: Sequence[float] | None, models: int) -> list[float]:
    """The models' weights in the averages, scaled to sum to one."""
    try:
        shares = torch.tensor([1.0] * models if weights is None else list(weights), dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"weights must be {models} positive numbers; got {weights}") from error
    if shares.shape != (models,) or not bool(((shares > 0) & shares.isfinite()).all()):
        raise InputError(f"weights must be {models} positive numbers, one for each model; got {weights}")
    shares = shares / shares.max()  # whose sum is finite
    return [float(share) for share in shares / shares.sum()]


def _counts(class_counts: Tensor, models: int, graph: UnitGraph) -> Tensor:
    """The class counts, if they count and something makes an output for each class."""
    if not isinstance(class_counts, Tensor) or class_counts.dim() != 2 or len(class_counts) != models:
        found = tuple(class_counts.shape) if isinstance(class_counts, Tensor) else type(class_counts).__name__
        raise InputError(f"class_counts must be a tensor of {models} models × classes; got {found}")
    if not bool(((class_counts >= 0) & class_counts.isfinite()).all()):
        raise InputError("class_counts holds numbers that are negative or not finite; it counts samples of each class")
    if not class_axes(graph, class_counts.shape[1]):
        raise InputError(
            "class_counts are given, but no tensor of the model is known to make its outputs, one for each class "
            "(it may be tied to another layer, or something may be done to the outputs); leave them out"
        )
    return class_counts.cpu()


def _graphs(models: Sequence[nn.Module], example_inputs: Any) -> list[UnitGraph]:
    """Each model's unit graph; a model of the first one's shapes has the first one's."""
    first = units(models[0], example_inputs)
    shapes = _shapes(models[0])
    graphs = [first if _shapes(model) == shapes else units(model, example_inputs) for model in models]
    for number, graph in enumerate(graphs):
        if list(graph.groups) != list(first.groups) or list(graph.layouts) != list(first.layouts):
            raise GraphError(
                f"model {number} is of another architecture than model 0: it has {len(graph.layouts)} tensors in "
                f"{len(graph.groups)} unit groups, model 0 has {len(first.layouts)} in {len(first.groups)}; "
                "only models of one architecture can be fused (their widths may differ)"
            )
    return graphs


def _nearest(
    models: Sequence[nn.Module], graph: UnitGraph, *, widths: Sequence[Widths], wide: Widths
) -> list[nn.Module]:
    """The models, those first that have most of these widths in the groups that cannot grow."""
    held = [name for name, group in graph.groups.items() if not group.growable]
    off = [sum(own[name] != wide[name] for name in held) for own in widths]
    return [models[number] for number in sorted(range(len(models)), key=off.__getitem__)]


def _rebuilt(models: Sequence[nn.Module], weights: Mapping[str, Tensor], example_inputs: Examples) -> nn.Module:
    """A model that holds these weights, out of the first of these models whose code runs with them."""
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

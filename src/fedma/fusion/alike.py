"""Whether models can be fused: one architecture, whose code computes the same with the same weights."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedma.errors import GraphError
from fedma.seeds import generator
from fedma.units import rebuild
from fedma.units import weights as weights_of
from fedma.units.compare import Code, Difference
from fedma.units.explain import Side, explained
from fedma.units.inputs import Inputs, outputs
from fedma.units.names import prefix, wrapped
from fedma.units.scales import folded
from fedma.units.shake import SPREADS, difference, in_double, perturbed, roused
from fedma.units.state import load, tensors
from fedma.units.transcript import Transcript, constants, transcribe

ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
"""How far outputs may differ, by dtype, after factors were moved into weights: the effect of rounding."""
SPOILT = 1e8
"""No sound training gives weights of this size."""
Factors = Mapping[str, float]
"""Factors for tensors, by name."""


def check_names(models: Sequence[nn.Module]) -> None:
    """Refuse models whose tensors have other names or numbers of axes.

    Raises:
        GraphError: names the first tensor that differs, and what both models have.
    """
    first = tensors(models[0])
    for number, model in enumerate(models[1:], start=1):
        own, here = tensors(model), f"model {number}"
        if what := _tied(first, model, here) or _unlike(first, own, here):
            raise GraphError(f"{here} is of another architecture than model 0: {what}; {_advice(first, own, here)}")


def _tied(first: Mapping[str, Tensor], model: nn.Module, here: str) -> str:
    """Describe the first tensor that is tied in this model but not in model 0; empty if there is none."""
    own = {id(tensor): name for name, tensor in tensors(model).items()}
    names = {name: own[id(tensor)] for name, tensor in model.named_parameters(remove_duplicate=False)}
    tied = next((name for name in first if names.get(name, name) != name), None)
    return f"in {here} {tied!r} is tied to {names[tied]!r}, in model 0 it is not" if tied is not None else ""


def _unlike(first: Mapping[str, Tensor], own: Mapping[str, Tensor], here: str) -> str:
    """Describe the first tensor in which two models differ by more than widths; empty if there is none."""
    for name, tensor in first.items():
        if name not in own:
            other = next((f"; {here} has {_told(own, extra)}" for extra in own if extra not in first), "")
            return f"model 0 has {_told(first, name)}, {here} has no tensor of this name{other}"
        if own[name].dim() != tensor.dim():
            return f"{name!r} has shape {tuple(own[name].shape)}, in model 0 {tuple(tensor.shape)}"
    extra = next((name for name in own if name not in first), None)
    return f"{here} has {_told(own, extra)}, model 0 has no tensor of this name" if extra is not None else ""


def _advice(first: Mapping[str, Tensor], own: Mapping[str, Tensor], here: str) -> str:
    """What to do if two models' tensors have different names."""
    for names, known, whose in ((own, first, here), (first, own, "model 0")):
        if clause := wrapped(names, known, whose=f"the names of {whose}"):
            part = prefix(names, known).removesuffix(".")
            return f"{clause}; give the model inside{f', its attribute {part!r}' if part else ''}"
    return "only models of one architecture can be fused (their widths may differ)"


def _told(own: Mapping[str, Tensor], name: str) -> str:
    return f"{name!r} of shape {tuple(own[name].shape)}"


def sound(model: nn.Module) -> nn.Module:
    """The model, or a copy with random weights if its own are unusable, so that its code can still be examined."""
    own, fixed = weights_of(model), constants(model)
    learnt = [name for name, tensor in own.items() if tensor.is_floating_point() and name not in fixed]
    if all(float(own[name].abs().max()) < SPOILT for name in learnt if own[name].numel()):  # not for NaN
        return model
    draw = generator(0, "sound")
    return rebuild(model, {name: 0.2 * torch.rand(own[name].shape, generator=draw) for name in learnt})


def same_code(models: Sequence[nn.Module], examples: Any) -> list[Factors]:
    """Refuse models that compute different functions with the same weights.

    Every model gets the first one's weights if its code can have their widths. Both are recorded on the same inputs
    and must apply the same operations to the same values. If values decide which operations run, the models are also
    compared with other weights on other inputs. A factor of one term, such as the scale of an adapter, is moved into
    the weights of this term instead.

    Args:
        models: with tensors of the same names.
        examples: what a model is called with.

    Returns:
        For each model, factors for its tensors by name. With them, the first model's code computes what the model's
        own code does. Most models need none.

    Raises:
        GraphError: a model computes something else. The message shows the first difference, both values, and where.
    """
    inputs = Inputs.of(examples)
    if len({id(model) for model in models}) == 1:
        return [{} for _ in models]
    fixed = set().union(*map(constants, models))
    first = _Model(sound(models[0]), "model 0", fixed)
    found: list[Factors] = [{}]
    for number, model in enumerate(models[1:], start=1):
        found.append({} if model is models[0] else _factors(first, _Model(model, f"model {number}", fixed), inputs))
    return found


class _Model:
    """A model whose code is compared.

    Attributes:
        name: its name in messages.
        fixed: names of the buffers that are constants.
    """

    def __init__(self, module: nn.Module, name: str, fixed: Collection[str]) -> None:
        self.module, self.name, self.fixed = module, name, fixed
        self._read: tuple[nn.Module, Transcript] | None = None

    @property
    def weights(self) -> dict[str, Tensor]:
        """Its tensors without constants."""
        return _without(weights_of(self.module), self.fixed)

    def holding(self, weights: Mapping[str, Tensor], device: torch.device | None = None) -> nn.Module:
        """A copy with these weights.

        Raises:
            GraphError: Python cannot copy it.
        """
        try:
            fresh = rebuild(self.module, weights)
        except GraphError as error:
            raise GraphError(f"{self.name}: {error}") from error
        return fresh if device is None else fresh.to(device)

    def read(self, copy: nn.Module, inputs: Inputs) -> Transcript:
        """The transcript of a copy.

        Raises:
            GraphError: it does not run on these inputs.
        """
        try:
            return transcribe(copy, inputs, fixed=self.fixed)
        except Exception as error:
            raise GraphError(
                f"{self.name} does not run on the example inputs: {type(error).__name__}: {error}; give inputs that "
                "all models take"
            ) from error

    def known(self, inputs: Inputs) -> tuple[nn.Module, Transcript]:
        """A copy with the model's own weights, and its transcript; made once."""
        if self._read is None:
            copy = self.holding({})
            self._read = copy, self.read(copy, inputs)
        return self._read


def _factors(first: _Model, other: _Model, inputs: Inputs) -> Factors:
    """Factors for the other model's tensors; empty if the code is the same.

    Raises:
        GraphError: the code is not the same.
    """
    copies, scripts, loose = _both(first, other, inputs)
    before = first.weights
    growth = {name: _size(tensor) / _size(before[name]) for name, tensor in other.weights.items() if name in before}
    code = Code(scripts[0], loose=loose)
    factors, found = folded(code, scripts[1], growth)
    if found is not None:  # read once more: a first call may make tables that are kept
        scripts = first.read(copies[0], inputs), other.read(copies[1], inputs)
        code = Code(scripts[0], loose=loose)
        factors, found = folded(code, scripts[1], growth)
    if found is not None:
        _refuse_random(first, copies[0], code, inputs)
        what = _told_apart(first, other, code, scripts[1], found)
        raise GraphError(f"{other.name} does not compute what {first.name} does: {what}; {ADVICE}")
    if factors:
        _check_factors(first, other, factors, inputs)
    elif not loose and any(script.decided for script in scripts):
        for weights in _others(other):
            _check_elsewhere(first, other, weights, inputs)
    return factors


def _size(tensor: Tensor) -> float:
    """The mean absolute value of a tensor's entries; one if it is zero or not finite."""
    size = float(tensor.detach().abs().double().mean())
    return size if 0 < size < math.inf else 1.0


ADVICE = "only models of one code can be fused, so give both the same settings, or leave one out"


def _both(
    first: _Model, other: _Model, inputs: Inputs
) -> tuple[tuple[nn.Module, nn.Module], tuple[Transcript, Transcript], bool]:
    """Copies of two models with the first one's weights, their transcripts, and whether their widths differ instead."""
    copy, script = first.known(inputs)
    try:
        same = other.holding(first.weights, _device(first.module))
        return (copy, same), (script, other.read(same, inputs)), False
    except (GraphError, RuntimeError):
        own = other.holding({}, _device(first.module))
        read = other.read(own, inputs)
        if _shapes(own) == _shapes(first.module):
            raise
        return (copy, own), (script, read), True


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors(model).items()}


def _device(model: nn.Module) -> torch.device | None:
    """The device that holds all of a model; None if there are several."""
    devices = {tensor.device for tensor in tensors(model).values()}
    return next(iter(devices)) if len(devices) == 1 else None


def _refuse_random(first: _Model, copy: nn.Module, code: Code, inputs: Inputs) -> None:
    """Refuse a model whose function changes from call to call."""
    if code.difference(first.read(copy, inputs), {}) is not None:
        raise GraphError(
            f"{first.name} computes something else every time, with the same weights and torch's seed: nothing can be "
            "compared; draw its random numbers with torch, and let it keep nothing from call to call"
        )


def _told_apart(first: _Model, other: _Model, code: Code, script: Transcript, found: Difference) -> str:
    """The first difference of two models' computations, in words."""
    one = Side(first.name, first.module, code.script, code.numbers)
    return explained(one, Side(other.name, other.module, script, found.numbers), found)


def _others(model: _Model) -> Iterator[dict[str, Tensor]]:
    """Other weights, at which other branches may run: the model's own, randomly scaled ones, and the opposite."""
    yield model.weights
    yield _without(weights_of(roused(model.module, 0)), model.fixed)
    parameters = {id(parameter) for parameter in model.module.parameters()}
    learnt = [name for name, tensor in tensors(model.module).items() if id(tensor) in parameters]
    yield {name: -tensor if name in learnt else tensor for name, tensor in model.weights.items()}


def _without(weights: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if name not in names}


def _check_elsewhere(first: _Model, other: _Model, weights: Mapping[str, Tensor], inputs: Inputs) -> None:
    """Compare two models with other weights on other inputs, because values decide which operations run.

    Raises:
        GraphError: they compute different functions.
    """
    moved = perturbed(inputs, SPREADS[0])
    copies = first.holding(weights), other.holding(weights, _device(first.module))
    try:
        scripts = first.read(copies[0], moved), other.read(copies[1], moved)
    except GraphError:
        return  # some models do not run on every input
    code = Code(scripts[0])
    found = code.difference(scripts[1], {})
    if found is not None:
        scripts = first.read(copies[0], moved), other.read(copies[1], moved)
        code = Code(scripts[0])
        found = code.difference(scripts[1], {})
    if found is not None:
        what = _told_apart(first, other, code, scripts[1], found)
        raise GraphError(f"{other.name} does not compute what {first.name} does with other weights: {what}; {ADVICE}")


def _check_factors(first: _Model, other: _Model, factors: Factors, inputs: Inputs) -> None:
    """Refuse factors if with them the first model's code does not compute what the other's does.

    Raises:
        GraphError: the outputs differ.
    """
    weights = {name: tensor.double() for name, tensor in other.weights.items() if tensor.is_floating_point()}
    pair = first.holding(other.weights).double(), other.holding({}, _device(first.module)).double()
    load(pair[0], scaled(weights, factors))
    found = [outputs(model, in_double(inputs)) for model in pair]
    kinds = {tensor.dtype for each in found for tensor in each}
    exact = ROUNDING[torch.float64 if kinds == {torch.float64} else torch.float32]
    if (gap := difference(found[0], found[1])) > exact:
        named = ", ".join(f"{name!r} × {factor:g}" for name, factor in factors.items())
        raise GraphError(
            f"{other.name} multiplies by other numbers than {first.name}, and weights that make up for it ({named}) "
            f"change its outputs (by {gap:.1e} of their size); {ADVICE}"
        )


def scaled(weights: Mapping[str, Tensor], factors: Factors) -> dict[str, Tensor]:
    """The weights, some multiplied by a factor."""
    return {name: tensor * factors[name] if name in factors else tensor for name, tensor in weights.items()}

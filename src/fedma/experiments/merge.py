"""Merging checkpoints: files in, models, their fusion, and how good they are before and after."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fedma.data import Dataset, model_inputs
from fedma.errors import GraphError, InputError
from fedma.fusion import Fusion, aligned, fuse
from fedma.matching.registry import MATCHERS
from fedma.models import build
from fedma.seeds import generator
from fedma.training import evaluate
from fedma.training.evaluation import Score
from fedma.units import rebuild, weights
from fedma.units.names import COUNTER, prefix, wrapped


@dataclass(frozen=True)
class Architecture:
    """What the checkpoints are weights of.

    Attributes:
        model: a network of fedma.models, or package.module:factory.
        input_shape: of one input, without the batch.
        classes: number of outputs.
        vocabulary: inputs are tokens below this number; None where they are real numbers.
    """

    model: str
    input_shape: tuple[int, ...]
    classes: int
    vocabulary: int | None = None

    def template(self) -> nn.Module:
        """A fresh model."""
        return build(self.model, self.input_shape, self.classes, seed=0, vocabulary=self.vocabulary)

    def example(self) -> Tensor:
        """Two inputs, drawn at random."""
        draw, shape = generator(0, "inputs"), (2, *self.input_shape)
        return torch.rand(shape, generator=draw) if self.vocabulary is None else self._tokens(shape, draw)

    def _tokens(self, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
        return torch.randint(self.vocabulary or 1, shape, generator=draw)


def header(path: Path) -> Mapping[str, Any]:
    """What a file says of its model, if a run or a merger of fedma wrote it; else nothing.

    Raises:
        InputError: not a safetensors file.
    """
    if path.is_dir() or not path.exists():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; name a safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            found: Mapping[str, Any] = json.loads((file.metadata() or {}).get("fedma", "{}"))
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{path} is no safetensors file ({error}); of a PyTorch model, "
            "safetensors.torch.save_file(model.state_dict(), path) writes one"
        ) from error
    return found


def read_models(paths: Sequence[Path], architecture: Architecture) -> list[nn.Module]:
    """The models in these files, each at its own widths.

    Raises:
        InputError: a file that cannot be read, or whose tensors are not those of the architecture; it is named.
    """
    template = architecture.template()
    return [_model(path, template, architecture) for path in paths]


def _model(path: Path, template: nn.Module, architecture: Architecture) -> nn.Module:
    header(path)
    held, known = load_file(path), weights(template)
    saved = template.state_dict().keys()
    if spare := sorted(held.keys() - saved - known.keys()):
        raise InputError(f"{path} holds {spare[0]!r}, which {architecture.model} has not: {_other(held, known)}")
    if missing := sorted(n for n in (known.keys() & saved) - held.keys() if not n.endswith(COUNTER)):
        raise InputError(f"{path} lacks {missing[0]!r} of {architecture.model}: {_other(held, known)}")
    _check_values(path, held, template)
    held = known | held  # a file may lack buffers that are not persistent, and counters of batches
    for name, tensor in known.items():
        if held[name].dim() != tensor.dim():
            raise InputError(
                f"{path}: {name!r} has shape {tuple(held[name].shape)}, in {architecture.model} it is like "
                f"{tuple(tensor.shape)}; only widths may differ"
            )
    model = rebuild(template, {name: held[name].to(tensor.dtype) for name, tensor in known.items()})
    try:
        with torch.no_grad():
            outputs = model.eval()(architecture.example())
    except (RuntimeError, ValueError, IndexError) as error:
        raise InputError(
            f"the model in {path} does not take inputs of shape {architecture.input_shape}: {error}; "
            "its tensors do not fit each other, or the inputs are others (--input-shape)"
        ) from error
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"{architecture.model} gives a {type(outputs).__name__}, not a tensor of outputs; name a factory whose "
            "model gives that alone"
        )
    axis = min(1, outputs.dim() - 1)
    if outputs.shape[axis] != architecture.classes:
        raise InputError(
            f"the model in {path} has {outputs.shape[axis]} outputs, not {architecture.classes}; leave it out, or say "
            "--classes if all of them have so many"
        )
    return model


def _check_values(path: Path, held: Mapping[str, Tensor], template: nn.Module) -> None:
    """Refuse values that are not finite, and tied names that hold different tensors."""
    for name, tensor in held.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name!r} has values that are not finite: its training diverged; leave it out")
    names: dict[int, list[str]] = {}
    for name, own in template.state_dict(keep_vars=True).items():
        names.setdefault(id(own), []).append(name)
    for first, *others in names.values():
        for other in others:
            if {first, other} <= held.keys() and not torch.equal(held[first], held[other]):
                raise InputError(
                    f"{path}: {first!r} and {other!r} are one tensor of the model, and differ here; it is of another "
                    "model, whose layers are not tied: name that with --model"
                )


def _other(held: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> str:
    """What may be the matter with a file of other names."""
    if clause := wrapped(held, known, whose="its names"):
        part = prefix(held, known).removesuffix(".") or "<the model inside>"
        return f"{clause}; save model.{part}.state_dict() instead"
    return (
        f"{len(held.keys() & known.keys())} of the model's {len(known)} tensors are among its {len(held)}; "
        "name with --model what it was saved from"
    )


def write_model(path: Path, model: nn.Module, architecture: Architecture) -> None:
    """Save a model so that it can be merged, and loaded with `fedma.experiments.run_folder.load_model`, again.

    Raises:
        InputError: the file is there already, or cannot be written.
    """
    facts = {
        "model": architecture.model,
        "input_shape": list(architecture.input_shape),
        "classes": architecture.classes,
        "vocabulary": architecture.vocabulary,
    }
    tensors = {name: tensor.contiguous() for name, tensor in weights(model).items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"fedma": json.dumps(facts)})
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be written: {error}; name another file with --out") from error


def describe(fusion: Fusion) -> Iterator[tuple[str, list[int], int, list[int]]]:
    """For each unit group: its name, the models' widths, the fused width, and how many slots 1, 2, … models own."""
    for group, own in fusion.assignments.items():
        widths = [placed.shape[-1] for placed in own]
        if fusion.graph.groups[group].per:
            continue
        owners = torch.bincount(torch.cat([placed.flatten() for placed in own]))
        yield group, widths, len(owners), torch.bincount(owners, minlength=len(own) + 1)[1:].tolist()


def scores(models: Sequence[nn.Module], fused: nn.Module, data: Dataset) -> dict[str, Score]:
    """On the test split: each model, all of them as an ensemble, and the fused one."""
    found = {f"model {number}": evaluate([model], data.test) for number, model in enumerate(models)}
    return {**found, "ensemble": evaluate(models, data.test), "fused": evaluate([fused], data.test)}


def barrier(
    models: Sequence[nn.Module], data: Dataset, *, matcher: str, points: int = 11, seed: int = 0
) -> list[dict[str, float]]:
    """Loss and accuracy along the straight line from one model's weights to another's, before and after matching.

    After matching, the second model's units have the positions of the first model's units with the same job. If the
    loss stays low along the line, both models are in one basin, up to the order of their units.

    Args:
        models: two models of equal widths.
        data: the data set whose test split is used.
        matcher: as for `fuse`.
        points: number of points on the line, including both ends.
        seed: as for `fuse`.

    Raises:
        InputError: not two models, of unequal widths, fewer than two points, or a matcher that moves no units.

    Source: Ainsworth et al., "Git Re-Basin", ICLR 2023, section 4, figure 2.
    """
    if len(models) != 2:
        raise InputError(f"a line has two ends: give two models; these are {len(models)}")
    if points < 2 or not MATCHERS.get(matcher).assigns:
        raise InputError(f"a line needs two points or more, and a matcher that moves whole units (not {matcher})")
    example = model_inputs(data.test.inputs[:2])
    try:
        fusion = fuse(models, example, matcher=matcher, grow=False, fitted=False, seed=seed)
        lines = {"before": list(models), "after": aligned(models, fusion)}
        found = []
        for share in torch.linspace(0, 1, points).tolist():
            row = {"share": share}
            for name, (first, second) in lines.items():
                score = evaluate([_between(first, second, share)], data.test)
                row |= {f"loss_{name}": score.loss, f"accuracy_{name}": score.accuracy}
            found.append(row)
    except GraphError as error:
        raise InputError(f"no line can be drawn between these models: {error}") from error
    return found


def _between(first: nn.Module, second: nn.Module, share: float) -> nn.Module:
    """The model so far along the line."""
    start, end = weights(first), weights(second)
    if any(start[name].shape != end[name].shape for name in start):
        raise InputError("a line needs models of equal widths; these differ")
    mixed = {name: torch.lerp(start[name], end[name], share) for name in start if start[name].is_floating_point()}
    return rebuild(first, mixed)

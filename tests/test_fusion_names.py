"""Models and files of other tensors: the first one that differs is named, and what wrapped the model."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import fedma
from fedma.errors import FedmaError, GraphError, InputError
from fedma.experiments.merge import Architecture, read_models
from fedma.models import build
from fedma.seeds import generator
from fedma.units.names import inner, prefix, wrapped

X = torch.randn(4, 6, generator=generator(0, "rows"))
Make = Callable[[], nn.Module]
KNOWN = ["0.weight", "0.bias", "1.running_mean", "1.num_batches_tracked", "3.weight"]
WORD = st.sampled_from(["module", "_orig_mod", "model", "net", "a.b"])


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


class Wrapper(nn.Module):
    def __init__(self, word: str, **others: nn.Module) -> None:
        super().__init__()
        self.add_module(word, plain())
        for name, other in others.items():
            self.add_module(name, other)

    def forward(self, x: Tensor) -> Tensor:
        return next(self.children())(x)


def compiled_inside() -> nn.Module:
    model = plain()
    model[0] = Wrapper("_orig_mod")
    model[0]._modules["_orig_mod"] = nn.Linear(6, 8)
    return model


def changed(place: int, layer: nn.Module) -> Make:
    def make() -> nn.Module:
        model = plain()
        model.add_module(str(place), layer)
        return model

    return make


def flat_norm() -> nn.Module:
    model = plain()
    model[1].weight = nn.Parameter(torch.ones(8, 1))
    return model


OTHERS: dict[str, tuple[Make, str]] = {
    "DataParallel": (
        lambda: nn.DataParallel(plain()),
        "of model 1 begin with 'module.', as under DataP.*'module'",
    ),
    "averaged": (lambda: AveragedModel(plain()), "begin with 'module.', as under .*AveragedModel"),
    "compiled": (
        lambda: Wrapper("_orig_mod"),
        "begin with '_orig_mod.', as under torch.compile; give the model inside",
    ),
    "compiled inside": (compiled_inside, "hold '_orig_mod', as under torch.compile"),
    "Lightning": (lambda: Wrapper("model", loss=nn.Linear(2, 2)), "begin with 'model.', as under a LightningModule"),
    "both": (
        lambda: nn.DataParallel(Wrapper("_orig_mod")),
        "begin with 'module._orig_mod.', as .* and torch.comp",
    ),
    "another word": (lambda: Wrapper("net"), "begin with 'net.'; give the model inside, its attribute 'net'"),
    "more": (
        changed(4, nn.Linear(2, 2)),
        r"model 1 has '4.weight' of shape \(2, 2\), model 0 has no tensor",
    ),
    "no bias": (
        changed(3, nn.Linear(8, 2, bias=False)),
        r"model 0 has '3.bias' of shape \(2,\), model 1 has no tensor of this name; only models of one architecture",
    ),
    "axes": (flat_norm, r"'1.weight' has shape \(8, 1\), in model 0 \(8,\)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_first_tensor_that_differs_is_named(name: str) -> None:
    make, told = OTHERS[name]
    with pytest.raises(GraphError, match=f"model 1 is of another architecture than model 0: .*{told}"):
        fedma.fuse([plain(), make()], X)
    with pytest.raises(GraphError, match="model 2 is of another architecture than model 0"):
        fedma.fuse([make(), make(), plain()], X)


def test_the_wrapper_may_be_the_first_models() -> None:
    with pytest.raises(GraphError, match=r"the names of model 0 begin with 'module.'"):
        fedma.fuse([nn.DataParallel(plain()), plain()], X)


def test_a_tensor_that_is_tied_in_one_model_alone() -> None:
    models = [nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)) for _ in range(2)]
    models[1][2].weight = models[1][0].weight
    with pytest.raises(GraphError, match=r"in model 1 '2.weight' is tied to '0.weight', in model 0 it is not"):
        fedma.fuse(models, X)
    with pytest.raises(GraphError, match=r"model 0 has no tensor of this name"):
        fedma.fuse(models[::-1], X)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "state dict": (lambda: plain().state_dict(), "model 1 is OrderedDict: this is a state dict"),
    "partial": (
        lambda: functools.partial(torch.relu),
        "model 1 is partial: partial can be called, but its weights are out of reach",
    ),
    "function": (lambda: plain().forward, "model 1 is method: forward is a function"),
    "class": (lambda: nn.Linear, "model 1 is type: Linear is a class"),
    "None": (lambda: None, "model 1 is NoneType: the model is None"),
    "script": (lambda: torch.jit.script(plain()), "model 1: .* compiled by TorchScript"),
    "trace": (lambda: torch.jit.trace(plain().eval(), X), "model 1: .* compiled by TorchScript"),
    "traced part": (
        lambda: nn.Sequential(torch.jit.trace(nn.Linear(6, 8), X), *plain()[1:]),
        "model 1: Sequential cannot be looked into in its part '0': it is compiled by TorchScript",
    ),
    "meta": (lambda: plain().to("meta"), "model 1: .*'0.weight' is on the meta device"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(8), *plain()[1:]), "model 1: .*'0.weight' is lazy"),
    "half": (lambda: plain().half(), "model 1: tensor '0.weight' is torch.float16, and torch.float32 in model 0"),
    "mixed": (changed(3, nn.Linear(8, 2).double()), "model 1: tensor '3.weight' is torch.float64, and torch.float32"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_fused_is_refused_by_number(name: str) -> None:
    make, told = REFUSED[name]
    with pytest.raises(FedmaError, match=told):
        fedma.fuse([plain(), make()], X)  # type: ignore[list-item]


@given(st.lists(WORD, min_size=1, max_size=3))
def test_a_prefix_is_found(words: list[str]) -> None:
    before = "".join(f"{word}." for word in words)
    names = [f"{before}{name}" for name in KNOWN]
    assert prefix(names, KNOWN) == before
    assert prefix([*names, "n_averaged", "loss.weight"], KNOWN) == before
    assert prefix([name for name in names if "tracked" not in name], KNOWN) == before
    assert prefix(names[1:], KNOWN) == ""
    assert prefix(KNOWN, KNOWN) == prefix(KNOWN, names) == ""


def test_names_without_a_wrapper() -> None:
    assert wrapped(KNOWN, KNOWN, whose="its names") == wrapped(["x"], KNOWN, whose="its names") == ""
    assert prefix(["a.weight"], []) == inner(["a.weight"], []) == ""
    assert inner(["0._orig_mod.weight"], ["0.weight"]) == "_orig_mod"


def files(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> tuple[list[Path], Architecture]:
    """Two files of a small residual network, the second one changed."""
    architecture = Architecture("resnet20", (3, 8, 8), 4)
    paths = [folder / f"{number}.safetensors" for number in range(2)]
    for number, path in enumerate(paths):
        own = dict(build("resnet20", (3, 8, 8), 4, seed=number).state_dict())
        save_file(change(own) if number else own, path)
    return paths, architecture


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("module.", r"its names begin with 'module.', as under DataParallel.*save model.module.state_dict\(\) instead"),
        ("_orig_mod.", r"begin with '_orig_mod.', as under torch.compile; save model._orig_mod.state_dict\(\)"),
        ("model.", r"begin with 'model.', as under a LightningModule; save model.model.state_dict\(\)"),
        ("module._orig_mod.", r"save model.module._orig_mod.state_dict\(\)"),
    ],
)
def test_files_of_wrapped_models_are_hinted_at(tmp_path: Path, before: str, told: str) -> None:
    paths, architecture = files(tmp_path, lambda own: {f"{before}{name}": tensor for name, tensor in own.items()})
    with pytest.raises(InputError, match=told):
        read_models(paths, architecture)


def test_a_file_of_an_averaged_model(tmp_path: Path) -> None:
    def averaged(own: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"n_averaged": torch.tensor(3)} | {f"module.{name}": tensor for name, tensor in own.items()}

    paths, architecture = files(tmp_path, averaged)
    with pytest.raises(InputError, match=r"AveragedModel; save model.module"):
        read_models(paths, architecture)


def test_a_file_may_lack_counters_of_batches(tmp_path: Path) -> None:
    paths, architecture = files(tmp_path, lambda own: {n: t for n, t in own.items() if "num_batches" not in n})
    models = read_models(paths, architecture)
    torch.testing.assert_close(models[1].state_dict(), build("resnet20", (3, 8, 8), 4, seed=1).state_dict())

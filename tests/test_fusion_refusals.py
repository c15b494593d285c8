"""What cannot be fused is refused by name, and what can be is fused whatever comes first."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import fedma
from federation_models import running_sums
from fedma.cli import main
from fedma.errors import GraphError, InputError, MatchingError
from fedma.matching import MATCHERS
from fedma.models import build
from fedma.seeds import generator, global_generator
from fedma.units import units, weights

X = torch.randn(3, 6, generator=generator(0, "inputs"))
IMAGES = torch.randn(2, 1, 8, 8, generator=generator(0, "images"))
NAMES = [entry.name for entry in MATCHERS if entry.assigns]


def drawn(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with global_generator(seed):
        return make()


def mlp(seed: int, hidden: int = 9, outputs: int = 4) -> nn.Module:
    return drawn(lambda: nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, outputs)), seed)


def scaled(model: nn.Module, scale: float) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def convolutions(seed: int, kernel: int) -> nn.Module:
    def make() -> nn.Module:
        first, second = (nn.Conv2d(n, 5, kernel, padding=kernel // 2) for n in (1, 5))
        return nn.Sequential(
            first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
        )

    return drawn(make, seed)


@pytest.mark.parametrize("matcher", NAMES)
def test_fixed_axes_that_differ(matcher: str) -> None:
    with pytest.raises(GraphError, match=r"model 1: tensor '2.weight' has shape \(1, 9\), .* \(3, 9\)"):
        fedma.fuse([mlp(0, outputs=3), mlp(1, outputs=1)], X, matcher=matcher)
    with pytest.raises(GraphError, match=r"model 1: tensor '2.weight' has shape \(5, 12\), .* \(4, 12\)"):
        fedma.fuse([mlp(0), mlp(1, hidden=12, outputs=5)], X, matcher=matcher)
    with pytest.raises(GraphError, match=r"model 1: tensor '0.weight' has shape \(5, 1, 1, 1\), .* \(5, 1, 3, 3\)"):
        fedma.fuse([convolutions(0, 3), convolutions(1, 1)], IMAGES, matcher=matcher)


def test_vocabularies_that_differ() -> None:
    def texts(words: int) -> nn.Module:
        return nn.Sequential(nn.Embedding(words, 5), nn.Flatten(), nn.Linear(15, 3))

    with pytest.raises(GraphError, match=r"model 1: tensor '0.weight' has shape \(12, 5\), .* \(10, 5\)"):
        fedma.fuse([texts(10), texts(12)], torch.randint(9, (2, 3)), on_bad="exclude")


def test_scattering_does_not_broadcast() -> None:
    graph = units(mlp(0), X)
    with pytest.raises(GraphError, match=r"'2.weight' has shape \(1, 9\), its layout at these widths \(4, 9\)"):
        graph.scatter({"2.weight": torch.zeros(1, 9)}, {"0": torch.arange(9)}, {"0": 12})


def test_dtypes_that_differ() -> None:
    with pytest.raises(GraphError, match=r"model 1: tensor '0.weight' is torch.float64, and torch.float32 in model 0"):
        fedma.fuse([mlp(0), mlp(1).double()], X, matcher="rebasin")


class Phased(nn.Module):
    """Complex numbers in a parameter, or in a buffer that all models share."""

    def __init__(self, *, learnt: bool) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(6, 9), nn.Linear(9, 4)
        if learnt:
            self.phase = nn.Parameter(torch.randn(4, dtype=torch.cfloat))
        else:
            self.register_buffer("phase", torch.polar(torch.ones(4), torch.arange(4.0)))

    def forward(self, x: Tensor) -> Tensor:
        return (self.output(self.hidden(x).relu()).to(torch.cfloat) * self.phase).abs()


@pytest.mark.filterwarnings("ignore::fedma.errors.PinnedWarning")
def test_complex_tensors_that_differ() -> None:
    with pytest.raises(GraphError, match=r"model 1: tensor 'phase' is torch.complex64, and complex tensors cannot"):
        fedma.fuse([drawn(lambda: Phased(learnt=True), seed) for seed in range(2)], X)
    same = [drawn(lambda: Phased(learnt=False), seed) for seed in range(2)]
    torch.testing.assert_close(weights(fedma.fuse(same, X).model)["phase"], weights(same[0])["phase"])


def test_units_of_which_none_can_be_moved() -> None:
    models = [drawn(running_sums, seed) for seed in range(2)]
    x = torch.randn(5, 1, 8, 8)
    with pytest.raises(GraphError, match=r"no units of this model can be matched: .* \(cumsum\)"):
        fedma.fuse(models, x)
    fused = fedma.fuse(models, x, matcher="identity").model
    torch.testing.assert_close(fused[1].weight, (models[0][1].weight + models[1][1].weight) / 2)


def test_what_is_no_list_of_models() -> None:
    with pytest.raises(InputError, match="models is one Sequential; give a list"):
        fedma.fuse(mlp(0), X)  # type: ignore[arg-type]
    for answer in (None, [None, None]):
        with pytest.raises(MatchingError, match="it must give a sequence of 2 LongTensors"):
            fedma.fuse([mlp(0), mlp(1)], X, matcher=lambda rows, most: answer)  # noqa: B023


@pytest.mark.parametrize("scale", [math.nan, 1e20])
def test_a_spoilt_first_model_is_as_if_it_were_not_there(scale: float) -> None:
    good, spoilt = [mlp(seed) for seed in range(3)], scaled(mlp(3), scale)
    wanted = fedma.fuse(good, X)
    fusion = fedma.fuse([spoilt, *good], X, on_bad="exclude")
    assert list(fusion.excluded) == [0]
    assert fusion.graph == wanted.graph
    assert fusion.widths["0"] > 9
    torch.testing.assert_close(weights(fusion.model), weights(wanted.model))
    with pytest.raises(MatchingError, match="None of the models is left"):
        fedma.fuse([scaled(mlp(seed), math.nan) for seed in range(2)], X, on_bad="exclude")


class Viewed(nn.Module):
    """Keeps its width in an attribute."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.conv, self.output = nn.Conv2d(1, width, 3), nn.Linear(36 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.conv(x).relu().view(len(x), self.width * 36))


class Stateful(nn.Module):
    """Begins with a state of its own width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.cell, self.output = nn.GRU(8, width, batch_first=True), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.cell(x[:, 0], torch.zeros(1, len(x), self.width))[0][:, -1])


@pytest.mark.parametrize("make", [Viewed, Stateful])
def test_widths_in_attributes_need_the_widest_models_code(make: Callable[[int], nn.Module]) -> None:
    models = [drawn(lambda width=width: make(width), width) for width in (4, 7, 5)]
    fusion = fedma.fuse(models, IMAGES)
    assert fusion.model.width == 7
    assert fusion.model(IMAGES).shape == (2, 3)
    with pytest.raises(InputError, match=r"model 0 has 4 units in group '\w+', the fused one 7, .* cannot grow"):
        fedma.aligned(models, fusion)


class Pair(nn.Module):
    """Two branches that keep their widths in attributes."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.first, self.second = Viewed(first), Viewed(second)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


def test_no_model_is_widest_everywhere() -> None:
    with pytest.raises(MatchingError, match="none of the models can have the fused widths"):
        fedma.fuse([Pair(4, 7), Pair(7, 4)], IMAGES)


def test_unequal_widths_under_a_layer_norm_still_fuse() -> None:
    def normed(first: int, second: int) -> nn.Module:
        layers = itertools.pairwise((6, first, second))
        return nn.Sequential(*(part for n, m in layers for part in (nn.Linear(n, m), nn.LayerNorm(m), nn.ReLU())))

    models = [nn.Sequential(normed(n, m), nn.Linear(m, 3)) for n, m in ((5, 8), (8, 5))]
    assert fedma.fuse(models, X).model(X).shape == (3, 3)


def test_weights_of_any_size_count_by_their_ratios() -> None:
    models = [mlp(seed) for seed in range(2)]
    huge, plain = (fedma.fuse(models, X, weights=[w, w], matcher="identity").model for w in (1.7e308, 1.0))
    torch.testing.assert_close(weights(huge), weights(plain), rtol=0, atol=0)


class Tied(nn.Module):
    """The output layer is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(x).mean(1) @ self.embedding.weight.T


class Chatty(nn.Module):
    """A recurrent network that returns its state too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell, self.output = nn.Embedding(11, 5), nn.GRU(5, 6, batch_first=True), nn.Linear(6, 11)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.cell(self.embedding(x))
        return self.output(y[:, -1]), state


def test_moments_that_are_no_tensors() -> None:
    with pytest.raises(InputError, match=r"moments of model 0: '2.weight' must be .* \(9, 9\).*; found a list"):
        fedma.fuse([mlp(0), mlp(1)], X, moments=[{"2.weight": [[1.0]]}, {}])  # type: ignore[dict-item]


def test_class_counts_that_would_not_be_used() -> None:
    tokens = torch.randint(11, (2, 4))
    with pytest.raises(InputError, match="no tensor of the model is known to make its outputs"):
        fedma.fuse([drawn(Tied, seed) for seed in range(2)], tokens, class_counts=torch.ones(2, 11))
    for wrong in (math.inf, math.nan, -1.0):
        with pytest.raises(InputError, match="negative or not finite"):
            fedma.fuse([mlp(0), mlp(1)], X, class_counts=torch.tensor([[wrong, 1, 1, 1], [1, 1, 1, 1]]))


def test_class_counts_go_by_the_outputs_that_are_classes() -> None:
    models = [drawn(Chatty, seed) for seed in range(2)]
    counts = torch.stack([torch.arange(11) < 6, torch.arange(11) >= 6]).long()
    tokens = torch.randint(11, (2, 4))
    bias = weights(fedma.fuse(models, tokens, class_counts=counts, matcher="identity").model)["output.bias"]
    wanted = torch.where(counts[0] > 0, *(weights(model)["output.bias"] for model in models))
    torch.testing.assert_close(bias, wanted)
    with pytest.raises(InputError, match=r"7 classes, but .*'output.weight' makes 11 outputs"):
        fedma.fuse(models, tokens, class_counts=torch.ones(2, 7))


@pytest.mark.filterwarnings("ignore:.*spectral_norm:FutureWarning")
@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize("matcher", NAMES)
def test_spectral_norms_are_those_of_the_fused_weights(matcher: str, norm: Callable[[nn.Module], nn.Module]) -> None:
    def normed() -> nn.Module:
        model = nn.Sequential(norm(nn.Linear(6, 9)), nn.ReLU(), norm(nn.Linear(9, 4)))
        with torch.no_grad():
            model(X)
        return model

    fused = fedma.fuse([drawn(normed, seed) for seed in range(3)], X, matcher=matcher).model.eval()
    with torch.no_grad():
        fused(X)
    for layer in (fused[0], fused[2]):
        torch.testing.assert_close(torch.linalg.matrix_norm(layer.weight, 2), torch.ones(()))
    same = drawn(normed, 0)
    torch.testing.assert_close(weights(fedma.fuse([same] * 2, X, matcher=matcher).model), weights(same))


def normalised() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    model[1].running_mean.fill_(5.0)
    return model.eval()


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        (torch.ones(7, 6).split(3), "batch 2: ValueError: Expected more than 1 value"),
        ([torch.ones(3, 6), torch.ones(3, 7)], "batch 1: RuntimeError"),
        ([torch.full((3, 6), math.nan)], "statistics of '1' are not finite"),
    ],
)
def test_a_model_that_cannot_be_recalibrated_stays_as_it_was(batches: list[Tensor], says: str) -> None:
    model = normalised()
    before = weights(model)
    with pytest.raises(InputError, match=says):
        fedma.recalibrate(model, batches)
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0)
    assert model[1].momentum == 0.1
    assert not any(module.training for module in model.modules())


def test_instance_norms_are_recalibrated_too() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.InstanceNorm2d(3, track_running_stats=True))
    batches = [torch.randn(4, 1, 8, 8, generator=generator(0, "batch", k)) for k in range(3)]
    seen = torch.stack([model[0](batch) for batch in batches]).detach()
    fedma.recalibrate(model, batches)
    torch.testing.assert_close(model[1].running_mean, seen.mean((0, 1, 3, 4)))
    assert model[1].momentum == 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("matcher", NAMES)
def test_models_on_a_gpu_fuse_as_on_the_cpu(matcher: str) -> None:
    models = [mlp(seed) for seed in range(3)]
    wanted = weights(fedma.fuse(models, X, matcher=matcher).model)
    fusion = fedma.fuse([model.cuda() for model in models], X.cuda(), matcher=matcher)
    assert all(tensor.is_cuda for tensor in weights(fusion.model).values())
    assert fedma.aligned(models, fusion)[0](X.cuda()).is_cuda
    found = {name: tensor.cpu() for name, tensor in weights(fusion.model).items()}
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def fused_files(folder: Path, widths: list[str], *more: str) -> list[str]:
    """Arguments of `fedma fuse` for networks of these widths."""
    for number, width in enumerate(widths):
        save_file(build(f"mlp-{width}", (1, 8, 8), 10, seed=number).state_dict(), folder / f"{number}.safetensors")
    files = [str(folder / f"{number}.safetensors") for number in range(len(widths))]
    flags = (
        f"--model mlp-6 --data digits --test-limit 20 --interpolate {folder}/line.svg --out {folder}/fused.safetensors"
    )
    return ["fuse", *files, *flags.split(), *more]


@pytest.mark.parametrize(
    ("widths", "more", "says"),
    [(["6", "6", "6"], [], "between two models; name two files, not 3"), (["6", "6"], ["--matcher", "ot"], "not ot")],
)
def test_a_line_that_cannot_be_drawn_is_refused_before_work(
    widths: list[str], more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(fused_files(tmp_path, widths, *more))
    told = capsys.readouterr()
    assert not told.out
    assert says in told.err


def test_the_fused_model_is_kept_where_its_line_cannot_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(fused_files(tmp_path, ["6", "8"]))
    assert "equal widths" in capsys.readouterr().err
    assert (tmp_path / "fused.safetensors").exists()

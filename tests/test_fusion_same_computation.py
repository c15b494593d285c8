"""Models are fused where they compute the same with the same weights; where they do not, the difference is named."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import computations_again as again
import fedma
from computations import ALIKE, ROWS, UNLIKE, Adapted, Cached, Make, free, hidden, inputs_of, layers, masked
from fedma.errors import GraphError
from fedma.fusion.alike import same_code
from fedma.seeds import global_generator
from fedma.units import units, weights
from fedma.units.inputs import Inputs, outputs

STYLES = ["term", "alpha", "divided", "merged"]
pytestmark = pytest.mark.filterwarnings("ignore::fedma.errors.PinnedWarning")


def drawn(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with global_generator(seed):
        return make()


def pair(makes: tuple[Make, Make]) -> list[nn.Module]:
    return [drawn(make, seed) for seed, make in enumerate(makes)]


def answers(model: nn.Module, x: torch.Tensor = ROWS) -> list[torch.Tensor]:
    return outputs(model, Inputs.of(x))


@pytest.mark.parametrize("name", UNLIKE)
def test_unlike_computations_are_told_apart(name: str) -> None:
    *makes, told = UNLIKE[name]
    models = pair((makes[0], makes[1]))
    with pytest.raises(GraphError, match=f"model 1 does not compute what model 0 does.*{told}"):
        same_code(models, inputs_of(models[0]))
    with pytest.raises(GraphError, match="model 2 does not compute what model 0 does"):
        same_code([models[1], drawn(makes[1], 2), models[0]], inputs_of(models[0]))


@pytest.mark.parametrize("name", ALIKE)
def test_like_computations_are_not(name: str) -> None:
    models = pair(ALIKE[name])
    before = [weights(model) for model in models]
    assert same_code(models, inputs_of(models[0])) == [{}, {}]
    assert same_code(models[::-1], inputs_of(models[0])) == [{}, {}]
    torch.testing.assert_close([weights(model) for model in models], before, rtol=0, atol=0)


@pytest.mark.parametrize("name", again.UNLIKE)
def test_more_unlike_computations_are_told_apart(name: str) -> None:
    *makes, told = again.UNLIKE[name]
    models = pair((makes[0], makes[1]))
    with pytest.raises(GraphError, match=f"model 1 does not compute what model 0 does.*{told}"):
        same_code(models, again.inputs_of(models[0]))


@pytest.mark.parametrize("name", again.ALIKE)
def test_more_like_computations_are_not(name: str) -> None:
    models = pair(again.ALIKE[name])
    assert same_code(models, again.inputs_of(models[0])) == [{}, {}]
    assert same_code(models[::-1], again.inputs_of(models[0])) == [{}, {}]


@pytest.mark.parametrize("name", ["activation", "heads", "stride", "layer norm eps", "a number"])
def test_fuse_and_aligned_refuse(name: str) -> None:
    *makes, told = UNLIKE[name]
    models = pair((makes[0], makes[1]))
    x = inputs_of(models[0])
    with pytest.raises(GraphError, match=told):
        fedma.fuse(models, x)
    fusion = fedma.fuse([models[0], drawn(makes[0], 3)], x, tries=1)
    with pytest.raises(GraphError, match=told):
        fedma.aligned(models, fusion)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("alpha", [3.0, 16.0])
def test_scales_of_adapters_are_moved_into_their_weights(style: str, alpha: float) -> None:
    """The same function, written with another scale, is the same model."""
    first = drawn(lambda: Adapted(4, 8.0, style), 0).double()
    other = drawn(lambda: Adapted(4, alpha, style), 1).double()
    other.load_state_dict(first.state_dict())
    with torch.no_grad():
        other.B.weight.mul_(first.scaling / other.scaling)
    x = ROWS.double()
    torch.testing.assert_close(answers(other, x), answers(first, x))
    (factors,) = same_code([first, other], x)[1:]
    assert len(factors) == 1
    assert list(factors.values()) == [pytest.approx(other.scaling / first.scaling)]
    graph = units(other, x)
    twin = graph.permute(other, graph.random_orders(torch.Generator().manual_seed(0)))
    fusion = fedma.fuse([first, twin], x)
    torch.testing.assert_close(answers(fusion.model, x), answers(first, x), rtol=1e-9, atol=1e-9)
    for model in fedma.aligned([first, twin], fusion):
        torch.testing.assert_close(answers(model, x), answers(first, x), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(weights(model), weights(fusion.model), rtol=1e-9, atol=1e-9)


def test_adapters_of_unlike_ranks() -> None:
    models = [drawn(lambda: Adapted(4, 8.0), 0).double(), drawn(lambda: Adapted(2, 7.0), 1).double()]
    x = ROWS.double()
    assert list(same_code(models, x)[1].values()) == [1.75]
    alone = fedma.fuse(models, x, weights=[1e-13, 1.0], tries=1).model
    torch.testing.assert_close(answers(alone, x), answers(models[1], x), rtol=1e-6, atol=1e-6)


def test_a_factor_is_not_moved_where_something_else_reads_the_weights() -> None:
    def shared(scale: float) -> Make:
        return free(lambda s, x: s.out(s.a(x) * scale @ s.b.weight.T + s.b.weight[0]))

    with pytest.raises(GraphError, match="mul has other = 2 in model 0, and 3 in model 1"):
        same_code(pair((shared(2.0), shared(3.0))), ROWS)


def test_two_factors_of_one_term() -> None:
    def term(inside: float, outside: float) -> Make:
        return free(lambda s, x: s.out(((x @ s.a.weight.T * inside) @ s.b.weight.T * outside).relu()))

    models = [model.double() for model in pair((term(2.0, 3.0), term(4.0, 9.0)))]
    with pytest.raises(GraphError, match="mul has other = 2 in model 0, and 4 in model 1"):
        same_code(models, ROWS.double())  # the first is a factor of one layer, not of an adapter


class Sized(nn.Module):
    """Keeps its width, and a number, in attributes."""

    def __init__(self, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.width, self.scale = width, scale
        self.first, self.out = nn.Linear(6, 2 * width), nn.Linear(2 * width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x).relu().view(len(x), 2, self.width) * torch.ones(self.width) * self.scale
        return self.out(h.reshape(len(x), 2 * self.width))


def test_unlike_widths_that_the_code_fixes() -> None:
    models = [drawn(lambda: Sized(3), 0), drawn(lambda: Sized(5), 1)]
    assert same_code(models, ROWS) == [{}, {}]
    with pytest.raises(GraphError, match=r"other = 1 in model 0, and 2 in model 1"):
        same_code([models[0], drawn(lambda: Sized(5, 2.0), 1)], ROWS)


@pytest.mark.parametrize("act", [nn.Tanh(), nn.LeakyReLU(0.3)])
def test_unlike_widths_and_another_activation(act: nn.Module) -> None:
    wide = drawn(lambda: nn.Sequential(nn.Linear(6, 11), act, nn.Linear(11, 2)), 1)
    with pytest.raises(GraphError, match=r"in '1', model 0 computes relu"):
        fedma.fuse([drawn(layers(nn.ReLU()), 0), wide], ROWS)


def test_a_model_that_computes_something_else_every_time() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.out, self.calls = nn.Linear(6, 8), nn.Linear(8, 2), [0]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls[0] += 1
            return self.out(self.a(x) * self.calls[0])

    models = [drawn(Counting, seed) for seed in range(2)]
    assert same_code(models, ROWS) == [{}, {}]
    models[1](ROWS)
    with pytest.raises(GraphError, match="model 0 computes something else every time"):
        same_code(models, ROWS)


def test_a_model_that_does_not_run_is_named() -> None:
    models = pair((hidden(lambda s, h: h), hidden(lambda s, h: h.view(3, 3))))
    with pytest.raises(GraphError, match="model 1 does not run on the example inputs: RuntimeError"):
        same_code(models, ROWS)


def test_spoilt_weights_do_not_hide_another_code() -> None:
    spoilt = drawn(layers(nn.Tanh()), 0)
    with torch.no_grad():
        spoilt[0].weight.fill_(float("nan"))
    with pytest.raises(GraphError, match=r"tanh .* relu"):
        fedma.fuse([spoilt, drawn(layers(nn.ReLU()), 1), drawn(layers(nn.ReLU()), 2)], ROWS, on_bad="exclude")


def test_one_model_several_times_is_compared_with_nothing() -> None:
    model = drawn(lambda: Cached(0), 0)
    assert same_code([model] * 3, ROWS) == [{}] * 3
    assert same_code([model, copy.deepcopy(model)], ROWS) == [{}] * 2
    assert model.table is None


def test_masks_are_not_averaged() -> None:
    models = pair((masked(torch.ones(3, 3).tril()), masked(torch.ones(3, 3).triu())))
    with pytest.raises(GraphError, match="masked_fill has mask"):
        fedma.fuse(models, ROWS)


def test_unlike_widths_and_halves_that_change_places() -> None:
    def gated(width: int, swapped: bool) -> nn.Module:
        def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
            h = s.first(x)
            one, two = h[:, : h.shape[1] // 2], h[:, h.shape[1] // 2 :]
            return s.out(two * one.sigmoid() if swapped else one * two.sigmoid())

        model = free(forward)()
        model.first, model.out = nn.Linear(6, 2 * width), nn.Linear(width, 2)
        return model

    assert same_code([gated(4, False), gated(6, False)], ROWS) == [{}, {}]
    with pytest.raises(GraphError, match="does not compute what model 0 does"):
        same_code([gated(4, False), gated(6, True)], ROWS)


def test_inputs_without_rows_are_called_empty() -> None:
    models = [drawn(layers(nn.ReLU()), seed) for seed in range(2)]
    with pytest.raises(GraphError, match="gives no number on the example inputs; give inputs that are not empty"):
        fedma.fuse(models, ROWS[:0])

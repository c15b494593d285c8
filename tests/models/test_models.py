"""Models by name."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from fedma.errors import InputError
from fedma.models import MODELS, build
from fedma.units import weights
from units.laws import Laws

IMAGES = [name for name, network in MODELS.items() if not network.tokens]
TEXTS = [name for name, network in MODELS.items() if network.tokens]
WIDTHS = {
    "mlp": [100],
    "mlp-30-20": [30, 20],
    "cnn": [16, 32, 64],
    "lenet": [20, 50, 500],
    "vgg9": [32, 64, 128, 128, 256, 256, 512, 512],
    "vgg9-bn": [32, 64, 128, 128, 256, 256, 512, 512],
    "resnet20": [*[16] * 4, *[32] * 4, *[64] * 4],
    "resnet20-gn": [*[16] * 4, *[32] * 4, *[64] * 4],
    "char-lstm": [8, 256],
    "char-gru": [8, 128],
    "transformer": [64, 4, 16, 16, 256, 4, 16, 16, 256],
}
"""Units of every group that one would write by hand, in the order of the forward pass: a residual stream is one group;
a transformer has its stream, and in each layer heads, the dimensions of keys and of values in each head, neurons."""
IN_PLACE = {"input", "output", "vocabulary", "position", "convolution kernel"}
"""What no model can reorder."""


def made(name: str, *, client: int | None = None) -> tuple[nn.Module, torch.Tensor]:
    """A small version of a model, and inputs for it."""
    draw = torch.Generator().manual_seed(0)
    if name in TEXTS:
        model = build(name, (6,), 7, seed=0, client=client, vocabulary=9)
        return model, torch.randint(9, (2, 6), generator=draw)
    return build(name, (3, 16, 16), 7, seed=0, client=client), torch.randn(2, 3, 16, 16, generator=draw)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_every_model_of_images_answers_every_class(name: str, shape: tuple[int, ...]) -> None:
    model = build(name, shape, 7, seed=0).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", TEXTS)
def test_every_model_of_text_answers_every_class_from_all_it_reads(name: str) -> None:
    model = build(name, (12,), 7, seed=0, vocabulary=9).eval().double()
    tokens = torch.zeros(13, 12, dtype=torch.int64)
    tokens[1:].fill_diagonal_(8)
    with torch.no_grad():
        outputs = model(tokens)
    assert outputs.shape == (13, 7)
    assert (outputs[1:] - outputs[0]).abs().amin() > 0


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("front_end", ["export", "record"])
def test_groups_are_those_of_a_hand_and_obey_the_laws(name: str, front_end: str) -> None:
    model, inputs = made(name)
    graph = Laws(model.eval(), (inputs,)).all(front_end)
    assert list(graph.widths.values()) == WIDTHS[name]
    assert set(graph.fixed.values()) - {"constant"} <= IN_PLACE
    still = [tensor for tensor in weights(model) if not graph.groups_of(tensor)]
    assert [tensor for tensor in still if not tensor.endswith("num_batches_tracked")] == ["output.bias"]


def test_every_model_is_checked() -> None:
    assert set(MODELS) <= set(WIDTHS)


def test_sizes_are_those_of_the_papers_networks() -> None:
    assert sum(p.numel() for p in build("lenet", (1, 28, 28), 10, seed=0).parameters()) == 431_080
    assert sum(p.numel() for p in build("vgg9", (3, 32, 32), 10, seed=0).parameters()) == 3_491_530
    resnet = sum(p.numel() for p in build("resnet20", (3, 32, 32), 10, seed=0).parameters())
    assert resnet == 269_722 + 16 * 32 + 64 + 32 * 64 + 128, "option A's, and two shortcuts with their normalisation"
    lstm = build("char-lstm", (80,), 80, seed=0, vocabulary=80)
    assert {name: tuple(p.shape) for name, p in lstm.named_parameters() if p.dim() == 2} == {
        "embedding.weight": (80, 8),
        "recurrent.weight_ih_l0": (1024, 8),
        "recurrent.weight_hh_l0": (1024, 256),
        "output.weight": (80, 256),
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    torch.testing.assert_close(weights(made(name)[0]), weights(made(name)[0]), rtol=0, atol=0)
    own = weights(made(name, client=1)[0])
    assert not torch.equal(next(iter(own.values())), next(iter(weights(made(name)[0]).values())))


def test_weights_depend_on_seed_and_client_alone() -> None:
    state = torch.random.get_rng_state()

    def first(seed: int, client: int | None) -> torch.Tensor:
        return next(iter(weights(build("mlp", (1, 8, 8), 3, seed=seed, client=client)).values()))

    assert torch.equal(first(0, 1), first(0, 1))
    assert not torch.equal(first(0, 1), first(0, 2))
    assert not torch.equal(first(0, None), first(0, 1))
    assert not torch.equal(first(0, 1), first(1, 1))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("resnet999", (1, 28, 28), "not known; known are mlp"),
        ("lenet", (1, 8, 8), "at least 16×16"),
        (
            "cnn",
            (10,),
            "needs images of at least 4×4 pixels; these inputs have shape .10,.; models that take them: mlp",
        ),
        ("char-lstm", (1, 28, 28), "needs sequences of tokens; these inputs have shape .* mlp, cnn, lenet, vgg9"),
        ("mlp-0", (1, 28, 28), "not known"),
        ("mlp-", (1, 28, 28), "not known"),
        ("mlp-10x", (1, 28, 28), "not known"),
        ("nowhere.at_all:model", (1, 8, 8), "expected package.module:factory"),
        ("fedma.models:nothing", (1, 8, 8), "expected package.module:factory"),
        ("fedma:__version__", (1, 8, 8), "not callable"),
    ],
)
def test_bad_names_are_refused(name: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(name, shape, 10, seed=0)


@pytest.mark.parametrize("name", ["mlp", "lenet", "mlp-20-20"])
def test_models_of_images_refuse_tokens(name: str) -> None:
    with pytest.raises(
        InputError, match=r"are tokens of shape \(80,\); models that take them: char-lstm, char-gru, tr"
    ):
        build(name, (80,), 65, seed=0, vocabulary=65)


def test_a_model_without_shapes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = ModuleType("lazy")
    lazy.net = lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    with pytest.raises(InputError, match="has no shape yet"):
        build("lazy:net", (1, 8, 8), 10, seed=0)

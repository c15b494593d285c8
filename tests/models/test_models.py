"""Models by name."""

import pytest
import torch

from fedma.errors import InputError
from fedma.models import MODELS, build
from fedma.units import weights


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_every_model_answers_every_class(name: str, shape: tuple[int, ...]) -> None:
    model = build(name, shape, 7, seed=0).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, *shape)).shape == (2, 7)


def test_sizes_are_those_of_the_papers_networks() -> None:
    assert sum(p.numel() for p in build("lenet", (1, 28, 28), 10, seed=0).parameters()) == 431_080
    assert sum(p.numel() for p in build("vgg9", (3, 32, 32), 10, seed=0).parameters()) == 3_491_530


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
        ("cnn", (10,), "needs images"),
        ("nowhere.at_all:model", (1, 8, 8), "expected package.module:factory"),
        ("fedma.models:nothing", (1, 8, 8), "expected package.module:factory"),
        ("fedma:__version__", (1, 8, 8), "not callable"),
    ],
)
def test_bad_names_are_refused(name: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(name, shape, 10, seed=0)

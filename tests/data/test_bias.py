"""Greyscale domains: so many images as asked for, grey as the eye sees it, owners as told."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.data import Dataset, Split
from fedma.data.bias import COLOUR, GREY, LUMA, oversampled, skewed_shares, with_grey
from fedma.errors import InputError
from fedma.seeds import generator

CLASSES = 4
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def colourful(samples: int = 80, test: int = 40) -> Dataset:
    """Normalised images whose channels are never alike."""
    pixels = torch.rand(samples + test, 3, 5, 5, generator=generator(0, "pixels")) * 0.3 + torch.tensor(
        [0.6, 0.3, 0.0]
    ).view(3, 1, 1)
    images = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    labels = torch.arange(samples + test) % CLASSES
    splits = [Split(images[:samples], labels[:samples]), Split(images[samples:], labels[samples:])]
    return Dataset("colourful", *splits, tuple("abcd"), MEAN, STD)


def grey_rows(images: torch.Tensor) -> list[bool]:
    pixels = images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    return ((pixels - pixels[:, :1]).abs().amax(dim=(1, 2, 3)) < 1e-5).tolist()


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    st.lists(st.sampled_from([0.0, 0.05, 0.25, 0.5, 0.95, 1.0]), min_size=CLASSES, max_size=CLASSES), st.integers(0, 9)
)
def test_of_each_class_its_share_is_grey_and_of_the_test_half(shares: list[float], seed: int) -> None:
    data = colourful()
    made = with_grey(data, torch.tensor(shares, dtype=torch.float64), seed=seed)
    grey, grey_test = torch.tensor(grey_rows(made.train.inputs)), torch.tensor(grey_rows(made.test.inputs))
    assert [int(grey[made.train.labels == label].sum()) for label in range(CLASSES)] == [round(20 * s) for s in shares]
    assert [int(grey_test[made.test.labels == label].sum()) for label in range(CLASSES)] == [5] * CLASSES
    assert made.train.owners == tuple(GREY if own else COLOUR for own in grey.tolist())
    assert torch.equal(made.train.inputs[~grey], data.train.inputs[~grey])
    assert made.test.owners is None


def test_grey_is_the_luma_of_the_pixels() -> None:
    data = colourful()
    made = with_grey(data, torch.ones(CLASSES, dtype=torch.float64), seed=0)
    pixels = data.train.inputs[7].numpy() * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]
    luma = sum(weight * channel for weight, channel in zip(LUMA, pixels, strict=True))
    found = made.train.inputs[7].numpy() * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]
    np.testing.assert_allclose(found, np.stack([luma] * 3), atol=1e-6)


def test_half_of_the_classes_are_skewed_one_way_and_half_the_other() -> None:
    shares = [skewed_shares(10, seed=seed) for seed in range(3)]
    assert all(sorted(own.tolist()) == [pytest.approx(0.05)] * 5 + [pytest.approx(0.95)] * 5 for own in shares)
    assert len({tuple(own.tolist()) for own in shares}) > 1
    assert torch.equal(skewed_shares(10, seed=0), shares[0])


def test_clients_by_dominated_classes_hold_all_images_of_these() -> None:
    shares = torch.tensor([0.95, 0.05, 0.95, 0.05], dtype=torch.float64)
    made = with_grey(colourful(), shares, seed=0, owners="classes")
    assert made.train.owners == tuple((GREY, COLOUR)[label % 2] for label in made.train.labels.tolist())


def test_oversampling_makes_domains_of_one_size_and_loses_nothing() -> None:
    shares = torch.tensor([0.95, 0.05, 1.0, 0.5], dtype=torch.float64)
    made = with_grey(colourful(), shares, seed=0)
    more = oversampled(made)
    grey = torch.tensor(grey_rows(more.train.inputs))
    counts = [[int((own & (more.train.labels == label)).sum()) for own in (grey, ~grey)] for label in range(CLASSES)]
    assert counts == [[19, 19], [19, 19], [20, 0], [10, 10]]
    assert torch.equal(more.train.inputs[:80], made.train.inputs)
    assert more.train.owners == tuple(GREY if own else COLOUR for own in grey.tolist())


def test_what_has_no_colours_is_refused() -> None:
    data = colourful()
    grey = Dataset("grey", Split(torch.rand(8, 1, 5, 5), torch.arange(8) % 4), data.test, data.classes)
    with pytest.raises(InputError, match="only colour images"):
        with_grey(grey, torch.ones(4), seed=0)
    for shares in (torch.ones(3), torch.full((4,), 1.5)):
        with pytest.raises(InputError, match="4 numbers from 0 to 1"):
            with_grey(data, shares, seed=0)

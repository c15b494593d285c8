"""Optimisers, learning rates, clipping and parts of an epoch, against PyTorch's own."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from federation import split
from fedma.errors import InputError
from fedma.models import build
from fedma.training import Schedule, fit
from fedma.training.freezing import check_trainable, freeze

EPOCHS = 10
DATA = split(8)
"""One batch, so that its order changes nothing but rounding."""

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1),
}
SCHEDULERS: dict[tuple[str, float], Callable[[torch.optim.Optimizer], Any]] = {
    ("constant", 0.0): lambda o: lr_scheduler.ConstantLR(o, factor=1.0),
    ("cosine", 0.0): lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=EPOCHS),
    ("linear", 0.0): lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=EPOCHS),
    ("constant", 0.4): lambda o: lr_scheduler.LinearLR(o, start_factor=1 / 4, total_iters=3),
    ("cosine", 0.4): lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, start_factor=1 / 4, total_iters=3), lr_scheduler.CosineAnnealingLR(o, T_max=6)],
        milestones=[4],
    ),
}


def network() -> nn.Module:
    return build("mlp-12", (1, 8, 8), 3, seed=0)


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize(("course", "warmup"), SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_is_pytorchs(optimizer: str, course: str, warmup: float, clip: float | None) -> None:
    model, twin = network(), network()
    schedule = Schedule(
        epochs=EPOCHS,
        optimizer=optimizer,
        lr=0.05,
        weight_decay=0.1,
        batch_size=8,
        lr_schedule=course,
        warmup=warmup,
        clip_gradients=clip,
    )
    fit(model, DATA, schedule, seed=0, name=("a",))
    own = OPTIMIZERS[optimizer](twin.parameters())
    scheduler = SCHEDULERS[course, warmup](own)
    for _ in range(EPOCHS):
        own.zero_grad()
        nn.functional.cross_entropy(twin(DATA.inputs), DATA.labels).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(twin.parameters(), clip)
        own.step()
        scheduler.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)


@given(st.integers(1, 60), st.sampled_from(["constant", "cosine", "linear"]), st.floats(0, 0.99))
def test_rates_rise_to_one_and_fall(steps: int, course: str, warmup: float) -> None:
    schedule = Schedule(lr_schedule=course, warmup=warmup)
    shares = [schedule.share(step, steps) for step in range(steps)]
    top = shares.index(max(shares))
    assert all(0 < share <= 1 for share in shares)
    assert max(shares) == 1
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)


@pytest.mark.parametrize(
    ("given_", "scheduler"),
    [
        ({"round_schedule": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=6)),
        ({"round_factor": 0.7}, lambda o: lr_scheduler.ExponentialLR(o, gamma=0.7)),
        ({}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ],
)
def test_rates_over_rounds_are_pytorchs(given_: dict[str, Any], scheduler: Callable[..., Any]) -> None:
    schedule = Schedule(lr=0.3, **given_)
    own = torch.optim.SGD(network().parameters(), lr=0.3)
    twin = scheduler(own)
    for number in range(6):
        assert schedule.in_round(number, 6).lr == pytest.approx(twin.get_last_lr()[0])
        own.step()
        twin.step()
    assert schedule.in_round(0, 6) is schedule


@pytest.mark.parametrize(
    ("changes", "samples"),
    [({"epochs": 0.5}, 16), ({"epochs": 2.25}, 70), ({"epochs": 0.001}, 8), ({"steps": 3}, 24), ({"steps": 9}, 70)],
)
def test_parts_of_an_epoch_and_steps(changes: dict[str, Any], samples: int) -> None:
    # 31 samples in batches of 8: three of 8, and one of 7
    done = fit(network(), split(31), replace(Schedule(batch_size=8), **changes), seed=0, name=("a",))
    assert done.samples_seen == samples
    assert math.isfinite(done.loss)
    assert fit(network(), split(31), Schedule(steps=0), seed=0, name=("a",)).samples_seen == 0


def test_whole_epochs_and_as_many_steps_are_one() -> None:
    one, other = network(), network()
    fit(one, split(31), Schedule(epochs=2, batch_size=8), seed=0, name=("a",))
    fit(other, split(31), Schedule(steps=8, batch_size=8), seed=0, name=("a",))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -0.5),
        ("epochs", math.nan),
        ("epochs", math.inf),
        ("steps", -1),
        ("warmup", 1.0),
        ("warmup", -0.1),
        ("warmup", math.nan),
        ("lr_schedule", "step"),
        ("round_schedule", "linear"),
        ("round_factor", 0.0),
        ("round_factor", 1.1),
        ("clip_gradients", 0.0),
        ("clip_gradients", math.inf),
    ],
)
def test_what_is_out_of_range_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        Schedule(**{field: value})  # type: ignore[arg-type]


def test_parameters_are_frozen_by_pattern() -> None:
    model = build("cnn", (1, 8, 8), 3, seed=0)
    assert freeze(model, ["conv*", "fc1.bias"]) == (
        "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.bias"
    )  # fmt: skip
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    fit(model, split(20), Schedule(epochs=1), seed=0, name=("a",))
    moved = {name for name, tensor in model.named_parameters() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in before if not name.startswith("conv")} - {"fc1.bias"}
    with pytest.raises(InputError, match=r"no parameter is named like 'fc9'; the model has conv1.weight"):
        freeze(model, ["fc9"])


def test_a_model_that_cannot_be_trained_is_refused() -> None:
    model = network()
    freeze(model, ["*"])
    with pytest.raises(InputError, match="all 4 parameters are frozen"):
        fit(model, DATA, Schedule(), seed=0, name=("a",))
    assert fit(model, DATA, Schedule(epochs=0), seed=0, name=("a",)).samples_seen == 0
    with pytest.raises(InputError, match="has no parameters"):
        check_trainable(nn.ReLU())

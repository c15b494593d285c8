"""Local training and evaluation."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from federation import assert_equal, split
from fedma.data import Split
from fedma.errors import InputError, SlowWarning
from fedma.models import build
from fedma.seeds import generator
from fedma.training import Compute, Schedule, choose, evaluate, fit, probabilities
from fedma.training.augment import augment
from fedma.units import weights

SHORT = Schedule(epochs=3, batch_size=8, lr=0.05)


def network(name: str = "cnn") -> nn.Module:
    return build(name, (1, 8, 8), 3, seed=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_learns(optimizer: str) -> None:
    model = network()
    before = evaluate([model], split(200, seed=9))
    fit(model, split(60), Schedule(epochs=8, batch_size=8, lr=0.01, optimizer=optimizer), seed=0, name=("a",))
    after = evaluate([model], split(200, seed=9))
    assert after.accuracy > max(0.8, before.accuracy)
    assert after.loss < before.loss


def test_same_seed_and_name_give_the_same_weights_and_others_do_not() -> None:
    results = []
    for seed, name in ((0, "a"), (0, "a"), (1, "a"), (0, "b")):
        model = network()
        fit(model, split(30), SHORT, seed=seed, name=(name,))
        results.append(weights(model))
    assert_equal(results[0], results[1], rtol=0, atol=0)
    for other in results[2:]:
        assert not torch.equal(results[0]["fc1.weight"], other["fc1.weight"])


def test_frozen_tensors_stay_and_the_others_move() -> None:
    model = network()
    before = weights(model)
    fit(model, split(30), SHORT, frozen=["conv1.weight", "conv1.bias"], seed=0, name=("a",))
    after = weights(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(before) - {"conv1.weight", "conv1.bias"}


def test_a_plain_sgd_loop_gives_the_same() -> None:
    model, twin, data = network("mlp"), network("mlp"), split(8)
    schedule = Schedule(epochs=4, batch_size=8, lr=0.1, momentum=0.9, weight_decay=0.01, proximal=0.3)
    fit(model, data, schedule, seed=0, name=("a",))
    start = [p.detach().clone() for p in twin.parameters()]
    velocity = [torch.zeros_like(p) for p in twin.parameters()]
    for _ in range(4):
        loss = nn.functional.cross_entropy(twin(data.inputs), data.labels)
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, g, v, w in zip(twin.parameters(), gradients, velocity, start, strict=True):
                v.mul_(0.9).add_(g + 0.01 * p + 0.3 * (p - w))
                p.sub_(0.1 * v)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_batch_norm_survives_a_last_batch_of_one() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    done = fit(model, split(17), Schedule(epochs=1, batch_size=8), seed=0, name=("a",))
    assert done.samples_seen == 17
    assert math.isfinite(done.loss)


def test_no_epochs_train_nothing() -> None:
    model = network()
    before = weights(model)
    done = fit(model, split(10), Schedule(epochs=0), seed=0, name=("a",))
    assert done.samples_seen == 0
    assert_equal(weights(model), before, rtol=0, atol=0)


def test_an_ensemble_is_the_mean_of_probabilities() -> None:
    class Says(nn.Module):
        def __init__(self, *probabilities: float) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor(probabilities).log())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(x), -1)

    data = Split(torch.zeros(4, 1), torch.tensor([0, 1, 1, 1]))
    one, two = Says(0.6, 0.4), Says(0.1, 0.9)
    assert evaluate([one], data).accuracy == 0.25
    assert evaluate([one, two], data).accuracy == 0.75
    assert evaluate([one, two], data).loss == pytest.approx(-(math.log(0.35) + 3 * math.log(0.65)) / 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", 0),
        ("lr", math.inf),
        ("momentum", 1),
        ("batch_size", 0),
        ("epochs", -1),
        ("proximal", -1),
        ("optimizer", "lion"),
    ],
)
def test_bad_schedules_are_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        Schedule(**{field: value})  # type: ignore[arg-type]


def test_what_the_user_froze_stays_frozen_and_flags_are_given_back() -> None:
    model = network()
    model.get_parameter("conv2.bias").requires_grad_(False)
    before = weights(model)
    fit(model, split(30), SHORT, frozen=["conv1.weight"], seed=0, name=("a",))
    after = weights(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(before) - {"conv1.weight", "conv2.bias"}
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {"conv2.bias"}


def test_one_sample_cannot_train_batch_normalisation() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with pytest.raises(InputError, match="single sample"):
        fit(model, split(1), SHORT, seed=0, name=("a",))
    with pytest.raises(InputError, match="raise the batch size"):
        fit(model, split(9), replace(SHORT, batch_size=1), seed=0, name=("a",))
    fit(network("mlp"), split(1), SHORT, seed=0, name=("a",))


class _Viewing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.conv(x).view(len(x), -1))


def test_channels_last_is_chosen_for_convolutions_that_survive_it() -> None:
    example = split(2).inputs
    chosen = choose(network("cnn"), example)
    assert chosen == Compute(channels_last=True)
    assert choose(network("mlp"), example) == Compute()
    with pytest.warns(SlowWarning, match="instead of .view"):
        viewing = choose(_Viewing(), example, precision="bf16")
    assert viewing == Compute(precision="bf16")
    fit(_Viewing(), split(20), SHORT, seed=0, name=("a",), compute=viewing)


class _Mixed(nn.Module):
    """Some parts in evaluation mode, and a count of forward passes; 99 in an input makes it raise."""

    def __init__(self, raises: type[Exception] = RuntimeError) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.out, self.raises = nn.Linear(144, 3), raises
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("table", torch.randn(2, 4, 6, 6).contiguous(memory_format=torch.channels_last))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        if x.eq(99).any():
            raise self.raises("no")
        return self.out(self.drop(self.norm(self.conv(x)) + self.table.sum(0)).flatten(1))


def _modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("raises", [None, RuntimeError, KeyError])
def test_probabilities_keep_the_mode_of_every_part(root: bool, raises: type[Exception] | None) -> None:
    model = _Mixed(raises or RuntimeError)
    model.norm.eval()
    model.training = root
    before, inputs = _modes(model), split(130).inputs
    if raises is None:
        assert probabilities(model, inputs).shape == (130, 3)
    else:
        with pytest.raises(raises):
            probabilities(model, torch.cat([inputs, torch.full((1, 1, 8, 8), 99.0)]))
    assert _modes(model) == before


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("raises", [None, RuntimeError, KeyError])
def test_the_model_is_left_as_it_was_by_the_choice(last: bool, raises: type[Exception] | None) -> None:
    model = _Mixed(raises or RuntimeError)
    if last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.norm.eval()
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    before = {name: (id(t), t.data_ptr(), t.stride(), t.clone()) for name, t in own.items()}
    modes, example = _modes(model), split(2).inputs
    if raises is None:
        assert choose(model, example).channels_last
    elif raises is RuntimeError:
        with pytest.warns(SlowWarning):
            choose(model, torch.full_like(example, 99))
    else:
        with pytest.raises(raises):
            choose(model, torch.full_like(example, 99))
    assert _modes(model) == modes
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        assert (id(tensor), tensor.data_ptr(), tensor.stride()) == before[name][:3]
        assert torch.equal(tensor, before[name][3])


@pytest.mark.parametrize("compute", [Compute(channels_last=True), Compute(channels_last=True, precision="bf16")])
def test_layout_and_precision_change_results_by_rounding_only(compute: Compute) -> None:
    plain, other = network("cnn"), network("cnn")
    fit(plain, split(40), SHORT, seed=0, name=("a",))
    fit(other, split(40), SHORT, seed=0, name=("a",), compute=compute)
    close = 2e-2 if compute.precision == "bf16" else 1e-4
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(other)[name], tensor, rtol=close, atol=close)
        assert weights(other)[name].dtype == torch.float32
    a, b = (probabilities(model, split(300, seed=9).inputs, compute=compute) for model in (other, plain))
    torch.testing.assert_close(a, b, rtol=close, atol=3 * close)


def test_adam_is_pytorchs_adam() -> None:
    model, twin, data = network("mlp"), network("mlp"), split(8)
    schedule = Schedule(epochs=5, batch_size=8, lr=0.01, optimizer="adam", weight_decay=0.01)
    fit(model, data, schedule, seed=0, name=("a",))
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01, weight_decay=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(twin(data.inputs), data.labels).backward()
        optimizer.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_a_parameter_that_gets_no_gradient_stays() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(64, 3), nn.Linear(64, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x.flatten(1))

    for optimizer in ("sgd", "adam"):
        model = Half()
        before = weights(model)
        fit(model, split(20), Schedule(epochs=1, optimizer=optimizer, weight_decay=0.1), seed=0, name=("a",))
        assert torch.equal(before["idle.weight"], model.idle.weight)
        assert not torch.equal(before["used.weight"], model.used.weight)
        now = weights(model)
        model.used.requires_grad_(False)
        fit(model, split(20), Schedule(epochs=1, optimizer=optimizer), seed=0, name=("a",))
        assert all(torch.equal(now[name], tensor) for name, tensor in weights(model).items())


def test_augmented_images_are_shifted_and_flipped_ones() -> None:
    images = torch.arange(2 * 3 * 6 * 7.0).view(2, 3, 6, 7).repeat(100, 1, 1, 1)
    made = augment(images, generator(0, "a"))
    padded = nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
    places = [(y, x, flip) for y in range(9) for x in range(9) for flip in (False, True)]
    seen = set()
    for image, around in zip(made, padded, strict=True):
        crops = {(y, x, flip): around[:, y : y + 6, x : x + 7] for y, x, flip in places}
        found = {place for place, crop in crops.items() if torch.equal(image, crop.flip(2) if place[2] else crop)}
        assert found
        seen |= found
    # 200 draws of 162 equally likely ones: fewer than 90 different ones would be 8 standard deviations away
    assert len(seen) > 90


def test_augmentation_is_named_by_the_seed_and_refuses_what_is_no_image() -> None:
    results = []
    for augmented in (True, True, False):
        model = network()
        fit(model, split(30), replace(SHORT, augment=augmented), seed=0, name=("a",))
        results.append(weights(model))
    assert_equal(results[0], results[1], rtol=0, atol=0)
    assert not torch.equal(results[0]["fc1.weight"], results[2]["fc1.weight"])
    for shape in ((5, 4, 8), (5, 1, 4, 8)):
        with pytest.raises(InputError, match="augment"):
            augment(torch.zeros(shape), generator(0, "a"))

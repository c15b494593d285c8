"""Local training and evaluation."""

import math

import pytest
import torch
from torch import nn

from federation import assert_equal, split
from fedma.data import Split
from fedma.errors import InputError
from fedma.models import build
from fedma.training import Schedule, evaluate, fit
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


def test_a_model_that_needs_contiguous_feature_maps_still_trains() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.conv(x).view(len(x), -1))

    model = Viewing()
    assert math.isfinite(fit(model, split(20), SHORT, seed=0, name=("a",)).loss)
    assert 0 <= evaluate([model], split(20)).accuracy <= 1


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
    fit(network("mlp"), split(1), SHORT, seed=0, name=("a",))

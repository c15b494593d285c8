"""Fusing models: the laws that any matching has to keep, and bad input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fedma
from federation import outputs, texts
from fedma.errors import GraphError, InputError, MatchingError
from fedma.models import build
from fedma.models.networks import mlp
from fedma.seeds import generator, global_generator
from fedma.units import units, weights
from networks import made

LAW = settings(max_examples=15, deadline=None, derandomize=True)
NAMES = st.sampled_from(["mlp", "cnn", "deep"])
INPUTS = torch.randn(5, 1, 8, 8, generator=generator(0, "inputs"))


def network(name: str, seed: int) -> torch.nn.Module:
    with global_generator(seed):
        if name == "deep":
            return mlp((1, 8, 8), 4, hidden=(7, 9, 6)).double()
        return build(name, (1, 8, 8), 4, seed=seed).double()


@LAW
@given(NAMES, st.integers(0, 1000), st.integers(2, 5))
def test_permuted_copies_fuse_back(name: str, seed: int, copies: int) -> None:
    model, x = network(name, seed), INPUTS.double()
    graph = units(model, x)
    orders = [graph.random_orders(generator(seed, "copy", j)) for j in range(copies)]
    fusion = fedma.fuse([graph.permute(model, own) for own in orders], x)
    assert fusion.widths == graph.widths
    torch.testing.assert_close(outputs(fusion.model, x), outputs(model, x), rtol=1e-10, atol=1e-10)
    for group, order in orders[0].items():
        back = graph.gather(weights(fusion.model), {g: a[0] for g, a in fusion.assignments.items()})
        assert order.shape == fusion.assignments[group][0].shape
    torch.testing.assert_close(back, weights(graph.permute(model, orders[0])), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["residual", "speaker", "attention", "grouped", "wide"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_permuted_copies_of_any_architecture_fuse_back(name: str, recurrent: bool) -> None:
    model = made(name, seed=1).double()
    x = texts(5).inputs if name == "speaker" else INPUTS.double()
    graph = units(model, x)
    copies = [graph.permute(model, graph.random_orders(generator(1, "copy", j))) for j in range(3)]
    fusion = fedma.fuse(copies, x, recurrent=recurrent)
    torch.testing.assert_close(outputs(fusion.model, x), outputs(model, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["residual", "attention", "grouped", "wide"])
def test_the_order_of_one_models_units_makes_no_difference(name: str) -> None:
    x = INPUTS.double()
    models = [made(name, seed=seed).double() for seed in range(3)]
    graph = units(models[0], x)
    moved = [graph.permute(models[0], graph.random_orders(generator(5, "order"))), *models[1:]]
    torch.testing.assert_close(
        outputs(fedma.fuse(moved, x).model, x), outputs(fedma.fuse(models, x).model, x), rtol=1e-8, atol=1e-8
    )


@LAW
@given(NAMES, st.integers(0, 1000), st.integers(1, 6))
def test_identical_models_give_that_model_back(name: str, seed: int, copies: int) -> None:
    model, x = network(name, seed), INPUTS.double()
    fusion = fedma.fuse([model] * copies, x)
    torch.testing.assert_close(weights(fusion.model), weights(model), rtol=1e-12, atol=1e-14)


@LAW
@given(NAMES, st.integers(0, 1000), st.floats(0.01, 100))
def test_scaling_all_weights_alike_changes_nothing(name: str, seed: int, scale: float) -> None:
    models = [network(name, seed + j) for j in range(3)]
    shares = [1.0, 5.0, 2.5]
    counts = torch.tensor([[1, 2, 3, 4], [9, 0, 1, 1], [0, 0, 5, 1]])
    first = fedma.fuse(models, INPUTS.double(), weights=shares, class_counts=counts)
    second = fedma.fuse(models, INPUTS.double(), weights=[scale * s for s in shares], class_counts=7 * counts)
    torch.testing.assert_close(weights(first.model), weights(second.model), rtol=1e-12, atol=1e-14)


@LAW
@given(NAMES, st.integers(0, 1000))
def test_identity_is_plain_averaging(name: str, seed: int) -> None:
    models = [network(name, seed + j) for j in range(3)]
    fusion = fedma.fuse(models, INPUTS.double(), matcher="identity", weights=[1, 1, 2])
    for key, tensor in weights(fusion.model).items():
        own = [weights(model)[key] for model in models]
        torch.testing.assert_close(tensor, (own[0] + own[1] + 2 * own[2]) / 4, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("fitted", [True, False])
@pytest.mark.parametrize("grow", [True, False])
@pytest.mark.parametrize("name", ["mlp", "cnn", "deep", "residual", "attention"])
def test_a_model_that_outweighs_all_others_is_the_fused_one(name: str, grow: bool, fitted: bool) -> None:
    x = INPUTS.double()
    own = made if name in ("residual", "attention") else lambda name, *, seed: network(name, seed)
    models = [own(name, seed=j).double() for j in range(3)]
    fusion = fedma.fuse(models, x, weights=[1.0, 1e12, 2.0], grow=grow, fitted=fitted)
    torch.testing.assert_close(outputs(fusion.model, x), outputs(models[1], x), rtol=1e-7, atol=1e-7)


def test_models_of_different_widths_fuse() -> None:
    with global_generator(0):
        models = [mlp((1, 8, 8), 4, hidden=(width, width + 2)) for width in (5, 8, 6)]
    fusion = fedma.fuse(models, INPUTS)
    assert fusion.widths["fc1"] >= 8
    assert outputs(fusion.model, INPUTS).shape == (5, 4)
    assert [len(own) for own in fusion.assignments["fc1"]] == [5, 8, 6]


def test_output_layer_is_averaged_by_class_proportions() -> None:
    models = [network("mlp", seed) for seed in (0, 1)]
    counts = torch.tensor([[10, 0, 5, 0], [0, 7, 5, 0]])
    fusion = fedma.fuse(models, INPUTS.double(), class_counts=counts)
    bias = [weights(model)["output.bias"] for model in models]
    mean = (bias[0] + bias[1]) / 2
    wanted = torch.stack([bias[0][0], bias[1][1], mean[2], mean[3]])
    torch.testing.assert_close(weights(fusion.model)["output.bias"], wanted)


def test_a_spoilt_model_is_left_out_on_request() -> None:
    models = [network("cnn", seed) for seed in (0, 1, 2)]
    x, counts = INPUTS.double(), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 1, 2]])
    with torch.no_grad():
        models[1].get_parameter("output.bias")[2] = float("inf")
    with pytest.raises(MatchingError, match=r"model 1: 'output.bias' \(output layer\).*on_bad=\"exclude\""):
        fedma.fuse(models, x)
    fusion = fedma.fuse(models, x, weights=[1, 9, 2], class_counts=counts, on_bad="exclude")
    without = fedma.fuse([models[0], models[2]], x, weights=[1, 2], class_counts=counts[[0, 2]])
    assert list(fusion.excluded) == [1]
    assert [len(own) for own in fusion.assignments["conv1"]] == [16, 0, 16]
    torch.testing.assert_close(weights(fusion.model), weights(without.model))
    with torch.no_grad():
        models[0].get_parameter("conv2.weight").mul_(1e4)
    with pytest.raises(MatchingError, match=r"model 0: group 'conv2'.*diverged"):
        fedma.fuse([models[0], models[2], network("cnn", 3)], x)


def test_fusing_does_not_change_the_models() -> None:
    models = [network("cnn", seed) for seed in (0, 1)]
    before = [weights(model) for model in models]
    fedma.fuse(models, INPUTS.double())
    torch.testing.assert_close([weights(model) for model in models], before, rtol=0, atol=0)


def test_recalibrated_statistics_are_those_of_the_samples() -> None:
    model = made("disordered", seed=0).double()
    batches = [torch.randn(20, 1, 8, 8, generator=generator(0, "batch", k), dtype=torch.float64) for k in range(3)]
    seen = torch.stack([model.hidden(batch.flatten(1)) for batch in batches]).detach()
    fedma.recalibrate(model, batches)
    torch.testing.assert_close(model.norm.running_mean, seen.mean((0, 1)))
    torch.testing.assert_close(model.norm.running_var, seen.var(1).mean(0))
    assert model.norm.momentum == 0.1
    assert model.training
    with pytest.raises(InputError, match="no batches"):
        fedma.recalibrate(model, [])


def test_predicted_variances_are_those_of_white_inputs() -> None:
    """Behind a fitted fusion, running variances tell how much the averaged units vary."""
    white = torch.randn(4000, 1, 8, 8, generator=generator(0, "white"), dtype=torch.float64)
    models = [made("disordered", seed=seed).double() for seed in range(3)]
    for model in models:
        fedma.recalibrate(model, [white])
    fused = fedma.fuse(models, white[:5], grow=False).model
    found = weights(fused)["norm.running_var"].clone()
    fedma.recalibrate(fused, [white])
    torch.testing.assert_close(found, weights(fused)["norm.running_var"], rtol=0.15, atol=0)


def test_bad_input_is_refused() -> None:
    models = [network("mlp", seed) for seed in (0, 1)]
    x = INPUTS.double()
    with pytest.raises(InputError, match="no model"):
        fedma.fuse([], x)
    with pytest.raises(InputError, match="2 positive numbers"):
        fedma.fuse(models, x, weights=[1.0, -1.0])
    with pytest.raises(InputError, match="2 positive numbers"):
        fedma.fuse(models, x, weights=[1.0])
    with pytest.raises(InputError, match="2 positive numbers"):
        fedma.fuse(models, x, weights=["a", "b"])  # type: ignore[list-item]
    for counts, words in (
        (torch.ones(3, 4), "2 models × classes"),
        ([[1, 2], [3, 4]], "2 models × classes"),
        (torch.ones(2, 7), "7 classes, but 'output.weight' makes 4"),
        (torch.tensor([[1, 1, 1, -1], [1, 1, 1, 1]]), "negative"),
    ):
        with pytest.raises(InputError, match=words):
            fedma.fuse(models, x, class_counts=counts)  # type: ignore[arg-type]
    for options, words in (
        ({"gama": 3.0}, "gama: no such option"),
        ({"matcher": "rebasin", "gamma": 3.0}, "gamma: options of the matcher"),
        ({"matcher": "ot", "recurrent": True}, "recurrent: options of the matcher"),
        ({"hyper": "reference", "recurrent": True}, "recurrent: hyper=.reference. matches by input weights alone"),
        ({"matcher": "c2m3", "fitted": True}, "fitted=True means nothing"),
        ({"tries": 0}, "tries is 0"),
    ):
        with pytest.raises(InputError, match=words):
            fedma.fuse(models, x, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="model 1 is int"):
        fedma.fuse([models[0], 7], x)  # type: ignore[list-item]
    with pytest.raises(InputError, match="'magic' is not known"):
        fedma.fuse(models, x, matcher="magic")
    with pytest.raises(GraphError, match="another architecture"):
        fedma.fuse([models[0], network("deep", 0)], x)
    with torch.no_grad():
        models[1].get_parameter("fc1.weight")[0, 0] = float("nan")
    with pytest.raises(MatchingError, match=r"model 1: 'fc1.weight' \(group 'fc1'\).*not finite"):
        fedma.fuse(models, x)

"""Second moments of activations, and the regression means that they make."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fedma
from federation import outputs
from fedma.errors import InputError
from fedma.matching import MATCHERS
from fedma.matching.averaging.regmean import regression_means
from fedma.models import build
from fedma.models.networks import mlp
from fedma.seeds import generator, global_generator
from fedma.units import units, weights
from networks import made

LAW = settings(max_examples=10, deadline=None, derandomize=True)
NAMES = st.sampled_from(["mlp", "cnn", "deep"])
INPUTS = torch.randn(6, 1, 8, 8, generator=generator(0, "inputs"), dtype=torch.float64)
ASSIGNING = [entry.name for entry in MATCHERS if entry.assigns]


def network(name: str, seed: int) -> torch.nn.Module:
    with global_generator(seed):
        model = mlp((1, 8, 8), 4, hidden=(7, 9)) if name == "deep" else build(name, (1, 8, 8), 4, seed=seed)
        return model.double()


def batch(seed: int) -> torch.Tensor:
    return torch.randn(30, 1, 8, 8, generator=generator(seed, "batch"), dtype=torch.float64)


def test_moments_are_the_covariances_of_what_layers_read() -> None:
    model, batches = network("cnn", 0), [batch(1), batch(2)[:7]]
    found = fedma.moments(model, batches)
    assert list(found) == ["conv2.weight", "fc1.weight", "output.weight"]
    channels = model[:3](torch.cat(batches)).movedim(1, 0).flatten(1)
    torch.testing.assert_close(found["conv2.weight"], torch.cov(channels, correction=0).detach())
    flattened = model[:6](torch.cat(batches)).movedim(1, 0).flatten(1)
    torch.testing.assert_close(found["fc1.weight"], torch.cov(flattened, correction=0).detach())
    last = model[:-1](torch.cat(batches)).T
    torch.testing.assert_close(found["output.weight"], torch.cov(last, correction=0).detach())


@LAW
@given(NAMES, st.integers(0, 1000))
def test_moments_of_a_permuted_model_are_permuted(name: str, seed: int) -> None:
    model, x = network(name, seed), batch(seed)
    graph = units(model, x)
    orders = graph.random_orders(generator(seed, "orders"))
    found, moved = fedma.moments(model, [x], graph=graph), fedma.moments(graph.permute(model, orders), [x], graph=graph)
    readers = {place.tensor: group for group in graph.groups for place in graph.places(group) if place.role == "in"}
    assert found.keys() == readers.keys()
    for tensor, group in readers.items():
        order = orders[group]
        torch.testing.assert_close(moved[tensor], found[tensor][order[:, None], order], rtol=1e-9, atol=1e-12)


@LAW
@given(
    NAMES, st.sampled_from([entry.name for entry in MATCHERS if entry.assigns]), st.integers(0, 1000), st.integers(1, 3)
)
def test_copies_fuse_back_whatever_their_data(name: str, matcher: str, seed: int, copies: int) -> None:
    model = network(name, seed)
    graph = units(model, INPUTS)
    orders = [graph.random_orders(generator(seed, "copy", j)) for j in range(copies)]
    models = [model if matcher == "identity" else graph.permute(model, own) for own in orders]
    moments = [fedma.moments(own, [batch(seed + j)]) for j, own in enumerate(models)]
    fusion = fedma.fuse(models, INPUTS, matcher=matcher, moments=moments)
    torch.testing.assert_close(outputs(fusion.model, INPUTS), outputs(model, INPUTS), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["residual", "attention", "grouped", "wide"])
def test_moments_of_any_architecture_may_be_given(name: str) -> None:
    models = [made(name, seed=seed).double() for seed in (0, 1)]
    moments = [fedma.moments(model, [batch(seed)]) for seed, model in enumerate(models)]
    fusion = fedma.fuse([models[0], models[0]], INPUTS, moments=moments)
    torch.testing.assert_close(outputs(fusion.model, INPUTS), outputs(models[0], INPUTS), rtol=1e-8, atol=1e-8)
    assert outputs(fedma.fuse(models, INPUTS, moments=moments).model, INPUTS).isfinite().all()


@LAW
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_equal_covariances_make_the_plain_mean_and_their_scale_none(seed: int, scale: float) -> None:
    models = [network("cnn", seed + j) for j in range(3)]
    own = [fedma.moments(model, [batch(seed)]) for model in models]
    plain = fedma.fuse(models, INPUTS, matcher="identity", weights=[1, 1, 2])
    equal = fedma.fuse(models, INPUTS, matcher="identity", weights=[1, 1, 2], moments=own[:1] * 3)
    torch.testing.assert_close(weights(equal.model), weights(plain.model), rtol=1e-8, atol=1e-10)
    first, second = (
        fedma.fuse(models, INPUTS, moments=[{name: s * found for name, found in m.items()} for m in own]).model
        for s in (1.0, scale)
    )
    torch.testing.assert_close(weights(first), weights(second), rtol=1e-7, atol=1e-9)


def test_regression_means_read_nearest_to_what_each_client_reads() -> None:
    """Of identity-fused layers none is nearer, in mean square over the clients' own units, at a small ridge."""
    models = [network("mlp", seed) for seed in range(3)]
    graph = units(models[0], INPUTS)
    own = [weights(model) for model in models]
    units_of = [model[:-1](batch(seed)).detach() for seed, model in enumerate(models)]
    moments = [{"output.weight": torch.cov(a.T, correction=0)} for a in units_of]
    widths = graph.widths
    slots = [{group: torch.arange(width) for group, width in widths.items()}] * 3
    mean = sum(o["output.weight"] for o in own) / 3
    (found,) = regression_means(
        own,
        graph,
        means={"output.weight": mean},
        moments=moments,
        owned=slots,
        widths=widths,
        shares=[1 / 3] * 3,
        ridge=1e-9,
    ).values()

    def missed(weight: torch.Tensor) -> float:
        parts = zip(units_of, own, strict=True)
        return float(sum(((a - a.mean(0)) @ (weight - o["output.weight"]).T).square().sum() for a, o in parts))

    random = torch.randn(mean.shape, generator=generator(0, "other"), dtype=torch.float64)
    assert missed(found) < 0.9 * missed(mean)
    assert missed(found) < min(missed(found + step * random) for step in (0.01, -0.01))


def test_a_client_counts_only_where_it_owns_units() -> None:
    """Widths 3 and 5 in the second layer: rows of slots that one client owns are that client's."""
    with global_generator(0):
        models = [mlp((1, 8, 8), 4, hidden=(4, width)).double() for width in (3, 5)]
    moments = [fedma.moments(model, [batch(seed)]) for seed, model in enumerate(models)]
    fusion = fedma.fuse(models, INPUTS, fitted=False, moments=moments, max_growth=1)
    placed = [fusion.assignments["fc1"][1], fusion.assignments["fc2"]]
    alone = sorted(set(placed[1][1].tolist()) - set(placed[1][0].tolist()))
    units_of = [placed[1][1].tolist().index(slot) for slot in alone]
    wanted = weights(models[1])["fc2.weight"][units_of]
    torch.testing.assert_close(weights(fusion.model)["fc2.weight"][alone][:, placed[0]], wanted)


def test_the_output_layer_stays_with_the_class_counts() -> None:
    models = [network("cnn", seed) for seed in (0, 1)]
    moments = [fedma.moments(model, [batch(seed)]) for seed, model in enumerate(models)]
    counts = torch.tensor([[10, 0, 5, 3], [0, 7, 5, 1]])
    found, plain = (
        weights(fedma.fuse(models, INPUTS, matcher="identity", class_counts=counts, moments=m).model)
        for m in (moments, None)
    )
    torch.testing.assert_close(found["output.weight"], plain["output.weight"], rtol=0, atol=0)
    assert float((found["fc1.weight"] - plain["fc1.weight"]).abs().max()) > 1e-3


def test_moments_that_cannot_be_used_are_refused() -> None:
    models = [network("mlp", seed) for seed in (0, 1)]
    own = [fedma.moments(model, [INPUTS]) for model in models]
    nan = {"output.weight": own[0]["output.weight"] * float("nan")}
    for moments, words in (
        (own[:1], "of 1 models, but there are 2"),
        ([own[0], {"fc1.weight": torch.eye(3)}], "model 1: 'fc1.weight' is no tensor that reads"),
        ([{"magic": torch.eye(3)}, own[1]], "model 0: 'magic'"),
        ([own[0], {"output.weight": torch.eye(3)}], r"shape \(100, 100\).*found shape \(3, 3\)"),
        ([nan, own[1]], "model 0: 'output.weight' must be a finite"),
    ):
        with pytest.raises(InputError, match=words):
            fedma.fuse(models, INPUTS, moments=moments)
    with pytest.raises(InputError, match="mean nothing to the matcher 'ot'"):
        fedma.fuse(models, INPUTS, matcher="ot", moments=own)
    with pytest.raises(InputError, match="no batches"):
        fedma.moments(models[0], [])
    with pytest.raises(InputError, match=r"'output.weight' reads is not finite"):
        fedma.moments(models[0], [INPUTS * float("inf")], graph=units(models[0], INPUTS))
    partly = fedma.fuse(models, INPUTS, matcher="identity", moments=[own[0], {}])
    plain = fedma.fuse(models, INPUTS, matcher="identity")
    torch.testing.assert_close(weights(partly.model), weights(plain.model), rtol=0, atol=0)

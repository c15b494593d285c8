"""Laws of the divisions: disjoint, complete where promised, decided by the seed, and of the stated distribution."""

import math
import os
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.data import SCHEMES, Split, class_counts, partition
from fedma.data.dirichlet import paper_dirichlet
from fedma.errors import InputError

MNIST_CLASSES = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
"""Training samples of each digit in MNIST."""

COMPLETE = ("dirichlet", "dirichlet-paper", "iid")


def labelled(*per_class: int, owners: int = 0, seed: int = 0) -> Split:
    """A split of so many samples of each class, shuffled; sample i belongs to owner i mod `owners`."""
    labels = torch.repeat_interleave(torch.arange(len(per_class)), torch.tensor(per_class))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    names = tuple(f"owner {i % owners}" for i in range(len(labels))) if owners else None
    return Split(torch.zeros(len(labels), 1), labels[order], names)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Split, dict]:
    """A split and a division of it that exists."""
    scheme = draw(st.sampled_from(SCHEMES))
    split = labelled(*draw(st.lists(st.integers(30, 60), min_size=2, max_size=4)), owners=8)
    clients = draw(st.integers(1, 6))
    wish = {"clients": clients, "scheme": scheme, "seed": draw(st.integers(0, 2**40)), "min_samples": 2}
    return split, wish | {"alpha": draw(st.sampled_from([0.3, 1.0, 50.0])), "classes_per_client": 2}


def enough(split: Split, wish: dict) -> tuple[torch.Tensor, ...]:
    return partition(split, **wish)


@given(requests())
@settings(deadline=None, max_examples=40, derandomize=True)
def test_parts_are_disjoint_in_range_and_large_enough(request_: tuple[Split, dict]) -> None:
    split, wish = request_
    parts = enough(split, wish)
    rows = torch.cat(parts)
    assert len(parts) == wish["clients"]
    assert len(rows.unique()) == len(rows)
    assert rows.dtype == torch.int64
    assert rows.min() >= 0
    assert rows.max() < len(split)
    assert min(map(len, parts)) >= wish["min_samples"]
    left_out = len(split) - len(rows)
    if wish["scheme"] in COMPLETE:
        assert left_out == 0
    if wish["scheme"] == "shards":
        assert left_out < wish["clients"] * wish["classes_per_client"]


@given(requests())
@settings(deadline=None, max_examples=25, derandomize=True)
def test_the_seed_decides(request_: tuple[Split, dict]) -> None:
    split, wish = request_
    first, again = enough(split, wish), enough(split, wish)
    for left, right in zip(first, again, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)
    other = enough(split, wish | {"seed": wish["seed"] + 1})
    if wish["scheme"] != "natural":
        assert [part.tolist() for part in first] != [part.tolist() for part in other]


def test_the_global_generators_are_left_alone() -> None:
    np_before, torch_before = np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    for scheme in SCHEMES:
        partition(labelled(60, 60, owners=3), 3, scheme=scheme, min_samples=1)
    assert np.random.get_state()[1].tolist() == np_before  # noqa: NPY002
    torch.testing.assert_close(torch.get_rng_state(), torch_before)


@pytest.mark.parametrize("scheme", ["dirichlet", "dirichlet-paper"])
def test_shares_of_one_class_follow_the_dirichlet_distribution(scheme: str) -> None:
    """With one class the rule is the bare Dirichlet: mean 1/J, variance (1/J)(1 − 1/J)/(J alpha + 1).

    J shares of each of 100 divisions. Shares of one division are dependent, so the variance is compared through
    each division's mean square, an independent number a division. Limits are 5 standard errors (about one chance
    failure in 1.7 million), plus the rounding of a share, 1/1000.
    """
    clients, alpha, divisions = 4, 1.0, 100
    split = labelled(1000)
    shares = np.array(
        [
            [
                len(part) / 1000
                for part in partition(split, clients, scheme=scheme, alpha=alpha, seed=seed, min_samples=1)
            ]
            for seed in range(divisions)
        ]
    )
    variance = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    np.testing.assert_allclose(
        shares.mean(axis=0), 1 / clients, rtol=0, atol=5 * math.sqrt(variance / divisions) + 1 / 1000
    )
    squares = ((shares - 1 / clients) ** 2).mean(axis=1)
    limit = 5 * squares.std(ddof=1) / math.sqrt(divisions) + 1 / 1000
    np.testing.assert_allclose(squares.mean(), variance, rtol=0, atol=limit)


@pytest.mark.parametrize("scheme", ["dirichlet", "dirichlet-paper"])
def test_every_client_has_the_same_share_on_average(scheme: str) -> None:
    """Over classes too, where those who hold their even part are left out: the rule treats clients alike.

    120 divisions, limits of 5 standard errors measured (one chance failure in 1.7 million a client), plus the
    rounding at the cuts, at most one sample a class and client.
    """
    split, clients = labelled(200, 100, 300), 3
    sizes = np.array(
        [[len(part) for part in partition(split, clients, scheme=scheme, alpha=0.5, seed=seed)] for seed in range(120)]
    )
    limit = 5 * sizes.std(axis=0, ddof=1) / math.sqrt(len(sizes)) + 3
    assert (abs(sizes.mean(axis=0) - len(split) / clients) < limit).all()
    assert (sizes.std(axis=0) > 20).all()


@pytest.mark.parametrize("scheme", ["dirichlet", "dirichlet-paper"])
def test_who_holds_an_even_part_gets_no_further_class(scheme: str) -> None:
    """So nobody ends with more than an even part and one class, plus a sample a class that rounding adds."""
    split = labelled(*[30] * 10)
    for seed in range(20):
        parts = partition(split, 5, scheme=scheme, alpha=0.05, seed=seed, min_samples=1)
        assert max(map(len, parts)) <= 300 / 5 + 30 + 10


@pytest.mark.parametrize("scheme", ["dirichlet", "dirichlet-paper"])
def test_a_large_alpha_approaches_the_even_division(scheme: str) -> None:
    """At alpha = 1e5 a share has standard deviation sqrt(J − 1)/(J sqrt(J alpha + 1)) = 6e-4: 20 of them allowed."""
    split = labelled(3000, 6000)
    counts = class_counts(split, partition(split, 4, scheme=scheme, alpha=1e5, seed=1), 2)
    shares = counts / torch.tensor([3000, 6000])
    torch.testing.assert_close(shares, torch.full((4, 2), 0.25), rtol=0, atol=20 * 6.1e-4)


def test_the_iid_scheme_deals_even_and_unsorted_parts() -> None:
    """Class counts of a part are hypergeometric; limits of 5.5 standard deviations (4e-8 a cell, 12 cells)."""
    split = labelled(900, 600, 300)
    counts = class_counts(split, partition(split, 4, scheme="iid", seed=3), 3)
    assert counts.sum(1).tolist() == [450] * 4
    share = torch.tensor([1 / 2, 1 / 3, 1 / 6])
    limit = 5.5 * (450 * share * (1 - share) * (1800 - 450) / 1799).sqrt()
    assert ((counts - 450 * share).abs() < limit).all()


def test_the_paper_rule_cuts_as_the_reference_code_does() -> None:
    """The sizes that the reference code prints for MNIST, 5 clients, alpha 0.5, under numpy's seed 0."""
    labels = np.repeat(np.arange(10), MNIST_CLASSES)
    rng = np.random.RandomState(0)
    parts = paper_dirichlet(labels, 5, alpha=0.5, min_samples=10, rng=rng)  # type: ignore[arg-type]
    assert [len(part) for part in parts] == [8969, 9727, 17752, 13686, 9866]


def test_pathological_clients_hold_that_many_classes_and_no_class_is_lost() -> None:
    split = labelled(*[100] * 10)
    counts = class_counts(split, partition(split, 10, scheme="pathological", classes_per_client=2), 10)
    assert ((counts > 0).sum(1) == 2).all()
    assert counts.sum(0).tolist() == [100] * 10


def test_shards_are_even_and_hold_few_classes() -> None:
    split = labelled(*[100] * 10)
    counts = class_counts(split, partition(split, 10, scheme="shards", classes_per_client=2), 10)
    assert counts.sum(1).tolist() == [100] * 10
    assert ((counts > 0).sum(1) <= 2).all()


def test_natural_clients_are_single_owners_with_enough_samples() -> None:
    owners = ("ann",) * 12 + ("bob",) * 3 + ("cyd",) * 15
    split = Split(torch.zeros(30, 1), torch.zeros(30, dtype=torch.int64), owners)
    parts = partition(split, 2, scheme="natural", min_samples=10)
    assert [{owners[row] for row in part.tolist()} for part in parts] == [{"ann"}, {"cyd"}]
    assert [len(part) for part in parts] == [12, 15]
    with pytest.raises(InputError, match="2 of 3 owners hold 10 samples or more, and 3 clients"):
        partition(split, 3, scheme="natural", min_samples=10)


def test_natural_clients_are_drawn_among_the_owners() -> None:
    split = labelled(100, owners=10)
    drawn = {split.owners[part[0]] for seed in range(20) for part in partition(split, 2, scheme="natural", seed=seed)}
    assert len(drawn) > 5


def test_class_counts_by_hand() -> None:
    split = Split(torch.zeros(5, 1), torch.tensor([0, 2, 2, 1, 0]))
    counts = class_counts(split, (torch.tensor([0, 1, 2]), torch.tensor([3])), 4)
    assert counts.tolist() == [[1, 0, 2, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0; it must be finite and greater than 0"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"alpha": math.inf}, "alpha is inf"),
        ({"clients": 0}, "clients is 0; it must be 1 or more"),
        ({"min_samples": 0}, "min_samples is 0"),
        ({"classes_per_client": 0}, "classes_per_client is 0"),
        ({"clients": 41}, "41 clients for 40 training samples; take 40 clients or fewer"),
        ({"clients": 5}, "5 clients with 10 samples or more each need 50, and there are 40"),
        ({"scheme": "unfair"}, "unknown partition scheme 'unfair'; known: dirichlet, dirichlet-paper, iid"),
        ({"scheme": "natural"}, "needs samples with owners"),
        ({"scheme": "pathological", "classes_per_client": 3}, "classes_per_client is 3, and the samples have 2"),
        ({"scheme": "shards", "classes_per_client": 21}, "2 clients with 21 shards each need 42 samples"),
        ({"scheme": "pathological", "clients": 30, "min_samples": 1}, "some class has fewer samples than clients"),
        ({"alpha": 1e308}, "no division drawn with alpha"),
        ({"alpha": 1e308, "scheme": "dirichlet-paper"}, "no division drawn with alpha"),
    ],
)
def test_what_cannot_work_is_refused_with_one_clear_line(wish: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        partition(labelled(20, 20), **({"clients": 2} | wish))
    assert "\n" not in str(error.value)


def test_a_part_below_the_minimum_is_refused() -> None:
    with pytest.raises(InputError, match="client 1 would hold 3 samples under scheme 'pathological'"):
        partition(labelled(40, 3), 2, scheme="pathological", classes_per_client=1)


@pytest.mark.parametrize("scheme", ["dirichlet", "dirichlet-paper"])
def test_a_tiny_alpha_deals_whole_classes(scheme: str) -> None:
    split = labelled(50, 50, 50)
    counts = class_counts(split, partition(split, 3, scheme=scheme, alpha=1e-4, min_samples=50), 3)
    assert ((counts == 0) | (counts == 50)).all()


def test_no_use_is_reported_and_the_environment_is_as_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FLWR_TELEMETRY_ENABLED", raising=False)
    for scheme in SCHEMES:
        partition(labelled(60, 60, owners=3), 3, scheme=scheme, min_samples=1)
    assert "FLWR_TELEMETRY_ENABLED" not in os.environ
    assert sys.modules["flwr_datasets.common.telemetry"].state["executor"] is None
    assert capsys.readouterr() == ("", "")

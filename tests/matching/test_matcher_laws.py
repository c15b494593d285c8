"""Every registered matcher obeys the laws, and a bad one does not."""

from collections.abc import Iterator

import pytest
import torch

from fedma.errors import MatchingError
from fedma.matching import MATCHERS
from fedma.matching.registry import Entry
from matching.matcher_laws import LAWS, Law

pytestmark = pytest.mark.filterwarnings("ignore:group .* is left in place")


@pytest.mark.parametrize(("law", "kind"), LAWS, ids=lambda part: getattr(part, "__name__", part))
@pytest.mark.parametrize("name", MATCHERS.names)
def test_a_registered_matcher_obeys(name: str, law: Law, kind: str) -> None:
    law(MATCHERS.get(name), kind)


def in_order(rows, most):
    return [torch.arange(len(own)) for own in rows]


def reversed_second(rows, most):
    return [torch.arange(len(own)) if j else torch.arange(len(own)).flip(0) for j, own in enumerate(rows)]


def one_slot(rows, most):
    return [torch.zeros(len(own), dtype=torch.long) for own in rows]


def with_gaps(rows, most):
    return [2 * torch.arange(len(own)) for own in rows]


def apart(rows, most):
    first = [0, *torch.tensor([len(own) for own in rows]).cumsum(0).tolist()]
    return [torch.arange(len(own)) + start for own, start in zip(rows, first, strict=False)]


def unseeded(rows, most, _calls=[]):  # noqa: B006
    _calls.append(1)
    return [torch.arange(len(own)).roll(len(_calls)) for own in rows]


def whole_in_order(models, graph, *, widths, seed):
    return {group: [torch.arange(own[group]) for own in widths] for group in graph.groups}


BAD = {
    "constant": Entry("bad", in_order),
    "constant on whole models": Entry("bad", whole_in_order, kind="model", grows=False),
    "identical clients apart": Entry("bad", reversed_second),
    "a slot twice": Entry("bad", one_slot),
    "slots left out": Entry("bad", with_gaps),
    "everybody alone": Entry("bad", apart),
    "not by the seed": Entry("bad", unseeded),
}


@pytest.fixture
def registered(request: pytest.FixtureRequest) -> Iterator[Entry]:
    yield MATCHERS.register(BAD[request.param])
    MATCHERS.remove("bad")


@pytest.mark.parametrize("registered", BAD, indirect=True)
def test_the_laws_find_a_bad_matcher(registered: Entry) -> None:
    broken = []
    for law, kind in LAWS:
        if kind != "mlp":
            continue
        try:
            law(registered, kind)
        except (AssertionError, MatchingError, pytest.fail.Exception):
            broken.append(law.__name__)
    assert broken

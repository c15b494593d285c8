"""A matching of the user's own: used as it is, and refused where it cannot be."""

import pytest
import torch

import fedma
from fedma.errors import InputError, MatchingError
from fedma.matching import match
from fedma.models import build

INPUTS = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def models(name="mlp-6", number=2):
    return [build(name, (1, 8, 8), 10, seed=j) for j in range(number)]


def weights(model):
    return dict(model.state_dict())


def test_the_built_in_matching_given_as_a_function_changes_nothing():
    seen = []

    def function(rows, max_slots):
        seen.append((tuple(len(r) for r in rows), max_slots))
        return match(rows, max_slots=max_slots, orders=[[0, 1]] * 20).assignments

    own = fedma.fuse(models(), INPUTS, matcher=function)
    built_in = fedma.fuse(models(), INPUTS, fitted=False, orders=[[0, 1]] * 20)
    assert seen == [((6, 6), 9)]
    assert weights(own.model).keys() == weights(built_in.model).keys()
    assert all(torch.equal(t, weights(built_in.model)[name]) for name, t in weights(own.model).items())


def test_each_block_is_matched_by_itself():
    calls = []

    def function(rows, max_slots):
        calls.append(max_slots)
        return [torch.arange(len(r)) for r in rows]

    sentences = torch.randint(9, (2, 12), generator=torch.Generator().manual_seed(0))
    pair = [build("transformer", (12,), 9, seed=j, vocabulary=9) for j in range(2)]
    fused = fedma.fuse(pair, sentences, matcher=function)
    plain = fedma.fuse(pair, sentences, matcher="identity")
    assert len(calls) > len(fused.graph.groups)
    for name, tensor in weights(fused.model).items():
        torch.testing.assert_close(tensor, weights(plain.model)[name])


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([torch.arange(6)], "one slot for each unit"),
        ([torch.arange(6), torch.arange(5)], "one slot for each unit"),
        ([torch.arange(6), torch.zeros(6, dtype=torch.long)], "two units of client 1"),
        ([torch.arange(6), torch.arange(6) + 1 + (torch.arange(6) == 5)], "leave none empty"),
        ([torch.arange(6), torch.arange(6) - 1], "leave none empty"),
        ([torch.arange(6).float(), torch.arange(6).float()], "must number its slots"),
        ([torch.arange(6), torch.arange(6) + 6], "at most 9"),
    ],
)
def test_what_cannot_be_used_is_refused(found, says):
    with pytest.raises(MatchingError, match=says):
        fedma.fuse(models(), INPUTS, matcher=lambda rows, max_slots: found)


def test_options_of_the_built_in_matching_mean_nothing_to_it():
    with pytest.raises(InputError, match="mean nothing to a matching of one's own"):
        fedma.fuse(models(), INPUTS, matcher=lambda rows, max_slots: [], gamma=2.0)
    with pytest.raises(InputError, match="a function of your own"):
        fedma.fuse(models(), INPUTS, matcher=None)

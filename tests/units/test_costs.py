"""What deriving and verifying cost, counted: passes, copies and walks do not grow with what they need not grow with."""

import pytest
import torch
from torch import nn

from fedma.units import growth, layout, resize, trial, units
from fedma.units.layout import index, put
from fedma.units.shake import PART, shaken


def chain(layers):
    return nn.Sequential(*(m for _ in range(layers) for m in (nn.Linear(16, 16), nn.ReLU())), nn.Linear(16, 3))


@pytest.fixture
def count(monkeypatch):
    """Counts the calls of a function."""

    def watch(module, name):
        calls, real = [], getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **kwargs: (calls.append(1), real(*args, **kwargs))[1])
        return calls

    return watch


def test_passes_and_copies_do_not_depend_on_the_depth(count):
    passes, copies = count(trial, "forward"), count(resize.copy, "deepcopy")
    found = []
    for layers in (6, 24):
        passes.clear(), copies.clear()
        assert len(units(chain(layers), torch.ones(4, 16)).groups) == layers
        found.append((len(passes), len(copies)))
    assert found[0] == found[1]
    assert found[0] == (4, 5)


def test_many_groups_are_pinned_in_one_walk(count):
    graph = units(chain(12), torch.ones(4, 16))
    walks = count(layout, "without")
    pinned = graph.pin_all(graph.groups, "why")
    assert len(walks) == sum(len(axes) for axes in graph.layouts.values())
    assert not pinned.groups
    assert set(pinned.fixed.values()) >= {"why"}
    one_by_one = graph
    for name in graph.groups:
        one_by_one = one_by_one.pin(name, "why")
    assert pinned == one_by_one


def test_batch_norm_of_shapes_alone_is_no_detour_and_still_refuses():
    bare = nn.BatchNorm2d(4, device="meta").eval()
    with growth._Bare():
        assert bare(torch.empty(2, 4, 3, 3, device="meta")).shape == (2, 4, 3, 3)
        with pytest.raises(RuntimeError, match="batch norm of 4 channels was given 5"):
            bare(torch.empty(2, 5, 3, 3, device="meta"))
        assert nn.BatchNorm2d(2)(torch.ones(2, 2, 2, 2)).abs().max() == 0


@pytest.mark.parametrize("shape", [(1100, 1000), (PART + 3,)])
def test_large_tensors_are_shaken_everywhere_and_no_two_rows_alike(shape):
    holder = nn.Module()
    holder.own = nn.Parameter(torch.ones(shape))
    moved = shaken(holder).own.detach()
    assert moved.dtype == torch.float64
    assert (moved != 1).all()
    rows = moved if moved.dim() > 1 else moved[:, None]
    assert len(rows[:1000].unique(dim=0)) == 1000
    assert not torch.equal(rows[0], rows[-1]) or moved.dim() == 1


def test_units_are_put_in_place_with_the_filler_between():
    axes = (((layout.Factor(2, "a"),),), ((layout.Factor(3),),))
    where = index(axes, {"a": torch.tensor([3, 1])}, {"a": 4}, per={})
    wide = put(torch.tensor([[1.0, 2, 3], [4, 5, 6]]), where, (4, 3), 7.0)
    assert wide.tolist() == [[7, 7, 7], [4, 5, 6], [7, 7, 7], [1, 2, 3]]
    assert put(torch.zeros(0, 3), (torch.zeros(0, 1, dtype=torch.long), torch.arange(3)[None]), (2, 3), 1.0).sum() == 6

"""Checkpoints: what is kept comes back, whole or not at all, and nothing else is believed."""

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fedma.errors import CheckpointError, CheckpointWarning
from fedma.experiments import checkpoint

VALUE = {"round": 3, "weights": {"a": torch.arange(6.0).view(2, 3)}, "maps": {7: {"g": torch.tensor([2, 0])}}}

tensors = st.builds(
    lambda shape, dtype: torch.arange(torch.Size(shape).numel()).view(shape).to(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from([torch.float32, torch.int32, torch.int64, torch.bool, torch.bfloat16]),
)
keys = st.one_of(st.integers(), st.text(max_size=5))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), tensors),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)


def same(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_what_is_kept_comes_back(tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]) -> None:
    folder = tmp_path_factory.mktemp("kept")
    checkpoint.save(folder, value)
    assert same(checkpoint.load(folder), value)


def test_tensors_that_share_memory_are_kept(tmp_path: Path) -> None:
    whole = torch.arange(6)
    checkpoint.save(tmp_path, {"whole": whole, "again": whole, "part": whole[2:4]})
    kept = checkpoint.load(tmp_path)
    assert kept is not None
    assert torch.equal(kept["part"], torch.tensor([2, 3]))
    assert kept["whole"] is kept["again"]


def test_nothing_kept_nothing_found(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    checkpoint.save(tmp_path, VALUE)
    checkpoint.save(tmp_path, VALUE)
    assert checkpoint.exists(tmp_path)
    checkpoint.drop(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_cut_off_checkpoint_gives_way_to_the_one_before_it(tmp_path: Path, length: int) -> None:
    checkpoint.save(tmp_path, {**VALUE, "round": 1})
    checkpoint.save(tmp_path, {**VALUE, "round": 2})
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.warns(CheckpointWarning, match="one before it"):
        kept = checkpoint.load(tmp_path)
    assert kept is not None
    assert kept["round"] == 1


def test_between_two_renames_the_one_before_it_is_taken(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, VALUE)
    (tmp_path / "checkpoint.safetensors").rename(tmp_path / "checkpoint.previous.safetensors")
    assert same(checkpoint.load(tmp_path), VALUE)


def test_a_full_disk_is_named_and_costs_nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, VALUE)

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*make room"):
        checkpoint.save(tmp_path, {**VALUE, "round": 4})
    assert same(checkpoint.load(tmp_path), VALUE)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


HEADERS = [
    "[]", "3", "not JSON", '{"tensor": "9"}', '{"tensor": "../../etc/passwd"}', '{"file": "x"}', '{"pairs": [["a"]]}',
    '{"pairs": 3}', '{"pairs": [[{"items": [{"pairs": []}]}, 1]]}', '{"items": [], "pairs": []}', "{}", '{"items": []}',
    "[" * 5000 + "]" * 5000, '{"items":[' * 3000 + "]}" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_malformed_content_is_refused(tmp_path: Path, header: str) -> None:
    file = tmp_path / "checkpoint.safetensors"
    save_file({"0": torch.zeros(2)}, file, metadata={"fedma-checkpoint-1": header})
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors"):
        checkpoint.load(tmp_path)


def test_other_files_and_links_are_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    checkpoint.save(elsewhere, VALUE)
    (tmp_path / "checkpoint.safetensors").symlink_to(elsewhere / "checkpoint.safetensors")
    with pytest.raises(CheckpointError, match="link"):
        checkpoint.load(tmp_path)
    save_file({"0": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"fedma": json.dumps({})})
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.read(tmp_path / "model.safetensors")


def test_only_plain_values_are_kept(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="set"):
        checkpoint.save(tmp_path, {"a": {1, 2}})

"""Checkpoints: what is kept comes back, whole or not at all, and nothing else is believed."""

import json
import os
import subprocess
import sys
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


def forged(tensors: dict[str, torch.Tensor], file: Path, header: str) -> None:
    """A checkpoint of any content, with the digest that belongs to it."""
    digest = checkpoint.digest(header, tensors)
    save_file(tensors, file, metadata={"fedma-checkpoint-1": header, "blake2b": digest})


HEADERS = [
    "[]", "3", "not JSON", '{"tensor": "9"}', '{"tensor": "../../etc/passwd"}', '{"file": "x"}', '{"pairs": [["a"]]}',
    '{"pairs": 3}', '{"pairs": [[{"items": [{"pairs": []}]}, 1]]}', '{"items": [], "pairs": []}', "{}", '{"items": []}',
    "[" * 5000 + "]" * 5000, '{"items":[' * 3000 + "]}" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_malformed_content_is_refused(tmp_path: Path, header: str) -> None:
    file = tmp_path / "checkpoint.safetensors"
    forged({"0": torch.zeros(2)}, file, header)
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


def test_a_folder_or_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").mkdir()
    os.mkfifo(tmp_path / "checkpoint.previous.safetensors")
    with pytest.raises(CheckpointError, match="no file"):
        checkpoint.load(tmp_path)


def test_writing_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    outside, folder = tmp_path / "precious", tmp_path / "run"
    outside.write_text("precious")
    folder.mkdir()
    for name in ("checkpoint.safetensors", "checkpoint.partial.safetensors", "checkpoint.previous.safetensors"):
        (folder / name).symlink_to(outside)
    checkpoint.save(folder, VALUE)
    checkpoint.save(folder, VALUE)
    assert outside.read_text() == "precious"
    assert same(checkpoint.load(folder), VALUE)


def test_parts_of_two_checkpoints_are_not_put_together(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, VALUE)
    file = tmp_path / "checkpoint.safetensors"
    good = file.read_bytes()
    checkpoint.save(tmp_path, {**VALUE, "weights": {"a": torch.ones(2, 3)}})
    other = file.read_bytes()
    assert len(good) == len(other)
    (tmp_path / "checkpoint.previous.safetensors").unlink()
    file.write_bytes(good[:-48] + other[-48:])
    with pytest.raises(CheckpointError, match="digest differs"):
        checkpoint.load(tmp_path)


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, VALUE)
    file = tmp_path / "checkpoint.safetensors"
    raw = file.read_bytes()
    for place in range(len(raw)):
        file.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(CheckpointError):
            checkpoint.load(tmp_path)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.data())
def test_a_garbled_checkpoint_is_refused_or_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("garbled", numbered=True)
    checkpoint.save(folder, VALUE)
    file = folder / "checkpoint.safetensors"
    raw = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(start + 16, len(raw))))
        raw[start:end] = data.draw(st.binary(max_size=16))
    file.write_bytes(bytes(raw))
    try:
        assert same(checkpoint.load(folder), VALUE)
    except CheckpointError:
        return


json_like = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.sampled_from(["0", "9"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["tensor", "pairs", "items", "x"]), inner, max_size=2),
        st.fixed_dictionaries({"pairs": st.lists(st.lists(inner, min_size=2, max_size=2), max_size=3)}),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(json_like)
def test_any_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    folder = tmp_path_factory.mktemp("forged", numbered=True)
    forged({"0": torch.zeros(2)}, folder / "checkpoint.safetensors", json.dumps(content))
    try:
        assert isinstance(checkpoint.load(folder), dict)
    except CheckpointError:
        return


FULL = """
import resource, sys, torch
from pathlib import Path
from fedma.errors import CheckpointError
from fedma.experiments import checkpoint
folder = Path(sys.argv[1])
checkpoint.save(folder, {"a": torch.ones(10)})
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    checkpoint.save(folder, {"a": torch.ones(100_000)})
except CheckpointError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as Unix does")
def test_a_file_that_finds_no_room_costs_nothing_kept(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "File too large" in said.stdout
    assert f"fedma run --resume {tmp_path}" in said.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    assert same(checkpoint.load(tmp_path), {"a": torch.ones(10)})


def test_only_plain_values_are_kept(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="set"):
        checkpoint.save(tmp_path, {"a": {1, 2}})

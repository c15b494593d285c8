"""Checkpoints: what a run needs to go on, in one safetensors file, written whole or not at all.

A value of mappings, sequences, tensors, numbers, words and None. Tensors are the file's; the rest is JSON in its
header, in which `{"tensor": "7"}` stands for a tensor, `{"pairs": [[key, value], …]}` for a mapping and
`{"items": […]}` for a sequence. Nothing in a checkpoint is ever executed, and it names no file. A digest of both
parts is stored too, so a file that was cut off, damaged or put together from others is refused.
"""

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedma.errors import CheckpointError, CheckpointWarning

_FORMAT, _DIGEST = "fedma-checkpoint-1", "blake2b"
_NAME, _PREVIOUS, _PARTIAL = (f"checkpoint{part}.safetensors" for part in ("", ".previous", ".partial"))


def save(folder: Path, value: Mapping[str, Any]) -> None:
    """Keep the value in the folder, and the checkpoint before it too.

    At least one of both is complete at any time, even if the process dies.

    Raises:
        CheckpointError: the file cannot be written, or the value holds other kinds of values.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps(_encoded(value, tensors, {}))
    facts = {_FORMAT: header, _DIGEST: digest(header, tensors)}
    try:
        write(folder / _NAME, tensors, facts, previous=folder / _PREVIOUS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"a checkpoint cannot be written to {folder}: {error}; the one before it, if there is one, is kept: "
            f"{go_on(folder)}"
        ) from error


def go_on(folder: Path) -> str:
    """Advice for a full disk."""
    return (
        f"make room and go on with fedma run --resume {folder}, or, in a Flower app, run it with the same folder again"
    )


def load(folder: Path) -> dict[str, Any] | None:
    """The value kept last, with mappings as dicts and sequences as tuples; None if the folder has no checkpoint.

    If the last checkpoint is damaged, the one before it is read, with a `CheckpointWarning`.

    Raises:
        CheckpointError: all checkpoints of the folder are damaged.
    """
    damage: CheckpointError | None = None
    for path in (folder / _NAME, folder / _PREVIOUS):
        if not path.is_symlink() and not path.exists():
            continue
        try:
            value = read(path)
        except CheckpointError as error:
            damage = damage or error
            continue
        if damage is not None:
            warnings.warn(f"{damage}; going on from the one before it", CheckpointWarning, stacklevel=2)
        return value
    if damage is not None:
        raise CheckpointError(f"{damage}, and there is no other in {folder}; start the run anew")
    return None


def exists(folder: Path) -> bool:
    """Whether the folder has a checkpoint, good or not."""
    return any((folder / name).exists() for name in (_NAME, _PREVIOUS))


def drop(folder: Path) -> None:
    """Remove the folder's checkpoints."""
    for name in (_PREVIOUS, _PARTIAL, _NAME):
        (folder / name).unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """The value in one checkpoint.

    Raises:
        CheckpointError: the file is no checkpoint, is damaged, or is a link.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise CheckpointError(f"{path} is a link or no file; a checkpoint is a file of its own")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        if metadata[_DIGEST] != digest(metadata[_FORMAT], tensors):
            raise ValueError("its content is not what was written: the digest differs")
        value = _decoded(json.loads(metadata[_FORMAT]), tensors)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is no checkpoint, or a damaged one ({type(error).__name__}: {error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is no checkpoint: it holds a {type(value).__name__} instead of names and values")
    return value


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str], *, previous: Path | None = None) -> None:
    """Keep tensors and facts in a safetensors file, whole or not at all.

    Args: what the file held before goes to `previous`, if one is named.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    partial = path.with_suffix(".partial.safetensors")
    try:
        partial.unlink(missing_ok=True)  # a link there would lead the writing elsewhere
        save_file(dict(tensors), partial, metadata=dict(facts))
        sync(partial)
        if previous is not None:
            with contextlib.suppress(FileNotFoundError):
                path.replace(previous)
        partial.replace(path)
        sync(path.parent)
    except (OSError, SafetensorError):
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _encoded(value: object, tensors: dict[str, Tensor], seen: dict[int, str]) -> object:
    """The value as JSON; its tensors are put into `tensors`, each once."""
    if isinstance(value, Tensor):
        if id(value) not in seen:
            seen[id(value)] = str(len(tensors))
            # Safetensors refuses tensors that share memory.
            tensors[seen[id(value)]] = value.detach().clone(memory_format=torch.contiguous_format)
        return {"tensor": seen[id(value)]}
    if isinstance(value, Mapping):
        return {"pairs": [[_encoded(part, tensors, seen) for part in pair] for pair in value.items()]}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"items": [_encoded(item, tensors, seen) for item in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(f"a checkpoint cannot hold a {type(value).__name__}")


def _decoded(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueError("a bare list")
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "pairs":
        return {_decoded(key, tensors): _decoded(own, tensors) for key, own in content}
    if kind == "items":
        return tuple(_decoded(item, tensors) for item in content)
    raise ValueError(f"a part of unknown kind {kind!r}")


def digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Of all that a file holds; it finds damage, but anyone can compute it."""
    found = hashlib.blake2b(header.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        found.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def sync(path: Path) -> None:
    """Let what was written reach the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

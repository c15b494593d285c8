"""Messages between processes whose tensors lie in shared memory, so that they are copied once and never pickled."""

import io
import mmap
import os
import pickle
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 64


class Area:
    """Memory that a process shares with those it forks, as large as the largest message so far; it has no name.

    One message at a time: the next one overwrites it.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("fedma")
        self._map: mmap.mmap | None = None

    def pack(self, message: object) -> bytes:
        """What stands for the message; its tensors are copied into the area."""
        buffer = io.BytesIO()
        packer = _Packer(buffer, pickle.HIGHEST_PROTOCOL)
        packer.dump(message)
        view = self._view(packer.end)
        for start, tensor in packer.found.values():
            _tensor(view, start, tensor.dtype, tensor.shape).copy_(tensor)
        return buffer.getvalue()

    def unpack(self, packed: bytes, *, copy: bool) -> Any:
        """The message; without `copy` its tensors are the area itself, good until the next message."""
        return _Unpacker(io.BytesIO(packed), self._view(0), copy).load()

    def close(self) -> None:
        """Give the memory back when the last process has."""
        os.close(self._file)
        self._map = None

    def _view(self, least: int) -> mmap.mmap:
        size = os.fstat(self._file).st_size
        if size < max(least, mmap.PAGESIZE):
            size = max(least, mmap.PAGESIZE)
            os.ftruncate(self._file, size)
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self._file, size)
        return self._map


class _Packer(pickle.Pickler):
    """Leaves tensors out, and remembers where each is to lie."""

    def __init__(self, buffer: io.BytesIO, protocol: int) -> None:
        super().__init__(buffer, protocol)
        self.found: dict[int, tuple[int, Tensor]] = {}
        self.end = 0

    def persistent_id(self, value: object) -> tuple[int, torch.dtype, tuple[int, ...]] | None:
        if not isinstance(value, Tensor):
            return None
        if id(value) not in self.found:
            self.found[id(value)] = self.end, value
            self.end += -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT
        return self.found[id(value)][0], value.dtype, tuple(value.shape)


class _Unpacker(pickle.Unpickler):
    """Puts them back; what was one tensor is one again."""

    def __init__(self, buffer: io.BytesIO, view: mmap.mmap, copy: bool) -> None:
        super().__init__(buffer)
        self.view, self.copy = view, copy
        self.found: dict[tuple[int, torch.dtype, tuple[int, ...]], Tensor] = {}

    def persistent_load(self, place: tuple[int, torch.dtype, tuple[int, ...]]) -> Tensor:
        if place not in self.found:
            tensor = _tensor(self.view, *place)
            self.found[place] = tensor.clone() if self.copy else tensor
        return self.found[place]


def _tensor(view: mmap.mmap, start: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    count = torch.Size(shape).numel()
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(view, dtype=dtype, count=count, offset=start).view(shape)

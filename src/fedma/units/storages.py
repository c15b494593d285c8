"""Which tensors show the same memory. Memory is known by its address, since Python objects come and go."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef


@dataclass(eq=False)
class Storage:
    """A piece of memory that tensors show.

    Attributes:
        number: its number.
        start: address of its first byte.
        size: in bytes.
        owner: shows when the memory was freed; or the tensor itself if its memory is not plain.
        constant: whether nothing in it was computed from parameters or inputs.
        version: the highest write count that its tensors can have after all writes that were seen; None if the memory
            existed before and its writes are unknown.
    """

    number: int
    start: int
    size: int
    owner: StorageWeakRef | Tensor
    constant: bool = False
    version: int | None = None

    def wrote(self, tensor: Tensor, times: int = 0) -> None:
        """Note writes: the tensor's own write count, plus this many."""
        if self.version is not None and not tensor.is_inference():
            self.version = max(self.version, tensor._version + times)

    def hides(self, tensor: Tensor) -> bool:
        """Whether some write to this tensor was not seen."""
        return self.version is not None and not tensor.is_inference() and tensor._version > self.version

    @property
    def gone(self) -> bool:
        """Whether the memory was freed or moved, so that its address may now belong to other memory."""
        if isinstance(self.owner, Tensor):
            return False
        memory = torch.UntypedStorage._new_with_weak_ptr(self.owner.cdata)
        return memory is None or (memory.data_ptr() or self.start) != self.start


class Storages:
    """All memory seen so far."""

    def __init__(self) -> None:
        self._by_address: dict[int, Storage] = {}
        self._count = 0

    def find(self, tensor: Tensor) -> Storage | None:
        """The memory that a tensor shows, if known; else None."""
        found = self._by_address.get(_address(tensor))
        return None if found is None or found.gone else found

    def __getitem__(self, tensor: Tensor) -> Storage:
        """The known memory of a tensor."""
        return self._by_address[_address(tensor)]

    def around(self, tensor: Tensor) -> Storage | None:
        """The known memory inside which the tensor's memory begins; None if there is none."""
        address = _address(tensor)
        inside = (s for s in self._by_address.values() if s.start < address < s.start + s.size and not s.gone)
        return next(inside, None)

    def add(self, tensor: Tensor, *, constant: bool = False, fresh: bool = False) -> Storage:
        """Register the memory of a tensor, and whether it was made in this pass."""
        plain = is_plain(tensor)
        memory = tensor.untyped_storage() if plain else None
        owner = tensor if memory is None else StorageWeakRef(memory)
        size = 0 if memory is None else memory.nbytes()
        found = Storage(self._count, _address(tensor), size, owner, constant, 0 if fresh else None)
        self._by_address[found.start] = found
        self._count += 1
        return found


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is a plain view of memory (not sparse, not nested, not zeros without memory)."""
    return tensor.layout is torch.strided and not tensor.is_nested and not tensor._is_zerotensor()


def is_allocated(tensor: Tensor) -> bool:
    """Whether PyTorch itself allocated the memory (not NumPy, say)."""
    return is_plain(tensor) and tensor.untyped_storage().resizable()


def window(tensor: Tensor) -> Hashable:
    """A key that differs between two tensors that show the same memory in different ways."""
    if not is_plain(tensor):
        return None
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.is_conj(), tensor.is_neg())


def _address(tensor: Tensor) -> int:
    """The address of the first byte; negative if there is none."""
    if not is_plain(tensor):
        return -id(tensor)
    memory = tensor.untyped_storage()
    return memory.data_ptr() or -memory._cdata

"""Random numbers by name: the same seed and name give the same draws in every process, in any order."""

import hashlib
import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import numpy as np
import torch


def number(seed: int, *name: str | int) -> int:
    """A whole number in [0, 2**56) that depends on the seed and the name alone."""
    digest = hashlib.blake2b(repr((seed, *name)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def generator(seed: int, *name: str | int) -> torch.Generator:
    """A CPU generator for one purpose: `generator(0, "client", 3, "shuffle")`."""
    return torch.Generator().manual_seed(number(seed, *name))


@contextmanager
def global_generator(seed: int, *, device: str = "cpu") -> Iterator[None]:
    """Inside, PyTorch's global generator draws by this seed; afterwards it is as it was.

    Only for code that knows no other generator: initialisers of layers, dropout, and functions of the user's.

    Args:
        seed: a number from `number`.
        device: a GPU's generator is seeded and given back too, if this is one ("cuda:0").
    """
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):  # noqa: TID251  the one place
        torch.random.manual_seed(seed)  # noqa: TID251  the one place that may
        yield


@contextmanager
def global_generators(seed: int, *, gpus: Collection[int] = ()) -> Iterator[None]:
    """Inside, the global generators of PyTorch, NumPy and Python draw by this seed; afterwards they are as they were.

    Only to run a model of the user's twice with the same noise.

    Args:
        seed: a number from `number`.
        gpus: the indices of GPUs whose generators are seeded and given back too.
    """
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=list(gpus)):  # noqa: TID251  the one place
        torch.random.manual_seed(seed)  # noqa: TID251  the one place that may
        np.random.seed(seed % 2**32)  # noqa: NPY002, TID251  the one place that may
        random.seed(seed)  # noqa: TID251  the one place that may
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)

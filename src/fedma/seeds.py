"""Random numbers by name: the same seed and name give the same draws in every process, in any order."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

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

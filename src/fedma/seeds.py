"""Random numbers by name: the same seed and name give the same draws in every process, in any order."""

import hashlib

import torch


def number(seed: int, *name: str | int) -> int:
    """A whole number in [0, 2**56) that depends on the seed and the name alone."""
    digest = hashlib.blake2b(repr((seed, *name)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def generator(seed: int, *name: str | int) -> torch.Generator:
    """A CPU generator for one purpose: `generator(0, "client", 3, "shuffle")`."""
    return torch.Generator().manual_seed(number(seed, *name))

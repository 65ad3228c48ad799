"""Randomness without state: a seed is a pure function of the run's seed, a purpose, and a step."""

import hashlib

import torch


def seed_of(*parts: object) -> int:
    """A seed that is a pure function of its parts: the run's seed, a purpose, a step."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_of(*parts: object) -> torch.Generator:
    """A CPU generator seeded by `seed_of`."""
    return torch.Generator().manual_seed(seed_of(*parts))

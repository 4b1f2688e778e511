"""Shuffled orders and random samples that depend on seed, epoch and index alone."""

from __future__ import annotations

import numpy as np


def shuffled_order(count: int, seed: int, epoch: int = 0) -> np.ndarray:
    """A permutation of 0 … count-1 that is a function of (count, seed, epoch) only.

    Sorts the raw 64-bit outputs of the counter-based generator Philox with the key (seed, epoch);
    NumPy promises that raw outputs stay the same over its versions, which it does not for
    `Generator.permutation`. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3".
    """
    key = np.array([seed % 2**64, epoch % 2**64], np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one sample in one epoch: a function of (seed, epoch, index) only, so
    that they do not depend on which worker makes the sample, or on what was drawn before."""
    key = np.array([seed % 2**64, epoch % 2**64], np.uint64)
    counter = np.array([0, 0, 1, index % 2**64], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))

"""Generator: where random keys come from, and the one every function uses by default."""

from __future__ import annotations

import operator
import os
import threading
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import uint32
from adjoint.ir.node import Node, Type, constant, state
from adjoint.runtime.device import Device
from adjoint.runtime.device import device as as_device
from adjoint.tensors.handle import Handle, wrap

DEFAULT_SEED = 67280421310721  # of a new Generator, as in PyTorch
_WORD = 0xFFFFFFFF
_STREAM = 0x4B455953  # counter word that keeps keys apart from the numbers drawn with a key
_LOCK = threading.Lock()


class Generator:
    """A stream of random keys: the i-th is Philox4x32-10 of counter i under the seed.

    Its whole state is the seed and how many keys were taken, so it can be saved and restored.
    Functions with ``generator=`` take one key from it per call; without one, from
    ``adjoint.default_generator``. Drawing from several threads is safe.
    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """

    def __init__(self, device: object = "cpu") -> None:
        self._device = as_device(device)
        self._seed = DEFAULT_SEED
        self._offset = 0

    @property
    def device(self) -> Device:
        return self._device

    def manual_seed(self, seed: Any) -> Generator:
        """Start again from ``seed``, an integer in [-2**63, 2**64). Raises ArgumentError."""
        number = as_seed("manual_seed", seed)
        with _LOCK:
            self._seed, self._offset = number, 0
        return self

    def seed(self) -> int:
        """Start again from a seed of the operating system, which is returned."""
        number = _entropy()
        self.manual_seed(number)
        return number

    def initial_seed(self) -> int:
        """The seed the stream started from."""
        return self._seed

    def get_state(self) -> Any:
        """Seed and offset as four uint32 words, low word first."""
        with _LOCK:
            words = (*_words(self._seed), *_words(self._offset))
        return wrap(constant(np.array(words, np.uint32)))

    def set_state(self, new_state: Any) -> Generator:
        """Continue from what ``get_state`` gave. Raises DTypeError for anything else."""
        good = isinstance(new_state, (Handle, np.ndarray)) and new_state.shape == (4,)
        value = new_state.node.array("set_state") if isinstance(new_state, Handle) else new_state
        if not good or value.dtype != np.uint32:
            raise errors.wrong_dtype(
                "set_state", errors.describe(new_state), "the uint32[4] that get_state() gave",
                hint="save the state with state = generator.get_state()",
            )  # fmt: skip
        a, b, c, d = (int(word) for word in value)
        with _LOCK:
            self._seed, self._offset = a | b << 32, c | d << 32
        return self

    def next_key(self) -> Node:
        """A key for ``ops.random_bits`` that no earlier call gave.

        While a function is mapped over a batch, ``vmap`` says which key that is.
        """
        if state.random:
            return state.random[-1]()
        if state.capture is not None:
            return state.capture.source(Type((2,), uint32), lambda: self.next_key().array())
        with _LOCK:
            offset = self._offset
            self._offset = offset + 1
        words = philox4((*_words(offset), 0, _STREAM), *_words(self._seed))
        return constant(np.array(words[:2], np.uint32))

    def __repr__(self) -> str:
        return f"<Generator seed={self._seed} offset={self._offset}>"


def philox4(counter: tuple[int, int, int, int], key0: int, key1: int) -> tuple[int, int, int, int]:
    """Four words of Philox4x32-10 in plain integers."""
    c0, c1, c2, c3 = counter
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1 = (p1 >> 32) ^ c1 ^ key0, p1 & _WORD
        c2, c3 = (p0 >> 32) ^ c3 ^ key1, p0 & _WORD
        key0, key1 = key0 + 0x9E3779B9 & _WORD, key1 + 0xBB67AE85 & _WORD
    return c0, c1, c2, c3


def as_seed(op: str, seed: Any) -> int:
    """The seed as an unsigned 64-bit integer; negative ones count from 2**64."""
    try:
        if isinstance(seed, bool):
            raise TypeError
        number = operator.index(seed)
    except (TypeError, errors.AdjointError):
        raise errors.wrong_dtype(
            op, f"a seed of type {type(seed).__name__}", "an integer", hint="manual_seed(0), say"
        ) from None
    if not -(2**63) <= number < 2**64:
        raise errors.does_not_fit(op, number, "a seed of 64 bits", 64, "u")
    return number % 2**64


def manual_seed(seed: Any) -> Generator:
    """Seed the default generator, so that the same program draws the same numbers again."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed the default generator started from."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The state of the default generator, as a uint32 tensor of four words."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Continue the default generator from a state that ``get_rng_state`` gave."""
    default_generator.set_state(new_state)


def _words(number: int) -> tuple[int, int]:
    return number & _WORD, number >> 32 & _WORD


def _entropy() -> int:
    return int.from_bytes(os.urandom(8), "little")


default_generator = Generator()
"""Used when no ``generator=`` is given; seeded by the operating system until ``manual_seed``."""
default_generator.seed()

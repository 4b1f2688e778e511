"""Memory of arrays: what is freed is kept by the process, for the next array."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

KEPT = 256 << 20  # bytes that may lie free at the top of the heap
LARGEST = 32 << 20  # arrays below this size come from the heap; glibc takes no larger limit
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Tell glibc not to give freed arrays back to the system at once; whether that was possible.

    Otherwise every step of training gets its arrays as fresh pages, which the kernel fills with
    zeros one by one: 2,300 page faults and 40 % of the time of a LeNet step. Elsewhere than on
    Linux with glibc nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is None:  # another C library
        return False
    return bool(tune(_M_MMAP_THRESHOLD, LARGEST) and tune(_M_TRIM_THRESHOLD, KEPT))


def address_of(array: Array) -> int:
    """Where the elements of ``array`` begin."""
    if _OFFSET:
        return _WORD(id(array) + _OFFSET).value
    return int(array.__array_interface__["data"][0])


def _offset_of_data() -> int:
    """Where an array object keeps that address: NumPy's ABI puts it behind the object's head; 0
    if it is not there. Asking the array itself takes ten times as long."""
    if sys.implementation.name != "cpython":
        return 0
    offset = object.__basicsize__
    probes = [np.zeros(3), np.zeros((2, 2))[1:], np.empty(0, np.uint8)]
    same = [_WORD(id(p) + offset).value == p.__array_interface__["data"][0] for p in probes]
    return offset if all(same) else 0


_WORD = ctypes.c_ssize_t.from_address
_OFFSET = _offset_of_data()

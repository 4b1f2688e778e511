"""Memory of arrays: what is freed is kept by the process, for the next array."""

from __future__ import annotations

import ctypes
import sys

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

"""Work shared between cores. NumPy lets go of the interpreter lock inside its loops, so plain
Python threads are enough for kernels that handle one image, or one row, after another."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING

from adjoint.base import errors
from adjoint.base.config import FLAGS

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

GRAIN = 1 << 18  # bytes a thread should handle at least: waking it costs some 20 microseconds


class _Pool:
    """The worker threads, started when first needed. A forked child starts its own."""

    def __init__(self) -> None:
        self.size = FLAGS.threads
        self.executor: ThreadPoolExecutor | None = None

    def forget(self) -> None:
        self.executor = None

    def start(self) -> ThreadPoolExecutor:
        if self.executor is None:
            from concurrent.futures import ThreadPoolExecutor  # slow to import

            self.executor = ThreadPoolExecutor(max(self.size - 1, 1), "adjoint")
        return self.executor


_POOL = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)


def get_num_threads() -> int:
    """How many threads share the work of one kernel."""
    return _POOL.size


def set_num_threads(num: int) -> None:
    """Share the work of one kernel between ``num`` threads. Raises ArgumentError below 1.

    NumPy's matrix products have threads of their own, set by ``OPENBLAS_NUM_THREADS``.
    """
    if type(num) is not int or num < 1:
        raise errors.argument(
            "set_num_threads", f"needs a positive integer, got {num!r}", hint="1 uses no threads"
        )
    if num != _POOL.size:
        executor, _POOL.executor, _POOL.size = _POOL.executor, None, num
        if executor is not None:
            executor.shutdown()


def share(count: int, nbytes: int, work: Callable[[int, int], None]) -> None:
    """``work(first, last)`` on ranges that make up ``range(count)``, at the same time.

    ``nbytes``: what the whole work moves; little work stays in this thread. Ranges must not
    write to the same memory. An error of any range is raised here.
    """
    parts = min(_POOL.size, count, max(nbytes // GRAIN, 1))
    if parts <= 1:
        work(0, count)
        return
    executor = _POOL.start()
    ends = [count * i // parts for i in range(parts + 1)]
    # each thread has NumPy's error settings of this one, which live in the context
    others = [
        executor.submit(copy_context().run, work, ends[i], ends[i + 1]) for i in range(1, parts)
    ]
    try:
        work(ends[0], ends[1])
    finally:
        for other in others:
            other.exception()  # wait for all, so that nobody writes after this call
    for other in others:
        other.result()

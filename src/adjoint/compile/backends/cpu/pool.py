"""The worker threads that compiled kernels run on.

A worker is a Python thread inside a generated function, without the interpreter lock, that waits
for a ticket: first spinning, as the next kernel mostly follows soon, then asleep in Python. Who
posts a task also works on it; when nothing is left to take, tickets that no worker has taken are
taken back, so a worker that wakes up late (another program has its core) delays nobody. While a
compiled program runs, its workers do not fall asleep.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
from ctypes import CFUNCTYPE, PYFUNCTYPE, addressof, c_int64, c_void_p
from functools import cache
from typing import Any, NamedTuple

from adjoint.compile.backends.cpu.link import address
from adjoint.compile.backends.cpu.native import TICKETS, WORDS, YIELD, module_text
from adjoint.compile.backends.cpu.target import Target, host
from adjoint.runtime.threads import get_num_threads

SPINS = 20_000  # looks at the tickets before a worker goes to sleep: some 300 microseconds


class Functions(NamedTuple):
    """The generated functions."""

    post: Any
    serve: Any
    join: Any
    execute: Any


class Pool:
    """Workers and the state they share with the poster. One task at a time."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.holder = 0  # the thread that runs a program on the workers
        self.workers: list[threading.Thread] = []
        self.asleep: list[Any] = []
        self.stopping = False
        self.state = (c_int64 * WORDS)()
        self.address = addressof(self.state)
        self.functions: Functions | None = None

    def run(self, kernel: int, record: int, parts: int) -> None:
        """kernel(record, i) for i = 0 here and, on workers, for i < ``parts``.

        The kernel takes its work from a counter in the record, and returns when none is left.
        """
        call = function(kernel)
        if parts == 1 or not self.busy.acquire(blocking=False):
            call(record, 0)  # another thread has the workers
            return
        try:
            functions = self.staff(parts - 1)
            try:
                functions.post(self.address, kernel, record, parts - 1)
                self.wake(parts - 1)
                call(record, 0)
            finally:
                self.settle(functions.join)
        finally:
            self.busy.release()

    def enter(self, parts: int) -> int:
        """Take the workers for a program: how many stand by; 0 when another thread has them.

        Whoever gets some calls ``leave`` in the end.
        """
        if parts < 2:
            return 0
        me = threading.get_ident()
        # this thread can only have them already if Ctrl-C came before it could leave
        if not self.busy.acquire(blocking=False) and self.holder != me:
            return 0
        self.holder = me
        try:
            self.staff(parts - 1)
            if self.asleep:
                self.wake(parts - 1)
        except BaseException:
            self.leave()
            raise
        return parts - 1

    def leave(self) -> None:
        self.holder = 0
        self.busy.release()

    def staff(self, count: int) -> Functions:
        """The functions, when ``count`` workers are there to serve."""
        if len(self.workers) < count or self.functions is None:
            self.state[YIELD] = _yield_address()
            self.functions = compiled(host())
            self.hire(count)
        return self.functions

    def wake(self, count: int) -> None:
        """Wake at most ``count`` of the workers that sleep."""
        for _ in range(count):
            try:
                sleeper = self.asleep.pop()
            except IndexError:  # others are awake, or have just seen the task themselves
                return
            sleeper.release()

    def settle(self, join: Any) -> None:
        """Wait until no worker touches the task; Ctrl-C takes effect after that."""
        pressed: KeyboardInterrupt | None = None
        while True:
            try:
                if join(self.address) == 0:
                    break
                time.sleep(0)  # this core may be the one a worker waits for
            except KeyboardInterrupt as problem:
                pressed = problem
        if pressed is not None:
            raise pressed

    def hire(self, count: int) -> None:
        while len(self.workers) < count:
            name = f"adjoint-{len(self.workers) + 1}"
            worker = threading.Thread(target=self.work, name=name, daemon=True)
            self.workers.append(worker)
            worker.start()

    def work(self) -> None:
        """What a worker does: serve, then sleep until somebody posts."""
        serve = compiled(host()).serve
        wake = threading.Lock()
        wake.acquire()
        while not self.stopping:
            serve(self.address, SPINS)
            # First announced, then looked once more: a task posted in between is seen here, and
            # one posted later finds the announcement.
            self.asleep.append(wake)
            if self.state[TICKETS] > 0 or self.stopping:
                try:
                    self.asleep.remove(wake)
                    continue
                except ValueError:  # the poster was faster and has released it
                    pass
            wake.acquire()

    def stop(self) -> None:
        """Send the workers home, before the interpreter goes."""
        self.stopping = True
        while any(worker.is_alive() for worker in self.workers):
            self.wake(len(self.workers))
            time.sleep(0.0005)


class _Holder:
    """The pool of this process; a forked child has none of the threads and makes its own."""

    def __init__(self) -> None:
        self.pool = Pool()

    def renew(self) -> None:
        self.pool = Pool()

    def stop(self) -> None:
        self.pool.stop()


_HOLDER = _Holder()
atexit.register(_HOLDER.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_HOLDER.renew)


def team() -> Pool:
    """The pool of this process."""
    return _HOLDER.pool


def run(kernel: int, record: int, parts: int) -> None:
    """The kernel at address ``kernel`` on at most ``parts`` threads, this one among them."""
    _HOLDER.pool.run(kernel, record, min(parts, get_num_threads()))


@cache
def function(start: int) -> Any:
    """The kernel at an address, as something that Python can call."""
    return CFUNCTYPE(None, c_void_p, c_int64)(start)


@cache
def compiled(target: Target) -> Functions:
    text = module_text(target)
    return Functions(
        # holds the interpreter lock: it only stores four words
        PYFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_int64)(address(text, "post")),
        CFUNCTYPE(None, c_void_p, c_int64)(address(text, "serve")),
        CFUNCTYPE(c_int64, c_void_p)(address(text, "join")),
        CFUNCTYPE(None, c_void_p, c_void_p)(address(text, "execute")),
    )


def _yield_address() -> int:
    """The system's call that lets another thread have this core; 0 where there is none."""
    if sys.platform == "win32":
        give: Any = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        give = getattr(ctypes.CDLL(None), "sched_yield", None)
    return 0 if give is None else ctypes.cast(give, c_void_p).value or 0

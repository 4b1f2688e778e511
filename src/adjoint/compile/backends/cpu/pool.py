"""The worker threads that compiled kernels run on.

A worker is a Python thread inside a generated function, without the interpreter lock, that waits
for a ticket: first spinning, as the next kernel mostly follows soon, then asleep in Python. Who
posts a task also works on it; when nothing is left to take, tickets that no worker has taken are
taken back, so a worker that wakes up late (another program has its core) delays nobody.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from ctypes import CFUNCTYPE, PYFUNCTYPE, addressof, c_int64, c_void_p
from functools import cache
from typing import Any, NamedTuple

from adjoint.compile.backends.cpu.link import address
from adjoint.compile.backends.cpu.target import Target, host
from adjoint.compile.backends.llvm import Writer, ir
from adjoint.runtime.threads import get_num_threads

SPINS = 20_000  # looks at the tickets before a worker goes to sleep: some 300 microseconds
PATIENCE = 4_000  # looks at the count before the poster lets others have its core
# Places in the state, in words; what different threads write is on different cache lines.
TICKETS, PENDING, FUNCTION, RECORD, WORDS = 0, 16, 32, 33, 48


class Functions(NamedTuple):
    """The generated functions."""

    post: Any
    serve: Any
    join: Any


class Pool:
    """Workers and the state they share with the poster. One task at a time."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
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
            if len(self.workers) < parts - 1 or self.functions is None:
                self.functions = compiled(host())
                self.hire(parts - 1)
            functions = self.functions
            try:
                functions.post(self.address, kernel, record, parts - 1)
                self.wake(parts - 1)
                call(record, 0)
            finally:
                self.settle(functions.join)
        finally:
            self.busy.release()

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
    )


def module_text(target: Target) -> str:
    """LLVM IR of the three functions around the tickets."""
    lib = ir()
    module = lib.Module("pool", context=lib.Context())
    module.triple = target.triple
    word, pointer = lib.IntType(64), lib.PointerType()
    _post(Writer(module, "post", [pointer, pointer, pointer, word]))
    _serve(Writer(module, "serve", [pointer, word]), target)
    _join(Writer(module, "join", [pointer], word), target)
    return str(module)


def _post(w: Writer) -> None:
    """post(state, kernel, record, tickets)"""
    state, kernel, record, tickets = w.arguments
    w.store(kernel, w.at(state, FUNCTION, w.word), 8)
    w.store(record, w.at(state, RECORD, w.word), 8)
    w.store(tickets, w.at(state, PENDING, w.word), 8)
    # llvmlite's atomic store knows no opaque pointers; an exchange does the same
    w.b.atomic_rmw("xchg", w.at(state, TICKETS, w.word), tickets, "release")
    w.end()


def _serve(w: Writer, target: Target) -> None:
    """serve(state, spins): work on what is posted, until ``spins`` looks found nothing."""
    state, spins = w.arguments
    b, zero, one = w.b, w.number(0), w.number(1)
    look, grab, work, rest, done = (
        w.function.append_basic_block(name) for name in ("look", "grab", "work", "rest", "done")
    )
    start = b.block
    b.branch(look)
    b.position_at_end(look)
    left = b.phi(w.word)
    tickets = w.at(state, TICKETS, w.word)
    seen = b.load_atomic(tickets, "monotonic", 8, typ=w.word)
    b.cbranch(w.less(zero, seen), grab, rest)
    b.position_at_end(grab)
    swapped = b.cmpxchg(tickets, seen, b.sub(seen, one), "acq_rel", "monotonic")
    b.cbranch(b.extract_value(swapped, 1), work, rest)
    b.position_at_end(work)
    kind = w.lib.FunctionType(w.lib.VoidType(), [w.pointer, w.word])
    kernel = w.load(kind.as_pointer(), w.at(state, FUNCTION, w.word), 8)
    record = w.load(w.pointer, w.at(state, RECORD, w.word), 8)
    b.call(kernel, [record, seen])
    b.atomic_rmw("sub", w.at(state, PENDING, w.word), one, "release")
    b.branch(look)
    b.position_at_end(rest)
    _pause(w, target)
    fewer = b.sub(left, one)
    b.cbranch(w.less(zero, fewer), look, done)
    left.add_incoming(spins, start)
    left.add_incoming(spins, work)
    left.add_incoming(fewer, rest)
    b.position_at_end(done)
    w.end()


def _join(w: Writer, target: Target) -> None:
    """join(state): how many workers are not back yet, after some time of waiting."""
    (state,) = w.arguments
    b, zero, one = w.b, w.number(0), w.number(1)
    back = b.atomic_rmw("xchg", w.at(state, TICKETS, w.word), zero, "monotonic")
    pending = w.at(state, PENDING, w.word)
    b.atomic_rmw("sub", pending, back, "monotonic")
    look, rest, done = (w.function.append_basic_block(n) for n in ("look", "rest", "done"))
    start = b.block
    b.branch(look)
    b.position_at_end(look)
    left = b.phi(w.word)
    missing = b.load_atomic(pending, "acquire", 8, typ=w.word)
    stays = b.and_(w.less(zero, missing), w.less(zero, left))
    b.cbranch(stays, rest, done)
    b.position_at_end(rest)
    _pause(w, target)
    left.add_incoming(w.number(PATIENCE), start)
    left.add_incoming(b.sub(left, one), rest)
    b.branch(look)
    b.position_at_end(done)
    b.ret(missing)


def _pause(w: Writer, target: Target) -> None:
    """Tells the core that this is a waiting loop."""
    if target.triple.startswith("x86_64"):
        w.intrinsic("llvm.x86.sse2.pause", w.lib.VoidType(), [])
    else:  # the hint "yield"
        w.intrinsic("llvm.aarch64.hint", w.lib.VoidType(), [w.lib.Constant(w.lib.IntType(32), 1)])

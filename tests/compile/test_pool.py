"""The worker threads: they end with the program, sleep when idle and survive Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from adjoint.compile import products
from adjoint.compile.backends.cpu import pool
from adjoint.runtime.threads import get_num_threads, set_num_threads


def test_a_program_ends_while_workers_wait() -> None:
    code = (
        "import numpy as np\n"
        "from adjoint.compile import products\n"
        "a = np.ones((300, 300), np.float32)\n"
        "products.product(a, a)\n"
    )
    environment = {**os.environ, "ADJOINT_NUM_THREADS": "3"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")


def test_idle_workers_sleep() -> None:
    before = get_num_threads()
    set_num_threads(3)
    try:
        a = np.ones((300, 300), np.float32)
        products.product(a, a)
        team = pool._HOLDER.pool
        assert len(team.workers) >= 2
        deadline = time.monotonic() + 30
        while len(team.asleep) < len(team.workers) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(team.asleep) == len(team.workers)
    finally:
        set_num_threads(before)


INTERRUPTED = """
import signal
import numpy as np
from adjoint.compile import products
from adjoint.runtime.threads import set_num_threads

set_num_threads(3)
a = np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)
expected = products.product(a, a)
armed, pressed = False, 0

def interrupt(number, frame):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.0007)
for _ in range(300):
    try:
        armed = pressed < 100
        products.product(a, a)
        armed = False
    except KeyboardInterrupt:
        pressed += 1
armed = False
signal.setitimer(signal.ITIMER_REAL, 0)
print("whole" if pressed and np.array_equal(products.product(a, a), expected) else "broken")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals")
def test_interrupts_leave_the_pool_whole() -> None:
    """In a process of its own: an interrupt may also come where nobody can catch it, in a callback
    or between two tries, which ends the process but must not hang it."""
    for _ in range(5):
        run = subprocess.run(
            [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60
        )
        assert "broken" not in run.stdout
        if run.returncode == 0:
            assert run.stdout.strip() == "whole"
            return
        assert "KeyboardInterrupt" in run.stderr
    pytest.fail("every run was interrupted between two products")


def test_one_thread_needs_no_workers() -> None:
    here: list[int] = []
    team = pool.Pool()
    kernel = pool.CFUNCTYPE(None, pool.c_void_p, pool.c_int64)(
        lambda record, part: here.append(threading.get_ident())
    )
    start = pool.c_void_p.from_address(pool.addressof(kernel)).value
    assert start is not None
    team.run(start, 0, 1)
    assert here == [threading.get_ident()]
    assert team.workers == []

"""Captured steps on several threads, in forked children, and under Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import adjoint as ad


def test_several_threads_call_the_same_function() -> None:
    f = ad.jit(lambda x: ad.softmax(x @ x.T, dim=1).sum(0))
    rng = np.random.default_rng(0)
    given = [ad.tensor(rng.standard_normal((40, 40)).astype(np.float32)) for _ in range(4)]
    expected = [f(x).numpy() for x in given]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(200):
            if not np.array_equal(f(given[i]).numpy(), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


INTERRUPTED = """
import signal
import numpy as np
import adjoint as ad
from adjoint.runtime.threads import set_num_threads
set_num_threads(2)
a, b = ad.zeros(300, 400), ad.zeros(300, 400)

@ad.jit
def step(x):
    a.add_(x)
    b.add_(x)
    return ad.tanh(a).sum()

one = ad.ones(300, 400)
step(one)
armed, pressed = False, 0

def interrupt(number, frame):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.0007)
for _ in range(2000):
    try:
        armed = True
        step(one)
        armed = False
    except KeyboardInterrupt:
        pressed += 1
        x, y = a.numpy(), b.numpy()
        if not (x == x[0, 0]).all() or not np.array_equal(x, y):
            print("torn", x[0, 0], y[0, 0])
            break
        if pressed == 100:
            break
armed = False
signal.setitimer(signal.ITIMER_REAL, 0)
before = a[0, 0].item()
step(one)
print("whole" if pressed and a[0, 0].item() == before + 1 else "broken")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals")
def test_interrupts_leave_the_states_whole() -> None:
    """In a process of its own, which an interrupt may end at another place."""
    for _ in range(5):
        run = subprocess.run(
            [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=100
        )
        assert "torn" not in run.stdout and "broken" not in run.stdout
        if run.returncode == 0:
            assert run.stdout.strip() == "whole"
            return
        assert "KeyboardInterrupt" in run.stderr
    pytest.fail("every run was interrupted at another place")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_goes_on_after_fork() -> None:
    code = """
import os, sys
import adjoint as ad
from adjoint.runtime.threads import set_num_threads
set_num_threads(2)
w = ad.zeros(300, 400)

@ad.jit
def step(x):
    w.add_(x)
    return ad.tanh(w).sum()

one = ad.ones(300, 400)
for _ in range(3):
    step(one)
child = os.fork()
for _ in range(5):
    step(one)
good = (w.numpy() == 8.0).all()
if child == 0:
    os._exit(0 if good else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(0 if good and status == 0 else 1)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert run.returncode == 0, run.stderr.decode()

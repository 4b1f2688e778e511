"""One library in a process of its own, doing what it is told line by line (JSON in, JSON out).

The processes of a comparison live side by side, and only one works at a time: what has been
compiled stays, and rounds alternate. Orders: ``open``, ``time``, ``memory``; see ``fleet.py``.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from bench import libraries

STEPS = 3  # whose losses are compared


class Desk:
    """What the process has open."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.work: Callable[[], Any] | None = None
        self.steps: Any = None
        self.settled = False
        self.at_import = 0.0

    def load(self) -> dict[str, float]:
        """Import the library; megabytes of the process after that."""
        start = time.perf_counter()
        __import__(libraries.PACKAGES[self.library])
        seconds = time.perf_counter() - start
        self.at_import = peak_memory()
        return {"seconds": seconds, "megabytes": self.at_import}

    def train(
        self, workload: str, file: str, small: bool, agreeing: bool, steps: int = STEPS
    ) -> dict[str, Any]:
        """Build a training step; losses of the first steps, seconds of the very first."""
        from bench.steps import steps_of
        from bench.workloads import WORKLOADS

        with np.load(file) as stored:
            weights = dict(stored)
        start = time.perf_counter()
        self.steps = steps_of(self.library, WORKLOADS[workload], weights, small, agreeing)
        built = time.perf_counter()
        losses = [self.steps.train()]
        first = time.perf_counter() - built
        losses += [self.steps.train() for _ in range(steps - 1)]
        self.work, self.settled = self.steps.train, False
        return {"losses": losses, "first_step": first, "build": built - start}

    def infer(self) -> dict[str, Any]:
        """Change to the forward pass of the network that is open; a figure to compare."""
        self.steps.use()
        start = time.perf_counter()
        scores = self.steps.scores()
        self.work, self.settled = self.steps.infer, True
        return {"scores": float(np.abs(scores).mean()), "first": time.perf_counter() - start}

    def resume(self) -> dict[str, Any]:
        """Change back to the training step."""
        self.steps.resume()
        self.work, self.settled = self.steps.train, False
        return {}

    def operation(self, name: str, small: bool) -> dict[str, Any]:
        """Open an operation by its name; a figure to compare."""
        from bench import operations

        self.work, result = operations.prepare(self.library, name, small)
        self.settled = True
        return {"result": float(np.abs(result).mean())}

    def time(self, seconds: float) -> dict[str, float]:
        """Milliseconds a call: the median and the least of as many as fit, at least three."""
        if not self.settled:
            self.steps.settle()
            self.settled = True
        work, clock = self.work, time.perf_counter
        assert work is not None
        work()
        times: list[float] = []
        end = clock() + seconds
        while clock() < end or len(times) < 3:
            start = clock()
            work()
            times.append(clock() - start)
        return {
            "ms": statistics.median(times) * 1e3, "least": min(times) * 1e3, "calls": len(times),
        }  # fmt: skip

    def memory(self) -> dict[str, float]:
        """Megabytes: the most the process has held so far, and how many of them the work added."""
        peak = peak_memory()
        return {"peak": peak, "added": peak - self.at_import}


def peak_memory() -> float:
    """The most memory this process has held, in 10**6 bytes.

    From the kernel's own figure for this program: ``getrusage`` would include the parent's.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    except FileNotFoundError:  # not Linux
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    library, threads = sys.argv[1], int(sys.argv[2])
    libraries.confine(threads)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    if library in (libraries.TORCH, libraries.TORCH_COMPILE):
        import torch

        torch.set_num_threads(threads)
    desk = Desk(library)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(desk, order.pop("do"))(**order)
        except Exception as problem:
            traceback.print_exc()
            text = str(problem).strip().splitlines() or [""]
            answer = {"error": f"{type(problem).__name__}: {text[0][:200]}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

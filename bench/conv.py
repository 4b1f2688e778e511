"""Convolutions and their two gradients beside torch, in GFLOP/s.

    python bench/conv.py [--threads N] [--rounds N]

In one process, in turn; the best of many calls. With one thread the time is the time the thread
had a core, so other programs disturb little. The third figure of ours is the way by NumPy.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CASES = [  # images, channels, outputs, size, kernel, stride, padding
    (32, 64, 64, 32, 3, 1, 1), (32, 128, 128, 16, 3, 1, 1), (32, 256, 256, 8, 3, 1, 1),
    (32, 512, 512, 4, 3, 1, 1), (32, 64, 128, 32, 3, 2, 1), (32, 64, 128, 32, 1, 2, 0),
    (32, 3, 64, 32, 3, 1, 1), (64, 6, 16, 14, 5, 1, 0), (64, 1, 6, 28, 5, 1, 2),
]  # fmt: skip
SECONDS = 0.3


def best(function: Callable[[], Any], threads: int) -> float:
    """Seconds of the fastest of many calls."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    function()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 3:
        start = clock()
        function()
        times.append(clock() - start)
    return min(times)


def functions(case: tuple[int, ...]) -> tuple[float, list[Any], list[Any]]:
    """Billions of operations of one pass; forward, input and kernel gradient of both libraries."""
    import torch

    import adjoint as ad
    from adjoint.ops.contract import conv

    n, channels, outs, size, kernel, stride, pad = case
    random = np.random.default_rng(0)
    xs = random.standard_normal((n, channels, size, size)).astype(np.float32)
    ws = random.standard_normal((outs, channels, kernel, kernel)).astype(np.float32)
    x, w = ad.tensor(xs).node, ad.tensor(ws).node
    params: dict[str, Any] = {
        "stride": (stride, stride), "padding": ((pad, pad),) * 2, "dilation": (1, 1),
        "inner": (1, 1), "groups": 1,
    }  # fmt: skip
    y = conv(x, w, **params)
    cts = random.standard_normal(y.shape).astype(np.float32)
    ct = ad.tensor(cts).node
    ours = [
        lambda: conv(x, w, **params).value,
        lambda: conv.vjp(ct, y, (True, False), (x, w), params)[0].value,
        lambda: conv.vjp(ct, y, (False, True), (x, w), params)[1].value,
    ]
    tx, tw, tc = (torch.from_numpy(array) for array in (xs, ws, cts))

    def backward(mask: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            tc, tx, tw, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, mask
        )

    theirs = [
        lambda: torch.nn.functional.conv2d(tx, tw, stride=stride, padding=pad),
        lambda: backward([True, False, False]),
        lambda: backward([False, True, False]),
    ]
    return 2 * y.value.size * channels * kernel * kernel / 1e9, ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    threads = options.threads
    variable = "OPENBLAS_NUM_THREADS"  # read when NumPy is loaded
    if os.environ.get(variable) != str(threads):
        os.environ[variable] = str(threads)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    import torch

    from adjoint.runtime.device import CPU
    from adjoint.runtime.threads import set_num_threads

    torch.set_num_threads(threads)
    set_num_threads(threads)
    print(f"{'ours / torch / ours by NumPy':36}{'forward':>22}{'of input':>22}{'of kernel':>22}")
    for case in CASES:
        work, ours, theirs = functions(case)
        cells: list[str] = []
        for mine, other in zip(ours, theirs, strict=True):
            found: list[list[float]] = [[], [], []]
            for _ in range(options.rounds):
                found[0].append(work / best(mine, threads))
                found[1].append(work / best(other, threads))
                fast = CPU.kernels.pop("conv")
                found[2].append(work / best(mine, threads))
                CPU.kernels["conv"] = fast
            cells.append("/".join(f"{statistics.median(values):6.1f}" for values in found))
        print(f"{case!s:36}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()

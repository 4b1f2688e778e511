"""Matrix products beside NumPy and torch, and their share of what the machine can add and multiply.

    python bench/gemm.py [--rounds N] [--threads N] [--json FILE]

One process per library and round, the libraries in turn. Each process takes the best of many
calls for a size; the report shows the median over the rounds, and the median of the ratios of
the same round. ``peak`` is a loop of multiply-adds on registers, measured in our process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

SIZES = [  # rows, columns, inner
    (1024, 1024, 1024), (512, 512, 512), (256, 256, 256), (64, 512, 784), (128, 768, 768),
    (784, 512, 64), (1024, 128, 128), (500, 500, 500), (128, 128, 128), (64, 64, 64), (32, 32, 32),
]  # fmt: skip
LIBRARIES = ("adjoint", "numpy", "torch")
SECONDS = 0.25  # for one size in one process


def best(function: Callable[[], Any], threads: int) -> float:
    """Seconds of the fastest of many calls; of one thread, the seconds it had a core."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 5:
        start = clock()
        function()
        times.append(clock() - start)
    return min(times)


def products_of(
    library: str, threads: int
) -> Callable[[np.ndarray, np.ndarray], Callable[[], Any]]:
    """How a library multiplies two arrays: a function that prepares the call."""
    if library == "numpy":
        return lambda a, b: lambda: np.matmul(a, b)
    if library == "torch":
        import torch

        torch.set_num_threads(threads)

        def prepare(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
            x, y = torch.from_numpy(a), torch.from_numpy(b)
            return lambda: torch.matmul(x, y)

        return prepare
    import adjoint.tensors  # noqa: F401  (registers the compiled kernels)
    from adjoint.ops.contract import dot

    return lambda a, b: lambda: dot.ref(a, b)  # the eager row, without the graph around it


def child(library: str, threads: int) -> dict[str, float]:
    """GFLOP/s by size, in this process; a capital T marks a transposed second operand."""
    prepare = products_of(library, threads)
    random = np.random.default_rng(0)
    found: dict[str, float] = {}
    for m, n, k in SIZES:
        a = random.standard_normal((m, k)).astype(np.float32)
        for mark, b in (
            ("", random.standard_normal((k, n)).astype(np.float32)),
            (" T", random.standard_normal((n, k)).astype(np.float32).T),
        ):
            seconds = best(prepare(a, b), threads)
            found[f"{m}x{n}x{k}{mark}"] = 2 * m * n * k / seconds / 1e9
    if library == "adjoint":
        found["peak, 1 thread"] = peak(1)
        found["peak"] = peak(threads)
    return found


def peak(threads: int, turns: int = 200_000) -> float:
    """GFLOP/s of multiply-adds on registers: enough chains to hide their latency."""
    from adjoint.compile.backends.cpu import link, pool
    from adjoint.compile.backends.cpu.target import host
    from adjoint.compile.code import F32, POINTER, WORD, Kind, Module

    target = host()
    lanes, chains = target.bits // 32, 12 if target.registers == 16 else 24
    module = Module(target)
    f = module.function("peak", [POINTER, WORD])
    record, _ = f.arguments
    vector = Kind("float", lanes)
    factor, term = (f.splat(f.load(F32, f.at(record, i, "float")), lanes) for i in (0, 1))
    with f.loop(0, turns, 1, [term] * chains) as loop:
        loop.carry = [f.call(f"llvm.fma.{vector.suffix}", vector, x, factor, term)
                      for x in loop.values]  # fmt: skip
    total = loop.values[0]
    for value in loop.values[1:]:
        total = f.add(total, value)
    # kept, so that LLVM cannot leave the loop out; the store goes where nothing is ever read
    f.store(f.extract(total, 0), f.at(record, 2, "float"))
    f.end()
    start = link.address(str(module), "peak")
    numbers = np.array([0.5, 1.0, 0.0], np.float32)
    seconds = best(lambda: pool.run(start, numbers.ctypes.data, threads), threads)
    return threads * 2.0 * turns * chains * lanes / seconds / 1e9


def rounds(count: int, threads: int) -> dict[str, list[dict[str, float]]]:
    """The figures of every library, one process each, in turn."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "ADJOINT_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in LIBRARIES}
    for _ in range(count):
        for library in LIBRARIES:
            command = [sys.executable, __file__, "--child", library, "--threads", str(threads)]
            run = subprocess.run(command, env=environment, capture_output=True, text=True)
            if run.returncode:
                print(f"{library}: {run.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                continue
            found[library].append(json.loads(run.stdout))
    return found


def first_use() -> dict[str, float]:
    """Seconds from ``import`` to the first product, with an empty cache and with a warm one."""
    import tempfile

    code = (
        "import time, sys, numpy as np, adjoint.tensors\n"
        "from adjoint.ops.contract import dot\n"
        "a = np.ones((256, 256), np.float32)\n"
        "start = time.perf_counter(); import llvmlite.binding\n"
        "middle = time.perf_counter(); dot.ref(a, a)\n"
        "print(middle - start, time.perf_counter() - middle)\n"
    )
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for state in ("cold", "warm", "warm"):
            environment = {**os.environ, "ADJOINT_CACHE": folder}
            run = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            llvm, product = map(float, run.stdout.split())
            found |= {"load LLVM": llvm, f"first product, {state} cache": product}
    return found


def report(found: dict[str, list[dict[str, float]]]) -> None:
    """Print a table: medians, the best of all rounds, ratios and shares of the peak."""

    def median(library: str, size: str) -> float:
        return statistics.median(run[size] for run in found[library]) if found[library] else 0.0

    peaks = [run["peak"] for run in found["adjoint"]]
    top = max(peaks)
    print(
        f"peak {top:.0f} GFLOP/s, 1 thread {max(r['peak, 1 thread'] for r in found['adjoint']):.0f}"
    )
    print(
        f"{'':18}{'adjoint':>9}{'numpy':>9}{'torch':>9}{'best peer':>11}{'of peak':>9}{'best':>8}"
    )
    for size in found["adjoint"][0]:
        if size.startswith("peak"):
            continue
        ours, numpy, torch = (median(library, size) for library in LIBRARIES)
        ratios = [
            mine[size] / max(peer[size] for peer in peers)
            for mine, *peers in zip(*(runs for runs in found.values() if runs), strict=False)
        ]
        print(
            f"{size:18}{ours:9.1f}{numpy:9.1f}{torch:9.1f}{statistics.median(ratios):10.2f}x"
            f"{ours / top:9.0%}{max(run[size] for run in found['adjoint']) / top:8.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", default="")
    parser.add_argument("--child", choices=LIBRARIES, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.threads)))
        return
    found = rounds(options.rounds, options.threads)
    report(found)
    times = first_use()
    for name, seconds in times.items():
        print(f"{name}: {seconds * 1e3:.0f} ms")
    if options.json:
        machine = {"cpu": platform.processor(), "date": date.today().isoformat()}
        record = {**machine, "threads": options.threads, "gflops": found, "first use": times}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()

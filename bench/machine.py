"""The machine: what it is, and how fast it can move memory and multiply.

``python -m bench.machine THREADS`` prints the two limits as JSON.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from bench import libraries

COPIED = 256 << 20  # bytes of one array: far larger than the cache
TURNS = 7


def description(threads: int) -> dict[str, Any]:
    """Processor, system, threads, versions, date."""
    return {
        "cpu": cpu(), "cores": len(cores()), "threads": threads, "precision": "float32",
        "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
        "versions": libraries.versions(), "date": date.today().isoformat(),
    }  # fmt: skip


def cpu() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line[:10] == "model name"]
        return names[0]
    except (FileNotFoundError, IndexError):
        return platform.processor() or platform.machine()


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def limits(threads: int) -> dict[str, Any]:
    """``gflops`` and ``gbytes`` a second, measured in a process with so many threads.

    A limit that cannot be measured is 0 and ``reason`` says why.
    """
    environment = {**os.environ, **libraries.environment(threads)}
    run = subprocess.run(
        [sys.executable, "-m", "bench.machine", str(threads)], env=environment, text=True,
        capture_output=True, cwd=Path(__file__).parent.parent, check=False,
    )  # fmt: skip
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
        return {"gflops": 0.0, "gbytes": 0.0, "reason": reason}
    return json.loads(run.stdout.splitlines()[-1])


def bandwidth(threads: int) -> float:
    """GB/s of copying an array far larger than the cache, every thread a part of it.

    Bytes read and bytes written are counted. NumPy's copy lets other threads run meanwhile.
    """
    from concurrent.futures import ThreadPoolExecutor

    source = np.ones(COPIED // 4, np.float32)
    target = np.empty_like(source)
    ends = [len(source) * i // threads for i in range(threads + 1)]

    def part(i: int) -> None:
        target[ends[i] : ends[i + 1]] = source[ends[i] : ends[i + 1]]

    times: list[float] = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(TURNS):
            start = time.perf_counter()
            list(pool.map(part, range(threads)))
            times.append(time.perf_counter() - start)
    return 2 * COPIED / min(times[1:]) / 1e9


def measure(threads: int) -> dict[str, Any]:
    """Both limits, in this process."""
    libraries.confine(threads)
    found: dict[str, Any] = {"gbytes": bandwidth(threads), "gflops": 0.0}
    try:
        from bench.gemm import peak

        found["gflops"] = max(peak(threads) for _ in range(3))
    except Exception as problem:  # the peak is written with the compiler that is measured
        found["reason"] = f"no FMA peak: {type(problem).__name__}: {problem}"
    return found


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))

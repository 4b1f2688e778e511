"""Python time per small eager operation above NumPy's own, gradients on and off.

    python bench/eager.py [--json FILE]

Each figure is the median over rounds of (ours - numpy), measured alternately in one process.
torch is measured in the same rounds when it is installed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

import adjoint as ad

ROUNDS, CALLS = 9, 2000


def measure(functions: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median microseconds per call of each function, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                function()
            times[name].append((time.perf_counter() - start) / CALLS * 1e6)
    return {name: statistics.median(t) for name, t in times.items()}


def cases(make: Callable[[np.ndarray, bool], Any], grad: bool) -> dict[str, Callable[[], Any]]:
    """The same small operations for one library."""
    a = make(np.ones((4, 4), np.float32), grad)
    b = make(np.full((4, 4), 2, np.float32), False)
    row = make(np.ones(4, np.float32), False)
    return {
        "add, equal shapes": lambda: a + b,
        "mul by a number": lambda: a * 2.0,
        "add, broadcast row": lambda: a + row,
        "matmul": lambda: a @ b,
        "sum of all": lambda: a.sum(),
        "reshape": lambda: a.reshape(2, 8),
    }


def adjoint_tensor(array: np.ndarray, grad: bool) -> Any:
    return ad.tensor(array, requires_grad=grad)


def torch_tensor(array: np.ndarray, grad: bool) -> Any:
    import torch

    return torch.tensor(array, requires_grad=grad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures to this file")
    args = parser.parse_args()
    makers: dict[str, Any] = {"adjoint": adjoint_tensor}
    try:
        import torch

        torch.set_num_threads(1)
        makers["torch"] = torch_tensor
    except ImportError:
        print("torch is not installed: its column is left out", file=sys.stderr)
    rows = []
    for grad in (False, True):
        plain = cases(lambda array, _: array, False)
        ours = {name: cases(make, grad) for name, make in makers.items()}
        for case in plain:
            found = measure({"numpy": plain[case], **{n: c[case] for n, c in ours.items()}})
            rows.append({"case": case, "grad": grad, **found})
    report(rows, list(makers))
    if args.json:
        record = {
            "date": date.today().isoformat(),
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "rows": rows,
        }
        with open(args.json, "w") as file:
            json.dump(record, file, indent=1)


def report(rows: list[dict[str, Any]], makers: list[str]) -> None:
    heads = "".join(f"{name:>9}" for name in makers)
    print(f"{'operation':24}{'grad':>6}{'numpy':>9}{heads}  above numpy (us)")
    for row in rows:
        above = row["adjoint"] - row["numpy"]
        cells = "".join(f"{row[m]:9.2f}" for m in makers)
        mode = "on" if row["grad"] else "off"
        print(f"{row['case']:24}{mode:>6}{row['numpy']:9.2f}{cells}{above:9.2f}")


if __name__ == "__main__":
    main()

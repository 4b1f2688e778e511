"""What it costs to have a library: megabytes on disk with all it needs, seconds to begin.

    python bench/footprint.py [--json FILE]

Sizes are sums over the installed files of the package and everything it requires, without
extras. Times are the best of seven fresh processes, less that of an empty one: to import it, and to
import it and make a first array, because some libraries load their parts late. Only what is
installed is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, distribution

LIBRARIES = {
    "adjoint": "import adjoint; adjoint.tensor([1.0])",
    "torch": "import torch; torch.tensor([1.0])",
    "jax": "import jax.numpy; jax.numpy.asarray([1.0])",
    "numpy": "import numpy; numpy.array([1.0])",
}
STARTS = 7


def requirements(name: str, seen: set[str]) -> set[str]:
    """``name`` and everything it requires here, by the names of the distributions."""
    found = distribution(name)
    key = found.metadata["Name"].lower().replace("_", "-")
    if key in seen:
        return seen
    seen.add(key)
    for line in found.requires or []:
        wanted, _, condition = line.partition(";")
        if "extra" in condition:
            continue
        try:
            requirements(re.split(r"[\s<>=!~\[(]", wanted.strip(), maxsplit=1)[0], seen)
        except PackageNotFoundError:  # for another system or another Python
            continue
    return seen


def megabytes(names: set[str]) -> float:
    """Bytes of all files those distributions installed, compiled Python aside, in 10**6."""
    total = 0
    for name in names:
        for file in distribution(name).files or []:
            path = str(file.locate())
            if not path.endswith(".pyc") and os.path.isfile(path):
                total += os.path.getsize(path)
    return total / 1e6


def seconds(code: str) -> float:
    """The best wall time of fresh interpreters that run ``code``."""
    times: list[float] = []
    for _ in range(STARTS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="also write the figures to this file")
    args = parser.parse_args()
    empty = seconds("pass")
    rows = []
    for name, first in LIBRARIES.items():
        try:
            needed = requirements(name, set())
        except PackageNotFoundError:
            print(f"{name} is not installed: left out", file=sys.stderr)
            continue
        version = distribution(name).version
        row = {
            "library": f"{name} {version}", "packages": len(needed), "megabytes": megabytes(needed),
            "import_seconds": seconds(f"import {name}") - empty,
            "first_array_seconds": seconds(first) - empty,
        }  # fmt: skip
        rows.append(row)
        print(
            f"{row['library']:20} {row['packages']:3} packages {row['megabytes']:7.0f} MB"
            f"  import {row['import_seconds']:.2f} s"
            f"  first array {row['first_array_seconds']:.2f} s"
        )
    if args.json:
        machine = platform.processor() or platform.machine()
        record = {"date": date.today().isoformat(), "machine": machine,
                  "python": platform.python_version(), "rows": rows}  # fmt: skip
        with open(args.json, "w") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()

"""What a gradient costs by forward differences, and by reverse mode.

    python bench/finite_differences.py [--size 100000] [--sample 500]

Forward differences of a function of d numbers need d + 1 evaluations. ``sample`` of them are timed
and scaled to d + 1, which says so in the output; the gradient is timed whole.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import adjoint as ad


def function(x: ad.Tensor) -> ad.Tensor:
    return (ad.sin(x) * x).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=500)
    args = parser.parse_args()
    point = np.linspace(-1.0, 1.0, args.size)
    x, gradient = ad.tensor(point), ad.grad(function)
    base, found = function(x).item(), gradient(x).numpy()
    worst, times = 0.0, []
    for i in range(args.sample):
        place = i * args.size // args.sample
        start = time.perf_counter()
        step = point.copy()
        step[place] += 1e-6
        slope = (function(ad.tensor(step)).item() - base) / 1e-6
        times.append(time.perf_counter() - start)
        worst = max(worst, abs(slope - found[place]))
    once = statistics.median(times)
    whole = []
    for _ in range(21):
        start = time.perf_counter()
        gradient(x)
        whole.append(time.perf_counter() - start)
    reverse = statistics.median(whole)
    print(f"d = {args.size:,}: {args.size + 1:,} evaluations against 1 forward and 1 backward")
    print(f"one evaluation {once * 1e3:.2f} ms (median of {args.sample})")
    print(f"one gradient {reverse * 1e3:.2f} ms")
    print(f"time ratio {(args.size + 1) * once / reverse:,.0f} (scaled from the sample)")
    print(f"largest difference between the two derivatives {worst:.1e}")


if __name__ == "__main__":
    main()

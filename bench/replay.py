"""What a call of a compiled function costs when there is almost nothing to compute.

    python -m bench.replay

Microseconds a call, medians of rounds in which all take turns in one process. The native work of
these functions is some nanoseconds, so the whole figure is overhead. ``plain Python`` is a function
that does nothing with the same arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import libraries

ROUNDS, CALLS = 9, 2000
Calls = dict[str, Callable[[], Any]]


def measure(calls: dict[str, Calls]) -> dict[str, dict[str, float]]:
    """Median microseconds by case and library."""
    found: dict[str, dict[str, float]] = {}
    for case, functions in calls.items():
        times: dict[str, list[float]] = {name: [] for name in functions}
        for _ in range(ROUNDS):
            for name, function in functions.items():
                start = time.perf_counter()
                for _ in range(CALLS):
                    function()
                times[name].append((time.perf_counter() - start) / CALLS * 1e6)
        found[case] = {name: statistics.median(values) for name, values in times.items()}
    return found


def cases() -> dict[str, Calls]:
    """The functions: of one tensor, of eight, and a training step of one weight."""
    one: Calls = {"plain Python": lambda: None}
    eight: Calls = {"plain Python": lambda: None}
    step: Calls = {}
    for library in (libraries.OURS, libraries.TORCH, libraries.JAX):
        if libraries.absent(library):
            continue
        builder = {libraries.OURS: _adjoint, libraries.TORCH: _torch, libraries.JAX: _jax}[library]
        one[library], eight[library], training = builder()
        if training is not None:
            step[library] = training
    return {"one tensor": one, "eight tensors": eight, "training step of one weight": step}


def _adjoint() -> tuple[Any, Any, Any]:
    import adjoint as ad

    x = ad.ones(4)
    one, eight = ad.jit(_double), ad.jit(_total)
    many = [ad.ones(4) for _ in range(8)]
    weight = ad.nn.Parameter(ad.ones(4))
    optimizer = ad.optim.SGD([weight], lr=1e-9)

    @ad.jit
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (weight * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    return (lambda: one(x)), (lambda: eight(*many)), (lambda: step(x))


def _torch() -> tuple[Any, Any, Any]:
    """Eager: for such small things it is faster than compiled."""
    import torch

    torch.set_num_threads(1)
    x, many = torch.ones(4), [torch.ones(4) for _ in range(8)]
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=1e-9)

    def step() -> Any:
        optimizer.zero_grad()
        loss = (weight * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    return (lambda: _double(x)), (lambda: _total(*many)), step


def _jax() -> tuple[Any, Any, Any]:
    import jax
    import jax.numpy as jnp

    x, many = jnp.ones(4), [jnp.ones(4) for _ in range(8)]
    one, eight = jax.jit(_double), jax.jit(_total)
    held = {"weight": jnp.ones(4)}

    @jax.jit
    def step(weight: Any, x: Any) -> Any:
        loss, slope = jax.value_and_grad(lambda w: (w * x).sum())(weight)
        return weight - 1e-9 * slope, loss

    def train() -> Any:
        held["weight"], loss = step(held["weight"], x)
        return loss.block_until_ready()

    return (
        (lambda: one(x).block_until_ready()), (lambda: eight(*many).block_until_ready()), train,
    )  # fmt: skip


def _double(x: Any) -> Any:
    return x * 2.0 + 1.0


def _total(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    return a + b + c + d + e + f + g + h


def measured(threads: int) -> dict[str, dict[str, float]]:
    """The figures of a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "bench.replay", "--json"], text=True, check=True,
        env={**os.environ, **libraries.environment(threads)}, stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    return json.loads(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = measure(cases())
    if options.json:
        print(json.dumps(found))
        return
    for case, figures in found.items():
        cells = "".join(f"  {name} {value:.2f}" for name, value in figures.items())
        print(f"{case:30}{cells}  (us a call)")


if __name__ == "__main__":
    main()

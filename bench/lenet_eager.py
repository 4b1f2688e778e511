"""A LeNet training step, eager, beside PyTorch: forward, loss, backward, Adam.

    python bench/lenet_eager.py [--size 28] [--batch 64] [--rounds 7] [--threads N] [--json FILE]

Each library runs in processes of its own, in turn, from the same weights on the same batch; the
losses of the first steps must agree to 1e-4 before anything is timed. A figure is the median over
rounds of the median step, with the smallest and largest round beside it; the ratio is taken round
by round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

LIBRARIES = ("adjoint", "torch")
SHAPES = [
    (6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,),
]  # fmt: skip
WARM, TIMED = 20, 100


def make_inputs(path: str, size: int, batch: int) -> None:
    """Weights and a batch, the same for all."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "x": rng.normal(size=(batch, 1, size, size)).astype(np.float32),
        "y": rng.integers(0, 10, batch),
    }
    for i, shape in enumerate(SHAPES):
        bound = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 100)
        arrays[f"p{i}"] = rng.uniform(-bound, bound, shape).astype(np.float32)
    np.savez(path, **arrays)


def adjoint_step(data: Any, size: int, threads: int) -> Callable[[], float]:
    import adjoint as ad
    from adjoint.models.lenet import LeNet, LeNetConfig

    net = LeNet(LeNetConfig(image_size=size, padding=(32 - size) // 2))
    for i, parameter in enumerate(net.parameters()):
        parameter.data = ad.tensor(data[f"p{i}"])
    optimizer, loss = ad.optim.Adam(net.parameters()), ad.nn.CrossEntropyLoss()
    x, y = ad.tensor(data["x"]), ad.tensor(data["y"])

    def step() -> float:
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        return value.item()

    return step


def torch_step(data: Any, size: int, threads: int) -> Callable[[], float]:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=(32 - size) // 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120),
        nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(torch.tensor(data[f"p{i}"]))
    optimizer, loss = torch.optim.Adam(net.parameters()), nn.CrossEntropyLoss()
    x, y = torch.tensor(data["x"]), torch.tensor(data["y"])

    def step() -> float:
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        return value.item()

    return step


def work(library: str, path: str, size: int, threads: int) -> None:
    """In a process of its own: the losses of the first steps, then the median time of one."""
    maker = {"adjoint": adjoint_step, "torch": torch_step}[library]
    step = maker(np.load(path), size, threads)
    losses = [step() for _ in range(WARM)]
    times: list[float] = []
    for _ in range(TIMED):
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"losses": losses[:5], "ms": statistics.median(times), "best": min(times)}))


def measure(library: str, path: str, size: int, threads: int) -> dict[str, Any]:
    settings = {"OPENBLAS_NUM_THREADS": str(threads), "ADJOINT_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--worker", library, "--inputs", path,
               "--size", str(size), "--threads", str(threads)]  # fmt: skip
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **settings}
    )
    return json.loads(run.stdout)


def summary(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3), "least": round(min(values), 3),
        "most": round(max(values), 3),
    }  # fmt: skip


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str] = {}
    for name in (*LIBRARIES, "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def compare(args: argparse.Namespace) -> dict[str, Any]:
    present = [name for name in LIBRARIES if versions()[name] != "absent"]
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in present}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "inputs.npz")
        make_inputs(path, args.size, args.batch)
        for _ in range(args.rounds):
            for name in present:
                rounds[name].append(measure(name, path, args.size, args.threads))
    first = {name: r[0]["losses"] for name, r in rounds.items()}
    for name in present[1:]:
        np.testing.assert_allclose(first["adjoint"], first[name], atol=1e-4)
    result: dict[str, Any] = {
        "bench": "lenet_eager", "size": args.size, "batch": args.batch, "dtype": "float32",
        "threads": args.threads, "rounds": args.rounds, "versions": versions(),
        "cpu": platform.processor() or platform.machine(), "date": date.today().isoformat(),
        "losses": first,
        "ms": {name: summary([r["ms"] for r in found]) for name, found in rounds.items()},
        "best_ms": {name: min(r["best"] for r in found) for name, found in rounds.items()},
    }  # fmt: skip
    if "torch" in rounds:
        pairs = zip(rounds["adjoint"], rounds["torch"], strict=True)
        result["adjoint_over_torch"] = summary([a["ms"] / t["ms"] for a, t in pairs])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=28, choices=[28, 32])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("--inputs", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.inputs, args.size, args.threads)
        return
    result = compare(args)
    if "torch" not in result["ms"]:
        print("torch is not installed: its column is left out", file=sys.stderr)
    print(json.dumps(result))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()

"""What the kernels for NVIDIA GPUs compute on a real one, and how fast.

    python bench/cuda_check.py [--quick] [--json FILE]

Says what is missing where it cannot run. Runs every case of tests/compile/gpu_cases.py and compares
with NumPy, runs one of them many times and compares bit for bit, then times kernels one by one
(median of several rounds, device time from events), beside torch where torch sees the GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NEEDS = ("numpy", "llvmlite", "ml_dtypes", "safetensors", "tqdm")
ROUNDS, TIMES = 7, 20


def missing() -> list[str]:
    """The packages that are not there, with what to do."""
    found: list[str] = []
    for name in NEEDS:
        try:
            import_module(name)
        except ImportError:
            found.append(f"{name} is not installed: pip install {name}")
    if not found and tuple(map(int, version("llvmlite").split(".")[:2])) < (0, 50):
        found.append(f"llvmlite {version('llvmlite')} is too old: pip install 'llvmlite>=0.50'")
    return found


def check(device: Any) -> dict[str, Any]:
    """How far every case is from NumPy, relative to its largest number."""
    from adjoint.compile.backends.cuda.program import run_on
    from adjoint.compile.interpreted import Interpreted
    from tests.compile.gpu_cases import LOOPS, PRODUCTS, far

    found: dict[str, Any] = {}
    cases = {**LOOPS, **{f"product: {name}": c for name, c in PRODUCTS.items()}}
    for name, case in cases.items():
        graph, arrays = case.graph(), case.arrays()
        try:
            results = run_on(device, graph, arrays)
            wanted = Interpreted(graph)(arrays)
            error = max(far(a, b) for a, b in zip(results, wanted, strict=True))
            found[name] = {"error": error, "right": error <= case.near}
        except Exception:
            found[name] = {"error": traceback.format_exc(limit=3), "right": False}
        mark = "ok   " if found[name]["right"] else "WRONG"
        print(f"  {mark} {name:32} {found[name]['error']}")
    return found


def repeat(device: Any) -> bool:
    """Whether a step gives the same bits 100 times."""
    from adjoint.compile.backends.cuda.program import CudaProgram
    from tests.compile.gpu_cases import LOOPS

    case = LOOPS["a step"]
    program, arrays = CudaProgram(case.graph(), device), case.arrays()
    first = [r.tobytes() for r in program(arrays)]
    same = all([r.tobytes() for r in program(arrays)] == first for _ in range(100))
    program.close()
    return same


def large(quick: bool) -> dict[str, Any]:
    """Programs large enough to be timed: name to (function, types)."""
    import adjoint as ad
    import adjoint.nn.functional as F
    from adjoint.base.dtype import bfloat16, float16, float32, float64
    from tests.compile.gpu_cases import case, of

    def product(n: int, dtype: Any, turned: bool = False) -> Any:
        def function(a: Any, b: Any) -> Any:
            return [a @ b.T if turned else a @ b]

        return case(function, of(n, n, dtype=dtype), of(n, n, dtype=dtype), near=2e-2)

    sizes = (1024, 4096) if quick else (1024, 4096, 8192)
    found = {f"dot {n} bfloat16": product(n, bfloat16) for n in sizes}
    found["dot 4096 float16"] = product(4096, float16)
    found["dot 4096 bfloat16, b turned"] = product(4096, bfloat16, True)
    found["dot 4096 float32"] = product(4096, float32)
    found["dot 2048 float64"] = product(2048, float64)
    rows, row = 16384, 4096
    found["add"] = case(lambda x, y: [x + y], of(rows, row), of(rows, row))
    found["gelu bfloat16"] = case(lambda x: [F.gelu(x)], of(rows, row, dtype=bfloat16))
    found["turn"] = case(lambda x: [x.T + 1], of(8192, 8192))
    found["softmax"] = case(lambda x: [ad.softmax(x, -1)], of(rows, row))
    found["softmax, long rows"] = case(lambda x: [ad.softmax(x, -1)], of(256, 1 << 18))
    found["layer norm"] = case(
        lambda x, w, b: [F.layer_norm(x, (row,), w, b)], of(rows, row), of(row), of(row)
    )
    found["column sums"] = case(lambda x: [x.sum(0)], of(rows, row))
    found["sum"] = case(lambda x: [x.sum()], of(1 << 26))
    return found


def torch_twin(name: str) -> Callable[..., Any] | None:
    """The same in torch; None where torch does not see the GPU."""
    try:
        import torch
        import torch.nn.functional as F
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    first = name.split(",")[0].split(" ")[0]
    torch.backends.cuda.matmul.allow_tf32 = False
    return {
        "dot": lambda a, b: a @ (b.T if "turned" in name else b),
        "add": lambda x, y: x + y,
        "gelu": F.gelu,
        "turn": lambda x: x.T.contiguous() + 1,
        "softmax": lambda x: torch.softmax(x, -1),
        "layer": lambda x, w, b: F.layer_norm(x, w.shape, w, b),
        "column": lambda x: x.sum(0),
        "sum": lambda x: x.sum(),
    }[first]


def torch_seconds(twin: Callable[..., Any], arrays: list[Any], dtypes: list[str]) -> float:
    """The median time of a function of torch on the GPU."""
    import torch

    given = [
        torch.tensor(a.astype("float32") if a.dtype.name == "bfloat16" else a, device="cuda")
        .to(getattr(torch, d))
        for a, d in zip(arrays, dtypes, strict=True)
    ]  # fmt: skip
    times: list[float] = []
    for _ in range(ROUNDS + 2):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(TIMES):
            twin(*given)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000 / TIMES)
    return statistics.median(times[2:])


def measure(device: Any, quick: bool) -> dict[str, Any]:
    """Seconds, TFLOP/s and GB/s of large programs, and the ratio to torch."""
    from adjoint.compile.backends.cuda.kernels import Launch
    from adjoint.compile.backends.cuda.program import CudaProgram

    found: dict[str, Any] = {}
    for name, case in large(quick).items():
        arrays = case.arrays()
        program = CudaProgram(case.graph(), device)
        results = program(arrays)
        steps = [(s, program.words(s)) for s in program.steps if isinstance(s, Launch)]

        def work(steps: Any = steps) -> None:
            for _ in range(TIMES):
                for step, words in steps:
                    device.launch(step, words)

        times = [device.seconds(work) / TIMES for _ in range(ROUNDS + 2)][2:]
        program.close()
        seconds = statistics.median(times)
        nbytes = sum(t.dtype.itemsize * _count(t.shape) for t in case.types)
        nbytes += sum(o.dtype.itemsize * _count(o.shape) for o in program.graph.outputs)
        flops = sum(s.flops for s, _ in steps)
        row = {"seconds": seconds, "kernels": len(steps), "GB/s": nbytes / seconds / 1e9}
        if name.startswith("dot"):
            row["TFLOP/s"] = flops / seconds / 1e12
            row["error"] = error_of_rows(arrays, results[0], "turned" in name)
        twin = torch_twin(name)
        if twin is not None:
            peer = torch_seconds(twin, arrays, [t.dtype.name for t in case.types])
            row["torch seconds"], row["faster than torch"] = peer, peer / seconds
        found[name] = row
        print(f"  {name:28} " + "  ".join(f"{k} {v:.4g}" for k, v in row.items()))
    return found


def error_of_rows(arrays: list[Any], found: Any, turned: bool) -> float:
    """How far the first and last rows of a product are from NumPy's in float64."""
    from tests.compile.gpu_cases import far

    a, b = (x.astype("float64") for x in arrays)
    rows = [0, 1, -2, -1]
    return far(found[rows], a[rows] @ (b.T if turned else b))


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out the largest sizes")
    parser.add_argument("--json", type=Path, help="write everything there")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    lacking = missing()
    if lacking:
        print("cannot run here:", *lacking, sep="\n  ")
        return 2
    from adjoint.compile.backends.cuda.driver import CudaDevice, why_not

    reason = why_not()
    if reason:
        print(f"cannot run here:\n  {reason}")
        return 2
    device = CudaDevice()
    llvm = import_module("llvmlite.binding").llvm_version_info
    print(f"{device.name}, kernels for {device.target.cpu}, LLVM {'.'.join(map(str, llvm))}")
    try:
        print(f"torch {version('torch')}")
    except PackageNotFoundError:
        print("torch is not installed: nothing to compare with")
    results: dict[str, Any] = {"device": device.name, "target": device.target.cpu}
    print("results beside NumPy:")
    results["cases"] = check(device)
    results["same bits 100 times"] = repeat(device)
    print(f"same bits 100 times: {results['same bits 100 times']}")
    print("times:")
    results["times"] = measure(device, options.quick)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    right = all(c["right"] for c in results["cases"].values()) and results["same bits 100 times"]
    print("all right" if right else "something is wrong")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

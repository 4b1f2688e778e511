"""Operations that mostly move memory, on arrays far larger than the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench import libraries
from bench.kits import kit_of
from bench.operations import Arrays, Operation, Work, first_result, forward, gradients, normal

RATE = 1e-3


def operations(small: bool) -> dict[str, Operation]:
    """All of them by name."""
    rows, columns = (40, 33) if small else (32_768, 1024)
    found = _rows(f"{rows}x{columns}", rows, columns)
    rows, columns = (9, 10) if small else (1024, 768)
    found |= _rows(f"{rows}x{columns}", rows, columns)
    count = 5000 if small else 10_000_000
    found[f"adam {count:,} parameters"] = _pass(normal(p=(count,), g=(count,)), _adam, 28 * count)
    rows, columns = (20, 30) if small else (8192, 4096)
    found[f"cross entropy {rows}x{columns} with gradient"] = _pass(
        _scored(rows, columns),
        gradients(lambda kit: kit.F.cross_entropy, "cross_entropy", ("x",)), 8 * rows * columns,
    )  # fmt: skip
    found |= _lookup(50 if small else 200_000, 8 if small else 128, 30 if small else 100_000)
    return found


def _pass(arrays: Callable[..., Arrays], make: Any, work: float) -> Operation:
    return Operation("memory", arrays, make, work, "GB/s")


def _rows(title: str, rows: int, columns: int) -> dict[str, Operation]:
    """Functions of the rows of a matrix; elements are four bytes."""
    x, row, nbytes = (rows, columns), (columns,), 4 * rows * columns

    def softmax(kit: Any) -> Any:
        return lambda x: kit.F.softmax(x, dim=-1)

    def layer_norm(kit: Any) -> Any:
        return lambda x, w, b: kit.F.layer_norm(x, row, w, b)

    def gelu(kit: Any) -> Any:
        return lambda x: kit.F.gelu(x)

    def dropout(kit: Any) -> Any:
        return lambda x: kit.F.dropout(x, 0.25)

    norm = {"x": x, "w": row, "b": row}
    return {
        f"softmax {title}": _pass(normal(x=x), forward(softmax, "softmax"), 2 * nbytes),
        f"softmax {title} with gradient": _pass(
            normal(x=x, ct=x), gradients(softmax, "softmax", ("x",)), 3 * nbytes
        ),
        f"layer norm {title}": _pass(normal(**norm), forward(layer_norm, "layer_norm"), 2 * nbytes),
        f"layer norm {title} with gradients": _pass(
            normal(**norm, ct=x), gradients(layer_norm, "layer_norm", ("x", "w", "b")), 3 * nbytes
        ),
        f"gelu {title}": _pass(normal(x=x), forward(gelu, "gelu"), 2 * nbytes),
        f"gelu {title} with gradient": _pass(
            normal(x=x, ct=x), gradients(gelu, "gelu", ("x",)), 3 * nbytes
        ),
        f"dropout {title}": _pass(normal(x=x), forward(dropout, "dropout"), 2 * nbytes),
    }


def _scored(rows: int, columns: int) -> Callable[[np.random.Generator], Arrays]:
    return lambda rng: {
        "x": rng.standard_normal((rows, columns), np.float32),
        "target": rng.integers(0, columns, rows),
    }


def _lookup(vocab: int, width: int, count: int) -> dict[str, Operation]:
    def like(kit: Any) -> Any:
        return lambda index, table: kit.F.embedding(index, table)

    def arrays(rng: np.random.Generator) -> Arrays:
        return {
            "index": rng.integers(0, vocab, count),
            "table": rng.standard_normal((vocab, width), np.float32),
        }

    def with_ct(rng: np.random.Generator) -> Arrays:
        return {**arrays(rng), "ct": rng.standard_normal((count, width), np.float32)}

    title = f"embedding {count:,} of {vocab:,}x{width}"
    row = 4 * width
    return {
        title: _pass(arrays, forward(like, "embedding"), 2 * count * row),
        # read the cotangent and add it, write every row of the gradient
        f"{title}, gradient": _pass(
            with_ct, gradients(like, "embedding", ("table",)), (2 * count + vocab) * row
        ),
    }


def _adam(library: str, arrays: Arrays) -> Work:
    """One update, of the weights, their gradients and the two moments in memory."""
    if library == libraries.JAX:
        from bench import jax_operations

        return jax_operations.adam(arrays, RATE)
    lib = kit_of(library).lib
    parameter = lib.nn.Parameter(lib.tensor(arrays["p"]))
    parameter.grad = lib.tensor(arrays["g"])
    options = {"fused": True} if library == libraries.TORCH else {}
    optimizer = lib.optim.Adam([parameter], lr=RATE, **options)
    step = lib.jit(optimizer.step) if library == libraries.OURS else optimizer.step

    def call() -> Any:
        step()
        return parameter

    return first_result(call)

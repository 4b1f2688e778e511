"""Products of matrices, convolutions with their two gradients, and attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import libraries
from bench.operations import Arrays, Operation, Work, first_result, forward, gradients, normal

PRODUCTS = [  # rows, columns, inner
    (1024, 1024, 1024), (512, 512, 512), (64, 512, 784), (128, 768, 768), (784, 512, 64),
    (1024, 128, 128), (500, 500, 500), (333, 77, 129), (64, 64, 64), (32, 10, 84),
]  # fmt: skip
BATCHED = [(64, 128, 128, 64), (64, 64, 64, 32), (256, 37, 37, 25)]
CONVOLUTIONS = {  # images, channels, outputs, size, kernel, stride, groups
    "3x3 64-64 32": (32, 64, 64, 32, 3, 1, 1), "3x3 128-128 16": (32, 128, 128, 16, 3, 1, 1),
    "3x3 512-512 4": (32, 512, 512, 4, 3, 1, 1), "1x1 64-256 32": (32, 64, 256, 32, 1, 1, 1),
    "3x3 stride 2 64-128 32": (32, 64, 128, 32, 3, 2, 1), "3x3 3-64 32": (32, 3, 64, 32, 3, 1, 1),
    "5x5 6-16 14": (64, 6, 16, 14, 5, 1, 1), "3x3 depthwise 128 32": (32, 128, 128, 32, 3, 1, 128),
}  # fmt: skip
ATTENTION = [(8, 8, 128, 64), (8, 8, 512, 64)]  # batch, heads, time, width


def operations(small: bool) -> dict[str, Operation]:
    """All of them by name."""
    found: dict[str, Operation] = {}
    for m, n, k in [(16, 12, 20), (7, 5, 9)] if small else PRODUCTS:
        found[f"gemm {m}x{n}x{k}"] = _product((m, k), (k, n), 2 * m * n * k)
        found[f"gemm {m}x{n}x{k} T"] = _product((m, k), (n, k), 2 * m * n * k, turned=True)
    for b, m, n, k in [(3, 6, 7, 5)] if small else BATCHED:
        found[f"gemm batch {b}x{m}x{n}x{k}"] = _product((b, m, k), (b, k, n), 2 * b * m * n * k)
    for name, case in CONVOLUTIONS.items():
        found |= _convolution(name, _reduced(case) if small else case)
    for b, h, t, d in [(2, 2, 9, 4)] if small else ATTENTION:
        for causal in (False, True):
            found |= _attention(b, h, t, d, causal)
    return found


def _product(
    left: tuple[int, ...], right: tuple[int, ...], work: float, turned: bool = False
) -> Operation:
    def like(kit: Any) -> Any:
        if turned:
            return lambda a, b: kit.lib.matmul(a, b.T)
        return kit.lib.matmul

    make = forward(like, "matmul_turned" if turned else "matmul")
    return Operation("gemm", normal(a=left, b=right), make, work, numpy=True)


def _reduced(case: tuple[int, ...]) -> tuple[int, ...]:
    _, channels, outputs, _, kernel, stride, groups = case
    few = (4, 4) if groups > 1 else (min(channels, 4), min(outputs, 6))
    return (2, *few, 8, kernel, stride, 4 if groups > 1 else 1)


def _convolution(name: str, case: tuple[int, ...]) -> dict[str, Operation]:
    images, channels, outputs, size, kernel, stride, groups = case
    pad = 0 if kernel == 5 else kernel // 2
    side = (size + 2 * pad - kernel) // stride + 1
    shapes = {
        "x": (images, channels, size, size),
        "w": (outputs, channels // groups, kernel, kernel),
    }
    ct = (images, outputs, side, side)
    work = 2.0 * np.prod(ct) * channels // groups * kernel * kernel

    def like(kit: Any) -> Any:
        return lambda x, w: kit.F.conv2d(x, w, stride=stride, padding=pad, groups=groups)

    given = (stride, pad, groups)
    found = {
        f"conv {name} forward": Operation(
            "conv", normal(**shapes), forward(like, "conv", *given), work
        )
    }
    for wanted, title in (("x", "input gradient"), ("w", "weight gradient")):
        general = gradients(like, "conv", (wanted,), *given)

        def make(library: str, arrays: Arrays, wanted: str = wanted, general: Any = general) -> Any:
            if library == libraries.TORCH:
                return _torch_gradient(arrays, wanted, stride, pad, groups)
            return general(library, arrays)

        found[f"conv {name} {title}"] = Operation("conv", normal(**shapes, ct=ct), make, work)
    return found


def _torch_gradient(arrays: Arrays, wanted: str, stride: int, pad: int, groups: int) -> Work:
    """One gradient without the forward pass that it does not need."""
    import torch

    x, w, ct = (torch.tensor(arrays[name]) for name in ("x", "w", "ct"))
    mask = [wanted == "x", wanted == "w", False]
    place = mask.index(True)
    return first_result(
        lambda: torch.ops.aten.convolution_backward(
            ct, x, w, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, mask
        )[place]
    )


def _attention(b: int, h: int, t: int, d: int, causal: bool) -> dict[str, Operation]:
    def like(kit: Any) -> Any:
        return lambda q, k, v: kit.F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    shape = (b, h, t, d)
    work = 4.0 * b * h * t * t * d / (2 if causal else 1)
    title = f"attention {b}x{h}x{t}x{d}{' causal' if causal else ''}"
    arrays = {"q": shape, "k": shape, "v": shape}
    back = gradients(like, "attention", ("q", "k", "v"), causal)
    return {
        f"{title} forward": Operation(
            "attention", normal(**arrays), forward(like, "attention", causal), work
        ),
        # the gradients need five products beside the two of the forward pass
        f"{title} with gradients": Operation(
            "attention", normal(**arrays, ct=shape), back, work * 3.5
        ),
    }

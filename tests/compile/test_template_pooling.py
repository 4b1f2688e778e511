"""The pooling templates give what the NumPy kernels of their regions give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adjoint.base.dtype import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int32,
    int64,
    uint8,
)
from adjoint.ir.node import Type
from adjoint.ops.structure import call
from adjoint.tensors.functional.windows import Frame
from adjoint.tensors.regions import REGIONS
from tests.compile.running import Array, compiles_elsewhere, lowered, outputs

pytestmark = pytest.mark.feature("T30")

FLOATS = (float32, float64, float16, bfloat16)
NONE = (0, 0)
CASES: list[tuple[tuple[int, ...], Frame]] = [
    ((2, 3, 28, 28), Frame((2, 2), (2, 2), (NONE, NONE), (1, 1))),
    ((2, 3, 10, 10), Frame((2, 2), (2, 2), (NONE, NONE), (1, 1))),
    ((2, 3, 11, 13), Frame((2, 2), (2, 2), ((0, -1), (0, -1)), (1, 1))),
    ((2, 3, 21, 33), Frame((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))),
    ((1, 2, 9, 70), Frame((3, 5), (1, 1), ((1, 1), (2, 2)), (1, 1))),
    ((2, 30), Frame((3,), (2,), ((1, 1),), (1,))),
    ((2, 30), Frame((3,), (1,), (NONE,), (2,))),
    ((2, 3, 4, 5, 6), Frame((2, 3, 2), (2, 1, 2), (NONE, (1, 1), NONE), (1, 1, 1))),
    ((2, 4, 6, 6), Frame((2, 2, 2), (2, 2, 3), (NONE, NONE, NONE), (1, 1, 1))),
    ((2, 3, 9, 9), Frame((9, 9), (9, 9), (NONE, NONE), (1, 1))),
    ((2, 32, 32), Frame((7, 7), (7, 7), ((3, 3), (2, 2)), (1, 1))),
    ((2, 32, 40), Frame((5, 20), (3, 2), ((2, 2), NONE), (2, 1))),
    ((2, 1, 50), Frame((1, 20), (1, 6), (NONE, NONE), (1, 1))),
    ((3, 12), Frame((2,), (4,), (NONE,), (2,))),
    ((0, 3, 4, 4), Frame((2, 2), (2, 2), (NONE, NONE), (1, 1))),
]
NAMES = [f"{'x'.join(map(str, s))}_{f.kernel}_{f.stride}" for s, f in CASES]


def drawn(shape: tuple[int, ...], dtype: DType, special: bool, seed: int = 0) -> Array:
    """Small integers, so that there are ties and sums are exact."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0 if dtype.kind in "ub" else -4, 5, shape).astype(dtype.numpy)
    if special and dtype.kind == "f" and x.size:
        x.reshape(-1)[::37] = np.nan
        x.reshape(-1)[::5] = -np.inf
    return x


def largest(x: Array, frame: Frame) -> Array:
    kernel = REGIONS["window_max"].kernel
    assert kernel is not None
    return kernel(x, frame=frame)


def check(name: str, arrays: list[Array], **static: Any) -> None:
    region = REGIONS[name]
    assert region.kernel is not None
    with np.errstate(all="ignore"):
        want = region.kernel(*arrays, **static)
    for job in (None, 1, 3):
        found = outputs(call, arrays, {"region": region, **static}, job)
        assert found is not None
        compared = [a.astype(np.float32) if a.dtype.kind == "V" else a for a in (found[0], want)]
        assert_allclose(*compared, rtol=1e-2 if want.dtype.itemsize == 2 else 1e-5)


@pytest.mark.parametrize(("shape", "frame"), CASES, ids=NAMES)
@pytest.mark.parametrize("name", ["window_max", "window_sum"])
def test_windows(name: str, shape: tuple[int, ...], frame: Frame) -> None:
    for dtype in (*FLOATS, int32, int64, uint8):
        check(name, [drawn(shape, dtype, special=False)], frame=frame)
    check(name, [drawn(shape, float32, special=True)], frame=frame)
    if name == "window_max":
        check(name, [drawn(shape, bool_, special=False)], frame=frame)


@pytest.mark.parametrize(("shape", "frame"), CASES, ids=NAMES)
@pytest.mark.parametrize("special", [False, True])
def test_choice_of_the_largest(shape: tuple[int, ...], frame: Frame, special: bool) -> None:
    for dtype in (float32, float64) if special else (*FLOATS, int32):
        x = drawn(shape, dtype, special)
        out = largest(x, frame)
        check("from_first_max", [drawn(shape, dtype, False, 1), x, out], frame=frame)
        check("place_of_max", [x, out], frame=frame)


@pytest.mark.parametrize(("shape", "frame"), CASES, ids=NAMES)
@pytest.mark.parametrize("special", [False, True])
def test_gradients(shape: tuple[int, ...], frame: Frame, special: bool) -> None:
    for dtype in (float32, float64) if special else FLOATS:
        x = drawn(shape, dtype, special)
        out = largest(x, frame)
        ct = drawn(out.shape, dtype, False, 1)
        check("to_first_max", [ct, x, out], frame=frame)
        check("window_spread", [ct], frame=frame, sizes=shape[len(shape) - len(frame.kernel) :])


def test_gradient_of_no_windows_is_left_to_numpy() -> None:
    frame = Frame((2,), (2,), (NONE,), (1,))
    types = [Type((3, 0), float32)]
    kernels, *_ = lowered(
        call, types, {"region": REGIONS["window_spread"], "frame": frame, "sizes": (1,)}
    )
    assert kernels is None


@pytest.mark.parametrize("which", [0, 3])
@pytest.mark.parametrize("dtype", [float32, bfloat16, float16])
def test_other_cpus(which: int, dtype: DType) -> None:
    shape, frame = CASES[which]
    x = Type(shape, dtype)
    out = Type((*shape[:2], *frame.places(shape[2:])), dtype)
    arguments = {
        "window_max": [x], "window_sum": [x], "to_first_max": [out, x, out],
        "from_first_max": [x, x, out], "place_of_max": [x, out],
    }  # fmt: skip
    for name, types in arguments.items():
        kernels, *_ = lowered(call, types, {"region": REGIONS[name], "frame": frame})
        assert kernels is not None
        compiles_elsewhere(kernels)

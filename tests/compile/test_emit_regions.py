"""Regions with emitters of their own agree with their NumPy functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint.tensors.functional  # noqa: F401  (declares regions)
from adjoint import finfo
from adjoint.base.dtype import DType, bfloat16, bool_, float16, float32, float64, int8, int32, uint8
from adjoint.compile.code import Function, Value
from adjoint.compile.regions import REGIONS
from adjoint.tensors.regions import REGIONS as DECLARED
from tests.compile.emitting import WIDTHS, kernel, sample

STATIC: dict[str, list[dict[str, Any]]] = {
    "clamp": [{"low": -1, "high": 2}, {"low": None, "high": 1}, {"low": 0, "high": None}],
    "hardtanh": [{"low": -1.0, "high": 1.5}],
    "leaky_relu": [{"slope": 0.01}],
    "power_number": [{"exponent": e} for e in (2.5, -3.0, 7.0, 0.0, 1 / 3, -0.5, 100.0)],
}
BINARY = {"copysign", "replaced", "fmod", "floor_divide", "power"}
OF_INTEGERS = {"abs", "sign", "relu", "fmod", "floor_divide", "replaced", "power"}


def run(name: str, dtype: DType, static: dict[str, Any], seed: int) -> tuple[Any, Any, Any]:
    count = 2 if name in BINARY else 1
    given = [sample(dtype, 2048, seed + i) for i in range(count)]
    if name == "power" and dtype.kind != "f":
        given[1] = (np.abs(given[1].astype(np.int64)) % 7).astype(dtype.numpy)
    kernel_of = DECLARED[name].kernel
    assert kernel_of is not None
    with np.errstate(all="ignore"):
        want = kernel_of(*given, **static)
    out = bool_ if want.dtype == bool else dtype

    def write(f: Function, *values: Value) -> Value:
        return REGIONS[name](f, values, [dtype] * count, out, static)

    found = [kernel(write, [dtype] * count, out, lanes)(*given) for lanes in WIDTHS]
    assert np.array_equal(found[0], found[1], equal_nan=out.kind == "f")
    return given, found[1], want


@pytest.mark.parametrize("dtype", [float32, float64, float16, bfloat16], ids=str)
@pytest.mark.parametrize("name", REGIONS)
@pytest.mark.filterwarnings("ignore:invalid value")  # bfloat16 warns of NaN
def test_floats(name: str, dtype: DType) -> None:
    for static in STATIC.get(name, [{}]):
        given, got, want = run(name, dtype, static, 1)
        if got.dtype == bool:
            assert (got == want).all()
            continue
        eps = float(finfo(dtype).eps)
        with np.errstate(all="ignore"):
            a, b = got.astype(np.float64), want.astype(np.float64)
            floor = 1e-3 if name.startswith("gelu") else float(finfo(dtype).tiny)
            # NumPy's gelus cancel for negative arguments
            rough = 64 * eps if not name.startswith("gelu") else 4096 * eps
            near = np.abs(a - b) <= rough * np.maximum(np.abs(b), floor)
        wrong = ~(near | (a == b) | (np.isnan(a) & np.isnan(b)))
        assert not wrong.any(), ([g[wrong][:3] for g in given], got[wrong][:3], want[wrong][:3])


@pytest.mark.parametrize("dtype", [int32, int8, uint8], ids=str)
@pytest.mark.parametrize("name", sorted(OF_INTEGERS))
def test_integers(name: str, dtype: DType) -> None:
    given, got, want = run(name, dtype, {}, 2)
    assert (got == want).all(), given


@pytest.mark.parametrize("dtype", [int32, uint8], ids=str)
def test_integers_with_numbers(dtype: DType) -> None:
    for low, high in ((1, 2), (None, 1), (0, None)):
        _, got, want = run("clamp", dtype, {"low": low, "high": high}, 3)
        assert (got == want).all()
    for exponent in (0, 1, 2, 5, 7):
        _, got, want = run("power_number", dtype, {"exponent": exponent}, 4)
        assert (got == want).all()


def test_special_powers() -> None:
    """All pairs of special numbers, as C's pow has them."""
    some = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 2.5, 1e30, -1e30,
            np.inf, -np.inf, np.nan]  # fmt: skip
    x, y = (a.reshape(-1) for a in np.meshgrid(some, some))
    for dtype in (float32, float64):

        def write(f: Function, a: Value, b: Value, dtype: DType = dtype) -> Value:
            return REGIONS["power"](f, [a, b], [dtype, dtype], dtype, {})

        got = kernel(write, [dtype, dtype], dtype, 4)(x, y)
        with np.errstate(all="ignore"):
            want = np.power(x.astype(dtype.numpy), y.astype(dtype.numpy))
        near = np.isclose(got, want, rtol=1e-6, atol=0, equal_nan=True)
        signs = (np.signbit(got) == np.signbit(want)) | np.isnan(want)
        assert (near & signs).all(), (x[~near], y[~near], got[~near], want[~near])

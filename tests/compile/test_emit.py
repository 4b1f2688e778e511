"""Every pointwise row as machine code means what NumPy means, for every dtype, one by one and in
vectors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from adjoint.base.dtype import (
    ALL,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)  # fmt: skip
from adjoint.compile import emit
from adjoint.compile.backends.cpu.target import OTHERS
from adjoint.compile.code import Function, Value
from adjoint.ops import TABLE
from tests.compile.emitting import WIDTHS, Array, kernel, older, row, same, sample

FLOATS = [float32, float64, float16, bfloat16]
INTEGERS = [int8, int16, int32, int64, uint8, uint16, uint32, uint64]
COUNT = 1024


def expect(name: str, dtypes: list[DType], out: DType, arrays: list[Array],
           cpu: str | None = None) -> None:  # fmt: skip
    params = {"dtype": out} if name == "cast" else {}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ml_dtypes warns of NaN
        want = TABLE[name].ref(*arrays, **params)
    for lanes in WIDTHS if cpu is None else (0, 4):
        got = row(name, dtypes, out, lanes, None if cpu is None else OTHERS[cpu])(*arrays)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrong = ~same(got, want)
        assert not wrong.any(), (name, [a[wrong][:3] for a in arrays], got[wrong][:3])


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, bool_], ids=str)
def test_arithmetic(dtype: DType) -> None:
    a, b = sample(dtype, COUNT, 1), sample(dtype, COUNT, 2)
    if dtype.kind == "i":
        b[:2] = -1  # the least integer by -1 wraps
    names = ["add", "sub", "mul", "maximum", "minimum", *([] if dtype is bool_ else ["div", "rem"])]
    for name in names:
        expect(name, [dtype, dtype], dtype, [a, b])
    for name in ("eq", "lt"):
        expect(name, [dtype, dtype], bool_, [a, b])
    expect("where", [bool_, dtype, dtype], dtype, [sample(bool_, COUNT, 3), a, b])
    if dtype is not bool_:
        expect("neg", [dtype], dtype, [a])
        expect("floor", [dtype], dtype, [a])


@pytest.mark.parametrize("dtype", [*INTEGERS, bool_], ids=str)
def test_bits(dtype: DType) -> None:
    a, b = sample(dtype, COUNT, 4), sample(dtype, COUNT, 5)
    for name in ("bit_and", "bit_or", "bit_xor"):
        expect(name, [dtype, dtype], dtype, [a, b])
    if dtype is bool_:
        return
    for count in (b, (b.astype(np.int64) % (dtype.bits + 2)).astype(dtype.numpy)):
        expect("shift_left", [dtype, dtype], dtype, [a, count])
        expect("shift_right", [dtype, dtype], dtype, [a, count])


@pytest.mark.parametrize("dtype", [float32, float64, int32, uint8], ids=str)
@pytest.mark.parametrize("cpu", older())
def test_arithmetic_on_older_cpus(cpu: str, dtype: DType) -> None:
    a, b = sample(dtype, COUNT, 1), sample(dtype, COUNT, 2)
    for name in ("maximum", "div", "rem"):
        expect(name, [dtype, dtype], dtype, [a, b], cpu)


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_remainder_of_numbers_far_apart(dtype: DType) -> None:
    """Quotients of up to two thousand bits, and subnormal divisors."""
    rng = np.random.default_rng(6)
    bits = np.uint32 if dtype is float32 else np.uint64
    a, b = (rng.integers(0, 2 ** (dtype.bits - 1), 2000, bits).view(dtype.numpy) for _ in range(2))
    tiny = rng.integers(1, 1000, 2000, bits).view(dtype.numpy)
    large = np.full(2000, np.finfo(dtype.numpy).max)
    for x, y in ((a, b), (a, tiny), (-a, b), (large, tiny), (a, large), (tiny, a), (large, b)):
        expect("rem", [dtype, dtype], dtype, [x.astype(dtype.numpy), y.astype(dtype.numpy)])
        for cpu in older()[:1]:
            expect("rem", [dtype, dtype], dtype, [x, y], cpu)


@pytest.mark.parametrize("source", ALL, ids=str)
def test_casts(source: DType) -> None:
    values = sample(source, COUNT, 7)
    for target in ALL:
        given = values
        if source.kind == "f" and target.kind in "iu":
            # beyond its integers NumPy's own loops do not agree with each other
            limits = np.iinfo(target.numpy)  # type: ignore[call-overload]
            wide = values.astype(np.float64)
            given = values[(wide > limits.min - 1.0) & (wide < float(limits.max))]
        expect("cast", [source], target, [given])
        for cpu in older():
            if source.kind == target.kind == "f":
                expect("cast", [source], target, [given], cpu)


@pytest.mark.parametrize("target", INTEGERS, ids=str)
@pytest.mark.parametrize("source", [float32, float64], ids=str)
def test_what_no_integer_holds_is_one_number_in_every_width(source: DType, target: DType) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**31, 2.0**63] * 3)
    first, *others = (row("cast", [source], target, lanes)(values) for lanes in (0, 4, 8))
    for other in others:
        assert (first == other).all()
    if target in (int32, int64):
        assert first[0] == np.iinfo(target.numpy).min  # type: ignore[call-overload]


@pytest.mark.parametrize("cpu", [None, *older()])
def test_every_float16_and_the_numbers_between(cpu: str | None) -> None:
    target = None if cpu is None else OTHERS[cpu]
    every = np.arange(2**16, dtype=np.uint16)
    for dtype in (float16, bfloat16):
        values = every.view(dtype.numpy)
        with np.errstate(invalid="ignore"):
            want = values.astype(np.float32)
        assert same(row("cast", [dtype], float32, 4, target)(values), want).all()
    ordered = np.arange(0, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    middle = (ordered[1:] + ordered[:-1]) / 2
    near = np.concatenate([middle, np.nextafter(middle, 0), np.nextafter(middle, 1e9), [65520.0]])
    for source in (float32, float64):
        given = np.concatenate([near, -near]).astype(source.numpy)
        with np.errstate(over="ignore"):
            want = given.astype(np.float16)
        got = row("cast", [source], float16, 4, target)(given)
        assert (got.view(np.uint16) == want.view(np.uint16)).all()


@pytest.mark.parametrize("lanes", [2, 4, 16])
def test_reduce(lanes: int) -> None:
    def write(how: str, dtype: DType) -> Array:
        def inside(f: Function, x: Value) -> Value:
            return f.splat(emit.reduce(f, how, x, dtype), lanes)

        return kernel(inside, [dtype], dtype, lanes)(given)

    rng = np.random.default_rng(8)
    given = rng.integers(-100, 100, lanes * 8).astype(np.float32)
    rows = given.reshape(-1, lanes)
    assert (write("add", float32) == np.repeat(rows.sum(1), lanes)).all()
    assert (write("maximum", float32) == np.repeat(rows.max(1), lanes)).all()
    given[lanes + 1] = np.nan
    assert np.isnan(write("maximum", float32)[lanes : 2 * lanes]).all()
    assert not np.isnan(write("maximum", float32)[2 * lanes :]).any()
    given = rng.integers(0, 256, lanes * 8).astype(np.uint8)
    rows = given.reshape(-1, lanes)
    assert (write("minimum", uint8) == np.repeat(rows.min(1), lanes)).all()
    given = given.view(np.int8)
    assert (write("maximum", int8) == np.repeat(given.reshape(-1, lanes).max(1), lanes)).all()

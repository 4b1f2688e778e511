"""exp, log, tanh, erf, sin, cos, atan and their kin: two units in the last place, everywhere."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import special

from adjoint.base.dtype import DType, float32, float64
from adjoint.compile.backends.cpu.link import assembly
from adjoint.compile.backends.cpu.target import OTHERS
from adjoint.compile.mathematics import FUNCTIONS
from adjoint.compile.regions import REGIONS, exp2, expm1, log1p, log2
from tests.compile.emitting import WIDTHS, Array, kernel, older, text_of
from tests.compile.test_assembly import STACK

pytestmark = pytest.mark.feature("T30")

WRITERS = {**FUNCTIONS, "expm1": expm1, "log1p": log1p, "exp2": exp2, "log2": log2}
REFERENCES = {
    "exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos, "sqrt": np.sqrt, "tanh": np.tanh,
    "erf": special.erf, "atan": np.arctan, "expm1": np.expm1, "log1p": np.log1p, "exp2": np.exp2,
    "log2": np.log2,
}  # fmt: skip
HAS_LONG = np.finfo(np.longdouble).nmant > 60
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, 1000.0, -1000.0]


def arguments(dtype: DType, count: int, seed: int) -> Array:
    """All bit patterns alike, then the numbers that functions are mostly called with."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 256, count * dtype.itemsize, np.uint8).view(dtype.numpy)
    usual = rng.normal(size=count) * rng.choice([0.1, 1, 10, 100], count)
    tiny = [np.finfo(dtype.numpy).smallest_subnormal, np.finfo(dtype.numpy).smallest_normal]
    ends = [*SPECIAL, *tiny, np.finfo(dtype.numpy).max]
    return np.concatenate([bits, usual.astype(dtype.numpy), np.array(ends, dtype.numpy)])


def errors(got: Array, want: Array, dtype: DType) -> Array:
    """|got - want| in units of the last place of ``want``; infinite where the kinds differ."""
    with np.errstate(all="ignore"):
        near = want.astype(dtype.numpy)
        unit = np.spacing(np.abs(near).clip(np.finfo(dtype.numpy).smallest_normal))
        unit = np.where(np.isfinite(near), unit, 1)
        apart = np.abs(got.astype(want.dtype) - want) / unit
    finite = np.isfinite(near) & np.isfinite(got)
    # the largest numbers may be rounded to infinity
    top = np.isinf(got) & (np.abs(want) >= np.finfo(dtype.numpy).max)
    kinds = (got == near) | (np.isnan(got) & np.isnan(near)) | top
    found = np.where(finite, apart, np.where(kinds, 0, np.inf))
    zeros = (want == 0) & (np.signbit(got) != np.signbit(want))
    return np.where(zeros, np.inf, found)


@pytest.mark.parametrize("cpu", [None, *older()])
@pytest.mark.parametrize("name", WRITERS)
def test_float(name: str, cpu: str | None) -> None:
    target = None if cpu is None else OTHERS[cpu]
    x = arguments(float32, 1 << 18, 1)
    with np.errstate(all="ignore"):
        want = REFERENCES[name](x.astype(np.float64))
    bound = 2.0 if cpu != "x86-64-v2" else 4.0  # it cannot multiply and add with one rounding
    results = []
    for lanes in WIDTHS if target is None else (target.bits // 32,):
        results.append(kernel(WRITERS[name], [float32], float32, lanes, target)(x))
        found = errors(results[-1], want, float32)
        worst = int(found.argmax())
        assert found[worst] <= bound, (x[worst], results[-1][worst], want[worst])
    # a scalar has the bits of a lane
    assert all(np.array_equal(results[0], other, equal_nan=True) for other in results)


@pytest.mark.skipif(not HAS_LONG, reason="no wider float to compare with")
@pytest.mark.parametrize("cpu", [None, *older()[:1]])
@pytest.mark.parametrize("name", WRITERS)
def test_double(name: str, cpu: str | None) -> None:
    target = None if cpu is None else OTHERS[cpu]
    x = arguments(float64, 1 << 14, 2)
    with np.errstate(all="ignore"):
        wide = x if name == "erf" else x.astype(np.longdouble)
        want = REFERENCES[name](wide)
    bound = 2.0 if cpu is None and name != "erf" else 4.0  # SciPy's own error is about 1
    for lanes in {0, 4, WIDTHS[-1]} if target is None else {4}:
        got = kernel(WRITERS[name], [float64], float64, lanes, target)(x)
        found = errors(got, want, float64)
        worst = int(found.argmax())
        assert found[worst] <= bound, (x[worst], got[worst], want[worst])


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_float_with_more_numbers(name: str) -> None:
    x = arguments(float32, 1 << 23, 3)
    with np.errstate(all="ignore"):
        want = REFERENCES[name](x.astype(np.float64))
    got = kernel(WRITERS[name], [float32], float32, WIDTHS[-1])(x)
    assert errors(got, want, float32).max() <= 2.0


def test_angles_next_to_quarter_turns() -> None:
    """The doubles and floats that are hardest to reduce. Source: Muller, Elementary functions,
    2006, table 11.1, and multiples of pi / 2 rounded to float."""
    hard = kernel(FUNCTIONS["cos"], [float64], float64, 4)([6381956970095103.0 * 2.0**797])
    assert hard[0] == -4.68716592425462761112e-19
    for name, reference in (("sin", np.sin), ("cos", np.cos)):
        turns = (np.arange(1, 1 << 17) * (np.pi / 2)).astype(np.float32)
        turns = np.concatenate([turns, turns * np.float32(2.0**40), turns * np.float32(2.0**100)])
        got = kernel(FUNCTIONS[name], [float32], float32, WIDTHS[-1])(turns)
        assert errors(got, reference(turns.astype(np.float64)), float32).max() <= 2.0


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("cpu", OTHERS)
def test_assembly(cpu: str, name: str) -> None:
    """No call of a C library; and vectors of floats stay in registers on x86."""
    target = OTHERS[cpu]
    for dtype in (float32, float64):
        text = text_of(WRITERS[name], [dtype], dtype, target.bits // 32, target)
        lines = assembly(text, target).splitlines()
        calls = [line for line in lines if re.match(r"\s+(callq?|bl)\s", line)]
        assert all("quarter_turns" in line for line in calls), calls
        if dtype is float32 and cpu != "aarch64" and name not in ("sin", "cos"):
            assert not [x for x in lines if STACK.search(x) and re.search(r"%[xyz]mm", x)]


@pytest.mark.parametrize("cpu", [None, *older()[:1]])
def test_powers_of_doubles(cpu: str | None) -> None:
    target = None if cpu is None else OTHERS[cpu]
    rng = np.random.default_rng(4)
    x = np.exp(rng.normal(size=20000) * 20)
    y = rng.normal(size=20000) * rng.choice([0.1, 1, 10], 20000)
    x[:5000] = 1 + rng.normal(size=5000) * 1e-3
    y[:5000] *= 1e4
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.longdouble), y.astype(np.longdouble))

    def write(f, a, b):  # type: ignore[no-untyped-def]
        return REGIONS["power"](f, [a, b], [float64, float64], float64, {})

    got = kernel(write, [float64, float64], float64, 4, target)(x, y)
    assert errors(got, want, float64).max() <= (2.0 if cpu is None else 8.0)

"""The tiled kernels of attention and its gradient give what their regions mean."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adjoint.base.dtype import DType, bfloat16, bool_, float16, float32, float64
from adjoint.compile.backends.cpu.link import assembly
from adjoint.compile.backends.cpu.target import OTHERS
from adjoint.ir.node import Type
from adjoint.ops.structure import call
from adjoint.tensors.functional.attention import attention, attention_gradient
from tests.compile.running import Array, compiles_elsewhere, lowered, outputs
from tests.compile.test_assembly import MULTIPLY, STACK, blocks, function

pytestmark = pytest.mark.feature("T30")

Size = tuple[int, int, int, int, int, int]
SIZES: list[Size] = [  # batch, heads, queries, keys, size, size of values
    (2, 3, 64, 64, 32, 32),
    (1, 2, 5, 7, 3, 5),
    (1, 2, 1, 130, 17, 9),
    (1, 1, 77, 201, 33, 70),
    (1, 2, 201, 77, 16, 16),
    (2, 1, 1, 1, 1, 1),
    (1, 2, 3, 33, 40, 150),
]
MASKS: list[tuple[tuple[int, int, int, int], bool]] = [  # shape, whether of bools
    ((2, 3, 40, 150), True),
    ((1, 3, 40, 150), False),
    ((2, 1, 1, 150), True),
    ((1, 1, 1, 150), False),
]
TOLERANCE = {float32: (1e-4, 2e-5), float64: (1e-11, 1e-12), float16: (1e-2, 1e-2),
             bfloat16: (3e-2, 3e-2)}  # fmt: skip


def drawn(size: Size, dtype: DType, mask: tuple[Any, bool] | None = None) -> list[Array]:
    rng = np.random.default_rng(0)
    n, h, t, s, e, v = size
    shapes = ((n, h, t, e), (n, h, s, e), (n, h, s, v))
    arrays: list[Array] = [rng.standard_normal(x).astype(dtype.numpy) for x in shapes]
    if mask is not None:
        shape, bools = mask
        extra: Array = rng.standard_normal(shape)
        arrays.append(extra > -0.3 if bools else extra.astype(dtype.numpy))
    return arrays


def with_cotangents(arrays: list[Array], **static: Any) -> list[Array]:
    q, k, v, *mask = arrays
    assert attention.kernel is not None
    out, log_total = attention.kernel(*arrays, **static)
    ct = np.random.default_rng(9).standard_normal(out.shape).astype(q.dtype)
    delta = (ct.astype(log_total.dtype) * out.astype(log_total.dtype)).sum(-1)
    return [ct, delta, q, k, v, log_total, *mask]


def check(region: Any, arrays: list[Array], dtype: DType, **static: Any) -> None:
    want = region.kernel(*arrays, **static)
    rtol, atol = TOLERANCE[dtype]
    seen: list[list[bytes]] = []
    for job in (None, 1, 2):
        found = outputs(call, arrays, {"region": region, **static}, job)
        assert found is not None
        seen.append([x.tobytes() for x in found])
        for a, b in zip(found, want, strict=True):
            assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol=rtol, atol=atol)
    assert seen[0] == seen[1] == seen[2], "the result depends on the jobs"


@pytest.mark.parametrize(
    ("size", "causal", "dtype"),
    [
        *((size, bool(i % 2), float32) for i, size in enumerate(SIZES)),
        *((SIZES[i], bool(i % 2), d) for d in (float64, float16, bfloat16) for i in (0, 3)),
    ],
)
def test_sizes(size: Size, causal: bool, dtype: DType) -> None:
    arrays = drawn(size, dtype)
    static = {"causal": causal, "scale": 0.3}
    check(attention, arrays, dtype, **static)
    check(attention_gradient, with_cotangents(arrays, **static), dtype, **static)


@pytest.mark.parametrize(
    ("mask", "causal", "dtype"),
    [
        (mask, bool(i % 2) is (dtype is float32), dtype)
        for i, mask in enumerate(MASKS)
        for dtype in (float32, bfloat16)
    ],
)
def test_masks(mask: tuple[Any, bool], causal: bool, dtype: DType) -> None:
    arrays = drawn((2, 3, 40, 150, 8, 8), dtype, mask)
    static = {"causal": causal, "scale": 0.3}
    check(attention, arrays, dtype, **static)
    check(attention_gradient, with_cotangents(arrays, **static), dtype, **static)


@pytest.mark.parametrize(
    ("mask", "causal"),
    [(((2, 1, 4, 40), True), False), (((1, 3, 1, 40), False), True), (None, True)],
)
def test_few_queries(mask: Any, causal: bool) -> None:
    for dtype in (float32, bfloat16):
        arrays = drawn((2, 3, 4, 40, 24, 8), dtype, mask)
        if mask is not None and mask[1]:
            arrays[3][0, 0, 2] = False
        check(attention, arrays, dtype, causal=causal, scale=0.3)


def test_rows_without_keys_and_numbers_out_of_range() -> None:
    size = (1, 1, 20, 110, 4, 4)
    arrays = drawn(size, float32, ((1, 1, 20, 110), True))
    arrays[3][0, 0, 3] = False
    arrays[3][0, 0, 5, :109] = False
    arrays[0][0, 0, 7] = np.nan
    arrays[0][0, 0, 9] *= 1e20
    arrays[1][0, 0, 5] = np.nan  # a key that nobody may look at but query 19
    arrays[3][0, 0, :, 5] = False
    arrays[3][0, 0, 19, 5] = True
    static = {"causal": False, "scale": 1.0}
    with np.errstate(all="ignore"):
        check(attention, arrays, float32, **static)
        check(attention_gradient, with_cotangents(arrays, **static), float32, **static)


def test_scores_are_never_held() -> None:
    def scratch(t: int) -> int:
        types = [Type((1, 1, t, 64), float32)] * 3
        params = {"region": attention, "causal": False, "scale": 1.0}
        kernels, *_ = lowered(call, types, params)
        assert kernels is not None
        assert len(kernels) == 1
        return kernels[0].scratch

    assert scratch(64) == scratch(1 << 20) < 1 << 16


def test_no_keys_or_no_queries() -> None:
    def kernels(t: int, s: int) -> Any:
        types = [Type((1, 1, n, 4), float32) for n in (t, s, s)]
        return lowered(call, types, {"region": attention, "causal": False, "scale": 1.0})[0]

    assert kernels(0, 3) == []
    assert kernels(3, 0) is None


@pytest.mark.parametrize("dtype", [float32, bfloat16])
def test_other_cpus(dtype: DType) -> None:
    few, keys = Type((1, 2, 1, 20), dtype), Type((1, 2, 40, 20), dtype)
    params = {"region": attention, "causal": False, "scale": 1.0}
    kernels, *_ = lowered(call, [few, keys, keys], params)
    assert kernels is not None
    compiles_elsewhere(kernels)
    rows, sums = Type((1, 2, 40, 20), dtype), Type((1, 2, 40), float32)
    mask = Type((1, 1, 40, 40), bool_)
    for region, types in (
        (attention, [rows, rows, rows, mask]),
        (attention_gradient, [rows, sums, rows, rows, rows, sums, mask]),
    ):
        params = {"region": region, "causal": True, "scale": 1.0}
        kernels, *_ = lowered(call, types, params)
        assert kernels is not None
        compiles_elsewhere(kernels)


@pytest.mark.parametrize("cpu", OTHERS)
def test_sums_of_products_stay_in_registers(cpu: str) -> None:
    target = OTHERS[cpu]
    rows, sums = Type((1, 2, 128, 64), float32), Type((1, 2, 128), float32)
    params = {"region": attention_gradient, "causal": True, "scale": 1.0}
    kernels, *_ = lowered(call, [rows, sums, rows, rows, rows, sums], params)
    assert kernels is not None
    text = kernels[0].write(target)
    names = re.findall(r"@((?:dots|sums|outer)_\w+)\(ptr %a0", text)
    assert len(names) >= 7
    code = assembly(text, target)
    for name in names:
        multiplies = re.compile(rf"\b{MULTIPLY[cpu]}\b")
        loops = [b for b in blocks(function(code, name)) if multiplies.search("\n".join(b))]
        assert loops
        assert all(not STACK.search(line) for block in loops for line in block), name

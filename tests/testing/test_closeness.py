"""assert_close agrees with torch.testing.assert_close, and says what differs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import adjoint as ad
from adjoint.base.errors import ArgumentError
from adjoint.testing import assert_close

DTYPES = ["float16", "bfloat16", "float32", "float64", "int8", "int64", "uint8", "bool"]
SPECIAL = st.sampled_from([0.0, 1.0, -3.0, 100.0, float("nan"), float("inf"), float("-inf")])
STEP = st.sampled_from([0.0, 1e-9, 1e-7, 1e-6, 1e-5, 5e-4, 1e-2, 1.0])


def accepts(check: Any, *args: Any, **options: Any) -> bool:
    try:
        check(*args, **options)
    except AssertionError:
        return False
    return True


@given(st.lists(st.tuples(SPECIAL, STEP), max_size=4), st.sampled_from(DTYPES), st.booleans())
def test_default_tolerances_are_torchs(
    pairs: list[tuple[float, float]], dtype: str, equal_nan: bool
) -> None:
    base = np.array([b for b, _ in pairs])
    moved = base + np.array([s for _, s in pairs])
    if not dtype.startswith(("float", "bfloat")):
        base, moved = (abs(np.nan_to_num(v, posinf=7, neginf=1)) for v in (base, moved))
    theirs = [torch.tensor(v).to(getattr(torch, dtype)) for v in (moved, base)]
    mine = [ad.tensor(t.double().numpy()).to(dtype) for t in theirs]
    expected = accepts(torch.testing.assert_close, *theirs, equal_nan=equal_nan)
    assert accepts(assert_close, *mine, equal_nan=equal_nan) == expected


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (1, 1), (1.0, 1.0 + 1e-9), ([1, 2.0], (1, 2.0)), ({"a": [1.0]}, {"a": [1.0]}), ([], []),
        (np.ones(2), np.ones(2)), (ad.ones(2), torch.ones(2)), (ad.ones(2), np.ones(2, np.float32)),
        (ad.tensor(3.0), 3.0), (ad.zeros(0, 2), ad.zeros(0, 2)), (True, True),
    ],
)  # fmt: skip
def test_equal_things_pass(actual: Any, expected: Any) -> None:
    assert_close(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (ad.ones(2), ad.ones(3), "assert_close: shapes differ: (2,) and (3,)"),
        (ad.ones(2), ad.ones(2).double(), "dtypes differ: float32 and float64"),
        ([1.0, [2.0]], [1.0, [3.0]], "at [1][0]: 1 of 1 elements differ"),
        ({"a": 1.0}, {"b": 1.0}, "keys differ: ['a'] and ['b']"),
        ([1.0], [1.0, 2.0], "lengths differ: 1 and 2"),
        (ad.tensor([[1.0, 2.0], [3.0, 9.0]]), ad.tensor([[1.0, 2.1], [3.0, 4.0]]),
         "2 of 4 elements differ (rtol 1.3e-06, atol 1e-05)\n"
         "    worst at (1, 1): 9.0, expected 4.0"),
        (ad.tensor([1, 5]), ad.tensor([1, 6]), "worst at (1,): 5, expected 6"),
        (ad.tensor([True]), ad.tensor([False]), "worst at (0,): True, expected False"),
        (ad.tensor(float("nan")), ad.tensor(float("nan")), "worst at (): nan, expected nan"),
        (2**62 + 1, 2**62, "worst at ()"),
    ],
)  # fmt: skip
def test_differences_are_named(actual: Any, expected: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        assert_close(actual, expected)


def test_options() -> None:
    assert_close(ad.ones(2), ad.ones(2).double(), check_dtype=False)
    assert_close(1.0, 1.1, rtol=0, atol=0.2)
    assert_close(ad.tensor([3]), ad.tensor([4]), rtol=0.5, atol=0)
    assert_close(ad.tensor([float("nan")]), ad.tensor([float("nan")]), equal_nan=True)
    with pytest.raises(ArgumentError, match="both rtol and atol"):
        assert_close(1.0, 1.0, rtol=0.1)
    with pytest.raises(AssertionError, match=r"step 3[\s\S]*1 of 1 elements"):
        assert_close(1.0, 2.0, msg="step 3")


def test_gradients_are_not_needed() -> None:
    x = ad.tensor([1.0], requires_grad=True)
    assert_close(x * 2, ad.tensor([2.0]))

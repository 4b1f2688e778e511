"""Single operations of the benchmarks: Adjoint, eager and captured, computes what torch does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench import libraries
from bench.operations import table

OPERATIONS = table(small=True)


@pytest.mark.parametrize("name", OPERATIONS)
def test_results_are_torchs(name: str) -> None:
    row = OPERATIONS[name]
    arrays = row.arrays(np.random.default_rng(0))

    def result(library: str) -> Any:
        work, first = row.make(library, arrays)
        work()  # can be called again
        return first

    theirs = result(libraries.TORCH)
    for library in (libraries.OURS_EAGER, libraries.OURS):
        ours = result(library)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), library
        if not name.startswith("dropout"):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=library)
    if row.numpy:
        np.testing.assert_allclose(result(libraries.NUMPY), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("small", [True, False])
def test_every_operation_says_what_it_must_do(small: bool) -> None:
    rows = table(small)
    assert {row.group for row in rows.values()} == {"gemm", "conv", "attention", "memory"}
    assert all(row.work > 0 and row.unit in ("GFLOP/s", "GB/s") for row in rows.values())

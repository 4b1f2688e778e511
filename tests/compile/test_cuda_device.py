"""The driver's side: an error where there is no GPU, results and order where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from adjoint.base.errors import ArgumentError
from adjoint.compile.backends.cuda import driver
from adjoint.compile.backends.cuda.driver import CudaDevice, why_not
from adjoint.compile.backends.cuda.program import CudaProgram, run_on
from adjoint.compile.interpreted import Interpreted
from tests.compile.gpu_cases import LOOPS, PRODUCTS, far

CASES = {**LOOPS, **{f"product: {name}": c for name, c in PRODUCTS.items()}}
MISSING = why_not()
gpu = pytest.mark.skipif(bool(MISSING), reason=f"no GPU: {MISSING.splitlines()[:1]}")


def test_without_a_driver_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    driver.driver.cache_clear()
    monkeypatch.setattr(driver.ctypes, "CDLL", nothing)
    try:
        with pytest.raises(ArgumentError, match="no NVIDIA driver") as caught:
            CudaDevice()
        assert "install the driver" in str(caught.value)
        assert "'cpu'" in str(caught.value)
        assert "no NVIDIA driver" in why_not()
    finally:
        driver.driver.cache_clear()


@gpu
@pytest.mark.gpu
@pytest.mark.feature("X10")
@pytest.mark.parametrize("name", CASES)
def test_the_gpu_computes_what_numpy_does(name: str) -> None:
    chosen = CASES[name]
    graph, arrays = chosen.graph(), chosen.arrays()
    found = run_on(CudaDevice(), graph, arrays)
    for got, want in zip(found, Interpreted(graph)(arrays), strict=True):
        assert far(got, want) <= chosen.near


@gpu
@pytest.mark.gpu
def test_the_gpu_gives_the_same_bits_again() -> None:
    chosen = LOOPS["a step"]
    program = CudaProgram(chosen.graph(), CudaDevice())
    first = program(chosen.arrays())
    for _ in range(3):
        for a, b in zip(first, program(chosen.arrays()), strict=True):
            np.testing.assert_array_equal(a, b)
    program.close()


@gpu
@pytest.mark.gpu
def test_memory_comes_and_goes() -> None:
    device = CudaDevice()
    array = np.arange(1000, dtype=np.int32)
    place = device.allocate(array.nbytes)
    device.copy_in(place, array)
    back = np.empty_like(array)
    device.copy_out(back, place)
    np.testing.assert_array_equal(array, back)
    device.free(place)

"""Tests of the compiler compare it with NumPy, so eager ops must not be compiled here."""

from __future__ import annotations

import pytest

import adjoint.tensors  # noqa: F401  (enters the compiled kernels)
from adjoint.runtime.device import CPU


@pytest.fixture(autouse=True)
def numpy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ops and regions mean what they mean in NumPy, whatever their size."""
    monkeypatch.delitem(CPU.kernels, "whole", raising=False)

"""Constructors by dtype, under the names older PyTorch programs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjoint.base.dtype import DType, bool_, float16, float32, float64, int32, int64, uint8
from adjoint.tensors import creation

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def FloatTensor(*data: Any) -> Tensor:
    """A float32 tensor from data, or of a size."""
    return _typed(data, float32)


def DoubleTensor(*data: Any) -> Tensor:
    """A float64 tensor from data, or of a size."""
    return _typed(data, float64)


def HalfTensor(*data: Any) -> Tensor:
    """A float16 tensor from data, or of a size."""
    return _typed(data, float16)


def LongTensor(*data: Any) -> Tensor:
    """An int64 tensor from data, or of a size."""
    return _typed(data, int64)


def IntTensor(*data: Any) -> Tensor:
    """An int32 tensor from data, or of a size."""
    return _typed(data, int32)


def ByteTensor(*data: Any) -> Tensor:
    """A uint8 tensor from data, or of a size."""
    return _typed(data, uint8)


def BoolTensor(*data: Any) -> Tensor:
    """A bool tensor from data, or of a size."""
    return _typed(data, bool_)


def _typed(data: tuple[Any, ...], dtype: DType) -> Tensor:
    if len(data) == 1 and not isinstance(data[0], int):
        return creation.tensor(data[0], dtype=dtype)
    return creation.zeros(*data, dtype=dtype)

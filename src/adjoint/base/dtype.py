"""Dtypes: singletons compared with ``is``, and the promotion rules of the Array API standard."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from adjoint.base import errors


class DType:
    """An element type: its name, kind (``b`` bool, ``i``/``u`` integer, ``f`` float) and bits."""

    __slots__ = ("bits", "kind", "name", "numpy")

    def __init__(self, name: str, kind: str, bits: int, numpy: np.dtype[np.generic]) -> None:
        self.name = name
        self.kind = kind
        self.bits = bits
        self.numpy = numpy

    @property
    def itemsize(self) -> int:
        return self.numpy.itemsize

    @property
    def is_floating_point(self) -> bool:
        return self.kind == "f"

    @property
    def is_signed(self) -> bool:
        return self.kind in "if"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    def __repr__(self) -> str:
        return f"adjoint.{self.name}"

    def __reduce__(self) -> str:
        return "bool_" if self.name == "bool" else self.name


bool_ = DType("bool", "b", 8, np.dtype(np.bool_))
int8 = DType("int8", "i", 8, np.dtype(np.int8))
int16 = DType("int16", "i", 16, np.dtype(np.int16))
int32 = DType("int32", "i", 32, np.dtype(np.int32))
int64 = DType("int64", "i", 64, np.dtype(np.int64))
uint8 = DType("uint8", "u", 8, np.dtype(np.uint8))
uint16 = DType("uint16", "u", 16, np.dtype(np.uint16))
uint32 = DType("uint32", "u", 32, np.dtype(np.uint32))
uint64 = DType("uint64", "u", 64, np.dtype(np.uint64))
float16 = DType("float16", "f", 16, np.dtype(np.float16))
bfloat16 = DType("bfloat16", "f", 16, np.dtype(ml_dtypes.bfloat16))
float32 = DType("float32", "f", 32, np.dtype(np.float32))
float64 = DType("float64", "f", 64, np.dtype(np.float64))

ALL: tuple[DType, ...] = (
    bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
    float16, bfloat16, float32, float64,
)  # fmt: skip
OF_NUMPY: dict[np.dtype[np.generic], DType] = {d.numpy: d for d in ALL}
_ALIASES: dict[object, DType] = {
    **{d.name: d for d in ALL},
    **{f"adjoint.{d.name}": d for d in ALL},
    bool: bool_,
    int: int64,
    float: float32,
    "float": float32,
    "double": float64,
    "half": float16,
    "int": int32,
    "long": int64,
}


def as_dtype(spec: object) -> DType:
    """The dtype a user means by ``spec``: a DType, a NumPy dtype or scalar type, a name, or a
    Python type (``float`` means float32, ``int`` means int64). Raises DTypeError."""
    if isinstance(spec, DType):
        return spec
    try:
        found = _ALIASES.get(spec)
    except TypeError:
        found = None
    if found is not None:
        return found
    try:
        if spec is None:  # np.dtype(None) would be float64
            raise TypeError
        return OF_NUMPY[np.dtype(spec)]  # type: ignore[call-overload]
    except (TypeError, KeyError, ValueError):
        raise errors.unknown_dtype(spec, [d.name for d in ALL]) from None


@cache
def promote_types(a: DType, b: DType) -> DType:
    """The dtype of ``a`` combined with ``b``; symmetric.

    Within a kind the Array API table holds (f16 with bf16 gives f32); across kinds bool < integer
    < float, and a float keeps its width. uint64 with a signed integer has no common type: raises
    DTypeError. Source: Array API standard 2023.12, "Type promotion rules".
    """
    if a is b:
        return a
    if a.kind == "b":
        return b
    if b.kind == "b":
        return a
    if a.kind == "f" or b.kind == "f":
        if a.kind != b.kind:
            return a if a.kind == "f" else b
        if a.bits == b.bits:  # float16 with bfloat16
            return float32
        return a if a.bits > b.bits else b
    if a.kind == b.kind:
        return a if a.bits > b.bits else b
    signed, unsigned = (a, b) if a.kind == "i" else (b, a)
    if signed.bits > unsigned.bits:
        return signed
    if unsigned.bits == 64:
        raise errors.no_promotion(a, b)
    return {8: int16, 16: int32, 32: int64}[unsigned.bits]


_float_limits: Callable[[object], Any] = ml_dtypes.finfo


class FInfo:
    """Limits of a float dtype: ``bits eps max min tiny smallest_normal resolution dtype``."""

    def __init__(self, dtype: DType) -> None:
        info = _float_limits(dtype.numpy)
        self.dtype = dtype
        self.bits = dtype.bits
        self.eps = float(info.eps)
        self.max = float(info.max)
        self.min = float(info.min)
        self.smallest_normal = float(info.smallest_normal)
        self.tiny = self.smallest_normal
        self.resolution = float(info.resolution)

    def __repr__(self) -> str:
        return f"finfo({self.dtype}, eps={self.eps:g}, max={self.max:g}, tiny={self.tiny:g})"


class IInfo:
    """Limits of an integer dtype: ``bits max min dtype``."""

    def __init__(self, dtype: DType) -> None:
        info = np.iinfo(dtype.numpy)  # type: ignore[call-overload]
        self.dtype = dtype
        self.bits = dtype.bits
        self.max = int(info.max)
        self.min = int(info.min)

    def __repr__(self) -> str:
        return f"iinfo({self.dtype}, min={self.min}, max={self.max})"


def finfo(dtype: object) -> FInfo:
    """Machine limits of a float dtype. Raises DTypeError for others."""
    found = as_dtype(dtype if not hasattr(dtype, "dtype") else dtype.dtype)  # type: ignore[attr-defined]
    if found.kind != "f":
        raise errors.wrong_dtype("finfo", found, "a float dtype", hint="use iinfo for integers")
    return FInfo(found)


def iinfo(dtype: object) -> IInfo:
    """Limits of an integer dtype. Raises DTypeError for others."""
    found = as_dtype(dtype if not hasattr(dtype, "dtype") else dtype.dtype)  # type: ignore[attr-defined]
    if found.kind not in "iu":
        raise errors.wrong_dtype("iinfo", found, "an integer dtype", hint="use finfo for floats")
    return IInfo(found)

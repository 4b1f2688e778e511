"""Dtypes of the Array API standard: which there are, what they become together, and inspection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjoint.base import errors
from adjoint.base.dtype import (
    ALL,
    DType,
    as_dtype,
    bfloat16,
    float16,
    float32,
    int64,
    promote_types,
)
from adjoint.runtime.device import CPU, META, Device
from adjoint.tensors import arithmetic, movement, predicates
from adjoint.tensors.handle import Handle

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

KINDS = {
    "bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu",
    "real floating": "f", "complex floating": "", "numeric": "iuf",
}  # fmt: skip


def astype(x: Handle, dtype: object, /, *, copy: bool = True, device: object = None) -> Tensor:
    """``x`` converted to ``dtype``; with copy=True always a new tensor."""
    out = arithmetic.cast(x, dtype)
    out = out if device is None else out.to(device=device)
    return movement.clone(x) if copy and out.node is x.node else out


def can_cast(from_: Any, to: object, /) -> bool:
    """Whether the standard's promotion leads from ``from_`` (a dtype or a tensor) to ``to``."""
    source = from_.dtype if isinstance(from_, Handle) else as_dtype(from_)
    target = as_dtype(to)
    whole = source.kind in "iu" and target.kind in "iu"
    if source is target or not (whole or source.kind == target.kind == "f"):
        return source is target
    if whole and 64 in (source.bits, target.bits) and source.kind != target.kind:
        return source.bits < 64 and target.kind == "i"  # uint64 has none in common
    return promote_types(source, target) is target


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that the operands have in common. Raises DTypeError if there is none."""
    return predicates.result_type(*arrays_and_dtypes)


def isdtype(dtype: object, kind: object) -> bool:
    """Whether ``dtype`` is of a ``kind``: a name like "integral", a dtype, or a tuple of them."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in KINDS:
            raise errors.unknown_name("isdtype kind", kind, KINDS)
        return as_dtype(dtype).kind in tuple(KINDS[kind])
    return as_dtype(dtype) is as_dtype(kind)


class Info:
    """What ``__array_namespace_info__()`` returns."""

    def capabilities(self) -> dict[str, bool]:
        """Which optional parts work: indexing by bool, and results whose shape depends on data."""
        return {"boolean indexing": True, "data-dependent shapes": True}

    def default_device(self) -> Device:
        """Where tensors are made unless told otherwise."""
        return CPU

    def default_dtypes(self, *, device: object = None) -> dict[str, DType]:
        """Dtypes of Python floats and ints, and of indices. There is no complex dtype."""
        return {"real floating": float32, "integral": int64, "indexing": int64}

    def dtypes(self, *, device: object = None, kind: object = None) -> dict[str, DType]:
        """The standard's dtypes (of one ``kind``) by name; bfloat16 and float16 come on top."""
        names = [d for d in ALL if d not in (float16, bfloat16)]
        return {d.name: d for d in names if kind is None or isdtype(d, kind)}

    def devices(self) -> list[Device]:
        """The devices a tensor can be on."""
        return [CPU, META]


def __array_namespace_info__() -> Info:
    """What this namespace offers: dtypes, devices, capabilities."""
    return Info()

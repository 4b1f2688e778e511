"""Creation functions with the signatures of the Array API standard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjoint.base import errors
from adjoint.runtime.device import CPU
from adjoint.tensors import creation, diagonals, movement
from adjoint.tensors.handle import Handle

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def asarray(
    obj: Any, /, *, dtype: object = None, device: object = None, copy: bool | None = None
) -> Tensor:
    """A tensor of numbers, nested lists, or an array. copy=True always copies, None only if needed;
    copy=False raises ArgumentError where a copy is needed."""
    if copy and isinstance(obj, Handle):
        return movement.clone(creation.as_tensor(obj, dtype=dtype, device=device))
    if copy:
        return creation.tensor(obj, dtype=dtype, device=device or CPU)
    out = creation.as_tensor(obj, dtype=dtype, device=device)
    if copy is False and out is not obj and out.node.value is not obj:
        raise errors.argument("asarray", "this needs a copy", hint="pass copy=None")
    return out


def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: object = None,
    device: object = None,
) -> Tensor:  # fmt: skip
    """start, start + step, ... below ``stop``."""
    return creation.arange(start, stop, step, dtype=dtype, device=device or CPU)


def empty(shape: Any, *, dtype: object = None, device: object = None) -> Tensor:
    """A tensor of ``shape`` with no promised values."""
    return creation.empty(shape, dtype=dtype, device=device or CPU)


def zeros(shape: Any, *, dtype: object = None, device: object = None) -> Tensor:
    """A tensor of ``shape`` filled with 0."""
    return creation.zeros(shape, dtype=dtype, device=device or CPU)


def ones(shape: Any, *, dtype: object = None, device: object = None) -> Tensor:
    """A tensor of ``shape`` filled with 1."""
    return creation.ones(shape, dtype=dtype, device=device or CPU)


def full(shape: Any, fill_value: float, *, dtype: object = None, device: object = None) -> Tensor:
    """A tensor of ``shape`` filled with ``fill_value``."""
    return creation.full(shape, fill_value, dtype=dtype, device=device or CPU)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: object = None,
    device: object = None,
) -> Tensor:  # fmt: skip
    """Ones on the diagonal ``k`` (above the main one if positive), zeros elsewhere."""
    columns = n_rows if n_cols is None else n_cols
    wide = creation.ones((n_rows, columns), dtype=dtype, device=device or CPU)
    return diagonals.tril(diagonals.triu(wide, k), k)


def linspace(
    start: float, stop: float, /, num: int, *, dtype: object = None, device: object = None,
    endpoint: bool = True,
) -> Tensor:  # fmt: skip
    """``num`` evenly spaced numbers from ``start`` to ``stop``."""
    return creation.linspace(start, stop, num, dtype=dtype, device=device or CPU, endpoint=endpoint)


def from_dlpack(x: Any, /, *, device: object = None, copy: bool | None = None) -> Tensor:
    """A tensor of another library's array, sharing its memory unless copy=True."""
    out = creation.from_dlpack(x)
    return creation.tensor(out) if copy else out


def meshgrid(*arrays: Handle, indexing: str = "xy") -> list[Tensor]:
    """Coordinate grids of 1-D tensors."""
    return list(movement.meshgrid(*arrays, indexing=indexing))


def tril(x: Handle, /, *, k: int = 0) -> Tensor:
    """The lower triangle, zeros above diagonal ``k``."""
    return diagonals.tril(x, k)


def triu(x: Handle, /, *, k: int = 0) -> Tensor:
    """The upper triangle, zeros below diagonal ``k``."""
    return diagonals.triu(x, k)

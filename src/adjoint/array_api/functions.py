"""Functions whose Array API signature or default differs from PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adjoint.base import errors
from adjoint.base.dtype import as_dtype, uint64
from adjoint.base.shape import as_axes, as_axis
from adjoint.tensors import (
    arithmetic,
    contraction,
    creation,
    elementwise,
    indexing,
    movement,
    reduction,
    sets,
    sorting,
)
from adjoint.tensors.handle import Handle, node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

Axes = int | tuple[int, ...] | None

# --- elementwise --------------------------------------------------------------------------------


def clip(x: Handle, /, min: Any = None, max: Any = None) -> Tensor:
    """``x`` within [min, max], in the dtype of ``x``."""
    if min is None and max is None:
        return movement.clone(x)
    return arithmetic.cast(elementwise.clamp(x, min, max), x.dtype)


def conj(x: Handle, /) -> Tensor:
    """``x``: real numbers are their own conjugates."""
    return arithmetic.positive(x)


def real(x: Handle, /) -> Tensor:
    """``x``: there are no complex dtypes."""
    return arithmetic.positive(x)


def imag(x: Handle, /) -> Tensor:
    """Zeros: there are no complex dtypes."""
    return creation.zeros_like(x)


# --- indexing, searching, sets, sorting ---------------------------------------------------------


def take(x: Handle, indices: Handle, /, *, axis: int | None = None) -> Tensor:
    """The elements ``indices`` (1-D) of one axis, which only a 1-D ``x`` may leave out."""
    if axis is None and x.ndim != 1:
        raise errors.argument(
            "take", f"needs axis= for {x.ndim} dimensions", hint="name the axis, or flatten x first"
        )
    place = as_axis("take", 0 if axis is None else axis, x.ndim)
    index = indexing.in_range(node_of(indices, "take"), x.shape[place], "take")
    return wrap(indexing.take_axis(x.node, index, place))


def nonzero(x: Handle, /) -> tuple[Tensor, ...]:
    """One index tensor per axis: where the elements are not zero."""
    return indexing.nonzero(x, as_tuple=True)


def argmax(x: Handle, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first largest element."""
    return reduction.argmax(x, axis=axis, keepdims=keepdims)


def argmin(x: Handle, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first smallest element."""
    return reduction.argmin(x, axis=axis, keepdims=keepdims)


def searchsorted(
    x1: Handle, x2: Handle, /, *, side: str = "left", sorter: Handle | None = None
) -> Tensor:
    """Where the elements of ``x2`` would be inserted to keep ``x1`` in order."""
    return sets.searchsorted(x1, x2, side=side, sorter=sorter)


class UniqueAll(NamedTuple):
    """What ``unique_all`` returns."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What ``unique_counts`` returns."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What ``unique_inverse`` returns."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Handle, /) -> UniqueAll:
    """The different elements, where each occurs first, which one each element is, how often."""
    values, inverse, counts = sets.unique(x, return_inverse=True, return_counts=True)
    order = sorting.argsort(movement.reshape(inverse, -1))
    starts = arithmetic.sub(reduction.cumsum(counts, 0), counts)
    return UniqueAll(values, take(order, starts), inverse, counts)


def unique_counts(x: Handle, /) -> UniqueCounts:
    """The different elements and how often each occurs."""
    return UniqueCounts(*sets.unique(x, return_counts=True))


def unique_inverse(x: Handle, /) -> UniqueInverse:
    """The different elements and which of them each element is."""
    return UniqueInverse(*sets.unique(x, return_inverse=True))


def unique_values(x: Handle, /) -> Tensor:
    """The different elements in order."""
    return sets.unique(x)


def argsort(
    x: Handle, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """The indices that sort one axis; always stable."""
    return sorting.argsort(x, axis, descending, stable)


def sort(x: Handle, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements of one axis in order; always stable."""
    return sorting.sort(x, axis=axis, descending=descending, stable=stable)


# --- linear algebra -----------------------------------------------------------------------------


def tensordot(x1: Handle, x2: Handle, /, *, axes: Any = 2) -> Tensor:
    """Sum of products over ``axes``: how many, or which of each."""
    return contraction.tensordot(x1, x2, axes)


def vecdot(x1: Handle, x2: Handle, /, *, axis: int = -1) -> Tensor:
    """Sum of products along one axis."""
    return contraction.vecdot(x1, x2, axis)


# --- manipulation -------------------------------------------------------------------------------


def broadcast_arrays(*arrays: Handle) -> list[Tensor]:
    """All ``arrays`` expanded to their common shape."""
    return movement.broadcast_tensors(*arrays)


def concat(arrays: Any, /, *, axis: int | None = 0) -> Tensor:
    """Arrays joined along an axis; flattened first for axis=None."""
    if axis is None:
        return movement.cat([movement.reshape(x, -1) for x in arrays], 0)
    return movement.cat(list(arrays), axis)


def flip(x: Handle, /, *, axis: Axes = None) -> Tensor:
    """Backwards along ``axis`` (all by default)."""
    return movement.flip(x, axis=as_axes("flip", axis, x.ndim))


def permute_dims(x: Handle, /, axes: tuple[int, ...]) -> Tensor:
    """The axes in another order."""
    return movement.permute(x, tuple(axes))


def repeat(x: Handle, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Each element ``repeats`` times."""
    return movement.repeat_interleave(x, repeats, axis)


def reshape(x: Handle, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """The same elements in another shape; a view unless copy=True."""
    out = movement.reshape(x, tuple(shape))
    return movement.clone(out) if copy else out


def roll(x: Handle, /, shift: Any, *, axis: Any = None) -> Tensor:
    """Elements moved by ``shift`` along ``axis``, round the end."""
    if isinstance(axis, tuple) and not isinstance(shift, tuple):
        shift = (shift,) * len(axis)
    return movement.roll(x, shift, axis)


def squeeze(x: Handle, /, axis: int | tuple[int, ...]) -> Tensor:
    """Without the named axes, whose size must be 1 (raises ShapeError)."""
    axes = as_axes("squeeze", axis, x.ndim)
    if {x.shape[a] for a in axes} - {1}:
        raise errors.shape(
            "squeeze", f"axes {errors.dims(axes)} do not all have size 1", x,
            hint="adjoint.squeeze leaves axes of another size alone",
        )  # fmt: skip
    return movement.squeeze(x, axes)


def stack(arrays: Any, /, *, axis: int = 0) -> Tensor:
    """Arrays of one shape joined along a new axis."""
    return movement.stack(list(arrays), axis)


def tile(x: Handle, repetitions: tuple[int, ...], /) -> Tensor:
    """The whole of ``x`` repeated along each axis."""
    return movement.tile(x, tuple(repetitions))


def unstack(x: Handle, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along one axis."""
    return movement.unbind(x, axis)


# --- statistics ---------------------------------------------------------------------------------


def cumulative_sum(
    x: Handle, /, *, axis: int | None = None, dtype: object = None, include_initial: bool = False
) -> Tensor:
    """Running sums along one axis, which only a 1-D ``x`` may leave out; from 0 if asked."""
    out = reduction.cumsum(_widened(x, dtype), axis)
    if not include_initial:
        return out
    place = as_axis("cumulative_sum", 0 if axis is None else axis, x.ndim)
    first = (*x.shape[:place], 1, *x.shape[place + 1 :])
    return movement.cat([creation.zeros(first, dtype=out.dtype), out], place)


def max(x: Handle, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest value."""
    return reduction.max(x, axis=axis, keepdims=keepdims)


def min(x: Handle, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest value."""
    return reduction.min(x, axis=axis, keepdims=keepdims)


def mean(x: Handle, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean of floats."""
    return reduction.mean(x, axis=axis, keepdims=keepdims)


def prod(
    x: Handle, /, *, axis: Axes = None, dtype: object = None, keepdims: bool = False
) -> Tensor:
    """The product; integers give int64 or uint64."""
    return reduction.prod(_widened(x, dtype), axis=axis, keepdims=keepdims)


def sum(x: Handle, /, *, axis: Axes = None, dtype: object = None, keepdims: bool = False) -> Tensor:
    """The sum; integers give int64 or uint64."""
    return reduction.sum(_widened(x, dtype), axis=axis, keepdims=keepdims)


def std(
    x: Handle, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """The standard deviation, divided by n - correction."""
    return reduction.std(x, axis=axis, correction=correction, keepdims=keepdims)


def var(
    x: Handle, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """The variance, divided by n - correction."""
    return reduction.var(x, axis=axis, correction=correction, keepdims=keepdims)


def all(x: Handle, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether all elements are nonzero."""
    return reduction.all(x, axis=axis, keepdims=keepdims)


def any(x: Handle, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether any element is nonzero."""
    return reduction.any(x, axis=axis, keepdims=keepdims)


def _widened(x: Handle, dtype: object) -> Tensor:
    """``x`` in the dtype of its sum: as asked, 64 bits for integers."""
    if dtype is not None:
        return arithmetic.cast(x, as_dtype(dtype))
    return arithmetic.cast(x, uint64) if x.dtype.kind == "u" else arithmetic.positive(x)

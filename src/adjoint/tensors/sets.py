"""Values as sets and as bins: unique elements, membership, searching, counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.dtype import bool_, float64, int32, int64
from adjoint.base.shape import as_axis, as_size, check_allocation, numel
from adjoint.ir.node import Array, Node, Type, constant
from adjoint.ops.rows import full
from adjoint.tensors.arithmetic import negated, pair, to_dtype
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.indexing import in_range, nonzero, take_axis
from adjoint.tensors.regions import region

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def unique(
    input: Handle, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None, *, axis: int | None = None,
) -> Any:  # fmt: skip
    """The different elements in order, or the different slices along ``dim``; every NaN differs
    from every other. With the flags a tuple: (values, inverse, counts), where
    ``values[inverse]`` is the input. The gradient goes to the first occurrence."""
    return _unique("unique", input, return_inverse, return_counts, dim if axis is None else axis)


def unique_consecutive(
    input: Handle, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The input without elements (or slices along ``dim``) equal to the one before."""
    node = node_of(input, "unique_consecutive")
    if dim is None:
        node = ops.reshape(node, shape=(numel(node.shape),))
    place = as_axis("unique_consecutive", 0 if dim is None else dim, node.ndim)
    rows = np.moveaxis(node.array("unique_consecutive"), place, 0)
    n = rows.shape[0]
    changed = (rows[1:] != rows[:-1]).any(axis=tuple(range(1, rows.ndim)))
    starts = np.flatnonzero(np.concatenate((np.ones(min(n, 1), bool), changed)))
    inverse = np.cumsum(np.concatenate((np.zeros(min(n, 1), np.int64), changed)), dtype=np.int64)
    counts = np.diff(np.append(starts, n))
    shape = node_of(input, "unique_consecutive").shape if dim is None else (n,)
    values = take_axis(node, constant(starts.astype(np.int64)), place)
    return _with_extras(
        values, inverse.reshape(shape), counts.astype(np.int64), return_inverse, return_counts
    )


def searchsorted(
    sorted_sequence: Handle, input: Any, *, right: bool = False, side: str | None = None,
    sorter: Handle | None = None, out_int32: bool = False,
) -> Tensor:  # fmt: skip
    """Where each value would be inserted to keep the last axis of ``sorted_sequence`` in order.

    right=False: before equal elements; right=True (or side="right"): after them. The sequence is
    1-D, or has the leading axes of ``input``. NaN is larger than every number.
    """
    sequence, values = pair("searchsorted", sorted_sequence, input)
    if side is not None:
        right = as_choice("searchsorted side", side, ["left", "right"]) == "right"
    lead = sequence.ndim - 1
    if lead < 0 or (lead and sequence.shape[:lead] != values.shape[:-1]):
        raise errors.shape(
            "searchsorted", "the sequence must be 1-D or have the leading axes of the values",
            sequence, values, hint="one sorted sequence for all, or one per row of values",
        )  # fmt: skip
    if sorter is not None:
        order = in_range(node_of(sorter, "searchsorted"), sequence.shape[-1], "searchsorted")
        if order.shape != sequence.shape:
            raise errors.shape(
                "searchsorted", "the sorter must have the shape of the sequence", order, sequence,
                hint="sorter=adjoint.argsort(sequence)",
            )  # fmt: skip
        sequence = ops.gather(sequence, order, batch=lead)
    found = search(sequence, values, right=right)
    return wrap(to_dtype(found, int32) if out_int32 else found)


def bucketize(
    input: Any, boundaries: Handle, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The index of the bucket of each value: i with boundaries_{i-1} < value <= boundaries_i
    (``right=True``: <= and <)."""
    if not isinstance(boundaries, Handle) or boundaries.ndim != 1:
        raise errors.shape(
            "bucketize", "the boundaries must be one 1-D tensor", boundaries,
            hint="searchsorted takes one sequence per row",
        )  # fmt: skip
    return searchsorted(boundaries, input, right=right, out_int32=out_int32)


def bincount(input: Handle, weights: Handle | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, ... occurs in a 1-D tensor, or the sum of its weights.
    Raises ArgumentError for negative numbers."""
    node = node_of(input, "bincount")
    if node.ndim != 1 or node.dtype.kind not in "iu":
        raise errors.shape(
            "bincount", "needs a 1-D integer tensor", node, hint="x.flatten().long()"
        )
    values = node.array("bincount")
    if values.size and values.min() < 0:
        raise errors.argument(
            "bincount", f"numbers must not be negative, got {values.min()}",
            hint="shift them first: x - x.min()",
        )  # fmt: skip
    size = max(as_size("bincount", minlength), int(values.max()) + 1 if values.size else 0)
    check_allocation("bincount", (size,), 8)
    if weights is None:
        return wrap(constant(np.bincount(values.astype(np.int64), minlength=size).astype(np.int64)))
    amounts = node_of(weights, "bincount")
    if amounts.shape != node.shape:
        raise errors.shape(
            "bincount", "weights need the shape of the input", node, amounts,
            hint="one weight per number",
        )  # fmt: skip
    amounts = amounts if amounts.dtype.kind == "f" else to_dtype(amounts, float64)
    zeros = full(0, (size,), amounts.dtype)
    return wrap(ops.scatter_add(zeros, to_dtype(node, int64), amounts, batch=0))


def histc(input: Handle, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts in ``bins`` equal bins from ``min`` to ``max`` (of the data if both are 0); elements
    outside are not counted. Not differentiable."""
    node = node_of(input, "histc")
    count = as_size("histc", bins)
    if node.dtype.kind != "f":
        raise errors.wrong_dtype("histc", node.dtype, "a float dtype", hint="x.float()")
    check_allocation("histc", (count,), 8)
    min, max = as_number("histc", "min", min), as_number("histc", "max", max)
    if count == 0 or not (max >= min):
        raise errors.argument(
            "histc", f"needs bins > 0 and max >= min, got {count}, {min}, {max}",
            hint="min = max = 0 takes the range of the data",
        )  # fmt: skip
    values = node.array("histc").astype(np.float64).reshape(-1)
    low, high = float(min), float(max)
    if low == high == 0 and values.size:
        low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 1, high + 1
    if not np.isfinite([low, high]).all():
        raise errors.argument(
            "histc", f"the range from {low} to {high} is not finite",
            hint="pass min= and max=, or remove infinities and NaN first",
        )  # fmt: skip
    found, _ = np.histogram(values[~np.isnan(values)], count, (low, high))
    return wrap(constant(found.astype(node.dtype.numpy)))


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each element is one of ``test_elements``; NaN is in nothing."""
    if not isinstance(elements, Handle) and not isinstance(test_elements, Handle):
        raise errors.not_a_tensor("isin", elements)
    values, known = pair("isin", elements, test_elements)
    known = ops.reshape(known, shape=(numel(known.shape),))
    if known.shape == (0,):
        return wrap(full(bool(invert), values.shape, bool_))
    known = ops.gather(known, ops.argsort(known, axis=0), batch=0)
    found = ops.gather(known, search(known, values, right=False), batch=0)  # clipped at the end
    hit = ops.eq(found, values)
    return wrap(negated(hit) if invert else hit)


def flatnonzero(input: Handle) -> Tensor:
    """The places of nonzero elements in the flattened tensor, int64."""
    node = node_of(input, "flatnonzero")
    return nonzero(wrap(ops.reshape(node, shape=(numel(node.shape),))), as_tuple=True)[0]


def argwhere(input: Handle) -> Tensor:
    """The places of nonzero elements, one row each: (count, ndim), int64."""
    return nonzero(input)


def _comparable(array: Array) -> Array:
    """bfloat16 has no order in NumPy: the same values in float32."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _unique(op: str, input: Handle, inverse: bool, counts: bool, dim: int | None) -> Any:
    node = node_of(input, op)
    if dim is None:
        node = ops.reshape(node, shape=(numel(node.shape),))
    place = as_axis(op, 0 if dim is None else dim, node.ndim)
    array = _comparable(node.array(op))
    _, first, back, count = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True, equal_nan=False,
        axis=None if dim is None else place,
    )  # fmt: skip
    values = take_axis(node, constant(first.astype(np.int64)), place)
    shape = node_of(input, op).shape if dim is None else (node.shape[place],)
    return _with_extras(
        values, back.reshape(shape).astype(np.int64), count.astype(np.int64), inverse, counts
    )


def _with_extras(
    values: Node, inverse: Array, counts: Array, return_inverse: bool, return_counts: bool
) -> Any:
    found = [wrap(values)]
    if return_inverse:
        found.append(wrap(constant(inverse)))
    if return_counts:
        found.append(wrap(constant(counts)))
    return tuple(found) if len(found) > 1 else found[0]


def _search_type(sequence: Node, values: Node, right: bool) -> Type:
    return Type(values.shape, int64)


def _search_kernel(sequence: Array, values: Array, right: bool) -> Array:
    side: Any = "right" if right else "left"
    sequence, values = _comparable(sequence), _comparable(values)
    if sequence.ndim == 1:
        return np.searchsorted(sequence, values, side).astype(np.int64)
    out = np.empty(values.shape, np.int64)
    for at in np.ndindex(*sequence.shape[:-1]):
        out[at] = np.searchsorted(sequence[at], values[at], side)
    return out


def _search_body(sequence: Node, values: Node, right: bool) -> Sequence[Node]:
    """Binary search: how many elements come before, found from the highest bit down."""
    lead, n = sequence.ndim - 1, sequence.shape[-1]
    found = full(0, values.shape, int64)
    limit = full(n + 1, values.shape, int64)
    step = 1 << n.bit_length()
    while step > 1:
        step //= 2
        trial = found + step
        element = ops.gather(sequence, trial - 1, batch=lead)  # clipped where trial > n
        before = negated(_less(values, element)) if right else _less(element, values)
        found = ops.where(ops.minimum(ops.lt(trial, limit), before), trial, found)
    return [found]


def _less(a: Node, b: Node) -> Node:
    """a < b, with NaN the largest."""
    if a.dtype.kind != "f":
        return ops.lt(a, b)
    number, nan = ops.eq(a, a), negated(ops.eq(b, b))
    return ops.maximum(ops.lt(a, b), ops.minimum(number, nan))


search = region("search", _search_body, kernel=_search_kernel, infer=_search_type)
"""Places of insertion: (..., n) sorted, (..., m) values -> (..., m) int64."""

"""Sequences of different lengths: padded to one length, or packed step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_flag
from adjoint.ir.node import constant
from adjoint.ops.rows import full
from adjoint.tensors.creation import tensor
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class PackedSequence(NamedTuple):
    """Sequences without padding, as ``pack_padded_sequence`` makes them.

    data (total, ...): step 0 of all sequences from the longest to the shortest, then step 1 of
    those that have one, and so on. batch_sizes: how many sequences have each step.
    sorted_indices: the order by length; unsorted_indices: the way back (None: sorted already).
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with the data converted."""
        return self._replace(data=self.data.to(*args, **kwargs))


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """(T, B, ...) (or (B, T, ...) with ``batch_first``) without what lies beyond ``lengths``.

    Raises ArgumentError for lengths below 1 or above T, and, with ``enforce_sorted``, for lengths
    that are not from long to short.
    """
    op = "pack_padded_sequence"
    x = input.transpose(0, 1) if as_flag(op, "batch_first", batch_first) else input
    sizes = _lengths(op, lengths, x)
    order = back = None
    if not as_flag(op, "enforce_sorted", enforce_sorted):
        places = np.argsort(-sizes, kind="stable")
        order, back = tensor(places), tensor(np.argsort(places))
        x, sizes = x.index_select(1, order), sizes[places]
    elif (np.diff(sizes) > 0).any():
        raise errors.argument(
            op, "the lengths are not from long to short", hint="enforce_sorted=False sorts them"
        )
    steps = int(sizes[0])
    kept = np.arange(steps)[:, None] < sizes
    rows = np.flatnonzero(kept)
    flat = ops.reshape(x.node, shape=(x.shape[0] * x.shape[1], *x.shape[2:]))
    data = ops.gather(flat, constant(rows), batch=0)
    return PackedSequence(wrap(data), tensor(kept.sum(1)), order, back)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The padded tensor (T, B, ...) and the lengths, in the order before packing.

    ``total_length``: pad to this T. Raises ArgumentError when it is shorter than a sequence.
    """
    op = "pad_packed_sequence"
    rows, kept = packed_places(sequence)
    steps = len(kept)
    total = steps if total_length is None else total_length
    if total < steps:
        raise errors.argument(
            op, f"total_length={total} is shorter than the longest sequence, {steps}",
            hint="leave it out to pad to the longest",
        )  # fmt: skip
    if total > steps:
        more = ((0, total - steps), (0, 0))
        rows, kept = np.pad(rows, more), np.pad(kept, more)
    x = padded(sequence.data, rows, kept, padding_value)
    lengths = tensor(kept.sum(0))
    if sequence.unsorted_indices is not None:
        x = x.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices]
    return x.transpose(0, 1) if as_flag(op, "batch_first", batch_first) else x, lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:  # fmt: skip
    """Tensors (L_i, ...) stacked to (T, B, ...), T the longest, filled with ``padding_value``."""
    op = "pad_sequence"
    items = _items(op, sequences)
    side = as_choice(op, padding_side, ["left", "right"])
    rest, dtype = items[0].shape[1:], items[0].dtype
    steps = max(x.shape[0] for x in items)
    found = []
    for x in items:
        if x.shape[1:] != rest or x.dtype is not dtype:
            raise errors.shape(op, "all but the first axis must agree", items[0], x,
                               hint="sequences of one dtype, (length, features ...)")  # fmt: skip
        fill = full(padding_value, (steps - x.shape[0], *rest), dtype)
        parts = (x.node, fill) if side == "right" else (fill, x.node)
        padded_one = ops.concat(*parts, axis=0)
        found.append(ops.reshape(padded_one, shape=(1, steps, *rest)))
    out = wrap(ops.concat(*found, axis=0))
    return out if as_flag(op, "batch_first", batch_first) else out.transpose(0, 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Any, batch_first: bool = False
) -> list[Tensor]:
    """The sequences (L_i, ...) of a padded tensor (T, B, ...)."""
    op = "unpad_sequence"
    x = padded_sequences
    x = x if as_flag(op, "batch_first", batch_first) else x.transpose(0, 1)
    sizes = _lengths(op, lengths, x.transpose(0, 1))
    return [x[i, : int(n)] for i, n in enumerate(sizes)]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Tensors (L_i, ...) packed; see ``pack_padded_sequence``."""
    items = _items("pack_sequence", sequences)
    lengths = [x.shape[0] for x in items]
    return pack_padded_sequence(pad_sequence(items), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (L_i, ...), in the order before packing."""
    x, lengths = pad_packed_sequence(packed_sequences)
    return unpad_sequence(x, lengths)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes this one."""
    return None if permutation is None else permutation.argsort()


def packed_places(sequence: PackedSequence) -> tuple[Array, Array]:
    """For every step and sequence (T, B): which row of ``data`` it is, and whether it is there."""
    sizes = node_of(sequence.batch_sizes, "PackedSequence").array("the batch sizes")
    starts = np.cumsum(sizes) - sizes
    places = np.arange(int(sizes.max(initial=0)))
    kept = places < sizes[:, None]
    return np.where(kept, starts[:, None] + places, 0), kept


def padded(data: Tensor, rows: Array, kept: Array, value: float) -> Tensor:
    """Rows of packed data as (T, B, ...), ``value`` where there is none."""
    x = ops.gather(data.node, constant(rows), batch=0)
    mask = kept.reshape(*kept.shape, *(1,) * (x.ndim - 2))
    there = ops.broadcast(constant(mask), shape=x.shape)
    return wrap(ops.where(there, x, full(value, x.shape, x.dtype)))


def _lengths(op: str, lengths: Any, x: Tensor) -> Array:
    """The lengths as an array, checked against (T, B, ...)."""
    given = lengths.node.array(op) if isinstance(lengths, Handle) else lengths
    sizes = np.asarray(given)
    if x.ndim < 2 or sizes.ndim != 1 or len(sizes) != x.shape[1] or sizes.dtype.kind not in "iu":
        raise errors.argument(
            op, f"needs one integer length for each of the sequences of {errors.describe(x)}",
            hint="(T, B, ...), or (B, T, ...) with batch_first=True, and B lengths",
        )  # fmt: skip
    if len(sizes) and (sizes.min() < 1 or sizes.max() > x.shape[0]):
        raise errors.argument(
            op, f"lengths must be between 1 and {x.shape[0]}, got {sizes.min()} to {sizes.max()}",
            hint="leave out empty sequences; check batch_first",
        )  # fmt: skip
    return sizes.astype(np.int64)


def _items(op: str, sequences: Any) -> Sequence[Tensor]:
    items = [*sequences]
    if not items or not all(isinstance(x, Handle) and x.ndim for x in items):
        raise errors.argument(
            op, "needs a list of tensors (length, ...)", hint="[first, second, ...]"
        )
    return items

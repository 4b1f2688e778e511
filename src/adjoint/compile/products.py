"""Eager matrix products: which go to the compiled template, and how their operands lie."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

from adjoint.base.dtype import OF_NUMPY, DType
from adjoint.compile.backends.cpu import link
from adjoint.compile.blocks import Operand, key_of, plan_for, writer_of
from adjoint.compile.eager import Call, countable, prepared, run
from adjoint.compile.kernel import Kernel
from adjoint.runtime.threads import get_num_threads

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

NARROWEST = 8  # rows and columns; below, NumPy needs less of Python


def dot(a: Array, b: Array) -> Array:
    """a @ b, batch by batch, for operands of equal batch shape; NumPy's where it is the better."""
    is_ours = a.dtype == b.dtype and a.dtype.char in "fd"
    if not is_ours or min(a.shape[-2], b.shape[-1]) < NARROWEST or 0 in (*a.shape, *b.shape):
        return np.matmul(a, b)
    return product(a, b)


def product(a: Array, b: Array) -> Array:
    """a @ b of floats by the compiled template, whatever the size."""
    out = np.empty((*a.shape[:-1], b.shape[-1]), a.dtype)
    if a.ndim > 5:
        a, b = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
    a, b = countable(a), countable(b)
    call = _call(a.dtype, a.shape, a.strides, b.shape[-1], b.strides, get_num_threads())
    run(call, [x.__array_interface__["data"][0] for x in (a, b, out)])
    return out


@lru_cache(4096)
def _call(
    kind: np.dtype[Any], shape: Shape, a_steps: Shape, n: int, b_steps: Shape, threads: int
) -> Call:
    """The template with the sizes and strides of one product."""
    dtype = OF_NUMPY[kind]
    m, k = shape[-2:]
    sizes = (1, 1, 1, *shape[:-2])[-3:]
    batch = (sizes[0], sizes[1], sizes[2])
    c = Operand((sizes[1] * sizes[2] * m * n, sizes[2] * m * n, m * n), n, 1)
    a, b = (_operand(steps, kind.itemsize) for steps in (a_steps, b_steps))
    plan = plan_for(dtype, dtype, batch, m, n, k, a, b, c, threads)
    return prepared(_compiled(dtype), plan.jobs, 1, plan.scratch, plan.words, 3)


def _operand(strides: Shape, size: int) -> Operand:
    """How a batch of matrices lies in memory."""
    *batch, row, column = (step // size for step in strides)
    lead = (0, 0, 0, *batch)
    return Operand((lead[-3], lead[-2], lead[-1]), row, column)


@cache
def _compiled(dtype: DType) -> int:
    """The address of the template for elements of ``dtype``."""
    kernel = Kernel("product", key_of(dtype, dtype), writer_of(dtype, dtype), (), ())
    return link.addresses([kernel])[kernel.key]

"""Eager convolutions on the kernels that programs use."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from adjoint.base.dtype import OF_NUMPY
from adjoint.compile.eager import Sequel, countable
from adjoint.compile.lower import buffer
from adjoint.compile.views import View
from adjoint.compile.windows import Conv, Pads, conv_kernels
from adjoint.runtime.threads import get_num_threads

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]


def conv(
    x: Array, w: Array, stride: Shape, padding: Pads, dilation: Shape, inner: Shape, groups: int,
    places: Shape,
) -> Array | None:  # fmt: skip
    """out[n, o, p] = sum_{c, k} w[o, c, k] * x[n, c, p * stride + k * dilation - padding] per
    group, ``places`` of them; None where the templates do not reach."""
    x, w = countable(x), countable(w)
    params = Conv(stride, padding, dilation, inner, groups)
    layout = (x.shape, x.strides, w.shape, w.strides)
    sequel = _sequel(x.dtype, *layout, params, places, get_num_threads())
    if sequel is None:
        return None
    out = np.empty((x.shape[0], w.shape[0], *places), x.dtype)
    sequel((x, w, out))
    return out


@lru_cache(512)
def _sequel(
    kind: np.dtype[Any], x_shape: Shape, x_steps: Shape, w_shape: Shape, w_steps: Shape,
    conv: Conv, places: Shape, threads: int,
) -> Sequel | None:  # fmt: skip
    """The kernels for arrays that lie like these."""
    dtype = OF_NUMPY[kind]
    x, w = (
        View(buffer(shape, dtype), shape, tuple(s // kind.itemsize for s in steps))
        for shape, steps in ((x_shape, x_steps), (w_shape, w_steps))
    )
    out = buffer((x_shape[0], w_shape[0], *places), dtype)
    kernels = conv_kernels(x, w, out, conv)
    return None if kernels is None else Sequel(kernels, (x.node, w.node, out))

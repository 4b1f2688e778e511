"""Convolution written as a matrix, to look at its structure."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint.base import errors
from adjoint.base.shape import as_shape, check_allocation
from adjoint.ir.node import constant
from adjoint.tensors.functional.conv import conv1d, conv2d, conv3d
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.movement import reshape

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def conv_matrix(
    kernel: Handle,
    shape: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The matrix M with M @ x.flatten() = conv(x, kernel).flatten() for one x of ``shape``
    (channels, *sizes): block-Toeplitz, blocks being pairs of channels. Its transpose is the
    transposed convolution. Differentiable with respect to ``kernel`` (out, in/groups, *k).
    """
    sizes, node = as_shape("conv_matrix", shape), node_of(kernel, "conv_matrix")
    convs = {3: conv1d, 4: conv2d, 5: conv3d}
    if node.ndim not in convs or len(sizes) != node.ndim - 1:
        raise errors.shape(
            "conv_matrix",
            f"needs a kernel (out, in, *k) and a shape (in, *sizes), got {sizes}",
            node,
            hint="conv_matrix(weight, (channels, height, width)), say",
        )
    count = prod(sizes)
    check_allocation("conv_matrix", (count, count), 8)
    units = wrap(constant(np.eye(count, dtype=node.dtype.numpy).reshape(count, *sizes)))
    columns = convs[node.ndim](
        units, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return reshape(columns, count, -1).T

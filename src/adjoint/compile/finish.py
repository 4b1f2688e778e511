"""Contractions in a program: which take views, and which let loops finish their blocks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from adjoint.compile.contractions import Conv, can_multiply, conv_kernels, dot_kernel
from adjoint.compile.kernel import Kernel
from adjoint.compile.lower import buffer
from adjoint.compile.rewire import rewired
from adjoint.compile.views import View, whole
from adjoint.ir.node import Node


def reads_views(node: Node) -> bool:
    """Whether the kernel of ``node`` reads its arguments through any strides."""
    assert node.op is not None and node.args is not None
    if node.op.kind != "contract" or not can_multiply(node.dtype):
        return False
    if any(0 in n.shape for n in (node, *node.args)):
        return False
    if node.op.name == "dot":
        return node.ndim <= 5
    spread = zip(node.params["inner"], node.params["stride"], strict=True)
    return not any(i > 1 and s > 1 for i, s in spread)


def takes_after(node: Node) -> bool:
    """Whether loops may finish the blocks of the result of ``node``."""
    assert node.op is not None
    return node.op.name == "dot" and reads_views(node)


def columns_of(node: Node) -> int:
    """Columns of the result seen as a matrix: the last axis, or all places of an image."""
    assert node.op is not None
    return node.shape[-1] if node.op.name == "dot" else prod(node.shape[2:])


def contract(
    node: Node, views: Sequence[View], out: Node, after: Kernel | None
) -> Sequence[Kernel] | None:
    """The kernels of a ``dot`` or ``conv`` into the buffer of ``out``; None: left to NumPy."""
    assert node.op is not None and node.args is not None
    if not reads_views(node):
        return None
    # the buffer may be that of a reshape of the result
    to = out if out.shape == node.shape else buffer(node.shape, node.dtype)
    if node.op.name == "conv":
        found = conv_kernels(views[0], views[1], to, Conv(**node.params), after)
        assert found is not None, "views of floats are convolved"
    else:
        product = dot_kernel(views[0], views[1], to, after)
        assert product is not None, "views of floats with few batch axes are multiplied"
        found = [product]
    return found if to is out else rewired(found, {to: whole(out)})

"""Contractions in a program: which take views, and which let loops finish their blocks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from adjoint.compile.contractions import Conv, can_multiply, conv_kernels, dot_kernel
from adjoint.compile.kernel import Kernel
from adjoint.compile.views import View
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


def columns_of(node: Node) -> int:
    """Columns of the result seen as a matrix: the last axis, or all places of an image."""
    assert node.op is not None
    return node.shape[-1] if node.op.name == "dot" else prod(node.shape[2:])


def contract(node: Node, views: Sequence[View], after: Kernel | None) -> list[Kernel] | None:
    """The kernels of a ``dot`` or ``conv``; ``after`` is left out where it cannot finish blocks.
    None: left to NumPy."""
    assert node.op is not None and node.args is not None
    if not reads_views(node):
        return None
    if node.op.name == "conv":
        found = conv_kernels(views[0], views[1], node, Conv(**node.params), after)
        assert found is not None, "views of floats are convolved"
        return found
    product = dot_kernel(views[0], views[1], node, after)
    assert product is not None, "views of floats with few batch axes are multiplied"
    return [product]

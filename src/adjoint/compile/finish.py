"""Contractions in a program: which take views, and which let loops finish their blocks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from adjoint.compile.contractions import can_multiply, dot_kernel
from adjoint.compile.group import Group
from adjoint.compile.kernel import Kernel, Step
from adjoint.compile.lower import TEMPLATES, buffer
from adjoint.compile.rewire import rewired
from adjoint.compile.views import View
from adjoint.ir.node import Node


def reads_views(node: Node) -> bool:
    """Whether the kernel of ``node`` reads its arguments through any strides."""
    assert node.op is not None and node.args is not None
    whole = 0 not in (*node.args[0].shape, *node.args[-1].shape)
    return node.op.name == "dot" and can_multiply(node.dtype) and whole and node.ndim <= 5


def takes_after(node: Node) -> bool:
    """Whether loops can finish the blocks of the result of ``node``."""
    return reads_views(node)


def columns_of(node: Node) -> int:
    """Columns of the result seen as a matrix: the last axis, or all places of an image."""
    assert node.op is not None
    return node.shape[-1] if node.op.name == "dot" else prod(node.shape[2:])


def contract(
    node: Node, views: Sequence[View], out: Node, after: Kernel | None
) -> Sequence[Step] | None:
    """The kernels of a ``dot`` or ``conv`` into the buffer of ``out``; None: left to NumPy."""
    assert node.op is not None and node.args is not None
    if reads_views(node):
        found = dot_kernel(views[0], views[1], out, after)
        assert found is not None, "views of floats with few batch axes are multiplied"
        return [found]
    rule = TEMPLATES.get(node.op.name)
    if rule is None:
        return None
    stand_ins = tuple(buffer(a.shape, a.dtype) for a in node.args)
    alike = Node(node.op, stand_ins, node.params, node.shape, node.dtype, None, False)
    kernels = rule(alike, (out,))
    if kernels is None:
        return None
    return rewired(kernels, dict(zip(stand_ins, views, strict=True)))


def contiguous_in(group: Group, member: Node) -> bool:
    """Whether ``member`` has one element at each point of the index space."""
    return group.is_full(group.maps[member])

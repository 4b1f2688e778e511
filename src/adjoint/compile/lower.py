"""Templates: ops and regions that have kernels of their own, by name.

    lower(node, results) -> list of Kernels, or None when this case is not for the template

``results`` are the nodes whose buffers are to be written: ``(node,)``, or one per part of a node
with several results. Kernels that hand something on to each other do it through ``buffer``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjoint.base.dtype import DType
from adjoint.base.shape import Shape
from adjoint.compile.kernel import Kernel
from adjoint.ir.node import Node, Type, abstract

Lower = Callable[[Node, tuple[Node, ...]], Sequence[Kernel] | None]

TEMPLATES: dict[str, Lower] = {}
"""By the name of an op (``dot``, ``gather``), or of the region of a ``call``."""


def template(*names: str) -> Callable[[Lower], Lower]:
    """Enter a function as the template of ops or regions."""

    def enter(lower: Lower) -> Lower:
        for name in names:
            assert name not in TEMPLATES, f"two templates for {name}"
            TEMPLATES[name] = lower
        return lower

    return enter


def buffer(shape: Shape, dtype: DType) -> Node:
    """Memory between two kernels: a node that no op computes."""
    return abstract(Type(shape, dtype))


def name_of(node: Node) -> str:
    """What a node is called in the table of templates."""
    assert node.op is not None
    return str(node.params["region"].name) if node.op.name == "call" else node.op.name

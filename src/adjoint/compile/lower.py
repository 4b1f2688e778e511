"""Templates: ops and regions that have kernels of their own, by name.

    lower(node, results) -> list of Kernels, or None when this case is not for the template

``results`` are the nodes whose buffers are to be written: ``(node,)``, or one per part of a node
with several results. Kernels that hand something on to each other do it through ``buffer``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

import numpy as np

from adjoint.base.dtype import DType
from adjoint.base.shape import Shape
from adjoint.compile.kernel import Kernel
from adjoint.compile.templates import MODULES
from adjoint.ir.node import Node, Type, abstract

Lower = Callable[[Node, tuple[Node, ...]], Sequence[Kernel] | None]

MOST_LOOKED_AT = 1 << 16  # elements of a constant
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


def has_template(name: str) -> bool:
    """Whether an op or a region has a template, which may still say no to a case."""
    return name in TEMPLATES or name in MODULES


def template_of(name: str) -> Lower | None:
    """The template of an op or a region; its module is imported now if need be."""
    if name not in TEMPLATES and name in MODULES:
        import_module(f"adjoint.compile.templates.{MODULES[name]}")
    return TEMPLATES.get(name)


def buffer(shape: Shape, dtype: DType) -> Node:
    """Memory between two kernels: a node that no op computes."""
    return abstract(Type(shape, dtype))


def is_zero(node: Node) -> bool:
    """Whether a node is known to be zero everywhere, down to the last bit: ``scatter_add`` then
    does not read its buffer."""
    while node.op is not None and node.op.name in ("broadcast", "reshape") and node.args:
        node = node.args[0]
    value = node.value
    if node.op is not None or value is None or value.size > MOST_LOOKED_AT:
        return False
    return not np.ascontiguousarray(value).reshape(-1).view(np.uint8).any()


def name_of(node: Node) -> str:
    """What a node is called in the table of templates."""
    assert node.op is not None
    return str(node.params["region"].name) if node.op.name == "call" else node.op.name

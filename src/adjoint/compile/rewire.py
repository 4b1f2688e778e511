"""Templates work on stand-ins for their arguments; here the real buffers take their places."""

from __future__ import annotations

from collections.abc import Sequence

from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.views import View
from adjoint.ir.node import Node


def rewired(kernels: Sequence[Kernel], real: dict[Node, View]) -> list[Kernel]:
    """The kernels with the buffers that their stand-ins are for."""

    def place(p: Place) -> Place:
        view = real.get(p.node)
        if view is None:
            return p
        return Place(view.node, p.offset + view.offset * max(view.node.dtype.bits // 8, 1))

    found: list[Kernel] = []
    for kernel in kernels:
        kernel.reads = tuple(place(p) for p in kernel.reads)
        kernel.writes = tuple(place(p) for p in kernel.writes)
        found.append(kernel)
    return found

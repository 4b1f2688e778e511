"""The memory that a compiled program needs between its inputs and its outputs."""

from __future__ import annotations

from adjoint.compile.fuse import fuse, prepare
from adjoint.compile.program import Program
from adjoint.ir.graph import Graph


class _Planned(Program):
    """A program up to the memory plan, not linked."""

    def __init__(self, graph: Graph) -> None:
        self.graph = prepare(graph)
        self.fresh, self.results = [], []
        self.scope = self._schedule(fuse(self.graph))


def peak_bytes(graph: Graph) -> int:
    """The size of the arena in which the compiled ``graph`` would run."""
    return _Planned(graph).scope.placement.size

"""Program: a Graph compiled; called with arrays again and again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from adjoint.base.shape import Shape
from adjoint.compile.backends.cpu.link import addresses
from adjoint.compile.copies import copy_kernel
from adjoint.compile.execute import Instance
from adjoint.compile.fuse import Fused, fuse, prepare
from adjoint.compile.interpreted import Interpreted
from adjoint.compile.kernel import Host, Kernel
from adjoint.compile.loop import Loop, distinct, prepared, written_by
from adjoint.compile.lower import buffer
from adjoint.compile.memory import INPUT, OUTPUT, Scope, Spot
from adjoint.compile.schedule import Dependencies, overwrite, waves, with_after
from adjoint.compile.table import Assembler, Table
from adjoint.ir.graph import Graph
from adjoint.ir.node import Array, Type


class Program:
    """simplify, fuse, schedule, place, link; then calls.

    ``program(arrays)`` gives the outputs. Inputs that ``graph.updates`` names are overwritten, and
    are the outputs they are paired with; all other outputs are new arrays. fused: the steps, when
    they are known already. Raises what the NumPy meaning of a host step raises; the inputs are as
    before then.
    """

    def __init__(self, graph: Graph, fused: Fused | None = None) -> None:
        self.graph = prepare(graph) if fused is None else graph
        fused = fused or fuse(self.graph)
        self.inputs = [Type(n.shape, n.dtype) for n in self.graph.inputs]
        self.fresh: list[tuple[Shape, np.dtype[Any]]] = []
        self.results: list[tuple[str, int]] = []
        self.updated = {i for i, _ in self.graph.updates}
        self.scope = self._schedule(fused)
        kernels = list(_kernels(self.scope))
        self._functions = addresses(kernels)
        self.table = Table(Assembler(self.scope, self._functions))
        self._free: list[Instance] = []

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for the arrays of all inputs."""
        instance = self.instance()
        bound = instance.arrays
        for number, array in enumerate(arrays):
            if array is not bound[number]:
                instance.bind(number, array)
        fresh = instance.make_results()
        instance.run()
        found = [fresh[at] if kind == OUTPUT else bound[at] for kind, at in self.results]
        instance.fresh = []
        self._free.append(instance)
        return found  # pyright: ignore[reportReturnType]

    def instance(self) -> Instance:
        """Memory to run in that nobody else uses."""
        return self._free.pop() if self._free else Instance(self, self.table)

    @cached_property
    def apart(self) -> Table:
        """A table in which every step is a phase, for timing."""
        return Table(Assembler(self.scope, self._functions, apart=True))

    def __str__(self) -> str:
        return "\n".join(str(wave) for wave in self.scope.waves)

    def _schedule(self, fused: Fused) -> Scope:
        """The order of all steps, and where their buffers lie."""
        graph = self.graph
        ready = prepared(fused.steps)
        outputs = distinct(fused.outputs, ready, written_by(ready))
        plan = Dependencies(ready)
        given = {node: Spot(INPUT, i) for i, node in enumerate(graph.inputs)}
        owner: dict[int, int] = {}
        for i, j in graph.updates:
            new = outputs[j]
            if j in owner:  # the second input that is to hold it
                new = buffer(new.shape, new.dtype)
                plan.add(copy_kernel(outputs[j], new))
            owner.setdefault(j, i)
            given[overwrite(plan, graph.inputs[i], new)] = Spot(INPUT, i)
        for j, node in enumerate(outputs):
            if j in owner:
                self.results.append((INPUT, owner[j]))
                continue
            self.results.append((OUTPUT, len(self.fresh)))
            given[node] = Spot(OUTPUT, len(self.fresh))
            self.fresh.append((node.shape, node.dtype.numpy))
        return Scope(waves(plan), given)


def program_of(graph: Graph) -> Program | Interpreted:
    """What runs a captured step."""
    return Interpreted(graph)


def _kernels(scope: Scope) -> Iterable[Kernel]:
    for step in scope.steps:
        if isinstance(step, Kernel):
            yield from with_after(step)
        elif isinstance(step, Loop):
            yield from _kernels(step.scope)
        else:
            assert isinstance(step, Host)

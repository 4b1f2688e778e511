"""Program: a Graph compiled; called with arrays again and again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

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
from adjoint.ir.node import Array, Node, Type
from adjoint.runtime.device import META

if TYPE_CHECKING:
    from adjoint.compile.profile import Memory, Profile


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
        instance.forget_results()
        self._free.append(instance)
        return found  # pyright: ignore[reportReturnType]

    def instance(self) -> Instance:
        """Memory to run in that nobody else uses."""
        try:
            return self._free.pop()
        except IndexError:
            return Instance(self, self.table)

    @cached_property
    def apart(self) -> Table:
        """A table in which every step is a phase, for timing."""
        return Table(Assembler(self.scope, self._functions, apart=True))

    @property
    def kernels(self) -> str:
        """A table of all steps."""
        from adjoint.compile.profile import kernels  # which times programs

        return kernels(self)

    def profile(self, arrays: Sequence[Array], rounds: int = 5) -> Profile:
        """Each step timed by itself, on copies of ``arrays``."""
        from adjoint.compile.profile import profile

        return profile(self, arrays, rounds)

    def memory(self) -> Memory:
        """Where every buffer lies, and how much memory a call needs."""
        from adjoint.compile.profile import memory

        return memory(self)

    def __str__(self) -> str:
        return "\n".join(str(wave) for wave in self.scope.waves)

    def _schedule(self, fused: Fused) -> Scope:
        """The order of all steps, and where their buffers lie."""
        graph = self.graph
        ready = prepared(fused.steps)
        # updates first: what is wanted twice is computed where it stays, and copied for others
        targets = {j for _, j in graph.updates}
        places = sorted(range(len(fused.outputs)), key=lambda j: j not in targets)
        made = distinct([fused.outputs[j] for j in places], ready, written_by(ready))
        outputs = [node for _, node in sorted(zip(places, made, strict=True), key=_first)]
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
            self.fresh.append((graph.outputs[j].shape, node.dtype.numpy))
        return Scope(waves(plan), given)


def program_of(graph: Graph) -> Program | Interpreted:
    """What runs a captured step."""
    meta = any(n.device is META for n in (*graph.inputs, *graph.nodes))
    return Interpreted(graph) if meta else Program(graph)


def _first(pair: tuple[int, Node]) -> int:
    return pair[0]


def _kernels(scope: Scope) -> Iterable[Kernel]:
    for step in scope.steps:
        if isinstance(step, Kernel):
            yield from with_after(step)
        elif isinstance(step, Loop):
            yield from _kernels(step.scope)
        else:
            assert isinstance(step, Host)

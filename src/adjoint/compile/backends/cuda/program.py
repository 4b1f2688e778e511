"""A graph as a list of launches, and what runs it on a device."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol, cast

import numpy as np

from adjoint.compile.backends.cuda.contract import product_launch, takes_product
from adjoint.compile.backends.cuda.kernels import Launch, launches
from adjoint.compile.backends.cuda.target import CudaTarget
from adjoint.compile.copies import size_of
from adjoint.compile.expand import expand, without_marks
from adjoint.compile.fuse import Fused, Fuser
from adjoint.compile.group import Group
from adjoint.compile.kernel import Host, Kernel, Step
from adjoint.compile.loop_values import special
from adjoint.compile.lower import is_zero, name_of
from adjoint.compile.memory import INPUT, OUTPUT, Placement, Spot, constant_of, place
from adjoint.compile.schedule import Dependencies, Wave
from adjoint.compile.simplify import simplify
from adjoint.compile.views import View, whole
from adjoint.ir.graph import Graph
from adjoint.ir.node import Array, Node, evaluate


class Device(Protocol):
    """Where launches run: a GPU, or something that stands in for one."""

    target: CudaTarget

    def allocate(self, nbytes: int) -> int:
        """The address of new memory, a multiple of 256."""
        ...

    def free(self, address: int) -> None: ...

    def copy_in(self, address: int, array: Array) -> None: ...

    def copy_out(self, array: Array, address: int) -> None:
        """Fill ``array`` once everything launched before is done."""
        ...

    def launch(self, kernel: Launch, words: Sequence[int]) -> None:
        """Run a kernel after those launched before."""
        ...


class CudaFuser(Fuser):
    """Loops and products become launches; all else is left to NumPy."""

    def takes_views(self, node: Node) -> bool:
        return takes_product(node)

    def finishers(self, grouping: Any) -> dict[int, Group]:
        return {}

    def contraction(self, node: Node, after: Group | None) -> list[Step]:
        assert node.args is not None and after is None
        views = [self.seen.get(a) or whole(a) for a in self.given.get(node, node.args)]
        if takes_product(node):
            return [product_launch(views[0], views[1], node)]
        return [Host(node, tuple(v.node for v in views), (node,))]

    def loops(self, group: Group) -> list[Step]:
        return _launched(super().loops(group))

    def opaque(self, node: Node) -> list[Step]:
        assert node.op is not None and node.args is not None
        if node.op.name in ("iota", "pad", "concat"):
            return _launched(super().opaque(node))
        views = [self.seen.get(a) or whole(a) for a in self.given.get(node, node.args)]
        return [Host(node, tuple(v.node for v in views), self.results(node))]

    def repeat(self, node: Node, views: list[View], results: tuple[Node, ...]) -> list[Step] | None:
        return None


def _launched(steps: Sequence[Step]) -> list[Step]:
    found: list[Step] = []
    for step in steps:
        assert isinstance(step, Kernel)
        found.extend(launches(step))
    return found


def prepare(graph: Graph) -> Graph:
    """``graph`` without the regions that loops do not compute themselves, simplified."""
    return simplify(expand(graph, lambda node: special(name_of(node)) is not None))


def fuse(graph: Graph) -> Fused:
    """The launches of ``graph``, which ``prepare`` gave."""
    return CudaFuser(without_marks(graph)).run()


class CudaProgram:
    """A graph compiled for a device: ``program(arrays)`` gives the outputs as new arrays.

    Buffers between kernels share one piece of memory; those that nobody can compute on the device
    are computed by NumPy on the way, as ``str(program)`` shows.
    """

    def __init__(self, graph: Graph, device: Device) -> None:
        self.graph = prepare(graph)
        self.device = device
        fused = fuse(self.graph)
        plan = Dependencies(cast("list[Any]", fused.steps))
        self.steps: list[Launch | Host] = [
            cast("Launch | Host", plan.steps[i]) for i in plan.order()
        ]
        self.outputs = fused.outputs
        self.given: dict[Node, Spot] = {
            node: Spot(OUTPUT, i) for i, node in enumerate(self.outputs) if node.value is None
        }
        self.given.update({node: Spot(INPUT, i) for i, node in enumerate(self.graph.inputs)})
        waves = [Wave([step]) for step in self.steps]
        self.placement: Placement = place(waves, self.given)
        self._addresses: dict[Node, int] = {}
        self._mine: list[int] = []
        self._reserve()

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        for node, array in zip(self.graph.inputs, arrays, strict=True):
            given = np.ascontiguousarray(array, node.dtype.numpy)
            if given.nbytes:
                self.device.copy_in(self._addresses[node], given)
        for step in self.steps:
            if isinstance(step, Launch):
                self.device.launch(step, self.words(step))
            else:
                self._host(step)
        return [
            self._read(node, out.shape)
            for node, out in zip(self.outputs, self.graph.outputs, strict=True)
        ]

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))

    def words(self, step: Launch) -> list[int]:
        """The arguments of a launch."""
        places = [self.address(p.node) + p.offset for p in (*step.reads, *step.writes)]
        return [*places, *step.words]

    def address(self, node: Node) -> int:
        """Where the buffer of ``node`` lies on the device."""
        if node not in self._addresses:
            value = constant_of(node)
            assert value is not None, f"nobody writes {node}"
            array = np.ascontiguousarray(value)
            self._addresses[node] = self._new(array.nbytes)
            if array.nbytes:
                self.device.copy_in(self._addresses[node], array)
        return self._addresses[node]

    def close(self) -> None:
        """Give the memory back."""
        for address in self._mine:
            self.device.free(address)
        self._mine.clear()
        self._addresses.clear()

    def _reserve(self) -> None:
        """Memory for inputs, outputs, and everything in between."""
        arena = self._new(self.placement.size)
        roots: dict[Spot, int] = {}
        for node, spot in self.placement.spots.items():
            if spot.kind in (INPUT, OUTPUT):
                if spot not in roots:
                    roots[spot] = self._new(size_of(node))
                self._addresses[node] = roots[spot]
            else:
                self._addresses[node] = arena + spot.at

    def _new(self, nbytes: int) -> int:
        self._mine.append(self.device.allocate(max(nbytes, 256)))
        return self._mine[-1]

    def _read(self, node: Node, shape: Sequence[int]) -> Array:
        array = np.empty(shape, node.dtype.numpy)
        if array.nbytes:
            self.device.copy_out(array, self.address(node))
        return array

    def _argument(self, node: Node, arg: Node) -> Array:
        """The value of ``arg``, which ``node`` holds; zeros that nobody spread out, spread out."""
        if prod(node.shape) == prod(arg.shape):
            return self._read(node, arg.shape)
        assert is_zero(arg), f"{node} does not hold {arg}"
        return np.zeros(arg.shape, arg.dtype.numpy)

    def _host(self, step: Host) -> None:
        """NumPy's meaning of a node, on copies."""
        node = step.node
        assert node.op is not None and node.args is not None
        reads = [self._argument(n, a) for n, a in zip(step.reads, node.args, strict=True)]
        value = evaluate(node.op, reads, node.params)
        values = cast("tuple[Any, ...]", value if isinstance(value, tuple) else (value,))
        for target, result in zip(step.writes, values, strict=True):
            array = np.ascontiguousarray(np.broadcast_to(result, target.shape), target.dtype.numpy)
            if array.nbytes:
                self.device.copy_in(self.address(target), array)


def run_on(device: Device, graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of ``graph`` for ``arrays``, computed on ``device``."""
    program = CudaProgram(graph, device)
    try:
        return program(arrays)
    finally:
        program.close()

"""Capture: recording everything a function does, with what it finds outside as inputs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from adjoint.base import errors
from adjoint.base.dtype import DType
from adjoint.ir.node import Node, Op, Params, Type, abstract, next_serial, record_op, state


class Capture:
    """What one recording of a function met outside itself.

    ``lifted``: nodes that existed before, each with the input that stands for it. ``sources``:
    inputs whose value is asked for anew at every run (random keys, numbers that may change).
    ``guards``: facts that were read as plain Python values; a run checks them first.
    """

    def __init__(self) -> None:
        self.start = next_serial()
        self.lifted: dict[Node, Node] = {}
        self.sources: list[tuple[Node, Callable[[], Any]]] = []
        self.guards: list[tuple[Callable[[], Any], Any]] = []
        self._asked: set[Any] = set()
        self.adopted: dict[Node, Any] = {}
        self.labels: dict[str, Node] = {}  # nodes that were given a name
        self.cleared: set[int] = set()
        self.grown: set[int] = set()

    def owns(self, node: Node) -> bool:
        """Whether ``node`` is a value from outside, which may be another one at the next run."""
        return (node.serial < self.start or node in self.adopted) and node.device.holds_values

    def lift(self, node: Node) -> Node:
        """The input that stands for a value from outside; other nodes as they are."""
        if not self.owns(node):
            return node
        found = self.lifted.get(node)
        if found is None:
            if node.needs_grad and node.leaf is None:
                raise errors.grad(
                    f"jit: {errors.describe(node)} is the result of a computation outside",
                    hint="detach it, or compute it inside the captured function",
                )
            found = self.lifted[node] = abstract(Type(node.shape, node.dtype))
            found.site = f"a {errors.describe(node)} from outside of jit"
            found.needs_grad, found.leaf, found.hooks = node.needs_grad, node.leaf, node.hooks
        return found

    def apply(self, op: Op, args: tuple[Node, ...], params: Params) -> Node:
        """Record ``op``; nothing is computed, not even from constants."""
        return record_op(op, tuple(self.lift(a) for a in args), params)

    def source(self, of: Type, read: Callable[[], Any]) -> Node:
        """An input that ``read`` gives at every run: an array, or a number."""
        node = abstract(of)
        self.sources.append((node, read))
        return node

    def adopt(self, handle: Any) -> None:
        """Treat a handle made while the capture was suspended as one from outside."""
        self.adopted[handle.node] = handle

    def clear(self, handle: Any) -> None:
        """Note that the gradient of ``handle`` was forgotten inside."""
        self.cleared.add(id(handle))

    def grow(self, handle: Any) -> None:
        """Note that a gradient was added to what ``handle`` had before."""
        if id(handle) not in self.cleared:
            self.grown.add(id(handle))

    def guard(self, read: Callable[[], Any]) -> Any:
        """The plain value of ``read``, on which the recording now depends."""
        value = read()
        key = _identity(read)
        if key not in self._asked:
            self._asked.add(key)
            self.guards.append((read, value))
        return value


def _identity(read: Callable[[], Any]) -> Any:
    """Equal for functions of the same line that closed over the same objects: these read the same.

    The objects live as long as the functions, which the guards keep; others are kept here.
    """
    code = getattr(read, "__code__", None)
    if code is None:
        return id(read)
    cells = getattr(read, "__closure__", None) or ()
    inside = tuple(id(cell.cell_contents) for cell in cells)
    return id(code), inside, tuple(map(id, getattr(read, "__defaults__", None) or ()))


@contextmanager
def capturing() -> Generator[Capture]:
    """Record everything inside the block."""
    capture = Capture()
    before = state.capture, state.divert
    state.capture, state.divert = capture, capture.apply
    state.recording += 1
    try:
        yield capture
    finally:
        state.capture, state.divert = before
        state.recording -= 1


@contextmanager
def suspended() -> Generator[Capture | None]:
    """Compute at once inside the block, whatever is being captured around it; gives the capture,
    which has to ``adopt`` what is made here and is to be changed by every run."""
    capture, divert, recording = state.capture, state.divert, state.recording
    state.capture, state.divert, state.recording = None, None, 0
    try:
        yield capture
    finally:
        state.capture, state.divert, state.recording = capture, divert, recording


@contextmanager
def noting() -> Generator[None]:
    """Record every op inside the block, also one that could be computed from constants."""
    before, state.divert = state.divert, record_op
    state.recording += 1
    try:
        yield
    finally:
        state.divert = before
        state.recording -= 1


def live(read: Callable[[], float], dtype: DType) -> Any:
    """A number that may change from run to run: ``read()`` itself, or while capturing an input of
    ``dtype`` that is read anew at every run."""
    if state.capture is None:
        return read()
    return state.capture.source(Type((), dtype), read)


def known(read: Callable[[], Any]) -> Any:
    """A plain Python fact that decides what is computed; a captured run checks that it still holds
    and records again if not."""
    return read() if state.capture is None else state.capture.guard(read)

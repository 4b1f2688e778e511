"""lazy: operations are noted, and computed together when someone asks for a value."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from sys import getrefcount
from typing import Any

from adjoint.ir import graph as ir
from adjoint.ir.node import Array, Node, Op, Params, Type, abstract, grad_mode, record_op, state
from adjoint.ir.node import apply as apply_now
from adjoint.runtime.device import META

PROGRAMS = 16  # how many are kept for the next time


class lazy:
    """Inside ``with lazy():`` nothing is computed until a value is looked at.

    Then all that this value needs is compiled and run as one program. What nobody asks for is never
    computed, also after the block. Values, gradients and random numbers are those of eager code.
    """

    def __init__(self) -> None:
        self._before: list[Any] = []

    def __enter__(self) -> lazy:
        self._before.append(state.divert)
        if state.capture is None:  # inside a capture everything is put off already
            state.divert = _put_off
        return self

    def __exit__(self, *_: object) -> None:
        state.divert = self._before.pop()


class _Pending(Node):
    """A node that knows how to get its value."""

    __slots__ = ()

    @property
    def is_abstract(self) -> bool:
        return self.value is None

    def late(self) -> Any:
        _compute(self)
        return self.value


def _put_off(op: Op, args: tuple[Node, ...], params: Params) -> Node:
    """Note ``op``; its value comes later."""
    state.recording += 1
    try:
        node = record_op(op, args, params)
    finally:
        state.recording -= 1
    if node.device is not META and not any(_is_unknown(a) for a in args):
        node.__class__ = _Pending
    return node


def _is_unknown(node: Node) -> bool:
    """Whether there will never be a value: an input of a recording, or what depends on one."""
    return node.value is None and not isinstance(node, _Pending) and node.is_abstract


def _compute(wanted: Node) -> None:
    """Compute a node, with what else it needs and others may ask for."""
    divert, capture, recording = state.divert, state.capture, state.recording
    state.divert, state.capture, state.recording = None, None, 0
    try:
        nodes = _waiting(wanted)
        outputs = _shared(nodes)
        if wanted not in outputs:
            outputs.append(wanted)
        _run(nodes, outputs)
    finally:
        state.divert, state.capture, state.recording = divert, capture, recording
    for node in nodes:
        if node.value is not None and not node.needs_grad:
            node.args = ()


def _waiting(wanted: Node) -> list[Node]:
    """The nodes without a value that ``wanted`` needs, oldest first."""
    seen: set[Node] = set()
    stack = [wanted]
    while stack:
        node = stack.pop()
        if node not in seen and isinstance(node, _Pending) and node.value is None:
            seen.add(node)
            stack.extend(node.args or ())
    found = sorted(seen, key=lambda n: n.serial)
    seen.clear()
    return found


def _shared(nodes: list[Node]) -> list[Node]:
    """Nodes of one result that something outside of ``nodes`` holds on to."""
    inside: dict[int, int] = {}
    for node in nodes:
        for arg in node.args or ():
            inside[id(arg)] = inside.get(id(arg), 0) + 1
    arg = node = None
    held = [getrefcount(n) for n in nodes]  # by ``nodes``, ``n``, the call, and others
    pairs = zip(nodes, held, strict=True)
    return [n for n, count in pairs if n.parts is None and count - inside.get(id(n), 0) > 3]


def _run(nodes: Sequence[Node], outputs: Sequence[Node]) -> None:
    """Give ``outputs`` their values by a program; equal programs are compiled once."""
    new: dict[Node, Node] = {}
    arrays: list[Array] = []
    inputs: list[Node] = []
    with ir.recording(), grad_mode(False):
        for node in nodes:
            for arg in node.args or ():
                if arg not in new and not (isinstance(arg, _Pending) and arg.value is None):
                    new[arg] = abstract(Type(arg.shape, arg.dtype))
                    inputs.append(new[arg])
                    arrays.append(arg.array("lazy"))
        for node in nodes:
            assert node.op is not None
            new[node] = _recorded(node, tuple(new[a] for a in node.args or ()))
    graph = ir.Graph(inputs, [new[o] for o in outputs], name="lazy")
    for node, value in zip(outputs, _program(graph)(arrays), strict=True):
        node.value = value


def _recorded(node: Node, args: tuple[Node, ...]) -> Node:
    assert node.op is not None
    if args:
        return apply_now(node.op, args, node.params)
    return record_op(node.op, args, node.params)  # a source, which is not to be computed here


@lru_cache(maxsize=PROGRAMS)
def _program(graph: ir.Graph) -> Any:
    from adjoint.compile.program import program_of  # loads LLVM

    return program_of(graph)

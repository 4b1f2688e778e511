"""Graph: a recorded program. Prints, verifies, hashes; and ``record``, which makes one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.config import FLAGS
from adjoint.ir.node import Array, Node, Type, abstract, check_type, state


class Graph:
    """A straight-line program: ``inputs`` to ``outputs``, with ``constants`` in between.

    ``nodes`` holds the computed nodes in order. ``updates`` pairs (input index, output index):
    running the program overwrites that input. Two graphs of equal structure have equal ``key``.
    start: the serial that a recording began with, where inputs were met later.
    """

    def __init__(
        self,
        inputs: Sequence[Node],
        outputs: Sequence[Node],
        updates: Sequence[tuple[int, int]] = (),
        name: str = "graph",
        through_values: bool = False,
        start: int | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.updates = tuple(updates)
        self.name = name
        self.nodes, self.constants = _order(self.inputs, self.outputs, through_values, start)
        self._key: str | None = None
        if FLAGS.verify:
            self.verify()

    @property
    def key(self) -> str:
        """A digest of the structure: ops, wiring, parameters, types, constants, and what was
        recorded without gradients."""
        if self._key is None:
            self._key = hashlib.sha256(self._text(exact=True).encode()).hexdigest()
        return self._key

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.key == other.key

    def __str__(self) -> str:
        return self._text(exact=False)

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.inputs)} inputs, {len(self.nodes)} nodes>"

    def verify(self) -> None:
        """Check order, types and updates; raises AssertionError with the node that is wrong."""
        known = set(self.inputs) | set(self.constants)
        for node in self.nodes:
            assert node.op is not None and node.args is not None, f"{node} is not computed"
            for arg in node.args:
                assert arg in known, f"{node} uses {arg} before it is computed"
            check_type(node.op, node.args, node.params, node)
            known.add(node)
        for out in self.outputs:
            assert out in known, f"output {out} is not computed by the graph"
        for source, target in self.updates:
            old, new = self.inputs[source], self.outputs[target]
            same = (old.shape, old.dtype) == (new.shape, new.dtype)
            assert same, f"update of input {source}: {old} becomes {new}"

    def _text(self, exact: bool) -> str:
        names: dict[Node, str] = {}
        for i, node in enumerate(self.inputs):
            names[node] = f"x{i}"
        for i, node in enumerate(self.constants):
            names[node] = f"c{i}"
        for i, node in enumerate(self.nodes):
            names[node] = f"n{i}"
        lines = [f"{self.name}({', '.join(f'{names[n]}: {_type(n)}' for n in self.inputs)}):"]
        for node in self.constants:
            lines.append(f"  {names[node]}: {_type(node)} = {_value(node, exact)}")
        for node in self.nodes:
            assert node.op is not None and node.args is not None
            inside = [names[a] for a in node.args] + _params(node.params, exact)
            end = "  # no gradient" if node.is_abstract and node.stop else ""
            call = f"{node.op.name}({', '.join(inside)})"
            lines.append(f"  {names[node]}: {_type(node)} = {call}{end}")
        lines.append(f"  return {', '.join(names[n] for n in self.outputs)}")
        lines.extend(f"  update x{i} = {names[self.outputs[j]]}" for i, j in self.updates)
        return "\n".join(lines)


def record(
    function: Callable[..., Sequence[Node]], types: Sequence[Type], name: str = "graph"
) -> Graph:
    """The graph of ``function(*nodes) -> nodes`` for inputs of ``types``; nothing is computed
    that depends on an input."""
    with recording():
        inputs = [abstract(t) for t in types]
        for i, node in enumerate(inputs):
            node.site = f"input {i} of {name}"
        outputs = function(*inputs)
    return Graph(inputs, outputs, name=name)


@contextmanager
def recording() -> Generator[None]:
    """Allow nodes without a value inside the block."""
    state.recording += 1
    try:
        yield
    finally:
        state.recording -= 1


def _order(
    inputs: tuple[Node, ...], outputs: tuple[Node, ...], through_values: bool, start: int | None
) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """Computed nodes and constants between inputs and outputs, in creation order.

    Nodes older than every input cannot depend on one: they are constants, even those that belong
    to a recording around this one. start: the serial that a recording began with, which may have
    computed something from constants before it met its first input.
    """
    given = set(inputs)
    oldest = min((n.serial for n in inputs), default=-1) if start is None else start
    seen: set[Node] = set()
    stack = [n for n in outputs if n not in given]
    computed: list[Node] = []
    constants: list[Node] = []
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.args is None and through_values:
            raise errors.released(node.op.name if node.op else "leaf")
        recorded = node.op is not None and node.is_abstract
        walked = through_values and node.op is not None and node.args
        if node.serial > oldest and (recorded or walked):
            computed.append(node)
            stack.extend(a for a in node.args or () if a not in seen and a not in given)
        else:
            constants.append(node)
    return tuple(sorted(computed, key=_serial)), tuple(sorted(constants, key=_serial))


def _serial(node: Node) -> int:
    return node.serial


def _type(node: Node) -> str:
    if node.parts is not None:
        return "(" + ", ".join(errors.describe(p) for p in node.parts) + ")"
    return errors.describe(node)


def _value(node: Node, exact: bool) -> str:
    if node.is_abstract:
        return "free input"
    value = node.array()
    if value.size == 1:
        return str(value.item())
    return _digest(value) if exact else "constant"


def _params(params: dict[str, Any], exact: bool) -> list[str]:
    return [f"{k}={_param(v, exact)}" for k, v in sorted(params.items()) if v is not None]


def _param(value: Any, exact: bool) -> str:
    """A Graph by the start of its key, other things (regions) by name; exactly: by whole keys."""
    if exact and type(value) is np.ndarray:
        return _digest(value)
    key: object = getattr(value, "key", None)
    if isinstance(key, str) and (exact or isinstance(value, Graph)):
        return key if exact else key[:16]
    return repr(value)


def _digest(value: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()

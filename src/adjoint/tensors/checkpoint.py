"""Gradient checkpointing: keep what goes into a piece of a program, compute the rest again.

The forward pass notes the operations that ran, not their results. The backward pass runs these
operations again, with the same random keys, and differentiates them; no Python of the user runs a
second time, so that nothing outside (running statistics, counters, random streams) moves twice.
Source: Chen et al., "Training deep nets with sublinear memory cost", 2016.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_function, as_integer, as_items
from adjoint.base.tree import flatten
from adjoint.ir.batch import batch
from adjoint.ir.capture import suspended
from adjoint.ir.graph import Graph, record
from adjoint.ir.node import (
    Hooks,
    Node,
    Op,
    Params,
    Type,
    abstract,
    apply,
    grad_mode,
    next_serial,
    state,
)  # fmt: skip
from adjoint.ir.reverse import Parts, backward
from adjoint.ops.rows import with_batch
from adjoint.ops.structure import Again, Region, call, copy, results, severed, variable
from adjoint.runtime.device import META
from adjoint.tensors.handle import Handle, wrap

Run = Callable[[Sequence[Node]], list[Node]]


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
    preserve_rng_state: bool = True, determinism_check: str = "default", debug: bool = False,
    early_stop: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """``function(*args, **kwargs)``, whose intermediate results are not kept for ``backward()``.

    Backward computes them again from the tensors that ``function`` used: its arguments, and those
    it closes over (parameters). Values and gradients are those of the plain call, bit for bit;
    random draws are repeated, running statistics move once. Results may be any tree. Works inside
    ``jit``, ``vmap`` and ``grad``, and inside another checkpoint. The keywords are PyTorch's: there
    is one way to do it here, so they change nothing.
    """
    as_function("checkpoint", function)
    if not state.grad:
        return function(*args, **kwargs)
    tape = _Tape()
    with tape:
        out = function(*args, **kwargs)
    leaves, rebuild = flatten(out)
    kept = [x.node for x in leaves if isinstance(x, Handle) and tape.computed(x.node)]
    if not kept:
        return out
    found = _enter(tape, list(dict.fromkeys(kept)))
    return rebuild(
        [wrap(found[x.node]) if isinstance(x, Handle) and x.node in found else x for x in leaves]
    )


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:  # fmt: skip
    """``input`` through ``functions`` (a list, or a Sequential) one after the other, in
    ``segments`` pieces of which all but the last are checkpointed.

    With about sqrt(n) segments of n functions, memory grows like sqrt(n). Raises ArgumentError
    unless 1 <= segments <= n.
    """
    children = getattr(functions, "children", None)
    chain = as_items(children() if callable(children) else functions)
    if chain is None:
        raise errors.bad_argument(
            "checkpoint_sequential", "functions", functions, "a list of functions, or a Sequential"
        )
    for function in chain:
        as_function("checkpoint_sequential", function)
    segments = as_integer("checkpoint_sequential", "segments", segments)
    if not 1 <= segments <= max(len(chain), 1):
        raise errors.argument(
            "checkpoint_sequential", f"{segments} segments for {len(chain)} functions",
            hint="use about the square root of the number of functions",
        )  # fmt: skip
    size = max(len(chain) // segments, 1)
    end = size * (segments - 1)
    for start in range(0, end, size):
        input = checkpoint(_Chain(chain[start : start + size]), input)
    return _Chain(chain[end:])(input)


class _Chain:
    def __init__(self, functions: Sequence[Callable[[Any], Any]]) -> None:
        self.functions = functions

    def __call__(self, x: Any) -> Any:
        for function in self.functions:
            x = function(x)
        return x


class _Tape:
    """Notes the operations that run inside the block, as nodes without values.

    A stand-in has the serial of the node it stands for, so that a backward pass visits and sums in
    the order of the plain one. ``outside``: nodes from before, each with the input for it.
    """

    def __init__(self) -> None:
        self.start = next_serial()
        self.outside: dict[Node, Node] = {}
        self._inside: weakref.WeakKeyDictionary[Node, Node] = weakref.WeakKeyDictionary()
        self._before: Callable[..., None] | None = None

    def __enter__(self) -> _Tape:
        self._before = state.watch
        state.watch = self
        return self

    def __exit__(self, *_: object) -> None:
        state.watch = self._before

    def __call__(self, node: Node, op: Op, args: tuple[Node, ...], params: Params) -> None:
        """Note a node that was just computed."""
        if self._before is not None:
            self._before(node, op, args, params)
        self._note(node, op, args, params, not state.grad)

    def computed(self, node: Node) -> bool:
        """Whether ``node`` was made inside from something that needs a gradient."""
        return node.needs_grad and node.device is not META and not self._is_outside(node)

    def graph(self, outputs: Sequence[Node]) -> tuple[Graph, list[Node]]:
        """What was computed, from nodes outside to ``outputs``; and these nodes."""
        for node in self._recorded(outputs):
            self._stand_in(node)
        outs = [self._stand_in(o) for o in outputs]
        for node, made in self._inside.items():
            made.hooks = node.hooks
        whole = Graph(list(self.outside.values()), outs, name="checkpoint")
        used = {a for node in whole.nodes for a in node.args or ()}
        given = {n: made for n, made in self.outside.items() if made in used}
        return Graph(list(given.values()), outs, name="checkpoint"), list(given)

    def _is_outside(self, node: Node) -> bool:
        source = node.op is None and node.value is None  # an input of the recording around
        return node.serial < self.start or node.leaf is not None or source

    def _recorded(self, outputs: Iterable[Node]) -> list[Node]:
        """Nodes without a value upstream of ``outputs``, oldest first."""
        seen: set[Node] = set()
        stack = list(outputs)
        while stack:
            node = stack.pop()
            if node in seen or node in self._inside or self._is_outside(node):
                continue
            if node.value is None:
                seen.add(node)
                stack.extend(node.args or ())
        return sorted(seen, key=lambda n: n.serial)

    def _stand_in(self, node: Node) -> Node:
        found = self.outside.get(node) or self._inside.get(node)
        if found is not None:
            return found
        # a value that came from elsewhere but has a history of its own is differentiated there
        unknown = node.value is not None and node.needs_grad
        if self._is_outside(node) or unknown:
            found = abstract(Type(node.shape, node.dtype))
            found.serial = self.start
            self.outside[node] = found
            return found
        if node.value is not None or node.op is None or not node.args:
            return node  # a constant
        return self._note(node, node.op, node.args, node.params, not node.needs_grad)

    def _note(
        self, node: Node, op: Op, args: tuple[Node, ...], params: Params, stop: bool
    ) -> Node:  # fmt: skip
        given = tuple([self._stand_in(a) for a in args])
        made = Node(op, given, params, node.shape, node.dtype, None, False)
        made.serial, made.parts, made.site = node.serial, node.parts, None
        made.stop = stop or "stop" in params
        self._inside[node] = made
        return made


def _enter(tape: _Tape, outs: list[Node]) -> dict[Node, Node]:
    """For each of ``outs`` the node that stands for it: the same value, differentiated by
    computing it again."""
    graph, given = tape.graph(outs)
    region = _region(_Replay(graph), len(outs))
    if state.recording:
        region.key = f"checkpoint@{graph.key}"
    made = results(call(*[severed(o) for o in outs], *given, region=region))
    return dict(zip(outs, made, strict=True))


def _region(run: Run, count: int) -> Region:
    """A region of ``count`` results and what they were computed from: gives the results; its
    derivative is that of ``run(what they were computed from)``."""

    def vjp(
        ct: Any, out: Node, wanted: tuple[bool, ...], args: tuple[Node, ...], static: Params
    ) -> list[Any]:
        return [*[None] * count, *_pull(run, ct, args[count:], wanted[count:])]

    def vmap(
        op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
    ) -> Node:
        def wide(nodes: Sequence[Node]) -> list[Node]:
            singles = [
                Type(n.shape[1:] if b else n.shape, n.dtype)
                for n, b in zip(nodes, batched[count:], strict=True)
            ]
            graph = _recorded(run, singles)
            return [with_batch(size, n, b) for n, b in batch(graph, size, nodes, batched[count:])]

        outs = [with_batch(size, a, b) for a, b in zip(args[:count], batched, strict=False)]
        return call(*outs, *args[count:], region=_region(wide, count))

    def infer(*nodes: Node) -> Any:
        found = tuple(Type(n.shape, n.dtype) for n in nodes[:count])
        return found[0] if count == 1 else found

    return Region(
        "checkpoint", lambda *nodes: nodes[:count], infer=infer, vjp=vjp, vmap=vmap,
        kernel=lambda *arrays: arrays[0] if count == 1 else arrays[:count],
    )  # fmt: skip


def _recorded(run: Run, types: Sequence[Type]) -> Graph:
    return record(lambda *nodes: run(nodes), types, name="checkpoint")


def _pull(run: Run, ct: Any, args: Sequence[Node], wanted: Sequence[bool]) -> list[Any]:
    """Cotangents of the wanted ``args``: all messages that arrive there, in order.

    They are not summed here, because the sum in ``backward`` goes on from what arrived before.
    """
    differentiable = state.grad
    args = [_apart(a) for a in args]
    fresh = [variable(a) if w else a for a, w in zip(args, wanted, strict=True)]
    messages: dict[Node, list[Node]] = {}
    for node, needs in zip(fresh, wanted, strict=True):
        if needs:
            messages[node] = []
            node.hooks = _collector(messages[node])
    with grad_mode(True):
        outs = run(fresh)
    cts = ct.items if isinstance(ct, Parts) else (ct,)
    pairs = [(o, c) for o, c in zip(outs, cts, strict=True) if c is not None]
    del outs
    with grad_mode(differentiable):
        backward([o for o, _ in pairs], [c for _, c in pairs], list(messages), not differentiable)
    return [tuple(messages[n]) or None if w else None for n, w in zip(fresh, wanted, strict=True)]


def _apart(node: Node) -> Node:
    """While recording, the same value under another name: what is computed from it is not the
    same computation as the first one, and cannot be merged with it."""
    return copy(node, again=Again()) if node.is_abstract else node


def _collector(into: list[Node]) -> Hooks:
    def collect(child: Node, message: Node) -> None:
        into.append(message)

    hooks = Hooks()
    hooks.messages.append(collect)
    return hooks


class _Late(Node):
    """A node of a second computation: its value is computed when a derivative asks for it, so that
    what no derivative needs (the last product of a segment, say) is not computed again."""

    __slots__ = ()

    def late(self) -> Any:
        with suspended(), grad_mode(False):
            stack: list[Node] = [self]
            while stack:
                node = stack[-1]
                missing = [s for a in node.args or () if (s := _source(a)).value is None]
                stack.extend(m for m in missing if isinstance(m, _Late))
                if stack[-1] is node:
                    stack.pop()
                    _fill(node)
        return self.value


def _source(node: Node) -> Node:
    """The node below broadcasts, whose values are made when they are read."""
    while node.op is not None and node.op.lazy and node.args:
        node = node.args[0]
    return node


def _fill(node: Node) -> None:
    if node.value is None:
        assert node.op is not None and node.args is not None
        node.value = apply(node.op, node.args, node.params).value
        if not node.needs_grad:
            node.args = ()


def _put_off(node: Node, args: tuple[Node, ...]) -> Node:
    """The second computation of ``node``, from ``args``."""
    assert node.op is not None
    needs = state.grad and (node.parts is not None or node.dtype.kind == "f")
    needs = needs and any(a.needs_grad for a in args)
    kind = Node if node.op.lazy else _Late
    made = kind(node.op, args, node.params, node.shape, node.dtype, None, needs)
    made.parts = node.parts
    return made


class _Replay:
    """A graph run node by node; values are let go after their last use."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._gone: list[list[Node]] = []
        seen = set(graph.outputs)
        for node in reversed(graph.nodes):
            used = dict.fromkeys((node, *(node.args or ())))
            self._gone.append([n for n in used if n not in seen])
            seen.update(used)
        self._gone.reverse()

    def __call__(self, inputs: Sequence[Node]) -> list[Node]:
        env: dict[Node, Node] = dict(zip(self.graph.inputs, inputs, strict=True))
        before = state.grad
        known = state.divert is None and not any(n.is_abstract for n in inputs)
        try:
            for node, gone in zip(self.graph.nodes, self._gone, strict=True):
                assert node.op is not None and node.args is not None
                state.grad = before and not node.stop
                args = tuple([env.get(a, a) for a in node.args])
                made = _put_off(node, args) if known else apply(node.op, args, node.params)
                if node.hooks is not None:
                    made.hooks = node.hooks
                env[node] = made
                for old in gone:
                    env.pop(old, None)
        finally:
            state.grad = before
        return [env.get(o, o) for o in self.graph.outputs]

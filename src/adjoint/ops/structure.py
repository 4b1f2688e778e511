"""Structural rows: named regions, loops, picking one of several results, copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np

from adjoint.ir.batch import batch
from adjoint.ir.graph import Graph, record
from adjoint.ir.interpret import interpret
from adjoint.ir.node import (
    Array,
    Node,
    Op,
    Params,
    Type,
    alias,
    apply,
    constant,
    grad_mode,
    state,
)  # fmt: skip
from adjoint.ir.reverse import Parts, backward
from adjoint.ops.movement import flip, permute
from adjoint.ops.rows import each, full, op, same_type, with_batch, zeros_like

Nodes = Sequence[Node]


_next_region = count().__next__


class Region:
    """A named composite: one node in a program, its meaning given by ``body``.

    body(*nodes, **static) -> nodes: the composition that defines it (and its derivative).
    kernel(*arrays, **static) -> array or tuple: a faster NumPy path for the same values.
    infer(*nodes, **static) -> Type(s): needed when there is no body.
    vjp(ct, out, wanted, args, static) -> nodes: a hand-written derivative.
    vmap(op, size, batched, args, params) -> node: a hand-written batching rule.
    identity: regions of equal name and identity are the same in the key of a Graph; by default
    every region differs from all others.
    """

    def __init__(
        self,
        name: str,
        body: Callable[..., Nodes] | None = None,
        *,
        kernel: Callable[..., Any] | None = None,
        infer: Callable[..., Any] | None = None,
        vjp: Callable[..., Sequence[Node | None]] | None = None,
        vmap: Callable[..., Node] | None = None,
        identity: object = None,
    ) -> None:
        self.name = name
        self.body = body
        self.kernel = kernel
        self.infer = infer
        self.vjp = vjp
        self.vmap = vmap
        self.identity = identity  # kept, so that its id stays its own
        self.key = f"{name}#{_next_region()}" if identity is None else f"{name}@{id(identity)}"

    def __repr__(self) -> str:
        return self.name

    def __call__(self, *args: Node, **static: Any) -> Node:
        """Apply the region; a region with several results gives a node with ``parts``."""
        return apply(call, args, {"region": self, **static})

    def graph(self, types: Sequence[Type], static: Params) -> Graph:
        """The body, recorded for arguments of ``types``."""
        body = self.body
        assert body is not None, f"region {self.name} has no body"
        return record(lambda *nodes: body(*nodes, **static), types, name=self.name)


def results(node: Node) -> list[Node]:
    """The results of a node as separate nodes."""
    if node.parts is None:
        return [node]
    return [pick(node, index=i) for i in range(len(node.parts))]


def _types(nodes: Sequence[Node]) -> list[Type]:
    return [Type(n.shape, n.dtype) for n in nodes]


def _call_type(*args: Node, region: Region, **static: Any) -> Any:
    if region.infer is not None:
        return region.infer(*args, **static)
    found = _types(region.graph(_types(args), static).outputs)
    return found[0] if len(found) == 1 else tuple(found)


def _call(*args: Array, region: Region, **static: Any) -> Any:
    if region.kernel is not None:
        return region.kernel(*args, **static)
    assert region.body is not None
    with grad_mode(False):
        outs = region.body(*(constant(a) for a in args), **static)
    values = tuple(o.array() for o in outs)
    return values[0] if len(values) == 1 else values


def _call_vjp(
    ct: Any, out: Node, wanted: tuple[bool, ...], args: tuple[Node, ...], params: Params
) -> Sequence[Node | None]:
    """The hand-written derivative, else that of the body, computed again from the arguments."""
    region: Region = params["region"]
    static = {k: v for k, v in params.items() if k != "region"}
    if region.vjp is not None:
        return region.vjp(ct, out, wanted, args, static)
    assert region.body is not None, f"region {region.name} has neither body nor vjp"
    return pullback(lambda *nodes: region.body(*nodes, **static), args, wanted, ct)  # type: ignore[misc]


def pullback(
    function: Callable[..., Nodes], args: Sequence[Node], wanted: Sequence[bool], ct: Any
) -> list[Node | None]:
    """Cotangents of the wanted ``args`` of ``function``, evaluated again at ``args``.

    The result is itself differentiable with respect to ``args`` and ``ct``.
    """
    differentiable = state.grad
    fresh = [variable(a) if needs else a for a, needs in zip(args, wanted, strict=True)]
    with grad_mode(True):
        outs = function(*fresh)
    cts = ct.items if isinstance(ct, Parts) else (ct,)
    pairs = [(o, c) for o, c in zip(outs, cts, strict=True) if c is not None]
    inputs = [n for n, needs in zip(fresh, wanted, strict=True) if needs]
    with grad_mode(differentiable):
        found = backward([o for o, _ in pairs], [c for _, c in pairs], inputs)
    return [found.get(n) if needs else None for n, needs in zip(fresh, wanted, strict=True)]


def severed(node: Node) -> Node:
    """The same value without history: a constant, or while recording a copy that is one."""
    if state.capture is not None:
        node = state.capture.lift(node)
    if not (node.is_abstract and node.device.holds_values):
        made = alias(node)
        if state.watch is not None:
            state.watch(made, copy, (node,), {"stop": True})
        return made
    with grad_mode(False):
        return copy(node, stop=True)


def variable(node: Node) -> Node:
    """``node`` seen as a new variable: derivatives can be taken with respect to the result, and
    still reach ``node`` when it needs a gradient itself."""
    fresh = copy(node)
    if not fresh.needs_grad:
        if not fresh.is_abstract:
            fresh = alias(node)
        fresh.needs_grad = True
    return fresh


def _call_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    region: Region = params["region"]
    static = {k: v for k, v in params.items() if k != "region"}
    if region.vmap is not None:
        return region.vmap(op, size, batched, args, static)
    singles = [
        Type(a.shape[1:] if b else a.shape, a.dtype) for a, b in zip(args, batched, strict=True)
    ]
    graph = region.graph(singles, static)
    outs = [with_batch(size, n, b) for n, b in batch(graph, size, args, batched)]
    return outs[0] if len(outs) == 1 else together(outs)


call = op(
    "call", "structure",
    infer=_call_type, ref=_call, vjp=_call_vjp, vmap=_call_vmap, quiet=True,
)  # fmt: skip


def _pick(x: tuple[Array, ...], index: int) -> Array:
    return x[index]


def _pick_type(x: Node, index: int) -> Type:
    return _parts(x)[index]


def _pick_back(
    ct: Node, out: Node, wanted: tuple[bool, ...], args: tuple[Node, ...], params: Params
) -> Sequence[Parts]:
    return (Parts.one(params["index"], len(_parts(args[0])), ct),)


def _as_it_is(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    """The vmap of an op that does the same with a batch."""
    return op(*args, **params)


pick = op(
    "pick", "structure", infer=_pick_type, ref=_pick, vjp=_pick_back, vmap=_as_it_is,
)  # fmt: skip


def together(nodes: Sequence[Node]) -> Node:
    """One node whose results are ``nodes``; it has ``parts`` even when there is only one."""
    return _TOGETHER(*nodes)


def _together_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
) -> Node:
    return together([with_batch(size, a, b) for a, b in zip(args, batched, strict=True)])


_TOGETHER = Region(
    "together",
    body=lambda *nodes: nodes,
    kernel=lambda *arrays: arrays,
    infer=lambda *nodes: tuple(_types(nodes)),
    vmap=_together_vmap,
)


class Again:
    """Marks a copy: what is computed from it is computed a second time, though an equal node is
    there. No two marks are equal, but recordings that differ in nothing else are."""

    key = "again"

    def __repr__(self) -> str:
        return self.key


def _copy(x: Array, stop: bool = False, again: Again | None = None) -> Array:
    return x


def _copy_back(
    ct: Node, out: Node, x: Node, stop: bool = False, again: Again | None = None
) -> Node | None:
    return None if stop else ct


copy = op(
    "copy", "structure", infer=same_type, ref=_copy, vjp=each(_copy_back), vmap=_as_it_is,
)  # fmt: skip


# loop: args are `carries` initial values, `scanned` stacked inputs, then constants.
# body: Graph (carries, one slice of each scanned, constants) -> (new carries, one slice of each y)


def _split(
    args: Sequence[Any], carries: int, scanned: int
) -> tuple[list[Any], list[Any], list[Any]]:
    items = list(args)
    return items[:carries], items[carries : carries + scanned], items[carries + scanned :]


def _loop_type(*args: Node, body: Graph, carries: int, scanned: int, length: int) -> Any:
    _check_closed(body)
    outs = body.outputs
    stacked = [Type((length, *y.shape), y.dtype) for y in outs[carries:]]
    return (*_types(outs[:carries]), *stacked)


def _loop(*args: Any, body: Graph, carries: int, scanned: int, length: int) -> tuple[Array, ...]:
    _check_closed(body)
    state_values, xs, constants = _split(args, carries, scanned)
    outs = body.outputs[carries:]
    ys = [np.empty((length, *y.shape), y.dtype.numpy) for y in outs]
    with grad_mode(False):
        fixed = [constant(c) for c in constants]
        current = [constant(np.asarray(s)) for s in state_values]
        for t in range(length):
            slices = [constant(np.asarray(x[t])) for x in xs]
            new = interpret(body, [*current, *slices, *fixed])
            current = new[:carries]
            for y, node in zip(ys, new[carries:], strict=True):
                y[t] = node.array()
    return (*(c.array() for c in current), *ys)


def _check_closed(body: Graph) -> None:
    """What the body closes over gets no gradient, so it must not want one."""
    assert not any(c.needs_grad for c in body.constants), "a loop body needs what it differentiates"


def _loop_vjp(
    ct: Parts, out: Node, wanted: tuple[bool, ...], args: tuple[Node, ...], params: Params
) -> Sequence[Node | None]:
    """Run forward again keeping every carry, then a loop backwards over them."""
    body: Graph = params["body"]
    carries, scanned, length = params["carries"], params["scanned"], params["length"]
    _, xs, constants = _split(args, carries, scanned)
    kept = _keep_carries(body, carries)
    forward = loop(*args, body=kept, carries=carries, scanned=scanned, length=length)
    saved = results(forward)[len(body.outputs) :]
    is_float = [n.dtype.kind == "f" for n in body.inputs]
    reverse = _reverse_body(body, carries, scanned, is_float)
    seeds = [_filled(c, t) for c, t in zip(ct.items, _parts(out), strict=True)]
    start = [s for s, f in zip(seeds[:carries], is_float, strict=False) if f]
    sums = [
        zeros_like(c) for c, f in zip(constants, is_float[carries + scanned :], strict=True) if f
    ]
    float_ys = [
        s
        for s, y in zip(seeds[carries:], body.outputs[carries:], strict=True)
        if y.dtype.kind == "f"
    ]
    turned = [flip(n, (0,)) for n in (*saved, *xs, *float_ys)]
    back = loop(
        *start, *sums, *turned, *constants,
        body=reverse, carries=len(start) + len(sums), scanned=len(turned), length=length,
    )  # fmt: skip
    outs = results(back)
    found: list[Node | None] = []
    at = {"carry": 0, "constant": len(start), "scanned": len(start) + len(sums)}
    groups = ["carry"] * carries + ["scanned"] * scanned + ["constant"] * len(constants)
    for group, f in zip(groups, is_float, strict=True):
        if not f:
            found.append(None)
            continue
        node = outs[at[group]]
        at[group] += 1
        found.append(flip(node, (0,)) if group == "scanned" else node)
    return found


def _parts(node: Node) -> tuple[Type, ...]:
    assert node.parts is not None
    return node.parts


def _filled(ct: Node | None, of: Type) -> Node:
    return ct if ct is not None else full(0, of.shape, of.dtype)


def _keep_carries(body: Graph, carries: int) -> Graph:
    """The same body, also giving the carries it started from as extra stacked results."""
    kept = [copy_of(n) for n in body.inputs[:carries]]
    return Graph(body.inputs, [*body.outputs, *kept], name=f"{body.name}_kept")


def copy_of(node: Node) -> Node:
    """A recorded copy, so that an input can be an output under its own name."""
    state.recording += 1
    try:
        return copy(node)
    finally:
        state.recording -= 1


def _reverse_body(body: Graph, carries: int, scanned: int, is_float: list[bool]) -> Graph:
    """(ct carries, ct constants so far; carries, xs, ct ys; constants) -> the same and ct xs."""
    outs = body.outputs
    float_carries = [i for i in range(carries) if is_float[i]]
    float_constants = [i for i in range(carries + scanned, len(is_float)) if is_float[i]]
    float_ys = [i for i in range(carries, len(outs)) if outs[i].dtype.kind == "f"]
    types = [
        *(_types([body.inputs[i] for i in (*float_carries, *float_constants)])),
        *_types(body.inputs[: carries + scanned]),
        *_types([outs[i] for i in float_ys]),
        *_types(body.inputs[carries + scanned :]),
    ]

    def function(*nodes: Node) -> Nodes:
        items = list(nodes)
        ct_carries = [items.pop(0) for _ in float_carries]
        sums = [items.pop(0) for _ in float_constants]
        inside = [items.pop(0) for _ in range(carries + scanned)]
        ct_ys = [items.pop(0) for _ in float_ys]
        inputs = [*inside, *items]
        cts: list[Node | None] = [None] * len(outs)
        for i, c in zip((*float_carries, *float_ys), (*ct_carries, *ct_ys), strict=True):
            cts[i] = c
        grads = pullback(lambda *n: interpret(body, n), inputs, is_float, Parts(tuple(cts)))
        grads = [g if g is not None else zeros_like(i) for g, i in zip(grads, inputs, strict=True)]
        new_sums = [s + grads[i] for s, i in zip(sums, float_constants, strict=True)]
        ct_xs = [grads[i] for i in range(carries, carries + scanned) if is_float[i]]
        return [*(grads[i] for i in float_carries), *new_sums, *ct_xs]

    return record(function, types, name=f"{body.name}_reverse")


def _loop_vmap(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    """Batch every carry and scanned input; scanned ones carry the batch after the step axis."""
    body: Graph = params["body"]
    carries, scanned = params["carries"], params["scanned"]
    inits, xs, constants = _split(list(zip(args, batched, strict=True)), carries, scanned)

    new_inits = [with_batch(size, a, b) for a, b in inits]
    new_xs = [permute(a, axes=(1, 0, *range(2, a.ndim))) if b else a for a, b in xs]
    flags = [True] * carries + [b for _, b in xs] + [b for _, b in constants]
    new_args = [*new_inits, *new_xs, *(a for a, _ in constants)]
    types = [
        Type((size, *n.shape) if f else n.shape, n.dtype)
        for n, f in zip(body.inputs, flags, strict=True)
    ]

    def function(*nodes: Node) -> Nodes:
        return [with_batch(size, n, b) for n, b in batch(body, size, nodes, flags)]

    wide = record(function, types, name=f"{body.name}_batched")
    outs = results(loop(*new_args, **{**params, "body": wide}))
    stacked = [permute(y, axes=(1, 0, *range(2, y.ndim))) for y in outs[carries:]]
    return together([*outs[:carries], *stacked])


loop = op(
    "loop", "structure",
    infer=_loop_type, ref=_loop, vjp=_loop_vjp, vmap=_loop_vmap,
)  # fmt: skip

"""Function: a differentiable function whose forward and backward the user writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjoint import ops
from adjoint.base import errors
from adjoint.ir.batch import batch
from adjoint.ir.graph import record
from adjoint.ir.node import Node, Op, Params, Type, grad_mode, state
from adjoint.ir.reverse import Parts
from adjoint.ops.rows import with_batch, zeros_like
from adjoint.ops.structure import Region, call, results
from adjoint.tensors.handle import Handle, wrap


class Context:
    """What forward leaves for backward: ``ctx.save_for_backward(*tensors)``, or any attribute.

    ``ctx.needs_input_grad``: which arguments of ``apply`` want a gradient.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.saved_tensors: tuple[Any, ...] = ()
        self._unused: set[int] = set()

    def save_for_backward(self, *tensors: Handle | None) -> None:
        """Keep tensors for backward; they come back as ``ctx.saved_tensors``."""
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *outputs: Handle) -> None:
        """Say that these outputs carry no gradient."""
        self._unused.update(id(o) for o in outputs)


class Function:
    """Subclass with static ``forward(ctx, *args)`` and ``backward(ctx, *gradients)``.

    ``backward`` returns one gradient (or None) per argument of forward. Call the function as
    ``MyFunction.apply(*args)``. It works under every transform; backward itself can be
    differentiated when it is made of tensor functions.
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """The value, from tensors and other arguments."""
        raise errors.argument("Function", "forward is not defined", hint="write a static forward")

    @staticmethod
    def backward(ctx: Context, *gradients: Any) -> Any:
        """Gradients of the arguments, from those of the results."""
        raise errors.argument("Function", "backward is not defined", hint="write a static backward")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` and enter ``backward`` in the graph."""
        places = [i for i, a in enumerate(args) if isinstance(a, Handle)]
        inputs = [args[i].node for i in places]
        ctx = Context(tuple(isinstance(a, Handle) and a.requires_grad for a in args))
        with grad_mode(False):
            out = cls.forward(ctx, *args)
        outs = list(out) if isinstance(out, tuple) else [out]
        if not all(isinstance(o, Handle) for o in outs):
            raise errors.not_a_tensor(f"{cls.__name__}.forward", out, hint="return tensors")
        abstract = any(o.node.is_abstract for o in outs)
        if not abstract and not (state.grad and any(ctx.needs_input_grad)):
            return out
        found = _enter(cls, ctx, args, places, inputs, [o.node for o in outs])
        made = [
            wrap(ops.copy(n, stop=True)) if id(o) in ctx._unused else wrap(n)
            for n, o in zip(found, outs, strict=True)
        ]
        return tuple(made) if isinstance(out, tuple) else made[0]


def _enter(
    cls: type[Function], ctx: Context, args: Sequence[Any], places: list[int],
    inputs: list[Node], outs: list[Node],
) -> list[Node]:  # fmt: skip
    """A region whose value is ``outs`` and whose derivative is the user's backward.

    Its arguments are the results, the inputs and the saved tensors, so that it can be batched.
    """
    saved = [t.node for t in ctx.saved_tensors if t is not None]
    pattern = [t is not None for t in ctx.saved_tensors]
    ctx.saved_tensors = ()  # they are arguments of the region from here on
    count = len(outs)

    def body(*nodes: Node) -> list[Node]:
        return list(nodes[:count])

    def pull(ct: Any, nodes: Sequence[Node]) -> list[Node | None]:
        cts = ct.items if isinstance(ct, Parts) else (ct,)
        given = [
            wrap(zeros_like(o) if c is None else c)
            for c, o in zip(cts, outs_of(nodes), strict=True)
        ]
        kept = iter(nodes[count + len(inputs) :])
        ctx.saved_tensors = tuple(wrap(next(kept)) if p else None for p in pattern)
        back = cls.backward(ctx, *given)
        ctx.saved_tensors = ()
        return _checked(cls, back, args, places)

    def outs_of(nodes: Sequence[Node]) -> Sequence[Node]:
        return nodes[:count]

    region = _region(cls, body, pull, count, len(inputs))
    stopped = [ops.copy(o, stop=True) for o in outs]
    return results(call(*stopped, *inputs, *(ops.copy(s) for s in saved), region=region))


def _region(cls: type[Function], body: Any, pull: Any, count: int, inputs: int) -> Region:
    def vjp(
        ct: Any, out: Node, wanted: tuple[bool, ...], args: tuple[Node, ...], static: Params
    ) -> list[Node | None]:
        found: list[Node | None] = [None] * len(args)
        found[count : count + inputs] = pull(ct, args)
        return found

    def vmap(
        op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
    ) -> Node:
        """The same region over the batch; its backward is the user's, vectorised."""

        def wide_pull(ct: Any, nodes: Sequence[Node]) -> list[Node | None]:
            return _batched_pull(pull, size, ct, nodes, count, inputs)

        wide = _region(cls, body, wide_pull, count, inputs)
        full = [with_batch(size, a, b) for a, b in zip(args, batched, strict=True)]
        return call(*full, region=wide)

    return Region(cls.__name__, body, vjp=vjp, vmap=vmap, identity=cls)


def _batched_pull(
    pull: Any, size: int, ct: Any, nodes: Sequence[Node], count: int, inputs: int
) -> list[Node | None]:
    cts = ct.items if isinstance(ct, Parts) else (ct,)
    seeds = [zeros_like(n) if c is None else c for c, n in zip(cts, nodes, strict=False)]
    given = [*seeds, *nodes]
    singles = [Type(n.shape[1:], n.dtype) for n in given]
    missing: list[bool] = []

    def one(*inner: Node) -> list[Node]:
        first = inner[0] if count == 1 else Parts(tuple(inner[:count]))
        found = pull(first, inner[count:])
        missing.extend(f is None for f in found)
        return [f for f in found if f is not None]

    graph = record(one, singles, name="backward")
    outs = iter(batch(graph, size, given, [True] * len(given)))
    made: list[Node | None] = []
    for absent in missing[:inputs]:
        if absent:
            made.append(None)
            continue
        node, flag = next(outs)
        made.append(with_batch(size, node, flag))
    return made


def _checked(
    cls: type[Function], back: Any, args: Sequence[Any], places: list[int]
) -> list[Node | None]:
    grads = list(back) if isinstance(back, tuple) else [back]
    name = f"{cls.__name__}.backward"
    if len(grads) != len(args):
        raise errors.grad(
            f"{name}: returned {len(grads)} gradients for {len(args)} arguments",
            hint="return one per argument of forward, None where there is none",
        )
    found: list[Node | None] = []
    for i in places:
        grad, node = grads[i], args[i].node
        if grad is None or node.dtype.kind != "f":
            found.append(None)
            continue
        if not isinstance(grad, Handle):
            raise errors.not_a_tensor(name, grad)
        if grad.node.shape != node.shape and not node.is_abstract:
            raise errors.shape(
                name,
                f"the gradient of argument {i} must have its shape",
                grad,
                node,
                hint="sum over the axes that were broadcast",
            )
        same = grad.node.dtype is node.dtype
        found.append(grad.node if same else ops.cast(grad.node, dtype=node.dtype))
    return found

"""How a row of the op table is written: shared infer, vjp and vmap rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import DType, bool_
from adjoint.base.shape import Shape
from adjoint.ir.node import Array, Node, Op, Params, Type, apply, constant, state
from adjoint.ir.reverse import Parts
from adjoint.runtime.device import CPU

TABLE: dict[str, Op] = {}
Rule = Callable[..., Node | None]
UnaryRule = Callable[[Node, Node, Node], Node]
BinaryRule = Callable[[Node, Node, Node, Node], Node]
Vjp = Callable[..., Sequence[Node | Parts | None]]
Wanted = tuple[bool, ...]


def op(
    name: str,
    kind: str,
    *,
    infer: Callable[..., Any],
    ref: Callable[..., Any],
    vjp: Vjp,
    vmap: Callable[..., Node],
    lazy: bool = False,
    quiet: bool = False,
) -> Op:
    """Add a row to the table."""
    row = Op(name, kind, infer, ref, vjp, vmap, lazy, quiet)
    TABLE[name] = row
    return row


def or_compiled(
    ref: Callable[..., Any], find: Callable[[], Op], work: Callable[..., int], least: int,
    patience: int = 2,
) -> Callable[..., Any]:  # fmt: skip
    """``ref``, or the compiled kernel of the op that ``find`` gives where ``work(*arrays,
    **params)`` is at least ``least`` and there is one. patience: see ``compile.eager_whole``."""

    def run(*arrays: Any, **params: Any) -> Any:
        fast = CPU.kernels.get("whole")
        if fast is not None and work(*arrays, **params) >= least:
            found = fast(find(), arrays, params, patience)
            if found is not None:
                return found
        return ref(*arrays, **params)

    return run


def each(*rules: Rule | None) -> Vjp:
    """A vjp from one rule per argument, ``rule(ct, out, *args, **params)``; None: no gradient."""

    def vjp(
        ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], params: Params
    ) -> tuple[Node | None, ...]:
        return tuple(
            rule(ct, out, *args, **params) if needs and rule is not None else None
            for rule, needs in zip(rules, wanted, strict=True)
        )

    vjp.rules = rules  # type: ignore[attr-defined]  # the mutation tests flip them one by one
    return vjp


def both(left: BinaryRule, right: BinaryRule) -> Vjp:
    """``each`` for two operands: the rules are ``(ct, out, x, y)``."""
    return each(left, right)


def no_gradient(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], params: Params
) -> tuple[None, ...]:
    """The vjp of an op whose result is piecewise constant or not a float."""
    return (None,) * len(args)


def flat(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], params: Params
) -> tuple[Node | None, ...]:
    """The vjp of an op that is constant almost everywhere: zeros, so that a gradient arrives."""
    return tuple(zeros_like(ct) if needs else None for needs in wanted)


def unary(
    name: str, ref: Callable[[Array], Array], rule: UnaryRule | None, quiet: bool = False
) -> Op:
    """A pointwise op of one argument; ``rule(ct, out, x)``, or None where that is zero."""
    vjp = each(rule) if rule is not None else flat
    return op(name, "pointwise", infer=same_type, ref=ref, vjp=vjp, vmap=batch_all, quiet=quiet)


def binary(name: str, ref: Callable[[Array, Array], Array], vjp: Vjp, quiet: bool = False) -> Op:
    """A pointwise op of two arguments of one type."""
    return op(name, "pointwise", infer=same_type, ref=ref, vjp=vjp, vmap=batch_all, quiet=quiet)


def comparison(name: str, ref: Callable[[Array, Array], Array]) -> Op:
    """A pointwise op of two arguments of one type with a bool result (NaN of bfloat16 warns)."""
    return op(
        name, "pointwise", infer=bool_type, ref=ref, vjp=no_gradient, vmap=batch_all, quiet=True
    )


def same_type(*args: Node, **_: object) -> Type:
    """The common type of arguments that must agree."""
    first = args[0]
    for other in args[1:]:
        if other.shape != first.shape or other.dtype is not first.dtype:
            raise errors.shape(
                "pointwise op", "operands must have one type", *args,
                hint="broadcast and convert them first",
            )  # fmt: skip
    return Type(first.shape, first.dtype)


def bool_type(*args: Node, **_: object) -> Type:
    return Type(same_type(*args).shape, bool_)


def batch_all(
    op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
) -> Node:
    """The vmap of an op that treats a leading axis like any other: batch every argument."""
    return apply(
        op, tuple(with_batch(size, a, b) for a, b in zip(args, batched, strict=True)), params
    )


def shift_axes(**shift: Callable[[int, Any], Any]) -> Callable[..., Node]:
    """A vmap that batches every argument and rewrites params: ``new = shift[name](size, old)``."""

    def vmap(
        op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], params: Params
    ) -> Node:
        moved = {k: shift[k](size, v) if k in shift else v for k, v in params.items()}
        return batch_all(op, size, batched, args, moved)

    return vmap


def with_batch(size: int, node: Node, batched: bool) -> Node:
    """``node`` with a leading batch axis: itself if it has one, else repeated ``size`` times."""
    if batched:
        return node
    return TABLE["broadcast"](node, shape=(size, *node.shape))


def full(value: float, shape: Shape, dtype: DType) -> Node:
    """A node of ``shape`` filled with ``value``."""
    scalar = constant(number(value, dtype))
    return scalar if shape == () else repeated(scalar, shape)


def number(value: float, dtype: DType) -> Array:
    """``value`` as a 0-d array; beyond the range of a float dtype it is infinite, not a warning."""
    if -60000 < value < 60000:  # every dtype but the small integers holds these
        return np.asarray(value, dtype.numpy)
    with np.errstate(over="ignore"):
        return np.asarray(float(value) if dtype.kind == "f" else value, dtype.numpy)


def repeated(node: Node, shape: Shape) -> Node:
    """A lazy broadcast of a node that has a value, to a shape known to fit."""
    needs = node.needs_grad and state.grad
    return Node(TABLE["broadcast"], (node,), {"shape": shape}, shape, node.dtype, None, needs)


def zeros_like(node: Node) -> Node:
    return full(0, node.shape, node.dtype)

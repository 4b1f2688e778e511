"""gradcheck: derivatives of functions of tensors compared with finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjoint.base import errors
from adjoint.base.dtype import float64
from adjoint.base.tree import flatten
from adjoint.ir.node import Node, constant
from adjoint.tensors.handle import Handle, wrap
from adjoint.testing.differences import MODES, check


def gradcheck(
    function: Callable[..., Any],
    inputs: Any,
    *,
    order: int = 1,
    mode: str = "both",
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-6,
    raise_exception: bool = True,
    seed: int = 0,
) -> bool:
    """Whether the derivatives of ``function(*inputs)`` agree with central finite differences.

    Reverse mode is compared as <J^T u, v> with <u, f(x + eps v) - f(x - eps v)> / (2 eps) for
    random u and v (mode ``"random"``, any size of input), or every element of the Jacobian with
    its difference (``"elementwise"``, small inputs), or both; forward mode in the same way. Order
    2 also checks the gradient function (x, u) -> J(x)^T u itself, and so on.

    inputs: one float64 tensor, or a sequence of arguments, each a tensor or a nest of lists,
    tuples and dicts of tensors; results may be nested too. If an input requires grad, only such
    inputs are moved, else every float one. An element passes when
    |analytic - numeric| <= atol + rtol |numeric|; NaN never passes.

    Raises GradcheckError that names the worst element (``raise_exception=False``: returns False
    instead), or says that the result is not finite, not differentiable or not reproducible.
    Raises DTypeError for inputs or results in another float dtype than float64.

    Source: Griewank and Walther, "Evaluating Derivatives", 2nd ed., SIAM 2008, sections 3.1-3.2.
    """
    _check_settings(order, mode)
    arguments = (inputs,) if isinstance(inputs, Handle) else tuple(inputs)
    leaves, rebuild = flatten(arguments)
    moved = _moved(leaves)

    def on_nodes(*nodes: Node) -> Sequence[Node]:
        given = dict(zip(moved, nodes, strict=True))
        tensors = [wrap(given[i]) if i in given else leaf for i, leaf in enumerate(leaves)]
        results = flatten(function(*rebuild(tensors)))[0]
        return [_result(r) for r in results]

    names = _names(arguments)
    nodes = [constant(leaves[i].node.array("gradcheck")) for i in moved]
    try:
        found = check(
            on_nodes, nodes, order=order, mode=mode, seed=seed, eps=eps, atol=atol, rtol=rtol
        )
        if found is not None:
            raise errors.gradcheck(
                f"{found.mode} disagrees with finite differences at order {found.order}",
                lines=found.lines([names[i] for i in moved]),
                hint=f"allowed: {atol:g} + {rtol:g} * |numeric|",
            )
    except errors.GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(function: Callable[..., Any], inputs: Any, **options: Any) -> bool:
    """``gradcheck`` with order 2: the first derivative and the derivative of the gradient."""
    return gradcheck(function, inputs, order=2, **options)


def _check_settings(order: int, mode: str) -> None:
    if mode not in MODES:
        raise errors.unknown_name("gradcheck mode", mode, MODES)
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise errors.argument(
            "gradcheck", f"order must be 1, 2, ..., got {order!r}",
            hint="1 checks the derivative, 2 the derivative of the gradient as well",
        )  # fmt: skip


def _moved(leaves: Sequence[Any]) -> list[int]:
    """Positions of the leaves to differentiate by."""
    floats = [i for i, x in enumerate(leaves) if isinstance(x, Handle) and x.node.dtype.kind == "f"]
    moved = [i for i in floats if leaves[i].requires_grad] or floats
    if not moved:
        raise errors.argument(
            "gradcheck", "there is no float input to differentiate by",
            hint="pass float64 tensors: adjoint.tensor(data, dtype=adjoint.float64)",
        )  # fmt: skip
    for i in moved:
        if leaves[i].node.dtype is not float64:
            raise errors.wrong_dtype(
                "gradcheck", leaves[i].node.dtype, "float64 inputs",
                hint="differences cancel most digits of a shorter float: convert with x.double()",
            )  # fmt: skip
    return moved


def _names(arguments: Sequence[Any]) -> list[str]:
    """``input 1`` for each leaf, or ``input 1 leaf 3`` inside a nest, counting from 0."""
    names: list[str] = []
    for i, tree in enumerate(arguments):
        count = len(flatten(tree)[0])
        alone = isinstance(tree, Handle)
        names.extend(f"input {i}" if alone else f"input {i} leaf {j}" for j in range(count))
    return names


def _result(value: Any) -> Node:
    if not isinstance(value, Handle):
        raise errors.not_a_tensor(
            "gradcheck", value, hint="the function must return tensors, nested if you like"
        )
    return value.node

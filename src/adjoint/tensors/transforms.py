"""Functions of tensors turned into other functions: grad, vjp, jvp, vmap, Jacobians, Hessians.

Arguments and results may be trees: nested lists, tuples, dicts, dataclasses and modules. The
transforms compose with each other and with ``.backward()`` to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_function
from adjoint.base.shape import as_axis, numel
from adjoint.base.tree import Rebuild, flatten
from adjoint.ir.node import Node, constant, state
from adjoint.ops.rows import full, zeros_like
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.transform import vmap as batching
from adjoint.transform.grad import Pullback
from adjoint.transform.jvp import Pushforward
from adjoint.transform.jvp import jvp as jvp_nodes
from adjoint.transform.jvp import linearize as linearize_nodes

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

Function = Callable[..., Any]


def grad(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """The function that gives d function / d argument, in the structure of that argument.

    ``function`` returns one number (and, with ``has_aux``, anything else beside it, which is
    returned too). Raises GradError for a result of more than one element.
    """
    both = value_and_grad(function, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return gradient


def value_and_grad(
    function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """The function that gives ``(value, gradient)``, or ``((value, aux), gradient)``."""

    def both(*args: Any, **kwargs: Any) -> Any:
        chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        run = _Run(function, args, kwargs, chosen, has_aux)
        pull = Pullback(run, run.nodes, [True] * len(run.nodes))
        outs = pull.outs
        if not run.is_scalar(outs):
            raise errors.grad(
                f"grad: the function must return one number, it returned {run.describe()}",
                hint="reduce it (.sum() or .mean()), or use jacrev for all derivatives",
            )
        seed = full(1, outs[0].shape, outs[0].dtype)
        found = pull([seed, *[None] * (len(outs) - 1)])
        grads = run.rebuild_args(_filled(found, run.nodes))
        value = run.rebuild_out([wrap(o) for o in outs])
        return value, grads[0] if isinstance(argnums, int) else tuple(grads)

    return both


def vjp(function: Function, *primals: Any, has_aux: bool = False) -> Any:
    """``(out, pull)`` where ``pull(ct)`` gives a tuple: ct^T J for each primal.

    With ``has_aux`` the function returns (out, aux), and so does this: (out, pull, aux).
    """
    run = _Run(function, primals, {}, tuple(range(len(primals))), has_aux)
    pull = Pullback(run, run.nodes, [True] * len(run.nodes))
    outs = pull.outs

    def pull_tree(ct: Any) -> tuple[Any, ...]:
        leaves, _ = flatten(ct)
        seeds = _seeds("vjp", leaves, outs[: run.main])
        found = pull([*seeds, *[None] * (len(outs) - run.main)])
        return tuple(run.rebuild_args(_filled(found, run.nodes)))

    result = run.rebuild_out([wrap(o) for o in outs])
    return (result[0], pull_tree, result[1]) if has_aux else (result, pull_tree)


def jvp(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """``(function(*primals), J @ tangents)``; tangents have the structure of primals."""
    run, directions = _with_tangents("jvp", function, primals, tangents)
    outs, found = jvp_nodes(run, run.nodes, directions)
    return run.rebuild_out([wrap(o) for o in outs]), run.rebuild_out([wrap(t) for t in found])


def linearize(function: Function, *primals: Any) -> tuple[Any, Function]:
    """``(function(*primals), push)`` where ``push(*tangents)`` is J @ tangents, recorded once."""
    run = _Run(function, primals, {}, tuple(range(len(primals))), False)
    outs, push = linearize_nodes(run, run.nodes)

    def push_tree(*tangents: Any) -> Any:
        leaves, _ = flatten(tuple(tangents))
        found = push(_seeds("linearize", leaves, run.nodes))
        return run.rebuild_out([wrap(t) for t in found])

    return run.rebuild_out([wrap(o) for o in outs]), push_tree


def jacrev(function: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The function that gives the Jacobian by rows: one vectorised pull-back per result.

    For result ``o`` and argument ``a`` the block has shape ``o.shape + a.shape``. The structure is
    that of the results, with that of the arguments inside each leaf.
    """

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        run = _Run(function, args, kwargs, chosen, False)
        pull = Pullback(run, run.nodes, [True] * len(run.nodes))
        outs = pull.outs
        blocks = [pull.settle(_rows(i, outs, pull, run.nodes)) for i in range(len(outs))]
        return run.rebuild_out([_block(run, b, argnums) for b in blocks])

    return jacobian


def jacfwd(function: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The function that gives the Jacobian by columns: one vectorised push-forward per argument.

    Shapes and structure are those of ``jacrev``.
    """

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        run = _Run(function, args, kwargs, chosen, False)
        push = Pushforward(run, run.nodes, [True] * len(run.nodes))
        outs = push.outs
        columns = [push.settle(_columns(i, outs, push, run.nodes)) for i in range(len(run.nodes))]
        blocks = [[column[o] for column in columns] for o in range(len(outs))]
        return run.rebuild_out([_block(run, b, argnums) for b in blocks])

    return jacobian


def hessian(function: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The function that gives all second derivatives: the Jacobian of the gradient."""
    return jacfwd(jacrev(function, argnums), argnums)


def hvp(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of a scalar function times ``tangents``, without forming the Hessian.

    H is symmetric, so H v is the pull-back of v through the gradient. Gives one tree per primal
    (the tree itself for a single primal).
    """
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise errors.bad_argument("hvp", name, given, "a tuple with one entry per argument")
    chosen = tuple(range(len(primals)))
    _, pull = vjp(lambda *p: grad(function, chosen)(*p), *primals)
    found = pull(tuple(tangents))
    return found[0] if len(primals) == 1 else found


def vmap(
    function: Function, in_axes: Any = 0, out_axes: Any = 0, randomness: str = "error"
) -> Function:
    """``function``, written for one example, applied to all examples of a batch at once.

    in_axes: the batch axis of each argument (None: the same for all examples); one value, or a
    tuple with one value or tree of values per argument. out_axes: where the batch axis goes in the
    results. randomness: random draws inside raise (``"error"``), are shared by all examples
    (``"same"``) or not (``"different"``). Raises ShapeError when batch sizes disagree.
    """
    as_choice("vmap randomness", randomness, ["error", "same", "different"])

    def batched(*args: Any, **kwargs: Any) -> Any:
        run = _Run(function, args, kwargs, tuple(range(len(args))), False, check=False)
        axes = _in_axes(in_axes, args, run.nodes)
        size = _batch_size(run.nodes, axes)
        nodes, places, body = run.nodes, axes, run
        if randomness == "different":
            nodes, places = [*nodes, _keys(size)], [*axes, 0]

        def call(*inner: Node) -> list[Node]:
            before = state.random
            if randomness != "same":
                key = inner[-1] if randomness == "different" else None
                state.random = (*before, _Draws(key))
            try:
                return body(*(inner[:-1] if randomness == "different" else inner))
            finally:
                state.random = before

        def places_out(count: int) -> list[int | None]:
            return _out_axes(out_axes, run, count)

        outs = batching.vmap(call, size, nodes, places, places_out)
        return run.rebuild_out([wrap(o) for o in outs])

    return batched


class _Run:
    """A call of a user function seen as a function of nodes; remembers the structures."""

    def __init__(
        self, function: Function, args: Sequence[Any], kwargs: dict[str, Any],
        chosen: tuple[int, ...], has_aux: bool, check: bool = True,
    ) -> None:  # fmt: skip
        if not chosen or max(chosen, default=0) >= len(args) or min(chosen, default=0) < -len(args):
            raise errors.argument(
                "transform",
                f"argument {chosen} is asked for, {len(args)} were given",
                hint="argnums counts arguments given by position, from 0",
            )
        self.function, self.args = as_function("transform", function), args
        self.kwargs, self.chosen = kwargs, chosen
        self.has_aux = has_aux
        leaves, self.rebuild_args = flatten([args[i] for i in chosen])
        self.is_tensor = [check or isinstance(x, (Handle, np.ndarray)) for x in leaves]
        self.leaves = leaves
        self.nodes = [_node(x) for x, t in zip(leaves, self.is_tensor, strict=True) if t]
        if check:
            _check_float(self.nodes)
        self.rebuild_out: Rebuild = lambda leaves: leaves
        self.main = 0
        self.out_leaves: list[Any] = []

    def __call__(self, *nodes: Node) -> list[Node]:
        fresh = iter(nodes)
        leaves = [
            wrap(next(fresh)) if t else x for x, t in zip(self.leaves, self.is_tensor, strict=True)
        ]
        args = list(self.args)
        for place, tree in zip(self.chosen, self.rebuild_args(leaves), strict=True):
            args[place] = tree
        out = self.function(*args, **self.kwargs)
        if self.has_aux and not (isinstance(out, tuple) and len(out) == 2):
            raise errors.argument(
                "transform",
                "with has_aux the function must return a pair (out, aux)",
                hint="return loss, extra",
            )
        self.out_leaves, rebuild = flatten(out)
        is_tensor = [isinstance(x, Handle) for x in self.out_leaves]
        main_leaves = flatten(out[0])[0] if self.has_aux else self.out_leaves
        self.main = sum(isinstance(x, Handle) for x in main_leaves)
        if self.main == 0 or len(main_leaves) != self.main:
            raise errors.not_a_tensor(
                "transform",
                out,
                hint="the function must return tensors computed from its arguments",
            )
        others = self.out_leaves

        def put_back(tensors: list[Any]) -> Any:
            made = iter(tensors)
            return rebuild([next(made) if t else x for x, t in zip(others, is_tensor, strict=True)])

        self.rebuild_out = put_back
        return [x.node for x in others if isinstance(x, Handle)]

    def is_scalar(self, outs: Sequence[Node]) -> bool:
        """Whether the differentiated result is one float with one element."""
        return self.main == 1 and numel(outs[0].shape) == 1 and outs[0].dtype.kind == "f"

    def describe(self) -> str:
        return ", ".join(errors.describe(x) for x in self.out_leaves[: max(self.main, 1)])


class _Draws:
    """Keys for random draws inside ``vmap``: words 2k, 2k+1 of the example's own stream."""

    def __init__(self, key: Node | None) -> None:
        self.key = key
        self.count = 0

    def __call__(self) -> Node:
        if self.key is None:
            raise errors.argument(
                "vmap", "a random draw inside vmap",
                hint='say vmap(f, randomness="different") or "same"',
            )  # fmt: skip
        self.count += 1
        words = ops.random_bits(self.key, shape=(2 * self.count,))
        return ops.slice(words, starts=(2 * self.count - 2,), sizes=(2,), steps=(1,))


def _node(value: Any) -> Node:
    return node_of(value, "transform")


def _check_float(nodes: Sequence[Node]) -> None:
    for node in nodes:
        if node.dtype.kind != "f":
            raise errors.wrong_dtype(
                "grad", node.dtype, "float arguments",
                hint="convert it (x.float()), or leave it out of argnums",
            )  # fmt: skip


def _filled(found: Sequence[Node | None], nodes: Sequence[Node]) -> list[Tensor]:
    return [wrap(zeros_like(n) if g is None else g) for g, n in zip(found, nodes, strict=True)]


def _seeds(op: str, leaves: Sequence[Any], like: Sequence[Node]) -> list[Node]:
    if len(leaves) != len(like):
        raise errors.argument(
            op,
            f"{len(leaves)} vectors for {len(like)} tensors",
            hint="give one vector for each tensor, in the same structure",
        )
    seeds: list[Node] = []
    for leaf, node in zip(leaves, like, strict=True):
        seed = node_of(leaf, op, node)
        if seed.shape != node.shape:
            raise errors.shape(
                op,
                "a vector must have its tensor's shape",
                seed,
                node,
                hint=f"pass a vector of shape {errors.dims(node.shape)}",
            )
        seeds.append(seed if seed.dtype is node.dtype else ops.cast(seed, dtype=node.dtype))
    return seeds


def _with_tangents(
    op: str, function: Function, primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[_Run, list[Node]]:
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise errors.argument(
            op,
            "primals and tangents are tuples, one entry per argument",
            hint="f((x,), (v,)), with a comma for a single argument",
        )
    run = _Run(function, primals, {}, tuple(range(len(primals))), False)
    return run, _seeds(op, flatten(tuple(tangents))[0], run.nodes)


def _basis(node: Node) -> Node:
    """All unit vectors of the shape of ``node``, along a new first axis."""
    size = numel(node.shape)
    return constant(np.eye(size, dtype=node.dtype.numpy).reshape(size, *node.shape))


def _rows(index: int, outs: Sequence[Node], pull: Pullback, nodes: Sequence[Node]) -> list[Node]:
    out = outs[index]

    def one(ct: Node) -> list[Node]:
        found = pull([ct if i == index else None for i in range(len(outs))])
        return [zeros_like(n) if g is None else g for g, n in zip(found, nodes, strict=True)]

    size = numel(out.shape)
    if size == 0 or out.dtype.kind != "f":
        return [full(0, out.shape + n.shape, n.dtype) for n in nodes]
    rows = batching.vmap(one, size, [_basis(out)], [0], lambda n: [0] * n)
    return [ops.reshape(r, shape=out.shape + n.shape) for r, n in zip(rows, nodes, strict=True)]


def _columns(
    index: int, outs: Sequence[Node], push: Pushforward, nodes: Sequence[Node]
) -> list[Node]:
    node = nodes[index]

    def one(tangent: Node) -> list[Node]:
        return push([tangent if i == index else zeros_like(n) for i, n in enumerate(nodes)])

    size = numel(node.shape)
    if size == 0:
        return [full(0, o.shape + node.shape, o.dtype) for o in outs]
    columns = batching.vmap(one, size, [_basis(node)], [0], lambda n: [0] * n)
    turned = [ops.permute(c, axes=(*range(1, c.ndim), 0)) for c in columns]
    return [ops.reshape(c, shape=o.shape + node.shape) for c, o in zip(turned, outs, strict=True)]


def _block(run: _Run, blocks: Sequence[Node], argnums: int | Sequence[int]) -> Any:
    trees = run.rebuild_args([wrap(b) for b in blocks])
    return trees[0] if isinstance(argnums, int) else tuple(trees)


def _in_axes(spec: Any, args: Sequence[Any], nodes: Sequence[Node]) -> list[int | None]:
    """One axis or None per tensor among the arguments."""
    per_arg = spec if isinstance(spec, (tuple, list)) else (spec,) * len(args)
    if len(per_arg) != len(args):
        raise errors.argument(
            "vmap",
            f"in_axes names {len(per_arg)} arguments, {len(args)} given",
            hint="give one axis (or None) per argument, or one for all",
        )
    axes: list[int | None] = []
    for arg, axis in zip(args, per_arg, strict=True):
        leaves = [x for x in flatten(arg)[0]]
        if axis is None or isinstance(axis, int):
            chosen: list[Any] = [axis] * len(leaves)
        else:
            chosen = flatten(axis, is_leaf=lambda x: x is None or isinstance(x, int))[0]
        if len(chosen) != len(leaves):
            raise errors.argument(
                "vmap",
                "an entry of in_axes has another structure than its argument",
                hint="an axis for the whole argument, or one for each of its parts",
            )
        pairs = zip(leaves, chosen, strict=True)
        axes.extend(a for x, a in pairs if isinstance(x, (Handle, np.ndarray)))
    return [
        None if a is None else as_axis("vmap", a, n.ndim) for a, n in zip(axes, nodes, strict=True)
    ]


def _batch_size(nodes: Sequence[Node], axes: Sequence[int | None]) -> int:
    sizes = {n.shape[a] for n, a in zip(nodes, axes, strict=True) if a is not None}
    if len(sizes) != 1:
        what = (
            "no argument has a batch axis" if not sizes else f"batch sizes differ: {sorted(sizes)}"
        )
        raise errors.shape("vmap", what, *nodes, hint="check in_axes; None marks shared arguments")
    return sizes.pop()


def _out_axes(spec: Any, run: _Run, count: int) -> list[int | None]:
    if spec is None or isinstance(spec, int):
        return [spec] * count
    chosen = flatten(spec, is_leaf=lambda x: x is None or isinstance(x, int))[0]
    if len(chosen) != count:
        raise errors.argument(
            "vmap",
            f"out_axes names {len(chosen)} results, there are {count}",
            hint="give one axis per result, or one for all",
        )
    return chosen


def _keys(size: int) -> Node:
    from adjoint.tensors.random import default_generator

    return ops.random_bits(default_generator.next_key(), shape=(size, 2))

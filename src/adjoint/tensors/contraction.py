"""Products of matrices and vectors: everything that ends in one ``dot``."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.shape import as_axes, as_axis, as_size, broadcast_shapes, numel
from adjoint.ir.node import NO_PARAMS, Node, apply
from adjoint.ops.movement import narrow
from adjoint.tensors import arithmetic, diagonals
from adjoint.tensors.handle import Handle, node_of, wrap

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def matmul(input: Any, other: Any) -> Tensor:
    """input @ other: (..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast.

    A vector on the left is a row, on the right a column, and that axis is dropped again. Raises
    ShapeError when the inner sizes differ and DTypeError for two dtypes.
    """
    a, b = operands("matmul", input, other)
    return wrap(product("matmul", a, b))


def operands(op: str, input: Any, other: Any) -> tuple[Node, Node]:
    """The nodes of two operands, which must have one dtype."""
    if isinstance(input, Handle):
        a = input.node
        b = other.node if isinstance(other, Handle) else node_of(other, op, a)
    else:
        b = node_of(other, op)
        a = node_of(input, op, b)
    if a.dtype is not b.dtype:
        raise errors.mixed_dtypes(op, a, b)
    return a, b


def product(op: str, a: Node, b: Node) -> Node:
    """``matmul`` of nodes of one dtype."""
    if len(a.shape) == 2 and len(b.shape) == 2:
        if a.shape[1] != b.shape[0]:
            raise errors.inner_sizes(op, a, b)
        return apply(ops.dot, (a, b), NO_PARAMS)
    if not a.shape or not b.shape:
        raise errors.shape(op, "needs at least 1 dimension", a, b, hint="for a number, use *")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else -1]:
        raise errors.inner_sizes(op, a, b)
    left = a if a.ndim > 1 else ops.reshape(a, shape=(1, *a.shape))
    right = b if b.ndim > 1 else ops.reshape(b, shape=(*b.shape, 1))
    out = _batched(op, left, right)
    shape = out.shape[:-2] + out.shape[-2:-1] * (a.ndim > 1) + out.shape[-1:] * (b.ndim > 1)
    return out if shape == out.shape else ops.reshape(out, shape=shape)


def mm(input: Handle, mat2: Handle) -> Tensor:
    """The product of two matrices, (M, K) and (K, N)."""
    a, b = _ranked("mm", input, 2, mat2, 2)
    return wrap(product("mm", a, b))


def bmm(input: Handle, mat2: Handle) -> Tensor:
    """Products of matrices, batch by batch: (B, M, K) and (B, K, N), without broadcasting."""
    a, b = _ranked("bmm", input, 3, mat2, 3)
    if a.shape[0] != b.shape[0]:
        raise errors.shape("bmm", "batch sizes differ", a, b, hint="matmul broadcasts them")
    return wrap(product("bmm", a, b))


def mv(input: Handle, vec: Handle) -> Tensor:
    """The product of a matrix (M, K) and a vector (K,)."""
    a, b = _ranked("mv", input, 2, vec, 1)
    return wrap(product("mv", a, b))


def dot(input: Handle, tensor: Handle) -> Tensor:
    """sum_i input_i * tensor_i of two vectors of one length."""
    a, b = _ranked("dot", input, 1, tensor, 1)
    return wrap(product("dot", a, b))


def vecdot(input: Any, other: Any, dim: int = -1, *, axis: int | None = None) -> Tensor:
    """sum_i input_i * other_i along one axis of tensors that broadcast."""
    a, b = operands("vecdot", input, other)
    shape = broadcast_shapes("vecdot", a.shape, b.shape)
    place = as_axis("vecdot", dim if axis is None else axis, len(shape))
    return wrap(ops.reduce_sum(arithmetic.combine(ops.mul, a, b), axes=(place,)))


def inner(input: Any, other: Any) -> Tensor:
    """sum_k input[..., k] * other[..., k], for every pair of leading indices."""
    a, b = operands("inner", input, other)
    if not a.shape or not b.shape:
        return arithmetic.mul(input, other)
    if a.shape[-1] != b.shape[-1]:
        raise errors.shape(
            "inner", "the last axes differ in size", a, b, hint="did you mean a @ b?"
        )
    return tensordot(wrap(a), wrap(b), ([a.ndim - 1], [b.ndim - 1]))


def outer(input: Handle, vec2: Handle) -> Tensor:
    """out[i, j] = input_i * vec2_j of two vectors."""
    a, b = _ranked("outer", input, 1, vec2, 1)
    return wrap(
        arithmetic.combine(
            ops.mul,
            ops.reshape(a, shape=(*a.shape, 1)),
            ops.reshape(b, shape=(1, *b.shape)),
        )
    )


def addmm(
    input: Handle, mat1: Handle, mat2: Handle, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2); ``input`` broadcasts to (M, N)."""
    return _plus("addmm", input, mm(mat1, mat2), beta, alpha)


def addmv(input: Handle, mat: Handle, vec: Handle, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec); ``input`` broadcasts to (M,)."""
    return _plus("addmv", input, mv(mat, vec), beta, alpha)


def addr(input: Handle, vec1: Handle, vec2: Handle, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    return _plus("addr", input, outer(vec1, vec2), beta, alpha)


def baddbmm(
    input: Handle, batch1: Handle, batch2: Handle, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2); ``input`` broadcasts to (B, M, N)."""
    return _plus("baddbmm", input, bmm(batch1, batch2), beta, alpha)


def tensordot(a: Handle, b: Handle, dims: Any = 2) -> Tensor:
    """Sum over pairs of axes: ``dims`` last of ``a`` with first of ``b``, or ``(axes_a, axes_b)``.

    The result has the other axes of ``a``, then the other axes of ``b``.
    """
    x, y = operands("tensordot", a, b)
    mine, theirs = _paired_axes(x, y, dims)
    if [x.shape[i] for i in mine] != [y.shape[i] for i in theirs]:
        raise errors.shape(
            "tensordot", f"axes {mine} and {theirs} differ in size", x, y,
            hint="dims=([axes of a], [axes of b]) names the pairs",
        )  # fmt: skip
    free = [i for i in range(x.ndim) if i not in mine]
    rest = [i for i in range(y.ndim) if i not in theirs]
    count = numel([x.shape[i] for i in mine])
    rows, columns = [x.shape[i] for i in free], [y.shape[i] for i in rest]
    left = ops.reshape(ops.permute(x, axes=(*free, *mine)), shape=(numel(rows), count))
    right = ops.reshape(ops.permute(y, axes=(*theirs, *rest)), shape=(count, numel(columns)))
    return wrap(ops.reshape(ops.dot(left, right), shape=(*rows, *columns)))


def kron(input: Handle, other: Handle) -> Tensor:
    """Every element of ``input`` times the whole of ``other``, laid out as blocks."""
    a, b = arithmetic.pair("kron", input, other)
    rank = max(a.ndim, b.ndim)
    left = (1,) * (rank - a.ndim) + a.shape
    right = (1,) * (rank - b.ndim) + b.shape
    spread = ops.reshape(a, shape=tuple(v for n in left for v in (n, 1)))
    other_spread = ops.reshape(b, shape=tuple(v for n in right for v in (1, n)))
    out = arithmetic.combine(ops.mul, spread, other_spread)
    return wrap(ops.reshape(out, shape=tuple(m * n for m, n in zip(left, right, strict=True))))


def cross(input: Any, other: Any, dim: int = -1) -> Tensor:
    """The vector product along an axis of size 3: out_i = a_{i+1} b_{i+2} - a_{i+2} b_{i+1}."""
    a, b = arithmetic.pair("cross", input, other)
    shape = broadcast_shapes("cross", a.shape, b.shape)
    axis = as_axis("cross", dim, len(shape)) - len(shape)
    if -axis > min(a.ndim, b.ndim) or a.shape[axis] != 3 or b.shape[axis] != 3:
        raise errors.shape(
            "cross", f"axis {dim} must have size 3 in both operands", a, b,
            hint="name the axis of the three coordinates: cross(a, b, dim=0), say",
        )  # fmt: skip
    first, second = _turned(a, axis), _turned(b, axis)
    rotated = [
        arithmetic.combine(ops.mul, first[0], second[1]),
        arithmetic.combine(ops.mul, first[1], second[0]),
    ]
    return wrap(ops.sub(*rotated))


def bilinear(
    input1: Handle, input2: Handle, weight: Handle, bias: Handle | None = None
) -> Tensor:  # fmt: skip
    """out_o = sum_ij input1_i weight_oij input2_j + bias_o; weight is (O, I, J)."""
    from adjoint.tensors.einsum import einsum

    if node_of(weight, "bilinear").ndim != 3:
        raise errors.shape(
            "bilinear", "the weight needs 3 axes", weight, hint="(outputs, size of x, size of y)"
        )
    out = einsum("...i,oij,...j->...o", input1, weight, input2)
    return out if bias is None else arithmetic.add(out, bias)


def trace(input: Handle, offset: int = 0) -> Tensor:
    """The sum of a diagonal of the last two axes; integers add up as int64."""
    from adjoint.tensors import reduction

    if node_of(input, "trace").ndim < 2:
        raise errors.shape("trace", "needs at least 2 axes", input, hint="for a vector use .sum()")
    return reduction.sum(diagonals.diagonal(input, offset, -2, -1), -1)


def multi_dot(tensors: Any) -> Tensor:
    """The product of two or more matrices in the order that multiplies least; the first and the
    last may be vectors. Source: Cormen et al., Introduction to Algorithms, section 15.2."""
    items = list(tensors) if isinstance(tensors, (list, tuple)) else []
    if len(items) < 2:
        raise errors.argument(
            "multi_dot", f"needs a list of at least 2 tensors, got {errors.clip(tensors)}",
            hint="multi_dot([a, b, c])",
        )  # fmt: skip
    nodes = [node_of(t, "multi_dot") for t in items]
    for at, node in enumerate(nodes):
        allowed = (1, 2) if at in (0, len(nodes) - 1) else (2,)
        if node.ndim not in allowed:
            raise errors.shape(
                "multi_dot", f"operand {at} must be a matrix", node,
                hint="only the first and the last may be vectors; use @ for batches",
            )  # fmt: skip
        if node.dtype is not nodes[0].dtype:
            raise errors.mixed_dtypes("multi_dot", nodes[0], node)
    first, last = nodes[0].ndim == 1, nodes[-1].ndim == 1
    if first:
        nodes[0] = ops.reshape(nodes[0], shape=(1, *nodes[0].shape))
    if last:
        nodes[-1] = ops.reshape(nodes[-1], shape=(*nodes[-1].shape, 1))
    for a, b in pairwise(nodes):
        if a.shape[1] != b.shape[0]:
            raise errors.inner_sizes("multi_dot", a, b)
    out = _in_order(nodes, _cheapest([n.shape[0] for n in nodes] + [nodes[-1].shape[1]]))
    shape = out.shape[:1] * (not first) + out.shape[1:] * (not last)
    return wrap(out if shape == out.shape else ops.reshape(out, shape=shape))


def chain_matmul(*matrices: Handle) -> Tensor:
    """``multi_dot`` of the arguments."""
    return multi_dot(matrices)


def _batched(op: str, a: Node, b: Node) -> Node:
    """(..., M, K) @ (..., K, N). One right-hand matrix for all: a single tall product."""
    if b.ndim == 2:
        rows = ops.reshape(a, shape=(numel(a.shape[:-1]), a.shape[-1]))
        return ops.reshape(ops.dot(rows, b), shape=(*a.shape[:-1], b.shape[-1]))
    if a.shape[:-2] == b.shape[:-2]:
        return ops.dot(a, b)
    batch = broadcast_shapes(op, a.shape[:-2], b.shape[:-2])
    return ops.dot(_spread(a, batch), _spread(b, batch))


def _spread(node: Node, batch: tuple[int, ...]) -> Node:
    shape = (*batch, *node.shape[-2:])
    return node if node.shape == shape else ops.broadcast(node, shape=shape)


def _ranked(op: str, x: Any, rank: int, y: Any, other_rank: int) -> tuple[Node, Node]:
    a, b = operands(op, x, y)
    if a.ndim != rank or b.ndim != other_rank:
        raise errors.shape(
            op, f"needs {rank}-D and {other_rank}-D operands", a, b,
            hint="matmul takes any number of dimensions",
        )  # fmt: skip
    if op == "dot" and a.shape != b.shape:
        raise errors.shape(
            op, "the vectors differ in length", a, b, hint="outer(a, b) multiplies all pairs"
        )
    return a, b


def _plus(op: str, input: Handle, found: Handle, beta: float, alpha: float) -> Tensor:
    """beta * input + alpha * found; with beta = 0 ``input`` is not read at all."""
    base = node_of(input, op)
    if base.dtype is not found.dtype:
        raise errors.mixed_dtypes(op, base, found)
    if broadcast_shapes(op, base.shape, found.shape) != found.shape:
        raise errors.shape(
            op, f"input does not broadcast to {errors.dims(found.shape)}", base,
            hint="sizes must be equal or 1, compared from the last axis",
        )  # fmt: skip
    alpha, beta = as_number(op, "alpha", alpha), as_number(op, "beta", beta)
    scaled = found if alpha == 1 else arithmetic.mul(found, alpha)
    if beta == 0:
        return wrap(scaled.node)
    return arithmetic.add(scaled, input if beta == 1 else arithmetic.mul(input, beta))


def _paired_axes(x: Node, y: Node, dims: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(dims, (tuple, list)):
        if len(dims) != 2:
            raise errors.argument(
                "tensordot", f"dims must be a number or two lists, got {errors.clip(dims)}",
                hint="tensordot(a, b, ([1], [0])) is a @ b",
            )  # fmt: skip
        mine, theirs = as_axes("tensordot", dims[0], x.ndim), as_axes("tensordot", dims[1], y.ndim)
        if len(mine) != len(theirs):
            raise errors.argument(
                "tensordot", f"{len(mine)} axes against {len(theirs)}",
                hint="name one axis of b for each axis of a",
            )  # fmt: skip
        return mine, theirs
    count = as_size("tensordot", dims)
    if not 0 <= count <= min(x.ndim, y.ndim):
        raise errors.argument(
            "tensordot", f"dims={count} for {x.ndim} and {y.ndim} dimensions",
            hint="dims is how many last axes of a meet the first axes of b",
        )  # fmt: skip
    return tuple(range(x.ndim - count, x.ndim)), tuple(range(count))


def _turned(node: Node, axis: int) -> tuple[Node, Node]:
    """``node`` with its three entries rotated by one, and by two."""
    place = axis % node.ndim
    parts = [narrow(node, place, i, 1) for i in range(3)]
    return (
        ops.concat(parts[1], parts[2], parts[0], axis=place),
        ops.concat(parts[2], parts[0], parts[1], axis=place),
    )


def _cheapest(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut the product of matrices i..j, for every i < j."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    cut: dict[tuple[int, int], int] = {}
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            cost[i, j], cut[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return cut


def _in_order(nodes: list[Node], cut: dict[tuple[int, int], int]) -> Node:
    def chain(i: int, j: int) -> Node:
        if i == j:
            return nodes[i]
        return ops.dot(chain(i, cut[i, j]), chain(cut[i, j] + 1, j))

    return chain(0, len(nodes) - 1)

"""Affine maps, and vectors compared by direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.shape import numel
from adjoint.ir.node import NO_PARAMS, Node, apply
from adjoint.ops.movement import swap_last
from adjoint.tensors import arithmetic, elementwise
from adjoint.tensors.arithmetic import combine
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.norms import vector_norm
from adjoint.tensors.reduction import sum

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def linear(input: Handle, weight: Handle, bias: Handle | None = None) -> Tensor:
    """input @ weight.T + bias: (..., in) with weight (out, in) and bias (out,) -> (..., out).

    Raises ShapeError when the sizes do not fit and DTypeError for mixed dtypes.
    """
    x, w = node_of(input, "linear"), node_of(weight, "linear")
    if x.dtype is not w.dtype:
        raise errors.mixed_dtypes("linear", x, w)
    if not x.shape or w.ndim not in (1, 2) or x.shape[-1] != w.shape[-1]:
        raise _sizes(x, w)
    matrix = swap_last(w) if w.ndim == 2 else ops.reshape(w, shape=(w.shape[0], 1))
    rows = x
    if x.ndim != 2:
        rows = ops.reshape(x, shape=(numel(x.shape[:-1]), x.shape[-1]))
    out = apply(ops.dot, (rows, matrix), NO_PARAMS)
    shape = (*x.shape[:-1], *w.shape[:-1])
    if bias is not None:
        out = with_bias("linear", out, bias, (matrix.shape[1],))
    return wrap(out if out.shape == shape else ops.reshape(out, shape=shape))


def with_bias(op: str, out: Node, bias: Handle, shape: tuple[int, ...]) -> Node:
    """``out`` + ``bias``, which has one element per output and is seen as ``shape``."""
    b = node_of(bias, op)
    if b.dtype is not out.dtype:
        raise errors.mixed_dtypes(op, out, b)
    if numel(b.shape) != numel(shape) or b.ndim > 1:
        raise errors.shape(
            op,
            f"the bias needs {numel(shape)} elements, one per output",
            b,
            hint="bias=None leaves it out",
        )
    return combine(ops.add, out, b if b.shape == shape else ops.reshape(b, shape=shape))


def normalize(input: Handle, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """input / max(norm, eps), with the ``p``-norm taken along ``dim``."""
    norm = vector_norm(input, p, dim, True)
    return arithmetic.div(input, elementwise.clamp_min(norm, eps))


def cosine_similarity(x1: Handle, x2: Handle, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """<x1, x2> / (max(|x1|, eps) max(|x2|, eps)) along ``dim``, which disappears."""
    first = elementwise.clamp_min(vector_norm(x1, 2, dim, True), eps)
    second = elementwise.clamp_min(vector_norm(x2, 2, dim, True), eps)
    return sum(arithmetic.mul(arithmetic.div(x1, first), arithmetic.div(x2, second)), dim)


def pairwise_distance(
    x1: Handle, x2: Handle, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The ``p``-norm of x1 - x2 + eps along the last axis."""
    return vector_norm(arithmetic.add(arithmetic.sub(x1, x2), eps), p, -1, keepdim)


def _sizes(x: Node, w: Node) -> errors.AdjointError:
    if w.ndim not in (1, 2):
        return errors.shape(
            "linear",
            "the weight is a matrix (out, in) or a vector (in,)",
            w,
            hint="nn.Linear makes one",
        )
    if not x.shape:
        return errors.shape(
            "linear",
            "the input needs at least 1 dimension",
            x,
            hint="the last axis holds the features: x[None]",
        )
    features = w.shape[-1]
    hint = f"the layer has to take what comes: in_features={x.shape[-1]}"
    if features == numel(x.shape[1:]):
        hint = "flatten all axes but the batch first: x.flatten(1)"
    elif x.ndim == 2 and features == x.shape[0]:
        hint = "the input looks transposed: rows are examples, did you mean x.T?"
    what = f"the input has {x.shape[-1]} features, the weight takes {features}"
    return errors.shape("linear", what, x, w, hint=hint)

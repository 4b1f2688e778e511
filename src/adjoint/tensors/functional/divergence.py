"""Kullback-Leibler divergences in closed form: KL(p || q) = E_p[log p - log q]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base.shape import as_axis, broadcast_shapes
from adjoint.ir.node import Node
from adjoint.tensors.arithmetic import floating, pair
from adjoint.tensors.functional.loss import reduced
from adjoint.tensors.functional.softmax import log_softmax_rows
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import above, equals, number, select
from adjoint.tensors.transcendental import log1p

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def gaussian_kl(
    mean1: Any, std1: Any, mean2: Any, std2: Any, reduction: str = "none"
) -> Tensor:  # fmt: skip
    """KL(N(m1, s1^2) || N(m2, s2^2)) = (r^2 - 1) / 2 - log r + (m1 - m2)^2 / (2 s2^2), r = s1 / s2.

    Exactly 0 for equal parameters, and infinite where only one of s1 and s2 is 0.
    """
    m1, s1, m2, s2 = _together("gaussian_kl", mean1, std1, mean2, std2)
    point = equals(s2, 0)  # all mass in one place
    scale = select(point, 1, s2)
    apart, surplus = (m1 - m2) / scale, s1 / scale - 1.0
    # r - 1 - log r is never negative in floating point, (r^2 - 1) / 2 - log r may be
    found = surplus * surplus * 0.5 + (surplus - log1p(surplus)) + apart * apart * 0.5
    same = ops.bit_and(ops.eq(m1, m2), ops.eq(s1, s2))
    at_point = select(same, number(0, found), np.inf)
    return reduced("gaussian_kl", ops.where(point, at_point, found), reduction)


def standard_gaussian_kl(mean: Handle, log_var: Handle, reduction: str = "none") -> Tensor:
    """KL(N(m, exp(v)) || N(0, 1)) = (m^2 + exp(v) - 1 - v) / 2: the regulariser of a variational
    autoencoder. Source: Kingma and Welling, "Auto-encoding variational Bayes", 2013."""
    from adjoint.tensors.transcendental import expm1

    m, v = _together("standard_gaussian_kl", mean, log_var)
    return reduced("standard_gaussian_kl", (m * m + (expm1(v) - v)) * 0.5, reduction)


def categorical_kl(
    logits1: Handle, logits2: Handle, dim: int = -1, reduction: str = "none"
) -> Tensor:
    """sum_i p_i (log p_i - log q_i) along ``dim`` for scores whose softmax are p and q.

    A score of -inf is probability 0: nothing where p has it, infinite where only q has it.
    """
    x, y = _together("categorical_kl", logits1, logits2)
    axis = as_axis("categorical_kl", dim, x.ndim)
    log_p, log_q = log_softmax_rows(x, axis=axis), log_softmax_rows(y, axis=axis)
    impossible = equals(log_p, -np.inf)
    gap = select(impossible, 0, log_p) - select(impossible, 0, log_q)
    terms = select(impossible, 0, ops.exp(log_p) * gap)
    found = ops.reduce_sum(terms, axes=(axis,))
    return reduced("categorical_kl", ops.maximum(found, number(0, found)), reduction)


def bernoulli_kl(probs1: Any, probs2: Any, reduction: str = "none") -> Tensor:
    """p log(p / q) + (1 - p) log((1 - p) / (1 - q)); a term with factor 0 is 0, and the result is
    infinite where q excludes what p allows."""
    p, q = _together("bernoulli_kl", probs1, probs2)
    found = _term(p, q) + _term(1.0 - p, 1.0 - q)
    return reduced("bernoulli_kl", ops.maximum(found, number(0, found)), reduction)


def _term(p: Node, q: Node) -> Node:
    """p log(p / q)."""
    there = above(p, 0)
    return select(there, p * (ops.log(select(there, p, 1)) - ops.log(select(there, q, 1))), 0)


def _together(op: str, *values: Any) -> list[Node]:
    """Nodes of one float dtype and one shape."""
    first: Any = next((v for v in values if isinstance(v, Handle)), values[0])
    like = floating(node_of(first, op))
    nodes = [floating(pair(op, v, wrap(like))[0]) for v in values]
    shape = broadcast_shapes(op, *(n.shape for n in nodes))
    return [n if n.shape == shape else ops.broadcast(n, shape=shape) for n in nodes]

"""Dropout: zeros at random while training, the rest scaled so that the mean stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.dtype import float32
from adjoint.base.shape import Shape
from adjoint.ir.node import Node
from adjoint.ops.rows import full
from adjoint.tensors import random, sampling
from adjoint.tensors.arithmetic import floating
from adjoint.tensors.generator import Generator
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import number, select

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def dropout(
    input: Handle, p: float = 0.5, training: bool = True, inplace: bool = False, *,
    generator: Generator | None = None, compensate: str = "training",
) -> Tensor:  # fmt: skip
    """While training: 0 with probability ``p``, else x / (1 - p). Otherwise the input itself.

    ``compensate="inference"`` is dropout as first published: x is not scaled while training, and
    is x (1 - p) otherwise. Source: Srivastava et al., "Dropout", 2014.
    """
    shape = node_of(input, "dropout").shape
    return _drop("dropout", input, p, training, inplace, generator, shape, compensate)


def dropout1d(
    input: Handle, p: float = 0.5, training: bool = True, inplace: bool = False, *,
    generator: Generator | None = None, compensate: str = "training",
) -> Tensor:  # fmt: skip
    """``dropout`` of whole channels of (N, C, L) or (C, L)."""
    return _channels("dropout1d", 1, input, p, training, inplace, generator, compensate)


def dropout2d(
    input: Handle, p: float = 0.5, training: bool = True, inplace: bool = False, *,
    generator: Generator | None = None, compensate: str = "training",
) -> Tensor:  # fmt: skip
    """``dropout`` of whole channels of (N, C, H, W) or (C, H, W)."""
    return _channels("dropout2d", 2, input, p, training, inplace, generator, compensate)


def dropout3d(
    input: Handle, p: float = 0.5, training: bool = True, inplace: bool = False, *,
    generator: Generator | None = None, compensate: str = "training",
) -> Tensor:  # fmt: skip
    """``dropout`` of whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    return _channels("dropout3d", 3, input, p, training, inplace, generator, compensate)


def alpha_dropout(
    input: Handle, p: float = 0.5, training: bool = False, inplace: bool = False, *,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """``dropout`` to the value SELU has far below 0, then scaled so that mean 0 and variance 1
    stay. Source: Klambauer et al., "Self-normalizing neural networks", 2017."""
    shape = node_of(input, "alpha_dropout").shape
    return _alpha("alpha_dropout", input, p, training, inplace, generator, shape)


def feature_alpha_dropout(
    input: Handle, p: float = 0.5, training: bool = False, inplace: bool = False, *,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """``alpha_dropout`` of whole channels of (N, C, ...)."""
    x = node_of(input, "feature_alpha_dropout")
    if x.ndim < 2:
        raise errors.shape(
            "feature_alpha_dropout", "needs 2 dimensions or more", x,
            hint="whole channels are dropped: (N, C, ...)",
        )  # fmt: skip
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    return _alpha("feature_alpha_dropout", input, p, training, inplace, generator, shape)


def _alpha(
    op: str, input: Handle, p: float, training: bool, inplace: bool, generator: Generator | None,
    shape: Shape,
) -> Tensor:  # fmt: skip
    _check(op, p)
    if not training or p == 0:
        return input  # type: ignore[return-value]
    node = floating(node_of(input, op))
    if p == 1:
        return _result(f"{op}_", number(0, node), input, inplace)
    low = -1.7580993408473766
    scale = ((1 - p) * (1 + p * low * low)) ** -0.5
    kept = _kept(1 - p, shape, generator)
    kept = select(kept if shape == node.shape else ops.broadcast(kept, shape=node.shape), node, low)
    return _result(f"{op}_", kept * scale - scale * p * low, input, inplace)


def _channels(
    op: str, count: int, input: Handle, p: float, training: bool, inplace: bool,
    generator: Generator | None, compensate: str,
) -> Tensor:  # fmt: skip
    if node_of(input, op).ndim not in (count + 1, count + 2):
        raise errors.shape(
            op,
            f"needs {count + 1} or {count + 2} dimensions",
            input,
            hint="whole channels are dropped: (N, C, *sizes), or (C, *sizes) for one example",
        )
    shape = (*input.shape[: input.ndim - count], *(1,) * count)
    return _drop(op, input, p, training, inplace, generator, shape, compensate)


def _drop(
    op: str, input: Handle, p: float, training: bool, inplace: bool, generator: Generator | None,
    shape: Shape, compensate: str,
) -> Tensor:  # fmt: skip
    _check(op, p)
    later = as_choice(f"{op} compensate", compensate, ["training", "inference"]) == "inference"
    if p == 0 or not (training or later):
        return input  # type: ignore[return-value]
    node = floating(node_of(input, op))
    if not training:
        return _result(f"{op}_", node * (1 - p), input, inplace)
    if p == 1:
        return _result(f"{op}_", node * 0.0, input, inplace)
    kept = _kept(1 - p, shape, generator)
    if shape != node.shape:
        kept = ops.broadcast(kept, shape=node.shape)
    return _result(
        f"{op}_", select(kept, node if later else node * (1 / (1 - p)), 0), input, inplace
    )


def _check(op: str, p: float) -> None:
    if isinstance(p, bool) or not 0 <= as_number(op, "p", p) <= 1:
        raise errors.argument(
            op,
            f"p is a probability in [0, 1], got {errors.clip(p)}",
            hint="the share that is dropped: 0.5 for half of them",
        )


def _kept(chance: float, shape: Shape, generator: Generator | None) -> Node:
    key = random.key_from("dropout", generator)
    return sampling.bernoulli(key, full(chance, shape, float32))


def _result(op: str, node: Node, input: Handle, inplace: bool) -> Tensor:
    if inplace and not isinstance(input, Handle):
        raise errors.not_a_tensor(op, input)
    return input.assign(node, op) if inplace else wrap(node)

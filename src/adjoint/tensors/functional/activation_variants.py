"""Activations with random slopes, more gated units, and functions that write into their input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.base.shape import as_axis
from adjoint.tensors import random
from adjoint.tensors.arithmetic import floating, where
from adjoint.tensors.elementwise import clamp, log
from adjoint.tensors.functional import activation
from adjoint.tensors.functional.softmax import softmax
from adjoint.tensors.generator import Generator
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.movement import chunk
from adjoint.tensors.scatter import one_hot

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def rrelu(
    input: Handle, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
    inplace: bool = False, *, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """x above 0, a x elsewhere, where a is drawn uniformly from [lower, upper) for every element
    while training, and is their mean otherwise. Source: Xu et al., "Empirical evaluation of
    rectified activations", 2015."""
    low = float(as_number("rrelu", "lower", lower))
    high = float(as_number("rrelu", "upper", upper))
    if low > high:
        raise errors.argument(
            "rrelu", f"lower {low} is larger than upper {high}", hint="exchange them"
        )
    if not training or low == high:
        return activation.leaky_relu(input, (low + high) / 2, inplace)
    x = wrap(floating(node_of(input, "rrelu")))
    slope = random.rand(*x.shape, dtype=x.dtype, generator=generator) * (high - low) + low
    out = where(x > 0, x, x * slope)
    return input.assign(out.node, "rrelu_") if inplace else out


def gumbel_softmax(
    logits: Handle, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1, *,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """softmax((logits + g) / tau) with Gumbel noise g: random, nearly one-hot for a small ``tau``.

    ``hard``: exactly one-hot, with the gradient of the soft value. ``eps`` is not used. Source:
    Jang et al., "Categorical reparameterization with Gumbel-softmax", ICLR 2017.
    """
    tau = float(as_number("gumbel_softmax", "tau", tau))
    if not tau > 0:
        raise errors.argument("gumbel_softmax", f"tau must be positive, got {tau}", hint="1, say")
    x = wrap(floating(node_of(logits, "gumbel_softmax")))
    axis = as_axis("gumbel_softmax", dim, x.ndim)
    chance = random.rand(*x.shape, dtype=x.dtype, generator=generator)
    noise = -log(clamp(-log(clamp(chance, min=1e-30)), min=1e-30))
    soft = softmax((x + noise) / tau, axis)
    if not hard:
        return soft
    chosen = one_hot(soft.argmax(axis), x.shape[axis]).movedim(-1, axis).to(x.dtype)
    return chosen + (soft - wrap(ops.copy(soft.node, stop=True)))


def geglu(input: Handle, dim: int = -1) -> Tensor:
    """gelu(a) * b where a and b are the two halves of ``input`` along ``dim``. Source: Shazeer,
    "GLU variants improve transformer", 2020. Raises ShapeError for an odd size."""
    a, b = _halves("geglu", input, dim)
    return activation.gelu(a) * b


def reglu(input: Handle, dim: int = -1) -> Tensor:
    """relu(a) * b where a and b are the two halves of ``input`` along ``dim``. Source: as for
    ``geglu``. Raises ShapeError for an odd size."""
    a, b = _halves("reglu", input, dim)
    return activation.relu(a) * b


def relu_(input: Handle) -> Tensor:
    """``relu`` written into its input."""
    return activation.relu(input, inplace=True)


def leaky_relu_(input: Handle, negative_slope: float = 0.01) -> Tensor:
    """``leaky_relu`` written into its input."""
    return activation.leaky_relu(input, negative_slope, inplace=True)


def elu_(input: Handle, alpha: float = 1.0) -> Tensor:
    """``elu`` written into its input."""
    return activation.elu(input, alpha, inplace=True)


def celu_(input: Handle, alpha: float = 1.0) -> Tensor:
    """``celu`` written into its input."""
    return activation.celu(input, alpha, inplace=True)


def selu_(input: Handle) -> Tensor:
    """``selu`` written into its input."""
    return activation.selu(input, inplace=True)


def hardtanh_(input: Handle, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``hardtanh`` written into its input."""
    return activation.hardtanh(input, min_val, max_val, inplace=True)


def threshold_(input: Handle, threshold: float, value: float) -> Tensor:
    """``threshold`` written into its input."""
    return activation.threshold(input, threshold, value, inplace=True)


def rrelu_(
    input: Handle, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Tensor:
    """``rrelu`` written into its input."""
    return rrelu(input, lower, upper, training, inplace=True)


def _halves(op: str, input: Handle, dim: int) -> tuple[Tensor, Tensor]:
    x = wrap(floating(node_of(input, op)))
    axis = as_axis(op, dim, x.ndim) if x.ndim else 0
    if not x.ndim or x.shape[axis] % 2:
        raise errors.shape(
            op, f"needs an even size along axis {errors.clip(dim)}", x,
            hint="one half of the axis gates the other: double the outputs of the layer before",
        )  # fmt: skip
    a, b = chunk(x, 2, axis)
    return a, b

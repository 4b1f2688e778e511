"""Activation functions. Each is a region: NumPy's values, the same as ops, and the derivative."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.shape import as_axis, as_size
from adjoint.ir.node import Array, Node
from adjoint.ops.movement import narrow
from adjoint.ops.pointwise import select as choose
from adjoint.ops.rows import each
from adjoint.ops.special import erf_array
from adjoint.ops.structure import Region
from adjoint.tensors.arithmetic import floating
from adjoint.tensors.elementwise import tanh
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import above, below, equals, number, select, size_of
from adjoint.tensors.regions import pointwise
from adjoint.tensors.special import sigmoid
from adjoint.tensors.transcendental import expm1, log1p
from adjoint.tensors.transcendental import sigmoid as logistic

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
__all__ = [
    "celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "leaky_relu", "logsigmoid", "maxout", "mish", "prelu", "relu", "relu6", "selu", "sigmoid",
    "silu", "softplus", "softshrink", "softsign", "step", "swiglu", "tanh", "tanhshrink",
    "threshold",
]  # fmt: skip


def relu(input: Handle, inplace: bool = False) -> Tensor:
    """max(x, 0). The derivative is exactly 1 above 0 and exactly 0 at 0 and below; NaN stays."""
    return _finish("relu_", relu_region(node_of(input, "relu")), input, inplace)


def leaky_relu(input: Handle, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above 0, negative_slope * x elsewhere; at 0 the derivative is the slope."""
    slope = _float("leaky_relu", "negative_slope", negative_slope)
    return _apply("leaky_relu", _leaky_relu, input, inplace, slope=slope)


def threshold(input: Handle, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else ``value``."""
    limit = _float("threshold", "threshold", threshold)
    value = _float("threshold", "value", value)
    return _apply("threshold", _threshold, input, inplace, limit=limit, value=value)


def step(input: Handle, at_zero: float = 1.0, straight_through: bool = False) -> Tensor:
    """0 below 0, 1 above, ``at_zero`` at 0: the binary step of the perceptron. NaN stays.

    The derivative is exactly 0. With ``straight_through`` the gradient passes as if the step were
    the identity (Bengio et al., "Estimating or propagating gradients", 2013).
    """
    at_zero = _float("step", "at_zero", at_zero)
    return _apply("step", _step, input, False, at_zero=at_zero, passes=bool(straight_through))


def hardtanh(
    input: Handle, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x cut to [min_val, max_val]; no gradient at the ends and beyond."""
    low, high = _float("hardtanh", "min_val", min_val), _float("hardtanh", "max_val", max_val)
    if low > high:
        raise errors.argument(
            "hardtanh", f"min_val {low} is larger than max_val {high}", hint="exchange them"
        )
    return _apply("hardtanh", _hardtanh, input, inplace, low=low, high=high)


def relu6(input: Handle, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return _apply("relu6", _hardtanh, input, inplace, low=0.0, high=6.0)


def hardsigmoid(input: Handle, inplace: bool = False) -> Tensor:
    """(x + 3) / 6 cut to [0, 1]."""
    node = floating(node_of(input, "hardsigmoid"))
    out = _hardtanh(node + 3.0, low=0.0, high=6.0) / 6.0
    return _finish("hardsigmoid_", out, input, inplace)


def hardswish(input: Handle, inplace: bool = False) -> Tensor:
    """x * (x + 3) / 6 between -3 and 3, 0 below, x above."""
    return _apply("hardswish", _hardswish, input, inplace)


def elu(input: Handle, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha * (exp(x) - 1) elsewhere."""
    alpha = _float("elu", "alpha", alpha)
    return _apply("elu", _elu, input, inplace, alpha=alpha, scale=1.0, rate=1.0)


def celu(input: Handle, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha * (exp(x / alpha) - 1) elsewhere."""
    alpha = _float("celu", "alpha", alpha)
    if alpha == 0:
        raise errors.argument("celu", "alpha cannot be 0", hint="alpha=1 is elu")
    return _apply("celu", _elu, input, inplace, alpha=alpha, scale=1.0, rate=1 / alpha)


def selu(input: Handle, inplace: bool = False) -> Tensor:
    """scale * elu(x, alpha), with the constants that keep mean 0 and variance 1.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.
    """
    return _apply("selu", _elu, input, inplace, alpha=SELU_ALPHA, scale=SELU_SCALE, rate=1.0)


def gelu(input: Handle, approximate: str = "none") -> Tensor:
    """x * P(N < x) for a standard normal N; ``"tanh"``: the approximation of Hendrycks, 2016."""
    as_choice("gelu approximate", approximate, ["none", "tanh"])
    return _apply("gelu", _gelu if approximate == "none" else _gelu_tanh, input)


def silu(input: Handle, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return _apply("silu", _silu, input, inplace)


def mish(input: Handle, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    node = floating(node_of(input, "mish"))
    return _finish("mish_", node * ops.tanh(_softplus(node, beta=1.0, limit=20.0)), input, inplace)


def softplus(input: Handle, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold."""
    beta, limit = _float("softplus", "beta", beta), _float("softplus", "threshold", threshold)
    return _apply("softplus", _softplus, input, beta=beta, limit=limit)


def softsign(input: Handle) -> Tensor:
    """x / (1 + |x|)."""
    return _apply("softsign", _softsign, input)


def logsigmoid(input: Handle) -> Tensor:
    """log(sigmoid(x)), exact for large |x|."""
    return _apply("logsigmoid", _logsigmoid, input)


def tanhshrink(input: Handle) -> Tensor:
    """x - tanh(x)."""
    node = floating(node_of(input, "tanhshrink"))
    return wrap(node - ops.tanh(node))


def softshrink(input: Handle, lambd: float = 0.5) -> Tensor:
    """x moved by ``lambd`` towards 0, and 0 between -lambd and lambd."""
    node = floating(node_of(input, "softshrink"))
    limit = _float("softshrink", "lambd", lambd)
    return wrap(node - _hardtanh(node, low=-limit, high=limit))


def hardshrink(input: Handle, lambd: float = 0.5) -> Tensor:
    """x, and 0 between -lambd and lambd."""
    node = floating(node_of(input, "hardshrink"))
    return wrap(select(above(size_of(node), _float("hardshrink", "lambd", lambd)), node, 0))


def prelu(input: Handle, weight: Handle) -> Tensor:
    """x above 0, weight * x elsewhere; ``weight`` has one element, or one per channel (axis 1)."""
    node, slope = floating(node_of(input, "prelu")), node_of(weight, "prelu")
    if slope.dtype is not node.dtype:
        raise errors.mixed_dtypes("prelu", node, slope)
    channels = node.shape[1] if node.ndim > 1 else 1
    if slope.ndim > 1 or slope.shape not in ((), (1,), (channels,)):
        raise errors.shape(
            "prelu",
            f"weight needs 1 or {channels} elements",
            node,
            slope,
            hint="one slope for all channels, or one for each",
        )
    shape = (1,) * node.ndim
    if slope.shape == (channels,) and node.ndim > 1:
        shape = (1, channels, *(1,) * (node.ndim - 2))
    slope = ops.broadcast(ops.reshape(slope, shape=shape), shape=node.shape)
    return wrap(ops.where(above(node, 0), node, node * slope))


def glu(input: Handle, dim: int = -1) -> Tensor:
    """a * sigmoid(b) where a and b are the two halves of ``input`` along ``dim``."""
    a, b = _halves("glu", input, dim)
    return wrap(a * logistic(b))


def swiglu(input: Handle, dim: int = -1) -> Tensor:
    """silu(a) * b where a and b are the two halves of ``input`` along ``dim``.

    Source: Shazeer, "GLU variants improve transformer", 2020.
    """
    a, b = _halves("swiglu", input, dim)
    return wrap(_silu(a) * b)


def maxout(input: Handle, pieces: int, dim: int = 1) -> Tensor:
    """The largest of each ``pieces`` neighbours along ``dim``, which becomes ``pieces`` times
    shorter; a tie shares the gradient. Source: Goodfellow et al., "Maxout networks", 2013."""
    node = node_of(input, "maxout")
    axis = as_axis("maxout", dim, node.ndim)
    pieces = as_size("maxout", pieces)
    if pieces < 1 or node.shape[axis] % pieces:
        raise errors.shape(
            "maxout",
            f"axis {axis} does not split into {pieces} pieces",
            node,
            hint="the size of the axis must be a multiple of the pieces",
        )
    split = (*node.shape[:axis], node.shape[axis] // pieces, pieces, *node.shape[axis + 1 :])
    return wrap(ops.reduce_max(ops.reshape(node, shape=split), axes=(axis + 1,)))


def _apply(
    op: str, rule: Region, input: Handle, inplace: bool = False, **static: float | bool
) -> Tensor:
    return _finish(f"{op}_", rule(floating(node_of(input, op)), **static), input, inplace)


def _finish(op: str, node: Node, input: Handle, inplace: bool) -> Tensor:
    if inplace and not isinstance(input, Handle):
        raise errors.not_a_tensor(op, input)
    return input.assign(node, op) if inplace else wrap(node)


def _float(op: str, name: str, value: Any) -> float:
    return float(as_number(op, name, value))


def _halves(op: str, input: Handle, dim: int) -> tuple[Node, Node]:
    node = floating(node_of(input, op))
    axis = as_axis(op, dim, node.ndim) if node.ndim else 0
    if not node.ndim or node.shape[axis] % 2:
        raise errors.shape(
            op,
            f"needs an even size along axis {errors.clip(dim)}",
            node,
            hint="one half of the axis gates the other: double the outputs of the layer before",
        )
    half = node.shape[axis] // 2
    return narrow(node, axis, 0, half), narrow(node, axis, half, half)


# --- the regions ------------------------------------------------------------------------------


def _relu_array(x: Array) -> Array:
    """Zeros of one row, not a number: NumPy's maximum with a number is three times slower."""
    return np.maximum(x, np.zeros(x.shape[1:] if x.ndim > 1 else x.shape, x.dtype))


def _wide(function: Callable[..., Array]) -> Callable[..., Array]:
    """16-bit floats by way of float32."""

    def kernel(x: Array, **static: Any) -> Array:
        if x.dtype.itemsize == 2:
            return function(x.astype(np.float32), **static).astype(x.dtype)
        return function(x, **static)

    return kernel


def _like(value: float, x: Array) -> Array:
    return np.asarray(value, x.dtype)


relu_region = pointwise(
    "relu", _relu_array, lambda x: [ops.maximum(x, number(0, x))],
    each(lambda ct, out, x: select(above(out, 0), ct, 0)),
)  # fmt: skip

_leaky_relu = pointwise(
    "leaky_relu",
    lambda x, slope: choose(x > 0, x, x * _like(slope, x)),
    lambda x, slope: [select(above(x, 0), x, x * slope)],
    each(lambda ct, out, x, slope: select(above(x, 0), ct, ct * slope)),
)
_threshold = pointwise(
    "threshold",
    lambda x, limit, value: choose(x > limit, x, _like(value, x)),
    lambda x, limit, value: [select(above(x, limit), x, value)],
    each(lambda ct, out, x, limit, value: select(above(x, limit), ct, 0)),
)
_step = pointwise(
    "step",
    lambda x, at_zero, passes: np.heaviside(x, _like(at_zero, x)),
    lambda x, at_zero, passes: [
        select(above(x, 0), 1, select(below(x, 0), 0, select(equals(x, 0), at_zero, x)))
    ],
    each(lambda ct, out, x, at_zero, passes: ct if passes else number(0, x)),
)
_hardtanh = pointwise(
    "hardtanh",
    lambda x, low, high: np.minimum(np.maximum(x, _like(low, x)), _like(high, x)),
    lambda x, low, high: [ops.minimum(ops.maximum(x, number(low, x)), number(high, x))],
    each(
        lambda ct, out, x, low, high: select(
            ops.bit_and(above(x, low), below(x, high)), ct, 0
        )
    ),
)  # fmt: skip


def _hardswish_slope(ct: Node, out: Node, x: Node) -> Node:
    middle = select(above(x, -3.0), ct * (x / 3.0 + 0.5), 0)
    return select(below(x, 3.0), middle, ct)


_hardswish = pointwise(
    "hardswish",
    lambda x: x * (np.minimum(np.maximum(x + _like(3, x), 0), 6) / _like(6, x)),
    lambda x: [x * (ops.minimum(ops.maximum(x + 3.0, number(0, x)), number(6, x)) / 6.0)],
    each(_hardswish_slope),
)


def _elu_array(x: Array, alpha: float, scale: float, rate: float) -> Array:
    low = np.expm1(np.minimum(x, 0) * _like(rate, x)) * _like(alpha * scale, x)
    return choose(x > 0, x * _like(scale, x), low)


def _elu_body(x: Node, alpha: float, scale: float, rate: float) -> list[Node]:
    low = expm1(ops.minimum(x, number(0, x)) * rate) * (alpha * scale)
    return [select(above(x, 0), x * scale, low)]


def _elu_slope(ct: Node, out: Node, x: Node, alpha: float, scale: float, rate: float) -> Node:
    low = ops.exp(ops.minimum(x, number(0, x)) * rate) * (alpha * scale * rate)
    return ct * select(above(x, 0), scale, low)


_elu = pointwise("elu", _wide(_elu_array), _elu_body, each(_elu_slope))


def _normal_share(x: Node) -> Node:
    """P(N < x) for a standard normal N."""
    return (ops.erf(x * sqrt(0.5)) + 1.0) * 0.5


def _gelu_array(x: Array) -> Array:
    share = erf_array(x * _like(sqrt(0.5), x))
    share += 1
    share *= _like(0.5, x)
    share *= x
    return share


def _gelu_slope(ct: Node, out: Node, x: Node) -> Node:
    density = ops.exp(x * x * -0.5) * (1 / sqrt(2 * pi))
    return ct * (_normal_share(x) + x * density)


_gelu = pointwise("gelu", _wide(_gelu_array), lambda x: [x * _normal_share(x)], each(_gelu_slope))
_CUBE, _RATE = 0.044715, sqrt(2 / pi)


def _gelu_tanh_array(x: Array) -> Array:
    share = np.tanh((x + x * x * x * _like(_CUBE, x)) * _like(_RATE, x))
    return (share + 1) * x * _like(0.5, x)


def _gelu_tanh_slope(ct: Node, out: Node, x: Node) -> Node:
    share = ops.tanh((x + x * x * x * _CUBE) * _RATE)
    inner = (x * x * (3 * _CUBE) + 1.0) * _RATE
    return ct * ((share + 1.0) * 0.5 + x * (1.0 - share * share) * inner * 0.5)


_gelu_tanh = pointwise(
    "gelu_tanh", _wide(_gelu_tanh_array),
    lambda x: [x * (ops.tanh((x + x * x * x * _CUBE) * _RATE) + 1.0) * 0.5],
    each(_gelu_tanh_slope),
)  # fmt: skip


def _silu_slope(ct: Node, out: Node, x: Node) -> Node:
    share = logistic(x)
    return ct * (share * (x * (1.0 - share) + 1.0))


_silu = pointwise(
    "silu", _wide(lambda x: x / (np.exp(-x) + 1)), lambda x: [x * logistic(x)], each(_silu_slope)
)


def _softplus_array(x: Array, beta: float, limit: float) -> Array:
    z = x * _like(beta, x)
    smooth = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    return choose(z > limit, x, smooth / _like(beta, x))


def _softplus_body(x: Node, beta: float, limit: float) -> list[Node]:
    z = x * beta
    smooth = ops.maximum(z, number(0, z)) + log1p(ops.exp(-size_of(z)))
    return [select(above(z, limit), x, smooth / beta)]


def _softplus_slope(ct: Node, out: Node, x: Node, beta: float, limit: float) -> Node:
    z = x * beta
    return select(above(z, limit), ct, ct * logistic(z))


_softplus = pointwise("softplus", _wide(_softplus_array), _softplus_body, each(_softplus_slope))


def _softsign_slope(ct: Node, out: Node, x: Node) -> Node:
    size = size_of(x) + 1.0
    return ct / (size * size)


_softsign = pointwise(
    "softsign", lambda x: x / (np.abs(x) + 1), lambda x: [x / (size_of(x) + 1.0)],
    each(_softsign_slope),
)  # fmt: skip
_logsigmoid = pointwise(
    "logsigmoid",
    _wide(lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))),
    lambda x: [ops.minimum(x, number(0, x)) - log1p(ops.exp(-size_of(x)))],
    each(lambda ct, out, x: ct * logistic(-x)),
)

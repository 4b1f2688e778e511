"""Normalisations of activations: over features, batches, groups of channels, neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_flag, as_number
from adjoint.base.dtype import finfo, float32
from adjoint.base.shape import Shape, as_shape, as_size, numel
from adjoint.ir.node import Node
from adjoint.ops.movement import narrow
from adjoint.ops.reduce import spread
from adjoint.ops.rows import full
from adjoint.ops.structure import results
from adjoint.tensors import arithmetic
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.functional.standardize import standardize
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.modes import no_grad
from adjoint.tensors.powers import pow

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


def layer_norm(
    input: Handle, normalized_shape: Any, weight: Handle | None = None,
    bias: Handle | None = None, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias, with mean and var over the last axes.

    ``normalized_shape`` are the sizes of those axes; weight and bias have that shape. Source: Ba
    et al., "Layer normalization", 2016.
    """
    return _over_last("layer_norm", input, normalized_shape, weight, bias, eps, True)


def rms_norm(
    input: Handle, normalized_shape: Any, weight: Handle | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, with the mean over the last axes.

    ``eps``: the spacing of floats at 1 by default. Source: Zhang and Sennrich, "Root mean square
    layer normalization", 2019.
    """
    if eps is None:
        eps = float(finfo(_floats("rms_norm", input, 1).dtype).eps)
    return _over_last("rms_norm", input, normalized_shape, weight, None, eps, False)


def batch_norm(
    input: Handle, running_mean: Handle | None, running_var: Handle | None,
    weight: Handle | None = None, bias: Handle | None = None, training: bool = False,
    momentum: Any = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel (axis 1) of (N, C, ...).

    Training: mean and var are those of the batch, and the running ones (where given) move towards
    them by ``momentum``, var with the divisor n - 1. Otherwise the running ones are used. Raises
    ShapeError for one value per channel while training. Source: Ioffe and Szegedy, 2015.
    """
    op = "batch_norm"
    x, eps = _floats(op, input, 2), _epsilon(op, eps)
    channels = x.shape[1]
    running = [_channel(op, r, x, channels, n) for r, n in
               ((running_mean, "running_mean"), (running_var, "running_var"))]  # fmt: skip
    affine = _affine(op, x, (channels,), weight, bias)
    if as_flag(op, "training", training):
        if x.shape[0] * numel(x.shape[2:]) == 1:
            raise errors.shape(
                op, "one value per channel has no variance to train with", x,
                hint="use larger batches (drop_last=True), or model.eval() when not training",
            )  # fmt: skip
        axes = (0, *range(2, x.ndim))
        y, mean, var = results(
            standardize(x, *affine, axes=axes, features=(1,), eps=eps, centred=True)
        )
        count = x.shape[0] * numel(x.shape[2:])
        _move(op, running_mean, mean, momentum)
        _move(op, running_var, _unbiased(var, count), momentum)
        return wrap(y)
    return wrap(_with_running(op, x, running, affine, eps))


def group_norm(
    input: Handle, num_groups: int, weight: Handle | None = None, bias: Handle | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(N, C, ...) standardised over each of ``num_groups`` groups of channels of each example,
    then * weight + bias for each channel. Source: Wu and He, "Group normalization", 2018.
    """
    op = "group_norm"
    x, eps = _floats(op, input, 2), _epsilon(op, eps)
    groups, (n, channels) = as_size(op, num_groups), x.shape[:2]
    if groups < 1 or channels % groups:
        raise errors.shape(
            op, f"{channels} channels do not divide into {groups} groups", x,
            hint="num_groups has to divide the number of channels",
        )  # fmt: skip
    affine = _affine(op, x, (channels,), weight, bias)
    parts = (groups, channels // groups)
    folded = ops.reshape(x, shape=(n, *parts, numel(x.shape[2:])))
    affine = [ops.reshape(a, shape=parts) for a in affine]
    y = results(standardize(folded, *affine, axes=(2, 3), features=(1, 2), eps=eps, centred=True))[
        0
    ]
    return wrap(ops.reshape(y, shape=x.shape))


def instance_norm(
    input: Handle, running_mean: Handle | None = None, running_var: Handle | None = None,
    weight: Handle | None = None, bias: Handle | None = None, use_input_stats: bool = True,
    momentum: Any = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(N, C, ...) standardised over the places of each channel of each example.

    The running statistics, where given, move towards the averages over the examples; they are
    used when ``use_input_stats`` is False. Source: Ulyanov et al., "Instance normalization", 2016.
    """
    op = "instance_norm"
    x, eps = _floats(op, input, 3), _epsilon(op, eps)
    channels, places = x.shape[1], numel(x.shape[2:])
    running = [_channel(op, r, x, channels, n) for r, n in
               ((running_mean, "running_mean"), (running_var, "running_var"))]  # fmt: skip
    affine = _affine(op, x, (channels,), weight, bias)
    if not as_flag(op, "use_input_stats", use_input_stats):
        return wrap(_with_running(op, x, running, affine, eps))
    if places == 1:
        raise errors.shape(
            op, "one value per channel of an example has no variance", x,
            hint="normalise before the places are pooled away",
        )  # fmt: skip
    axes = tuple(range(2, x.ndim))
    y, mean, var = results(standardize(x, *affine, axes=axes, features=(1,), eps=eps, centred=True))
    if running_mean is not None or running_var is not None:
        n = float(max(x.shape[0], 1))
        with no_grad():
            mean, var = (ops.reduce_sum(s, axes=(0,)) / n for s in (mean, var))
        _move(op, running_mean, mean, momentum)
        _move(op, running_var, _unbiased(var, places), momentum)
    return wrap(y)


def local_response_norm(
    input: Handle, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * mean of x^2 over ``size`` neighbouring channels)^beta for (N, C, ...).

    Channels beyond the edge count as 0. Source: Krizhevsky et al., 2012.
    """
    op = "local_response_norm"
    x, size = _floats(op, input, 3), as_size(op, size)
    if size < 1:
        raise errors.argument(op, "size must be at least 1", hint="5, say")
    channels, before = x.shape[1], size // 2
    low, high = [0] * x.ndim, [0] * x.ndim
    low[1], high[1] = before, size - 1 - before
    squares = ops.pad(x * x, low=tuple(low), high=tuple(high), interior=(0,) * x.ndim)
    total = narrow(squares, 1, 0, channels)
    for i in range(1, size):
        total = total + narrow(squares, 1, i, channels)
    base = total * (as_number(op, "alpha", alpha) / size) + as_number(op, "k", k)
    return arithmetic.div(wrap(x), pow(wrap(base), as_number(op, "beta", beta)))


# --- arguments ------------------------------------------------------------------------------------


def _over_last(
    op: str, input: Handle, normalized_shape: Any, weight: Handle | None, bias: Handle | None,
    eps: float, centred: bool,
) -> Tensor:  # fmt: skip
    x, eps = _floats(op, input, 1), _epsilon(op, eps)
    sizes = as_shape(op, normalized_shape)
    if not sizes or x.shape[-len(sizes) :] != sizes:
        raise errors.shape(
            op, f"the input does not end in the sizes {errors.dims(sizes)}", x,
            hint=f"normalized_shape names the last sizes: {errors.dims(x.shape[-1:])}, say",
        )  # fmt: skip
    width = numel(sizes)
    affine = [ops.reshape(a, shape=(width,)) for a in _affine(op, x, sizes, weight, bias)]
    rows = ops.reshape(x, shape=(numel(x.shape[: x.ndim - len(sizes)]), width))
    y = results(standardize(rows, *affine, axes=(1,), features=(1,), eps=eps, centred=centred))[0]
    return wrap(ops.reshape(y, shape=x.shape))


def _floats(op: str, input: Handle, least: int) -> Node:
    x = node_of(input, op)
    if x.dtype.kind != "f":
        raise errors.wrong_dtype(op, x.dtype, "a float dtype", hint="convert first: x.float()")
    if x.ndim < least:
        wanted = {1: "(..., features)", 2: "(N, C, ...)", 3: "(N, C, places ...)"}[least]
        raise errors.shape(op, f"the input needs axes {wanted}", x,
                           hint="x[None] adds an axis for one example")  # fmt: skip
    return x


def _epsilon(op: str, eps: Any) -> float:
    value = as_number(op, "eps", eps)
    if not value >= 0:
        raise errors.argument(op, f"eps cannot be negative, got {value}", hint="1e-5 is usual")
    return float(value)


def _affine(
    op: str, x: Node, shape: Shape, weight: Handle | None, bias: Handle | None
) -> list[Node]:
    """Weight and bias, checked; a bias alone comes with a weight of ones."""
    if weight is None and bias is None:
        return []
    found = [_fitting(op, a, x, shape, name) for a, name in ((weight, "weight"), (bias, "bias"))
             if a is not None]  # fmt: skip
    if weight is None:
        found.insert(0, full(1, shape, x.dtype))
    return found


def _fitting(op: str, value: Handle, x: Node, shape: Shape, name: str) -> Node:
    node = node_of(value, op)
    if node.shape != shape:
        raise errors.shape(
            op, f"{name} must have the shape {errors.dims(shape)}", node, x,
            hint="the layer has to be made for the channels or features that come",
        )  # fmt: skip
    if node.dtype is not x.dtype and not (x.dtype.bits == 16 and node.dtype.name == "float32"):
        raise errors.mixed_dtypes(op, x, node)
    return node


def _channel(op: str, value: Handle | None, x: Node, channels: int, name: str) -> Node | None:
    return None if value is None else _fitting(op, value, x, (channels,), name)


def _with_running(
    op: str, x: Node, running: list[Node | None], affine: list[Node], eps: float
) -> Node:
    mean, var = running
    if mean is None or var is None:
        raise errors.argument(
            op, "without statistics of the input it needs running_mean and running_var",
            hint="training=True takes the statistics of the batch",
        )  # fmt: skip
    others = (0, *range(2, x.ndim))
    wide = float32 if mean.dtype.bits == 16 else mean.dtype
    mean, var = to_dtype(mean, wide), to_dtype(var, wide)
    factor = 1.0 / ops.sqrt(var + eps)
    if affine:
        factor = factor * to_dtype(affine[0], wide)
    y = (to_dtype(x, wide) - spread(mean, x.shape, others)) * spread(factor, x.shape, others)
    if len(affine) > 1:
        y = y + spread(to_dtype(affine[1], wide), x.shape, others)
    return to_dtype(y, x.dtype)


# --- running statistics ---------------------------------------------------------------------------


def _unbiased(var: Node, count: int) -> Node:
    """The variance with divisor count - 1."""
    with no_grad():
        return var * (count / max(count - 1, 1))


def _move(op: str, running: Handle | None, found: Node, momentum: Any) -> None:
    """running = (1 - momentum) running + momentum found, unseen by autograd."""
    if running is None:
        return
    with no_grad():
        old = running.node
        new = to_dtype(found, old.dtype)
        if isinstance(momentum, Handle):
            share = ops.broadcast(to_dtype(momentum.node, old.dtype), shape=old.shape)
            value = old + (new - old) * share
        else:
            share = as_number(op, "momentum", momentum)
            value = old * (1 - share) + new * share
        running.assign(value, op)

"""Filling parameters before training, under the names of ``torch.nn.init``.

Every function changes its tensor in place (outside autograd) and returns it. For a weight of shape
(out, in, *kernel), fan_in = in * kernel size and fan_out = out * kernel size.
"""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.tensors import linalg, random
from adjoint.tensors.creation import tensor
from adjoint.tensors.handle import Handle
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor

_GAINS = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0, "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3,
    "relu": sqrt(2.0), "selu": 0.75,
}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through ``nonlinearity``; ``param``: the slope of a leaky
    ReLU (0.01 by default). Source: He et al., ICCV 2015."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise errors.unknown_name("calculate_gain", nonlinearity, [*_GAINS, "leaky_relu"])
    return _GAINS[nonlinearity]


def fans(weight: Handle) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight. Raises ShapeError below two dimensions."""
    if weight.ndim < 2:
        raise errors.shape(
            "init",
            "fans need at least 2 dimensions",
            weight,
            hint="for a bias use zeros_ or normal_",
        )
    kernel = prod(weight.shape[2:])
    return weight.shape[1] * kernel, weight.shape[0] * kernel


@no_grad()
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """U(a, b)."""
    return random.uniform_(tensor, a, b, generator=generator)


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """N(mean, std^2)."""
    return random.normal_(tensor, mean, std, generator=generator)


@no_grad()
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """N(mean, std^2) cut to [a, b]: draws outside are drawn again."""
    random.normal_(tensor, mean, std, generator=generator)
    for _ in range(1000):
        values = tensor.detach().numpy()
        outside = (values < a) | (values > b)
        if not outside.any():
            return tensor
        fresh = tensor.detach().clone()
        random.normal_(fresh, mean, std, generator=generator)
        tensor.copy_(_choose(outside, fresh, tensor))
    raise errors.argument(
        "trunc_normal_", f"[{a}, {b}] holds almost nothing of N({mean}, {std}^2)",
        hint="widen the limits: they are in the units of the tensor, not in standard deviations",
    )  # fmt: skip


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """``val`` everywhere."""
    return tensor.fill_(val)


@no_grad()
def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return tensor.fill_(1.0)


@no_grad()
def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return tensor.fill_(0.0)


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix (ones on the diagonal of a rectangular one)."""
    if tensor.ndim != 2:
        raise errors.shape(
            "eye_",
            "needs 2 dimensions",
            tensor,
            hint="dirac_ is the identity for kernels of convolutions",
        )
    return tensor.copy_(_array(np.eye(tensor.shape[0], tensor.shape[1]), tensor))


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution kernel that passes channel i of each group on as channel i."""
    if tensor.ndim not in (3, 4, 5):
        raise errors.shape(
            "dirac_", "needs 3, 4 or 5 dimensions", tensor, hint="eye_ is the identity for matrices"
        )
    if tensor.shape[0] % groups:
        raise errors.argument(
            "dirac_",
            f"{tensor.shape[0]} channels in {groups} groups",
            hint="groups must divide the output channels",
        )
    values = np.zeros(tensor.shape)
    size = tensor.shape[0] // groups
    centre = tuple(k // 2 for k in tensor.shape[2:])
    for group in range(groups):
        for i in range(min(size, tensor.shape[1])):
            values[(group * size + i, i, *centre)] = 1.0
    return tensor.copy_(_array(values, tensor))


@no_grad()
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """U(-a, a), a = gain sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio, AISTATS 2010."""
    bound = gain * sqrt(6.0 / sum(fans(tensor)))
    return random.uniform_(tensor, -bound, bound, generator=generator)


@no_grad()
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """N(0, gain^2 2 / (fan_in + fan_out)). Source: Glorot and Bengio, AISTATS 2010."""
    std = gain * sqrt(2.0 / sum(fans(tensor)))
    return random.normal_(tensor, 0.0, std, generator=generator)


@no_grad()
def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """U(-b, b), b = gain sqrt(3 / fan); ``a``: the slope of the leaky ReLU that follows.
    Source: He et al., ICCV 2015."""
    bound = sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return random.uniform_(tensor, -bound, bound, generator=generator)


@no_grad()
def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """N(0, gain^2 / fan). Source: He et al., ICCV 2015."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    return random.normal_(tensor, 0.0, std, generator=generator)


@no_grad()
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """Orthogonal rows (or columns, whichever are fewer) of the weight as a matrix, times ``gain``.
    Source: Saxe et al., ICLR 2014."""
    if tensor.ndim < 2:
        raise errors.shape(
            "orthogonal_",
            "needs at least 2 dimensions",
            tensor,
            hint="for a bias use zeros_ or normal_",
        )
    rows, columns = tensor.shape[0], prod(tensor.shape[1:])
    tall = max(rows, columns), min(rows, columns)
    flat = random.randn(*tall, dtype="float64", generator=generator)
    q, r = linalg.qr(flat)
    q = q * r.diagonal().sign()
    q = q if rows >= columns else q.T
    return tensor.copy_((q * gain).reshape(tensor.shape).to(tensor.dtype))


@no_grad()
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """N(0, std^2) with a share ``sparsity`` of each column set to 0. Source: Martens, ICML 2010."""
    if tensor.ndim != 2:
        raise errors.shape(
            "sparse_", "needs 2 dimensions", tensor, hint="it fills the matrix of a linear layer"
        )
    rows, columns = tensor.shape
    random.normal_(tensor, 0.0, std, generator=generator)
    order = random.rand(rows, columns, generator=generator).argsort(0).argsort(0)
    dropped = order.numpy() < int(np.ceil(sparsity * rows))
    return tensor.copy_(_choose(dropped, tensor.detach() * 0.0, tensor))


def _kaiming_std(weight: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise errors.unknown_name("kaiming mode", mode, ["fan_in", "fan_out"])
    fan = fans(weight)[0 if mode == "fan_in" else 1]
    if fan == 0:
        raise errors.shape(
            "kaiming",
            "the fan is 0",
            weight,
            hint="a layer without inputs has nothing to initialise",
        )
    return calculate_gain(nonlinearity, a) / sqrt(fan)


def _array(values: Any, like: Tensor) -> Tensor:
    return tensor(values, dtype=like.dtype)


def _choose(mask: Any, yes: Tensor, no: Tensor) -> Tensor:
    return _array(np.where(mask, yes.detach().numpy(), no.detach().numpy()), no)


def lsuv_(model: Any, *inputs: Any, **options: Any) -> dict[str, float]:
    """Scale the weights of every layer until its output on ``inputs`` has variance 1; see
    ``nn.growing.lsuv_``."""
    from adjoint.nn import growing

    return growing.lsuv_(model, *inputs, **options)


def zero_last_(branch: Any) -> Any:
    """Make ``branch`` give 0, and x + branch(x) the identity; see ``nn.growing.zero_last_``."""
    from adjoint.nn import growing

    return growing.zero_last_(branch)


_calculate_fan_in_and_fan_out = fans  # PyTorch's name, which layers outside of it use

"""Normalisation layers without statistics of the batch: layer, RMS, group, local response."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.base.shape import as_shape, as_size
from adjoint.nn import init
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.tensor import Tensor


class LayerNorm(Module):
    """Each example standardised over its last axes, then * weight + bias; see
    ``functional.layer_norm``. weight starts at 1, bias at 0."""

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = as_shape("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        register_affine(
            self, self.normalized_shape, elementwise_affine, elementwise_affine and bias, dtype,
            device,
        )  # fmt: skip

    def reset_parameters(self) -> None:
        """weight = 1, bias = 0."""
        reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Each example divided by the root of its mean square over the last axes, then * weight; see
    ``functional.rms_norm``."""

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True,
        device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = as_shape("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        made = creation.ones(self.normalized_shape, dtype=dtype, device=device)
        self.register_parameter("weight", Parameter(made) if elementwise_affine else None)

    def reset_parameters(self) -> None:
        """weight = 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Each of ``num_groups`` groups of channels of each example standardised, then * weight + bias
    for each channel; see ``functional.group_norm``."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: object = "cpu", dtype: object = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_groups = as_size("GroupNorm", num_groups)
        self.num_channels = as_size("GroupNorm", num_channels)
        if self.num_groups < 1 or self.num_channels % self.num_groups:
            raise errors.argument(
                "GroupNorm", f"{num_channels} channels do not divide into {num_groups} groups",
                hint="num_groups has to divide num_channels",
            )  # fmt: skip
        self.eps = eps
        self.affine = affine
        register_affine(self, (self.num_channels,), affine, affine and bias, dtype, device)

    def reset_parameters(self) -> None:
        """weight = 1, bias = 0."""
        reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of x^2 over ``size`` neighbouring channels)^beta."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def register_affine(
    module: Module, shape: tuple[int, ...], weight: bool, bias: bool, dtype: object, device: object
) -> None:
    """Parameters ``weight`` of ones and ``bias`` of zeros, or None under those names."""
    for name, wanted, make in (("weight", weight, creation.ones), ("bias", bias, creation.zeros)):
        made = Parameter(make(shape, dtype=dtype, device=device)) if wanted else None
        module.register_parameter(name, made)


def reset_affine(module: Module) -> None:
    if module.weight is not None:
        init.ones_(module.weight)
    if module.bias is not None:
        init.zeros_(module.bias)

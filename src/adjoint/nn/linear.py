"""Linear maps, and the layer that does nothing."""

from __future__ import annotations

from math import sqrt
from typing import Any

from adjoint.base.shape import as_size
from adjoint.nn import init
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.tensor import Tensor


class Identity(Module):
    """Gives back its input; takes and ignores any arguments when it is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Linear(Module):
    """x @ weight.T + bias: (..., in_features) -> (..., out_features).

    weight (out, in) and bias (out,) start uniform in +-1 / sqrt(in).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: object = "cpu",
        dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_features = as_size("Linear", in_features)
        self.out_features = as_size("Linear", out_features)
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(creation.empty(shape, dtype=dtype, device=device))
        register_bias(self, bias, self.out_features, dtype, device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values."""
        reset(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """x1 @ weight[k] @ x2 + bias[k] for every output k; weight (out, in1, in2)."""

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
        device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in1_features = as_size("Bilinear", in1_features)
        self.in2_features = as_size("Bilinear", in2_features)
        self.out_features = as_size("Bilinear", out_features)
        shape = (self.out_features, self.in1_features, self.in2_features)
        self.weight = Parameter(creation.empty(shape, dtype=dtype, device=device))
        register_bias(self, bias, self.out_features, dtype, device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, uniform in +-1 / sqrt(in1)."""
        bound = 1 / sqrt(self.in1_features) if self.in1_features else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


def register_bias(module: Module, bias: bool, size: int, dtype: object, device: object) -> None:
    """A parameter ``bias`` of ``size``, or none under that name."""
    made = Parameter(creation.empty(size, dtype=dtype, device=device)) if bias else None
    module.register_parameter("bias", made)


def reset(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's start for linear and convolution layers: weight and bias uniform in
    +-1 / sqrt(fan_in)."""
    if weight.numel():
        init.kaiming_uniform_(weight, a=sqrt(5))
        if bias is not None:
            bound = 1 / sqrt(init.fans(weight)[0])
            init.uniform_(bias, -bound, bound)

"""Relatives of the convolution layer: without shared weights, separable, with coordinates."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

from adjoint.base import errors
from adjoint.base.shape import as_size
from adjoint.nn import init
from adjoint.nn.conv import Conv1d, Conv2d
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.functional.conv import sizes
from adjoint.tensors.functional.local import windows_of
from adjoint.tensors.tensor import Tensor


class _LocallyConnected(Module):
    axes = 0
    function: Callable[..., Tensor]

    def __init__(
        self, in_channels: int, out_channels: int, input_size: Any, kernel_size: Any,
        stride: Any = 1, padding: Any = 0, dilation: Any = 1, bias: bool = True,
        device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        kind = type(self).__name__
        self.in_channels = as_size(kind, in_channels)
        self.out_channels = as_size(kind, out_channels)
        self.input_size = sizes(kind, "input_size", input_size, self.axes, 1)
        self.kernel_size = sizes(kind, "kernel_size", kernel_size, self.axes, 1)
        self.stride = sizes(kind, "stride", stride, self.axes, 1)
        self.padding = sizes(kind, "padding", padding, self.axes)
        self.dilation = sizes(kind, "dilation", dilation, self.axes, 1)
        places = windows_of(
            kind, self.input_size, self.kernel_size, self.stride, self.padding, self.dilation
        )
        shape = (*places, self.out_channels, self.in_channels, *self.kernel_size)
        self.weight = Parameter(creation.empty(shape, dtype=dtype, device=device))
        self.register_parameter("bias", None)
        if bias:
            offsets = creation.empty((self.out_channels, *places), dtype=dtype, device=device)
            self.bias = Parameter(offsets)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, uniform in +-1 / sqrt(in_channels * kernel)."""
        bound = 1 / sqrt(max(self.in_channels * prod(self.kernel_size), 1))
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation
        )

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, input_size={self.input_size}, "
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        )


class LocallyConnected1d(_LocallyConnected):
    """A convolution of (N, C, L) with a kernel of its own for every place.

    ``input_size``: L. weight (L', out, in, k), bias (out, L').
    """

    axes = 1
    function = staticmethod(F.locally_connected1d)


class LocallyConnected2d(_LocallyConnected):
    """A convolution of (N, C, H, W) with a kernel of its own for every place: H' W' times the
    weights of ``Conv2d``.

    ``input_size``: (H, W). weight (H', W', out, in, k1, k2), bias (out, H', W'), all uniform in
    +-1 / sqrt(fan_in) at the start.
    """

    axes = 2
    function = staticmethod(F.locally_connected2d)


class _Separable(Module):
    layer: Any = None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, depth_multiplier: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        kind = type(self).__name__
        wide = as_size(kind, in_channels) * as_size(kind, depth_multiplier)
        where = {"device": device, "dtype": dtype}
        self.depthwise = self.layer(
            in_channels, wide, kernel_size, stride, padding, dilation, groups=in_channels,
            bias=False, padding_mode=padding_mode, **where,
        )  # fmt: skip
        self.pointwise = self.layer(wide, out_channels, 1, bias=bias, **where)

    def forward(self, input: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(input))


class SeparableConv1d(_Separable):
    """A convolution of each channel alone (``depthwise``), then a mix of channels (``pointwise``)
    for (N, C, L)."""

    layer = Conv1d


class SeparableConv2d(_Separable):
    """A convolution of each channel alone (``depthwise``), then a mix of channels (``pointwise``)
    for (N, C, H, W): k^2 + out weights per input channel instead of k^2 out. Source: Chollet,
    "Xception", CVPR 2017."""

    layer = Conv2d


class AddCoordinates(Module):
    """A channel more per axis with the coordinate, -1 to 1, and with ``radius`` the distance from
    the middle."""

    def __init__(self, radius: bool = False) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, input: Tensor) -> Tensor:
        return F.add_coordinates(input, self.radius)

    def extra_repr(self) -> str:
        return f"radius={self.radius}"


class CoordConv2d(Conv2d):
    """``Conv2d`` that also sees where it is: two or three channels of coordinates more.

    Arguments of ``Conv2d``, and ``radius``. ``in_channels`` counts those of the image only. Source:
    Liu et al., NeurIPS 2018.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, *args: Any,
        radius: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        wide = as_size("CoordConv2d", in_channels) + (3 if radius else 2)
        super().__init__(wide, out_channels, kernel_size, *args, **kwargs)
        self.radius = radius

    def forward(self, input: Tensor) -> Tensor:
        wide = F.add_coordinates(input if input.ndim == 4 else input.unsqueeze(0), self.radius)
        out = super().forward(wide)
        return out if input.ndim == 4 else out.squeeze(0)


class GaussianBlur(Module):
    """(..., H, W) blurred with a fixed standard deviation; see ``functional.gaussian_filter``."""

    def __init__(self, sigma: Any, truncate: float = 4.0, mode: str = "replicate") -> None:
        super().__init__()
        if not isinstance(sigma, (int, float, tuple, list)):
            raise errors.bad_argument("GaussianBlur", "sigma", sigma, "a number or two")
        self.sigma = sigma
        self.truncate = truncate
        self.mode = mode

    def forward(self, input: Tensor) -> Tensor:
        return F.gaussian_filter(input, self.sigma, self.truncate, self.mode)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}, mode={self.mode}"

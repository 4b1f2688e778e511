"""Convolution layers: cross-correlations with learned kernels, for images of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjoint.base import errors
from adjoint.base.shape import Shape, as_size
from adjoint.nn.linear import register_bias, reset
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.functional.conv import sizes
from adjoint.tensors.tensor import Tensor

PADDING = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


class _Convolution(Module):
    """What all six layers share: sizes, parameters and their start."""

    axes = 0
    transposed = False
    function: Callable[..., Tensor]

    def _setup(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, dilation: Any,
        groups: int, bias: bool, padding_mode: str, device: object, dtype: object,
    ) -> None:  # fmt: skip
        kind = type(self).__name__
        self.in_channels = as_size(kind, in_channels)
        self.out_channels = as_size(kind, out_channels)
        self.kernel_size = sizes(kind, "kernel_size", kernel_size, self.axes, 1)
        self.stride = sizes(kind, "stride", stride, self.axes, 1)
        self.dilation = sizes(kind, "dilation", dilation, self.axes, 1)
        self.groups = as_size(kind, groups)
        if padding_mode not in PADDING or (self.transposed and padding_mode != "zeros"):
            known = ["zeros"] if self.transposed else list(PADDING)
            raise errors.unknown_name(f"{kind} padding_mode", padding_mode, known)
        self.padding_mode = padding_mode
        if self.groups < 1 or self.in_channels % self.groups or self.out_channels % self.groups:
            raise errors.argument(
                kind, f"{self.in_channels} input and {self.out_channels} output channels do not "
                f"split into {self.groups} groups", hint="groups must divide both numbers",
            )  # fmt: skip
        pair = (self.out_channels, self.in_channels // self.groups)
        if self.transposed:
            pair = (self.in_channels, self.out_channels // self.groups)
        shape = (*pair, *self.kernel_size)
        self.weight = Parameter(creation.empty(shape, dtype=dtype, device=device))
        register_bias(self, bias, self.out_channels, dtype, device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values."""
        reset(self.weight, self.bias)

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        ]
        zero, one = (0,) * self.axes, (1,) * self.axes
        if self.padding != zero:
            parts.append(f"padding={self.padding}")
        if self.dilation != one:
            parts.append(f"dilation={self.dilation}")
        if self.transposed and self.output_padding != zero:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Conv(_Convolution):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        kind = type(self).__name__
        self.padding = padding
        if not isinstance(padding, str):
            self.padding = sizes(kind, "padding", padding, self.axes)
        elif padding not in ("same", "valid"):
            raise errors.unknown_name(f"{kind} padding", padding, ["same", "valid"])
        self._setup(
            in_channels, out_channels, kernel_size, stride, dilation, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._ends(), PADDING[self.padding_mode])
            padding = 0
        return type(self).function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def _ends(self) -> list[int]:
        """The padding as ``F.pad`` wants it, last axis first."""
        found: list[int] = []
        for i in reversed(range(self.axes)):
            total = self.dilation[i] * (self.kernel_size[i] - 1)
            if self.padding == "same":
                found += [total // 2, total - total // 2]
            else:
                found += [0 if self.padding == "valid" else self.padding[i]] * 2
        return found


class Conv1d(_Conv):
    """``functional.conv1d`` with a learned kernel (out, in / groups, k) and bias (out,)."""

    axes = 1
    function = staticmethod(F.conv1d)


class Conv2d(_Conv):
    """A cross-correlation (the kernel is not flipped): (N, C, H, W) -> (N, O, H', W').

    weight (out, in / groups, k1, k2) and bias (out,) start uniform in +-1 / sqrt(fan_in). See
    ``functional.conv2d`` for sizes. The layer does not know the image size: one object takes all.
    ``padding_mode``: zeros, reflect, replicate or circular.
    """

    axes = 2
    function = staticmethod(F.conv2d)


class Conv3d(_Conv):
    """``functional.conv3d`` with a learned kernel (out, in / groups, k1, k2, k3)."""

    axes = 3
    function = staticmethod(F.conv3d)


class _ConvTranspose(_Convolution):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
        dilation: Any = 1, padding_mode: str = "zeros", device: object = "cpu",
        dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        kind = type(self).__name__
        self.padding = sizes(kind, "padding", padding, self.axes)
        self.output_padding = sizes(kind, "output_padding", output_padding, self.axes)
        self._setup(
            in_channels, out_channels, kernel_size, stride, dilation, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """``output_size``: which of the possible sizes to make, instead of ``output_padding``."""
        extra = self.output_padding
        if output_size is not None:
            extra = self._extra(input, tuple(output_size)[-self.axes :])
        return type(self).function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups,
            self.dilation,
        )  # fmt: skip

    def _extra(self, input: Tensor, wanted: Shape) -> Shape:
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                input.shape[-self.axes :], self.stride, self.padding, self.dilation,
                self.kernel_size, strict=True,
            )
        ]  # fmt: skip
        for have, want, s in zip(least, wanted, self.stride, strict=True):
            if not have <= want < have + s:
                most = tuple(n + t - 1 for n, t in zip(least, self.stride, strict=True))
                raise errors.argument(
                    type(self).__name__,
                    f"output_size {wanted} is not in {tuple(least)} .. {most}",
                    hint="the stride leaves this choice: see output_padding",
                )
        return tuple(w - n for w, n in zip(wanted, least, strict=True))


class ConvTranspose1d(_ConvTranspose):
    """``functional.conv_transpose1d`` with a learned kernel (in, out / groups, k)."""

    axes = 1
    function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """The transpose of ``Conv2d``: (N, C, H, W) -> (N, O, H', W'), larger by the stride.

    weight (in, out / groups, k1, k2). See ``functional.conv_transpose2d`` for sizes.
    """

    axes = 2
    function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """``functional.conv_transpose3d`` with a learned kernel (in, out / groups, k1, k2, k3)."""

    axes = 3
    function = staticmethod(F.conv_transpose3d)

"""Layers that make images larger at the edges, or lay out their windows."""

from __future__ import annotations

from typing import Any

from adjoint.base.shape import as_shape
from adjoint.nn.module import Module
from adjoint.tensors import functional as F
from adjoint.tensors.functional.conv import sizes
from adjoint.tensors.tensor import Tensor


class _Pad(Module):
    axes = 0
    mode = "constant"
    value: float | None = None

    def __init__(self, padding: Any) -> None:
        super().__init__()
        name = type(self).__name__
        given = as_shape(name, padding)
        self.padding = given * (2 * self.axes) if isinstance(padding, int) else given

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPad1d(_Pad):
    """``value`` before and after the last axis: padding (left, right) or one number."""

    axes = 1

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """``value`` around the last two axes: padding (left, right, top, bottom) or one number."""

    axes = 2


class ConstantPad3d(ConstantPad1d):
    """``value`` around the last three axes."""

    axes = 3


class ZeroPad1d(_Pad):
    """Zeros before and after the last axis."""

    axes = 1


class ZeroPad2d(_Pad):
    """Zeros around the last two axes: padding (left, right, top, bottom) or one number."""

    axes = 2


class ZeroPad3d(_Pad):
    """Zeros around the last three axes."""

    axes = 3


class ReflectionPad1d(_Pad):
    """The last axis mirrored at both ends, without the edge."""

    axes = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """The last two axes mirrored, without the edge."""

    axes = 2
    mode = "reflect"


class ReflectionPad3d(_Pad):
    """The last three axes mirrored, without the edge."""

    axes = 3
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """The edges of the last axis repeated."""

    axes = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """The edges of the last two axes repeated."""

    axes = 2
    mode = "replicate"


class ReplicationPad3d(_Pad):
    """The edges of the last three axes repeated."""

    axes = 3
    mode = "replicate"


class CircularPad1d(_Pad):
    """The last axis continued at the other end."""

    axes = 1
    mode = "circular"


class CircularPad2d(_Pad):
    """The last two axes continued at the other end."""

    axes = 2
    mode = "circular"


class CircularPad3d(_Pad):
    """The last three axes continued at the other end."""

    axes = 3
    mode = "circular"


class Unfold(Module):
    """Every window as a column: (N, C, H, W) -> (N, C k1 k2, windows)."""

    def __init__(
        self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )


class Fold(Module):
    """Columns put back as an image, overlaps added up: the transpose of ``Unfold``."""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
        stride: Any = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.output_size = sizes("Fold", "output_size", output_size, 2, 1)
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        return F.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding}, stride={self.stride}"
        )

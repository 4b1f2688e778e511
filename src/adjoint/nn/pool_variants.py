"""Pooling by p-norms, and over random windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjoint.base import errors
from adjoint.nn.module import Module
from adjoint.tensors import functional as F
from adjoint.tensors.functional.conv import sizes
from adjoint.tensors.handle import Handle
from adjoint.tensors.tensor import Tensor


class _PowerPool(Module):
    function: Callable[..., Tensor]

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(
            input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode
        )

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_PowerPool):
    """(sum of x^p)^(1/p) of every window of (N, C, L)."""

    function = staticmethod(F.lp_pool1d)


class LPPool2d(_PowerPool):
    """(sum of x^p)^(1/p) of every window of (N, C, H, W)."""

    function = staticmethod(F.lp_pool2d)


class LPPool3d(_PowerPool):
    """(sum of x^p)^(1/p) of every window of (N, C, D, H, W)."""

    function = staticmethod(F.lp_pool3d)


class _Fractional(Module):
    axes = 0
    function: Callable[..., Any]

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Handle | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise errors.argument(
                name, "needs either output_size or output_ratio", hint="output_ratio=0.5, say"
            )
        self.kernel_size = sizes(name, "kernel_size", kernel_size, self.axes, 1)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)  # type: ignore[arg-type]
        self.output_size = output_size
        if output_size is not None:
            self.output_size = sizes(name, "output_size", output_size, self.axes, 1)
        self.output_ratio: tuple[float, ...] | None = None
        if output_ratio is not None:
            several = isinstance(output_ratio, (tuple, list))
            self.output_ratio = tuple(output_ratio) if several else (output_ratio,) * self.axes
            if not all(0 < ratio < 1 for ratio in self.output_ratio):
                raise errors.argument(
                    name, f"output_ratio lies between 0 and 1, got {output_ratio}", hint="0.5, say"
                )

    def forward(self, input: Tensor) -> Any:
        return type(self).function(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            _random_samples=self._random_samples,
        )  # fmt: skip


class FractionalMaxPool2d(_Fractional):
    """Maxima of windows at random places; see ``functional.fractional_max_pool2d``."""

    axes = 2
    function = staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_Fractional):
    """``FractionalMaxPool2d`` of (N, C, D, H, W)."""

    axes = 3
    function = staticmethod(F.fractional_max_pool3d)

"""Normalisation by channel with running statistics: BatchNorm and InstanceNorm."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.base.dtype import int64
from adjoint.base.shape import as_size
from adjoint.nn.mode import check_mode
from adjoint.nn.module import Module
from adjoint.nn.normalization import register_affine, reset_affine
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor


class _ChannelNorm(Module):
    """Weight, bias and running statistics for each channel.

    Buffers: running_mean (0 at first), running_var (1), num_batches_tracked (0). While training
    they move: running = (1 - momentum) running + momentum found, the variance with divisor n - 1;
    ``momentum=None`` is the plain average of all batches so far.
    """

    axes: tuple[int, ...] = ()  # allowed numbers of axes of the input

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, device: object = "cpu",
        dtype: object = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features = as_size(type(self).__name__, num_features)
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (self.num_features,)
        register_affine(self, shape, affine, affine and bias, dtype, device)
        made: list[Any] = [None] * 3
        if track_running_stats:
            made = [
                creation.zeros(shape, dtype=dtype, device=device),
                creation.ones(shape, dtype=dtype, device=device),
                creation.zeros((), dtype=int64, device=device),
            ]
        names = ("running_mean", "running_var", "num_batches_tracked")
        for name, buffer in zip(names, made, strict=True):
            self.register_buffer(name, buffer)

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """weight = 1, bias = 0, and no running statistics."""
        self.reset_running_stats()
        reset_affine(self)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _check(self, input: Tensor) -> None:
        if self.axes and input.ndim not in self.axes:
            wanted = " or ".join(str(a) for a in self.axes)
            raise errors.shape(
                type(self).__name__, f"needs {wanted} dimensions", input,
                hint="the axes are (batch, channels, places ...)",
            )  # fmt: skip


class _BatchNorm(_ChannelNorm):
    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        momentum: Any = self.momentum
        if momentum is not None:  # a plain average is for collecting statistics, without gradients
            check_mode(self)
        if self.training and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
                if momentum is None:
                    momentum = 1.0 / self.num_batches_tracked.to(self.running_mean.dtype)
        of_batch = self.training or self.running_mean is None
        keep = not self.training or self.track_running_stats
        return F.batch_norm(
            input, self.running_mean if keep else None, self.running_var if keep else None,
            self.weight, self.bias, of_batch, 0.0 if momentum is None else momentum, self.eps,
        )  # fmt: skip


class BatchNorm1d(_BatchNorm):
    """``functional.batch_norm`` of (N, C) or (N, C, L), with running statistics."""

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """``functional.batch_norm`` of (N, C, H, W), with running statistics."""

    axes = (4,)


class BatchNorm3d(_BatchNorm):
    """``functional.batch_norm`` of (N, C, D, H, W), with running statistics."""

    axes = (5,)


class SyncBatchNorm(_BatchNorm):
    """``BatchNorm`` of an input with any number of axes. With one process, which is all there is,
    it is the same; ``process_group`` is kept and not used."""

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, process_group: Any = None,
        device: object = "cpu", dtype: object = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.process_group = process_group

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """``module`` with every BatchNorm replaced by a SyncBatchNorm of the same state."""
        made = module
        if isinstance(module, _BatchNorm):
            made = cls(
                module.num_features, module.eps, module.momentum, module.affine,
                module.track_running_stats, process_group,
            )  # fmt: skip
            for table in ("_parameters", "_buffers"):
                getattr(made, table).update(getattr(module, table))
            object.__setattr__(made, "training", module.training)
        for name, child in module.named_children():
            made.register_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = False, track_running_stats: bool = False, device: object = "cpu",
        dtype: object = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        single = input.ndim == self.axes[0]
        out = F.instance_norm(
            input.unsqueeze(0) if single else input, self.running_mean, self.running_var,
            self.weight, self.bias, self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return out.squeeze(0) if single else out


class InstanceNorm1d(_InstanceNorm):
    """``functional.instance_norm`` of (N, C, L) or (C, L)."""

    axes = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """``functional.instance_norm`` of (N, C, H, W) or (C, H, W)."""

    axes = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """``functional.instance_norm`` of (N, C, D, H, W) or (C, D, H, W)."""

    axes = (4, 5)

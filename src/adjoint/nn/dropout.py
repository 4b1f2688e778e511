"""Dropout layers: they drop while training and do nothing in ``eval()``."""

from __future__ import annotations

from collections.abc import Callable

from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.nn.mode import check_mode
from adjoint.nn.module import Module
from adjoint.tensors import functional as F
from adjoint.tensors.tensor import Tensor


class _Dropout(Module):
    function: Callable[..., Tensor]

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if isinstance(p, bool) or not 0 <= as_number(type(self).__name__, "p", p) <= 1:
            raise errors.argument(
                type(self).__name__,
                f"p is a probability in [0, 1], got {errors.clip(p)}",
                hint="the share that is dropped: 0.5 for half of them",
            )
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        if self.p:
            check_mode(self)
        return type(self).function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class _Compensated(_Dropout):
    def __init__(self, p: float = 0.5, inplace: bool = False, compensate: str = "training") -> None:
        super().__init__(p, inplace)
        self.compensate = as_choice(
            f"{type(self).__name__} compensate", compensate, ["training", "inference"]
        )

    def forward(self, input: Tensor) -> Tensor:
        if self.p:
            check_mode(self)
        return type(self).function(
            input, self.p, self.training, self.inplace, compensate=self.compensate
        )

    def extra_repr(self) -> str:
        later = ", compensate='inference'" if self.compensate == "inference" else ""
        return super().extra_repr() + later


class Dropout(_Compensated):
    """0 with probability ``p``, else x / (1 - p), while training; see ``functional.dropout``.

    ``compensate="inference"``: not scaled while training, and times 1 - p in ``eval()``.
    """

    function = staticmethod(F.dropout)


class Dropout1d(_Compensated):
    """``Dropout`` of whole channels of (N, C, L)."""

    function = staticmethod(F.dropout1d)


class Dropout2d(_Compensated):
    """``Dropout`` of whole channels of (N, C, H, W)."""

    function = staticmethod(F.dropout2d)


class Dropout3d(_Compensated):
    """``Dropout`` of whole channels of (N, C, D, H, W)."""

    function = staticmethod(F.dropout3d)


class AlphaDropout(_Dropout):
    """The dropout that goes with SELU; see ``functional.alpha_dropout``."""

    function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(_Dropout):
    """``AlphaDropout`` of whole channels of (N, C, ...)."""

    function = staticmethod(F.feature_alpha_dropout)

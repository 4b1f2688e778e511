"""Layers that disturb while training and do nothing in ``eval()``: noise, and dropped branches."""

from __future__ import annotations

from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.nn.mode import check_mode
from adjoint.nn.module import Module
from adjoint.tensors import random
from adjoint.tensors.generator import Generator
from adjoint.tensors.tensor import Tensor


class GaussianNoise(Module):
    """x + N(0, std^2) while training, or (``relative``) x (1 + N(0, std^2)). Source: Bishop, Neural
    Computation 1995."""

    def __init__(
        self, std: float = 0.1, relative: bool = False, generator: Generator | None = None
    ) -> None:
        super().__init__()
        if not as_number("GaussianNoise", "std", std) >= 0:
            raise errors.argument(
                "GaussianNoise", f"std cannot be negative, got {std}", hint="0.1, say"
            )
        self.std = std
        self.relative = relative
        self.generator = generator

    def forward(self, input: Tensor) -> Tensor:
        check_mode(self)
        if not self.training or self.std == 0:
            return input
        noise = random.randn_like(input, generator=self.generator) * self.std
        return input * (noise + 1) if self.relative else input + noise

    def extra_repr(self) -> str:
        return f"std={self.std}, relative={self.relative}"


class StochasticDepth(Module):
    """0 with probability ``p``, else x / (1 - p), while training: for the branch of a residual
    block, x + drop(branch(x)).

    mode: "row" decides for each example, "batch" for all together. Source: Huang et al., ECCV 2016.
    """

    def __init__(
        self, p: float = 0.1, mode: str = "row", generator: Generator | None = None
    ) -> None:
        super().__init__()
        if isinstance(p, bool) or not 0 <= as_number("StochasticDepth", "p", p) <= 1:
            raise errors.argument(
                "StochasticDepth", f"p is a probability in [0, 1], got {p}", hint="0.1, say"
            )
        self.p = p
        self.mode = as_choice("StochasticDepth mode", mode, ["row", "batch"])
        self.generator = generator

    def forward(self, input: Tensor) -> Tensor:
        check_mode(self)
        if not self.training or self.p == 0:
            return input
        if self.p == 1:
            return input * 0
        count = input.shape[0] if self.mode == "row" and input.ndim else 1
        shape = (count, *(1,) * (input.ndim - 1)) if input.ndim else ()
        kept = random.rand(*shape, dtype=input.dtype, generator=self.generator) >= self.p
        return input * (kept.to(input.dtype) / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"

"""Layers that say where in a sequence something stands."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.base.shape import as_size
from adjoint.nn import init
from adjoint.nn.embedding import Embedding
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.tensor import Tensor


class SinusoidalPositions(Module):
    """x + ``functional.sinusoidal_positions`` for (..., T, size), of any length."""

    def __init__(self, size: int, base: float = 10000.0) -> None:
        super().__init__()
        self.size, self.base = as_size("SinusoidalPositions", size), base

    def forward(self, input: Tensor, start: Any = 0) -> Tensor:
        """``start``: where the first step stands."""
        length = _steps(self, input)
        added = F.sinusoidal_positions(length, self.size, self.base, start=start)
        return input + added.to(input.dtype)

    def extra_repr(self) -> str:
        return f"{self.size}, base={self.base}"


class LearnedPositions(Module):
    """x + weight[t] for (..., T, size); weight (length, size) starts normal with deviation
    0.02."""

    def __init__(
        self, length: int, size: int, device: object = "cpu", dtype: object = None
    ) -> None:
        super().__init__()
        self.length, self.size = as_size("LearnedPositions", length), size
        made = creation.empty((self.length, size), dtype=dtype, device=device)
        self.weight = Parameter(made)
        init.normal_(self.weight, std=0.02)

    def forward(self, input: Tensor, start: int = 0) -> Tensor:
        """``start``: where the first step stands. Raises ShapeError beyond the last place."""
        stop = start + _steps(self, input)
        if stop > self.length:
            raise errors.shape(
                "LearnedPositions", f"{stop} steps, and there are {self.length} places", input,
                hint="make the layer with a larger length, or cut the sequence",
            )  # fmt: skip
        return input + self.weight[start:stop]

    def extra_repr(self) -> str:
        return f"{self.length}, {self.size}"


class RotaryPositions(Module):
    """``functional.rotary`` for queries and keys (..., T, size)."""

    def __init__(self, base: float = 10000.0, interleaved: bool = False) -> None:
        super().__init__()
        self.base, self.interleaved = base, interleaved

    def forward(self, input: Tensor, start: Any = 0) -> Tensor:
        """``start``: where the first step stands."""
        return F.rotary(input, self.base, start=start, interleaved=self.interleaved)

    def extra_repr(self) -> str:
        return f"base={self.base}, interleaved={self.interleaved}"


class RelativePositionBias(Module):
    """A learned number for each head and each bucket of distances, to be added to the scores.

    relative_attention_bias.weight (buckets, heads). Source: Raffel et al., "T5", 2020.
    """

    def __init__(
        self, heads: int, buckets: int = 32, max_distance: int = 128, bidirectional: bool = True,
        device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.buckets = heads, buckets
        self.max_distance, self.bidirectional = max_distance, bidirectional
        self.relative_attention_bias = Embedding(buckets, heads, device=device, dtype=dtype)

    def forward(self, queries: int, keys: int | None = None, start: Any = 0) -> Tensor:
        """(heads, queries, keys), a float mask for attention."""
        places = F.relative_buckets(
            queries, queries if keys is None else keys, self.buckets, self.max_distance,
            self.bidirectional, start=start,
        )  # fmt: skip
        return self.relative_attention_bias(places).permute(2, 0, 1)


def _steps(layer: Any, input: Tensor) -> int:
    """The number of steps of (..., T, size)."""
    if input.ndim < 2 or input.shape[-1] != layer.size:
        raise errors.shape(
            type(layer).__name__, f"needs (..., time, {layer.size})", input,
            hint="embed the sequence first, then add the positions",
        )  # fmt: skip
    return input.shape[-2]

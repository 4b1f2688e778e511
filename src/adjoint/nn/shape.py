"""Layers that only change shapes."""

from __future__ import annotations

from collections.abc import Sequence

from adjoint.base.shape import as_shape
from adjoint.nn.module import Module
from adjoint.tensors import movement
from adjoint.tensors.tensor import Tensor


class Flatten(Module):
    """Merge the axes from ``start_dim`` to ``end_dim``; by default all but the batch."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return movement.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split axis ``dim`` into ``unflattened_size``."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = as_shape("Unflatten", unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        return movement.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"

"""Weights of norm 1, times a learned length or divided by their largest singular value."""

from __future__ import annotations

from typing import Any

from adjoint.base import errors
from adjoint.base.shape import as_axis
from adjoint.nn.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from adjoint.nn.module import Module
from adjoint.nn.utils.parametrize import register_parametrization
from adjoint.tensors import random
from adjoint.tensors.contraction import mv
from adjoint.tensors.functional import normalize
from adjoint.tensors.modes import no_grad
from adjoint.tensors.norms import vector_norm
from adjoint.tensors.tensor import Tensor


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """``name`` = g v / |v|, with one length g for each index of axis ``dim`` (None: one for all).

    Trained are ``parametrizations.weight.original0`` (g) and ``original1`` (v). Source: Salimans
    and Kingma, "Weight normalization", 2016.
    """
    present("weight_norm", module, name)
    return register_parametrization(module, name, WeightNorm(dim), unsafe=True)


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
    dim: int | None = None,
) -> Module:  # fmt: skip
    """``name`` divided by its largest singular value, as a matrix with axis ``dim`` in front.

    The value is estimated by ``n_power_iterations`` steps of the power method at every use while
    training, from the vectors of the last use. Source: Miyato et al., "Spectral normalization",
    2018.
    """
    weight = present("spectral_norm", module, name)
    dim = usual_axis(module) if dim is None else dim
    return register_parametrization(
        module, name, SpectralNorm(weight, n_power_iterations, dim, eps)
    )


class WeightNorm(Module):
    """g v / |v|, with the norm over all axes but ``dim``."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / self._length(weight_v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self._length(weight), weight

    def _length(self, v: Tensor) -> Tensor:
        if self.dim in (None, -1):  # PyTorch's -1 also means one length for all
            return vector_norm(v)
        own = as_axis("weight_norm", self.dim, v.ndim)
        others = tuple(a for a in range(v.ndim) if a != own)
        return vector_norm(v, 2, others, True) if others else v.abs()


class SpectralNorm(Module):
    """The weight divided by an estimate of its largest singular value."""

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        if n_power_iterations < 1:
            raise errors.argument(
                "spectral_norm", f"n_power_iterations must be positive, got {n_power_iterations}",
                hint="1 is usual",
            )  # fmt: skip
        self.dim = as_axis("spectral_norm", dim, weight.ndim)
        self.eps = eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = matrix_of(weight.detach(), self.dim)
                rows, columns = (random.randn(n, dtype=matrix.dtype) for n in matrix.shape)
                self.register_buffer("_u", normalize(rows, dim=0, eps=eps))
                self.register_buffer("_v", normalize(columns, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _iterate(self, matrix: Tensor, count: int) -> None:
        with no_grad():
            u, v = self._u, self._v
            for _ in range(count):
                u = normalize(mv(matrix, v), dim=0, eps=self.eps)
                v = normalize(mv(matrix.t(), u), dim=0, eps=self.eps)
            self._u.copy_(u)
            self._v.copy_(v)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = matrix_of(weight, self.dim)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        largest = (self._u.detach().clone() * mv(matrix, self._v.detach().clone())).sum()
        return weight / largest

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def matrix_of(weight: Tensor, dim: int) -> Tensor:
    """The weight as a matrix, with axis ``dim`` in front."""
    if dim:
        others = [a for a in range(weight.ndim) if a != dim]
        weight = weight.permute(dim, *others)
    return weight.flatten(1)


def usual_axis(module: Module) -> int:
    """The axis of the outputs: 1 for transposed convolutions, else 0."""
    return int(isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)))


def present(op: str, module: Module, name: str) -> Any:
    """The tensor of this name. Raises ArgumentError when there is none."""
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise errors.unknown_name(op, name, [*module._parameters, *module._buffers])
    return weight

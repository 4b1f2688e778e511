"""Second derivatives of a computed loss with respect to parameters, as matrices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from adjoint.autograd import grad
from adjoint.base import errors
from adjoint.base.arguments import as_integer
from adjoint.tensors import random
from adjoint.tensors.creation import eye, zeros
from adjoint.tensors.modes import enable_grad
from adjoint.tensors.movement import cat, reshape
from adjoint.tensors.tensor import Tensor
from adjoint.tensors.transforms import vmap


def flat_gradient(loss: Tensor, params: Iterable[Tensor]) -> Tensor:
    """The gradient as one vector that can be differentiated again."""
    return joined(grad(loss, list(params), create_graph=True, materialize_grads=True))


def jacobian(outputs: Tensor, params: Iterable[Tensor]) -> Tensor:
    """d outputs / d params, one row for each element of ``outputs``, one column for each number in
    ``params``."""
    owners = list(params)
    flat = reshape(outputs, -1)
    if not flat.requires_grad:
        return zeros(flat.shape[0], sum(p.numel() for p in owners), dtype=flat.dtype)

    def row(seed: Tensor) -> Tensor:
        return joined(grad(flat, owners, seed, retain_graph=True, materialize_grads=True))

    return vmap(row)(eye(flat.shape[0], dtype=flat.dtype))


def hessian(loss: Tensor, params: Iterable[Tensor]) -> Tensor:
    """The matrix of second derivatives of ``loss`` over all numbers in ``params``."""
    owners = list(params)
    with enable_grad():
        return jacobian(flat_gradient(loss, owners), owners)


def gauss_newton(residuals: Tensor, params: Iterable[Tensor]) -> Tensor:
    """J^T J with the Jacobian J of ``residuals``: the Hessian of |residuals|^2 / 2 where they are
    linear in the parameters."""
    slopes = jacobian(residuals, params)
    return slopes.T @ slopes


def hessian_diagonal(
    loss: Tensor, params: Sequence[Tensor], samples: int | None = None, generator: Any = None
) -> Tensor:
    """The diagonal of ``hessian``: exactly, or (``samples``) as the mean of v * (H v) over random
    signs v, each at the price of one gradient. Source: Bekas et al. 2007."""
    owners = list(params)
    if samples is None:
        return hessian(loss, owners).diagonal()
    if as_integer("hessian_diagonal", "samples", samples) < 1:
        raise errors.argument("hessian_diagonal", "needs at least one sample", hint="samples=100")
    slope = flat_gradient(loss, owners)
    total = zeros(slope.shape[0], dtype=slope.dtype)
    if not slope.requires_grad:
        return total
    for _ in range(samples):
        signs = random.rand(slope.shape[0], dtype=slope.dtype, generator=generator) < 0.5
        v = signs.to(slope.dtype) * 2 - 1
        product = grad(slope, owners, v, retain_graph=True, materialize_grads=True)
        total = total + joined(product).detach() * v
    return total / samples


def joined(tensors: Iterable[Tensor]) -> Tensor:
    """All numbers of ``tensors`` as one vector."""
    return cat([reshape(t, -1) for t in tensors])


def parted(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """A vector cut into pieces of the shapes of ``like``."""
    found: list[Tensor] = []
    start = 0
    for tensor in like:
        found.append(reshape(vector[start : start + tensor.numel()], *tensor.shape))
        start += tensor.numel()
    return found

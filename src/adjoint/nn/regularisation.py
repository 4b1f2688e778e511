"""Penalties on weights, constraints, and the proximal step that makes weights exactly 0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_integer, as_items, as_number
from adjoint.nn.module import Module
from adjoint.tensors.arithmetic import div, minimum, where
from adjoint.tensors.elementwise import abs as absolute
from adjoint.tensors.elementwise import clamp, sign
from adjoint.tensors.handle import Handle
from adjoint.tensors.modes import no_grad
from adjoint.tensors.movement import cat, reshape
from adjoint.tensors.norms import vector_norm
from adjoint.tensors.tensor import Tensor

Tensors = Module | Tensor | Iterable[Tensor]


def weights_of(module: Module) -> list[Tensor]:
    """The parameters that are usually penalised: those with two dimensions or more. Biases and the
    scales of normalisation are left out."""
    return [p for p in module.parameters() if p.ndim > 1]


def l2_penalty(of: Tensors, strength: float = 1.0) -> Tensor:
    """strength * sum of w^2 (squared: the plain norm is another penalty). Its gradient is 2
    strength w, also at 0. ``of``: tensors, or a module, of which ``weights_of`` are taken."""
    found = _each("l2_penalty", of)
    total = sum(((w * w).sum() for w in found[1:]), start=(found[0] * found[0]).sum())
    return total * as_number("l2_penalty", "strength", strength)


def l1_penalty(of: Tensors, strength: float = 1.0) -> Tensor:
    """strength * sum of |w|; the derivative at 0 is 0. Weights come near 0 but not to it: for
    exact zeros use ``soft_threshold_`` after each step."""
    found = _each("l1_penalty", of)
    total = sum((absolute(w).sum() for w in found[1:]), start=absolute(found[0]).sum())
    return total * as_number("l1_penalty", "strength", strength)


def lp_penalty(of: Tensors, p: float = 2.0, strength: float = 1.0) -> Tensor:
    """strength * (sum of |w|^p)^(1/p) over all weights as one vector, p >= 0.5; its gradient is
    finite where weights are 0."""
    if as_number("lp_penalty", "p", p) < 0.5:
        raise errors.argument("lp_penalty", f"p must be at least 0.5, got {p}", hint="1.0, say")
    flat = cat([reshape(w, -1) for w in _each("lp_penalty", of)])
    if p >= 1:
        return vector_norm(flat, p) * as_number("lp_penalty", "strength", strength)
    # below 1 the slope at 0 is infinite: zeros do not take part
    used = flat != 0
    powers = where(used, where(used, absolute(flat), 1.0) ** p, 0.0)
    total = powers.sum()
    root = where(total > 0, where(total > 0, total, 1.0) ** (1 / p), 0.0)
    return root * as_number("lp_penalty", "strength", strength)


@no_grad()
def soft_threshold_(of: Tensors, amount: Any) -> None:
    """w <- sign(w) max(|w| - amount, 0): the proximal step of ``amount`` * sum |w|. After each step
    of an optimiser with amount = lr * strength it makes useless weights exactly 0. Source:
    Daubechies, Defrise and De Mol 2004.
    """
    for w in _each("soft_threshold_", of):
        shrunk = sign(w) * clamp(absolute(w) - amount, min=0)
        w.assign(shrunk.to(w.dtype).node, "soft_threshold_")


@no_grad()
def max_norm_(of: Tensors, limit: float, dim: int = 0) -> None:
    """Scale down every slice along ``dim`` (the weights into one unit) whose norm is above
    ``limit``. Source: Srivastava et al., JMLR 2014."""
    if not as_number("max_norm_", "limit", limit) > 0:
        raise errors.argument("max_norm_", f"limit must be positive, got {limit}", hint="3.0, say")
    place = as_integer("max_norm_", "dim", dim)
    for w in _each("max_norm_", of):
        axes = tuple(a for a in range(w.ndim) if a != place % max(w.ndim, 1))
        size = vector_norm(w, 2, axes, True) if axes else absolute(w)
        scale = minimum(div(limit, clamp(size, min=1e-12)), 1.0)
        w.assign((w * scale).to(w.dtype).node, "max_norm_")


def _each(op: str, of: Any) -> list[Tensor]:
    if isinstance(of, Module):
        found: Any = weights_of(of)
    else:
        found = [of] if isinstance(of, Handle) else as_items(of)
    if not found or not all(isinstance(w, Tensor) for w in found):
        raise errors.bad_argument(op, "of", of, "a module with weights, or a list of tensors")
    return found

"""Inputs changed a little so that a model fails on them; train on them to make it robust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjoint.autograd import grad
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_integer, as_number
from adjoint.tensors import random
from adjoint.tensors.arithmetic import maximum, minimum
from adjoint.tensors.elementwise import clamp, sign
from adjoint.tensors.generator import Generator
from adjoint.tensors.modes import enable_grad, no_grad
from adjoint.tensors.norms import vector_norm
from adjoint.tensors.tensor import Tensor

Loss = Callable[[Any, Tensor], Tensor]
Bounds = tuple[float, float] | None


def fgsm(
    model: Callable[[Tensor], Any], loss: Loss, x: Tensor, y: Tensor, epsilon: float,
    bounds: Bounds = (0.0, 1.0),
) -> Tensor:  # fmt: skip
    """x + epsilon sign(d loss / dx), kept inside ``bounds``. Gradients of the model stay as they
    are. Source: Goodfellow, Shlens and Szegedy, ICLR 2015."""
    size = _size("fgsm", "epsilon", epsilon)
    moved = x.detach() + sign(_slope(model, loss, x.detach(), y)) * size
    return _inside(moved, x, size, "inf", bounds)


def pgd(
    model: Callable[[Tensor], Any], loss: Loss, x: Tensor, y: Tensor, epsilon: float,
    step: float | None = None, steps: int = 10, norm: str = "inf", bounds: Bounds = (0.0, 1.0),
    random_start: bool = True, generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """``steps`` steps up the loss, each brought back to |change| <= epsilon (exactly) and inside
    ``bounds``.

    norm: "inf" (each element) or "l2" (each example). step: 2.5 epsilon / steps by default. Source:
    Madry et al., ICLR 2018.
    """
    size = _size("pgd", "epsilon", epsilon)
    as_choice("pgd norm", norm, ["inf", "l2"])
    count = as_integer("pgd", "steps", steps)
    length = 2.5 * size / max(count, 1) if step is None else _size("pgd", "step", step)
    start = x.detach()
    moved = start
    if random_start:
        if norm == "inf":
            change = (random.rand_like(start, generator=generator) * 2 - 1) * size
        else:
            change = _unit(random.randn_like(start, generator=generator)) * size
        moved = _inside(start + change, start, size, norm, bounds)
    for _ in range(count):
        slope = _slope(model, loss, moved, y)
        up = sign(slope) if norm == "inf" else _unit(slope)
        moved = _inside(moved + up * length, start, size, norm, bounds)
    return moved


def _slope(model: Callable[[Tensor], Any], loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    with enable_grad():
        point = x.detach().clone().requires_grad_()
        return grad(loss(model(point), y), point)[0].detach()


@no_grad()
def _inside(moved: Tensor, x: Tensor, size: float, norm: str, bounds: Bounds) -> Tensor:
    """``moved``, brought back near ``x`` and inside ``bounds``."""
    start = x.detach()
    if norm == "inf":
        moved = minimum(maximum(moved, start - size), start + size)
    else:
        change = moved - start
        length = clamp(_length(change), min=1e-12)
        moved = start + change * clamp(size / length, max=1.0)
    return moved if bounds is None else clamp(moved, bounds[0], bounds[1])


def _length(x: Tensor) -> Tensor:
    axes = tuple(range(1, x.ndim))
    return vector_norm(x, 2, axes, True) if axes else x.abs()


def _unit(x: Tensor) -> Tensor:
    return x / clamp(_length(x), min=1e-12)


def _size(op: str, name: str, value: Any) -> float:
    number = as_number(op, name, value)
    if not number >= 0:
        raise errors.argument(op, f"{name} cannot be negative, got {number}", hint="0.1, say")
    return number

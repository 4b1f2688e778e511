"""Blurred targets and mixed examples: label smoothing, mixup, CutMix."""

from __future__ import annotations

from typing import Any, NamedTuple

from adjoint.base import errors
from adjoint.base.arguments import as_integer, as_number
from adjoint.base.dtype import float64
from adjoint.tensors import random
from adjoint.tensors.arithmetic import logical_and, where
from adjoint.tensors.creation import arange
from adjoint.tensors.elementwise import clamp, floor, log, sqrt
from adjoint.tensors.generator import Generator
from adjoint.tensors.handle import Handle
from adjoint.tensors.movement import roll
from adjoint.tensors.scatter import one_hot
from adjoint.tensors.tensor import Tensor

TRIES = 16  # candidates per gamma number, each good with probability above 0.95


class Mixed(NamedTuple):
    """Mixed examples, their targets as probabilities, and the share of the first of each pair."""

    x: Tensor
    y: Tensor
    share: Tensor


def smooth_labels(target: Tensor, classes: int, smoothing: float = 0.1) -> Tensor:
    """(1 - smoothing) one-hot + smoothing / classes, for class numbers (N, ...): (N, ..., classes).
    Source: Szegedy et al., CVPR 2016."""
    if not 0 <= as_number("smooth_labels", "smoothing", smoothing) <= 1:
        raise errors.argument(
            "smooth_labels", f"smoothing is a share in [0, 1], got {smoothing}", hint="0.1, say"
        )
    return (
        one_hot(target, as_integer("smooth_labels", "classes", classes)).float() * (1 - smoothing)
        + smoothing / classes
    )


def mixup(
    x: Tensor, y: Tensor, alpha: float = 0.2, classes: int | None = None,
    generator: Generator | None = None,
) -> Mixed:  # fmt: skip
    """share x + (1 - share) x', the same for the targets, where x' is the batch moved by one
    example and share comes from Beta(alpha, alpha). y: probabilities (N, C), or class numbers (N,)
    together with ``classes``. Source: Zhang et al., ICLR 2018."""
    goal = _targets("mixup", x, y, classes)
    share = beta(alpha, generator)
    part = share.to(x.dtype)
    return Mixed(x * part + roll(x, 1, 0) * (1 - part), _blend(goal, share), share)


def cutmix(
    x: Tensor, y: Tensor, alpha: float = 1.0, classes: int | None = None,
    generator: Generator | None = None,
) -> Mixed:  # fmt: skip
    """A box of each image (N, C, H, W) replaced by that of the next; targets mixed by area, whose
    expected share comes from Beta(alpha, alpha). Targets as for ``mixup``. Source: Yun et al.,
    ICCV 2019."""
    goal = _targets("cutmix", x, y, classes)
    if x.ndim != 4:
        raise errors.shape("cutmix", "needs images (N, C, H, W)", x, hint="x.unsqueeze(1)")
    height, width = x.shape[2:]
    half = sqrt(1 - beta(alpha, generator)) / 2
    centre = random.rand(2, dtype=float64, generator=generator)
    inside = []
    for axis, size in enumerate((height, width)):
        middle, reach = floor(centre[axis] * size), floor(half * size)
        place = arange(size, dtype=float64)
        inside.append(logical_and(place >= middle - reach, place < middle + reach))
    box = logical_and(inside[0].unsqueeze(1), inside[1].unsqueeze(0))
    share = 1 - box.double().sum() / (height * width)
    return Mixed(where(box, roll(x, 1, 0), x), _blend(goal, share), share)


def beta(alpha: float, generator: Generator | None = None) -> Tensor:
    """A number from Beta(alpha, alpha), float64: the share of one gamma number in two."""
    if not as_number("beta", "alpha", alpha) > 0:
        raise errors.argument("beta", f"alpha must be positive, got {alpha}", hint="0.2, say")
    first, second = _gamma(alpha, generator), _gamma(alpha, generator)
    return first / clamp(first + second, min=1e-300)


def _gamma(alpha: float, generator: Any) -> Tensor:
    """Marsaglia and Tsang 2000; below 1 by way of alpha + 1. A fixed number of candidates, so that
    it can be recorded."""
    shape = alpha if alpha >= 1 else alpha + 1
    d = shape - 1 / 3
    x = random.randn(TRIES, dtype=float64, generator=generator)
    u = random.rand(TRIES + 1, dtype=float64, generator=generator)
    v = (x / (9 * d) ** 0.5 + 1) ** 3
    safe = clamp(v, min=1e-300)
    good = logical_and(v > 0, log(1 - u[:TRIES]) < x * x * 0.5 + d - d * v + d * log(safe))
    found = safe.gather(0, good.long().argmax(0, keepdim=True))[0] * d
    return found if alpha >= 1 else found * (1 - u[TRIES]) ** (1 / alpha)


def _targets(op: str, x: Any, y: Any, classes: int | None) -> Tensor:
    if not isinstance(x, Handle) or not isinstance(y, Tensor):
        raise errors.not_a_tensor(op, y if isinstance(x, Handle) else x)
    if not x.ndim or not y.ndim or x.shape[0] != y.shape[0]:
        raise errors.shape(op, "x and y need one first axis", x, y, hint="a batch and its targets")
    if y.dtype.kind == "f":
        return y
    if classes is None:
        raise errors.argument(
            op, "class numbers need the number of classes", hint=f"{op}(x, y, classes=10)"
        )
    return one_hot(y, as_integer(op, "classes", classes)).float()


def _blend(goal: Tensor, share: Tensor) -> Tensor:
    part = share.to(goal.dtype)
    return goal * part + roll(goal, 1, 0) * (1 - part)

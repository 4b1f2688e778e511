"""Gradients as a whole: their norm, clipping, and whether they vanish or explode."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.arguments import as_number
from adjoint.ir.node import Node
from adjoint.nn.module import Module
from adjoint.nn.scaled import refuse_scaled
from adjoint.tensors import arithmetic, elementwise, norms, reduction
from adjoint.tensors.handle import Handle
from adjoint.tensors.modes import no_grad
from adjoint.tensors.movement import cat, reshape, stack
from adjoint.tensors.tensor import Tensor

Tensors = Iterable[Tensor] | Tensor


@no_grad()
def clip_grad_norm_(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Scale all gradients by max_norm / total where their total norm is larger; gives that norm.

    The total is the norm of all gradients as one vector. ``foreach`` has no effect. Raises
    GradError for a total that is not finite when ``error_if_nonfinite``, and for gradients that are
    still multiplied by a loss scale. Source: Pascanu, Mikolov and Bengio, ICML 2013.
    """
    owners = _with_gradients(parameters)
    refuse_scaled("clip_grad_norm_", owners)
    total = get_total_norm([p.grad for p in owners], norm_type)
    if error_if_nonfinite and not total.node.is_abstract and not isfinite(total.item()):
        raise errors.grad(
            f"clip_grad_norm_: the total norm of the gradients is {total.item()}",
            hint="find where it began: with adjoint.autograd.detect_anomaly(): ...",
        )
    clip_grads_with_norm_(owners, max_norm, total)
    return total


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale all gradients by max_norm / total_norm where ``total_norm`` is larger: the second half
    of ``clip_grad_norm_``, for a norm that was computed elsewhere (``get_total_norm``)."""
    scale = elementwise.clamp(arithmetic.div(max_norm, arithmetic.add(total_norm, 1e-6)), max=1.0)
    for parameter in _with_gradients(parameters):
        assert parameter.grad is not None
        factor = scale.to(parameter.grad.dtype)
        parameter.grad = arithmetic.mul(parameter.grad, factor).detach()


@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Cut every element of every gradient to [-clip_value, clip_value]."""
    if clip_value < 0:
        raise errors.argument(
            "clip_grad_value_", f"clip_value cannot be negative, got {clip_value}",
            hint="the largest size an element may have",
        )  # fmt: skip
    owners = _with_gradients(parameters)
    refuse_scaled("clip_grad_value_", owners)
    for parameter in owners:
        assert parameter.grad is not None
        parameter.grad = elementwise.clamp(parameter.grad, -clip_value, clip_value).detach()


def get_total_norm(tensors: Iterable[Tensor | None], norm_type: float = 2.0) -> Tensor:
    """The norm of all ``tensors`` as one vector."""
    given = [t if t.dtype.bits > 16 else t.float() for t in tensors if t is not None]
    each = [norms.vector_norm(t, norm_type) for t in given]
    if not each:
        return Tensor(0.0)
    joined = stack(each)
    return reduction.amax(joined) if norm_type == inf else norms.vector_norm(joined, norm_type)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters one after another as one vector."""
    return cat([reshape(p, -1) for p in parameters])


@no_grad()
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give parameters the values of ``vec``, as ``parameters_to_vector`` laid them out."""
    owners = list(parameters)
    count = sum(p.numel() for p in owners)
    if vec.ndim != 1 or vec.shape[0] != count:
        raise errors.shape(
            "vector_to_parameters", f"the parameters have {count} elements", vec,
            hint="make it by parameters_to_vector of the same parameters",
        )  # fmt: skip
    start = 0
    for parameter in owners:
        size = parameter.numel()
        parameter.data = vec[start : start + size].reshape(parameter.shape).detach()
        start += size


class GradientMonitor:
    """Gradient norms at named places from first to last, and a verdict on them.

    ``watch`` tensors while computing (layer outputs, or states of a recurrent net); after
    ``backward``, ``norms`` has what arrived at each and ``verdict`` compares the first with the
    last: vanishing below 1 / ``limit``, exploding above ``limit`` or when not finite.
    """

    def __init__(self, limit: float = 1e4) -> None:
        self.limit = as_number("GradientMonitor", "limit", limit)
        self.names: list[str] = []
        self._norms: dict[str, float] = {}

    @classmethod
    def of(cls, module: Module, limit: float = 1e4) -> GradientMonitor:
        """The norms of the gradients that the weights of ``module`` have now (biases left out)."""
        monitor = cls(limit)
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1 and parameter.grad is not None:
                monitor.names.append(name)
                monitor._norms[name] = _norm(parameter.grad.node)
        return monitor

    def watch(self, name: str, tensor: Tensor) -> Tensor:
        """Note the gradient of ``tensor``, which is given back."""
        self.names.append(name)
        tensor.register_hook(lambda gradient: self._note(name, gradient))
        return tensor

    @property
    def norms(self) -> dict[str, float]:
        """The norm at each place, 0 where no gradient arrived."""
        return {name: self._norms.get(name, 0.0) for name in self.names}

    @property
    def ratio(self) -> float:
        """Norm at the first place / norm at the last."""
        values = list(self.norms.values())
        if not values or values[0] == values[-1]:
            return 1.0
        return values[0] / values[-1] if values[-1] else inf

    @property
    def verdict(self) -> str | None:
        """``"vanishing"``, ``"exploding"``, or None when all is well."""
        if not all(isfinite(v) for v in self.norms.values()) or self.ratio > self.limit:
            return "exploding"
        return "vanishing" if self.ratio < 1 / self.limit else None

    def _note(self, name: str, gradient: Tensor) -> None:
        self._norms[name] = _norm(gradient.node)


def _norm(node: Node) -> float:
    values = node.array("GradientMonitor").astype(np.float64)
    return float(np.sqrt((values * values).sum()))


def _with_gradients(parameters: Any) -> list[Tensor]:
    items: list[Any] = [parameters] if isinstance(parameters, Handle) else list(parameters)
    return [p for p in items if p.grad is not None]

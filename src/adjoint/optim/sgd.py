"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adjoint.base import errors
from adjoint.ir.capture import known
from adjoint.optim.optimizer import Optimizer, check_range, torch_only
from adjoint.optim.step import State, Step
from adjoint.tensors.creation import zeros_like
from adjoint.tensors.tensor import Tensor


class SGD(Optimizer):
    """p <- p - lr * d, where d is the gradient, or the momentum buffer b <- momentum * b + (1 -
    dampening) * g (the first b is g), or g + momentum * b with ``nesterov``. ``weight_decay`` adds
    weight_decay * p to g. ``Momentum`` has the other forms found in textbooks. Source: Sutskever
    et al., ICML 2013, in PyTorch's form.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        momentum: Any = 0,
        dampening: Any = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_range("SGD", "lr", lr, 0.0)
        check_range("SGD", "momentum", momentum, 0.0)
        check_range("SGD", "weight_decay", weight_decay, 0.0)
        if nesterov and not callable(momentum) and (momentum <= 0 or dampening != 0):
            raise errors.argument(
                "SGD",
                "nesterov needs momentum > 0 and dampening 0",
                hint="momentum=0.9, nesterov=True, say",
            )
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
            **torch_only(foreach, False, differentiable, fused),
        }  # fmt: skip
        del defaults["capturable"]
        super().__init__(params, defaults)

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        if at.has("weight_decay"):
            grad = grad + param * at.number("weight_decay", param)
        if at.has("momentum"):
            momentum = at.number("momentum", param)
            buffer = self._buffer(param, grad, state, at)
            grad = grad + buffer * momentum if at["nesterov"] else buffer
        return param - grad * at.rate(param)

    def _buffer(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        """The new momentum buffer. Without dampening the first one follows the same rule from 0,
        so that a recording of the first step holds for all."""
        damped = at.has("dampening")
        first = state.get("momentum_buffer") is None
        if damped:
            known(lambda: state.get("momentum_buffer") is None)
        if first:
            self.remember(state, "momentum_buffer", lambda: zeros_like(param))
            if damped:
                return state["momentum_buffer"].assign(grad.clone().node, "step")
        buffer = state["momentum_buffer"]
        grad = grad * at.rest("dampening", param) if damped else grad
        return buffer.assign((buffer * at.number("momentum", param) + grad).node, "step")

"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adjoint.base import errors
from adjoint.ir.capture import known
from adjoint.optim.optimizer import Group, Optimizer, State, check_range, rounded
from adjoint.tensors.creation import zeros_like
from adjoint.tensors.tensor import Tensor


class SGD(Optimizer):
    """p <- p - lr * d, where d is the gradient, or the momentum buffer b <- momentum * b + (1 -
    dampening) * g (the first b is g), or g + momentum * b with ``nesterov``. ``weight_decay`` adds
    weight_decay * p to g. Source: Sutskever et al., ICML 2013, in PyTorch's form.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        check_range("SGD", "lr", lr, 0.0)
        check_range("SGD", "momentum", momentum, 0.0)
        check_range("SGD", "weight_decay", weight_decay, 0.0)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise errors.argument(
                "SGD",
                "nesterov needs momentum > 0 and dampening 0",
                hint="momentum=0.9, nesterov=True, say",
            )
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def update_one(self, param: Tensor, grad: Tensor, state: State, group: Group) -> Tensor:
        momentum = group["momentum"]
        if group["weight_decay"]:
            grad = grad + param * group["weight_decay"]
        if momentum:
            if known(lambda: "momentum_buffer" not in state):
                buffer = grad
                self.remember(state, "momentum_buffer", zeros_like(param))
            else:
                buffer = state["momentum_buffer"] * momentum + grad * (1 - group["dampening"])
            state["momentum_buffer"].assign(buffer.node, "step")
            grad = grad + buffer * momentum if group["nesterov"] else buffer
        return param - grad * rounded(self.rate(group), param)

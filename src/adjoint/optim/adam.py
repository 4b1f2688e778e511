"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adjoint.base import errors
from adjoint.optim.optimizer import Group, Optimizer, State, check_range, rounded
from adjoint.tensors.arithmetic import maximum
from adjoint.tensors.creation import tensor, zeros_like
from adjoint.tensors.elementwise import sqrt
from adjoint.tensors.tensor import Tensor


class Adam(Optimizer):
    """m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
    p <- p - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps).

    ``weight_decay`` adds weight_decay * p to g; ``amsgrad`` uses the largest v so far. Source:
    Kingma and Ba, ICLR 2015, in PyTorch's form.
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        name = type(self).__name__
        check_range(name, "lr", lr, 0.0)
        check_range(name, "eps", eps, 0.0)
        check_range(name, "weight_decay", weight_decay, 0.0)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise errors.bad_argument(name, "betas", betas, "a pair of numbers")
        for i, beta in enumerate(betas):
            check_range(name, f"betas[{i}]", beta, 0.0, 1.0)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_one(self, param: Tensor, group: Group) -> State:
        state: State = {
            "step": tensor(0.0), "exp_avg": zeros_like(param), "exp_avg_sq": zeros_like(param),
        }  # fmt: skip
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(param)
        return state

    def update_one(self, param: Tensor, grad: Tensor, state: State, group: Group) -> Tensor:
        (beta1, beta2), decay = group["betas"], group["weight_decay"]
        lr = self.rate(group)
        if decay and self.decoupled:
            param = param * rounded(1 - lr * decay, param)
        elif decay:
            grad = grad + param * decay
        state["step"] += 1.0
        m = state["exp_avg"].assign((state["exp_avg"] * beta1 + grad * (1 - beta1)).node, "step")
        v = state["exp_avg_sq"]
        v.assign((v * beta2 + grad * grad * (1 - beta2)).node, "step")
        if group["amsgrad"]:
            top = state["max_exp_avg_sq"]
            v = top.assign(maximum(top, v).node, "step")
        t = state["step"].double() if state["step"].node.is_abstract else state["step"].item()
        first, second = 1 - beta1**t, 1 - beta2**t
        size = sqrt(v) / rounded(second**0.5, param) + group["eps"]
        return param - m / size * rounded(lr / first, param)


class AdamW(Adam):
    """Adam with weight decay taken off the parameter and not added to the gradient:
    p <- p (1 - lr * weight_decay) first. Source: Loshchilov and Hutter, ICLR 2019.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

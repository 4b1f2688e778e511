"""Lion and LAMB: steps whose length does not depend on the size of the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adjoint.optim.adam import Moments
from adjoint.optim.optimizer import Optimizer, check_pair, check_range
from adjoint.optim.step import Group, State, Step
from adjoint.tensors.arithmetic import where
from adjoint.tensors.creation import zeros_like
from adjoint.tensors.elementwise import sign, sqrt
from adjoint.tensors.norms import vector_norm
from adjoint.tensors.tensor import Tensor


class Lion(Optimizer):
    """p <- p (1 - lr weight_decay) - lr sign(b1 m + (1 - b1) g);  m <- b2 m + (1 - b2) g.

    Its lr is about a tenth of Adam's, its weight decay ten times. Source: Chen et al., NeurIPS
    2023.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-4,
        betas: tuple[Any, Any] = (0.9, 0.99),
        weight_decay: Any = 0,
        *,
        maximize: bool = False,
    ) -> None:
        check_range("Lion", "lr", lr, 0.0)
        check_range("Lion", "weight_decay", weight_decay, 0.0)
        check_pair("Lion", "betas", betas)
        super().__init__(
            params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        )

    def init_one(self, param: Tensor, group: Group) -> State:
        return {"exp_avg": zeros_like(param)}

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        mean = state["exp_avg"]
        blend = mean * at.number("betas", param, 0) + grad * at.rest("betas", param, 0)
        new = mean * at.number("betas", param, 1) + grad * at.rest("betas", param, 1)
        mean.assign(new.node, "step")
        kept = param * at.kept(param) if at.has("weight_decay") else param
        return kept - sign(blend) * at.rate(param)


class LAMB(Moments):
    """With r = m' / (sqrt(v') + eps) + weight_decay p from Adam's corrected m' and v':
    p <- p - lr (|p| / |r|) r, the norms over one parameter (1 where either is 0).

    For large batches. Source: You et al., ICLR 2020.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: Any = 0.01,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults, False)

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        count, clock = at.tick(state["step"]), id(state["step"])
        m, v = self.first(grad, state, at), self.second(grad, state, at)
        first, second = self.correction(at, 0, count), self.correction(at, 1, count)
        mean = m / at.scalar(("m", clock), first, param)
        scale = sqrt(v / at.scalar(("v", clock), second, param)) + at.number("eps", param)
        step = mean / scale
        if at.has("weight_decay"):
            step = step + param * at.number("weight_decay", param)
        size, length = vector_norm(param), vector_norm(step)
        usable = (size > 0) & (length > 0)
        trust = where(usable, size / where(usable, length, 1.0), 1.0)
        return param - step * (trust * at.rate(param))

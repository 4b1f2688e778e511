"""Adam and the optimisers that differ from it in a line or two: AdamW, NAdam, RAdam, Adamax."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from adjoint.optim.optimizer import Optimizer, check_pair, check_range, torch_only
from adjoint.optim.step import Group, Number, Scalar, State, Step, later
from adjoint.tensors.arithmetic import maximum
from adjoint.tensors.creation import tensor, zeros_like
from adjoint.tensors.elementwise import abs as absolute
from adjoint.tensors.elementwise import sqrt
from adjoint.tensors.tensor import Tensor


class Moments(Optimizer):
    """What the family shares: m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, a step count, and
    weight decay either added to g or (``decoupled``) taken off the parameter."""

    def __init__(self, params: Iterable[Any], defaults: Group, decoupled: bool) -> None:
        name = type(self).__name__
        for option in ("lr", "eps", "weight_decay"):
            check_range(name, option, defaults[option], 0.0)
        check_pair(name, "betas", defaults["betas"])
        self._decoupled = decoupled
        super().__init__(params, defaults)

    def init_one(self, param: Tensor, group: Group) -> State:
        return {
            "step": tensor(0.0), "exp_avg": zeros_like(param), "exp_avg_sq": zeros_like(param),
        }  # fmt: skip

    def decayed(self, param: Tensor, grad: Tensor, at: Step) -> tuple[Tensor, Tensor]:
        """The parameter and the gradient with weight decay."""
        if not at.has("weight_decay"):
            return param, grad
        if at.group.get("decoupled_weight_decay", self._decoupled):
            return param * at.kept(param), grad
        return param, grad + param * at.number("weight_decay", param)

    def first(self, grad: Tensor, state: State, at: Step) -> Tensor:
        """The new m."""
        old, new = state["exp_avg"] * at.number("betas", grad, 0), grad * at.rest("betas", grad, 0)
        return state["exp_avg"].assign((old + new).node, "step")

    def second(self, grad: Tensor, state: State, at: Step) -> Tensor:
        """The new v."""
        beta, rest = at.number("betas", grad, 1), at.rest("betas", grad, 1)
        new = state["exp_avg_sq"] * beta + grad * grad * rest
        return state["exp_avg_sq"].assign(new.node, "step")

    def correction(self, at: Step, part: int, count: Number) -> Number:
        """1 - beta^t: what an average that starts at 0 has forgotten of it after t steps."""
        beta = at.read("betas", part)
        return lambda: 1 - beta() ** count()


class Adam(Moments):
    """m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
    p <- p - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps).

    ``weight_decay`` adds weight_decay * p to g; ``amsgrad`` uses the largest v so far. Without
    ``bias_correction`` both divisors are 1: the first step is then (1 - b1) / sqrt(1 - b2) times
    as long. Source: Kingma and Ba, ICLR 2015, in PyTorch's form.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Any = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        bias_correction: bool = True,
    ) -> None:
        self._corrects = bias_correction
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize,
            **torch_only(foreach, capturable, differentiable, fused),
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults, decoupled_weight_decay)

    def init_one(self, param: Tensor, group: Group) -> State:
        state = super().init_one(param, group)
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(param)
        return state

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        param, grad = self.decayed(param, grad, at)
        count = at.tick(state["step"])
        m, v = self.first(grad, state, at), self.second(grad, state, at)
        if at["amsgrad"]:
            top = state["max_exp_avg_sq"]
            v = top.assign(maximum(top, v).node, "step")
        lr, size, scale = at.read("lr"), at.rate(param), sqrt(v)
        if self._corrects:
            first, second = self.correction(at, 0, count), self.correction(at, 1, count)
            scale = scale / at.scalar(("v", id(state["step"])), lambda: second() ** 0.5, param)
            size = at.scalar(("m", id(state["step"])), lambda: lr() / first(), param)
        return param - m / (scale + at.number("eps", param)) * size


class AdamW(Adam):
    """Adam with weight decay taken off the parameter and not added to the gradient:
    p <- p (1 - lr * weight_decay) first. Source: Loshchilov and Hutter, ICLR 2019.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Any = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        bias_correction: bool = True,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True, bias_correction=bias_correction,
        )  # fmt: skip


class NAdam(Moments):
    """Adam with Nesterov momentum: mu_t = b1 (1 - 0.96^(t momentum_decay) / 2), and
    p <- p - lr ((1 - mu_t) g / (1 - mu_1..mu_t) + mu_(t+1) m / (1 - mu_1..mu_(t+1))) / (sqrt(v /
    (1 - b2^t)) + eps). Source: Dozat, ICLR workshop 2016, in PyTorch's form.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 2e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Any = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("NAdam", "momentum_decay", momentum_decay, 0.0)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, **torch_only(foreach, capturable, differentiable),
        }  # fmt: skip
        del defaults["fused"]
        super().__init__(params, defaults, decoupled_weight_decay)

    def init_one(self, param: Tensor, group: Group) -> State:
        made = super().init_one(param, group)
        return {"step": made.pop("step"), "mu_product": tensor(1.0), **made}

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        param, grad = self.decayed(param, grad, at)
        count, clock = at.tick(state["step"]), id(state["step"])
        m, v = self.first(grad, state, at), self.second(grad, state, at)
        lr, second = at.read("lr"), self.correction(at, 1, count)
        product = self._product(state, at, count)
        mu = self._mu(at)
        of_grad = at.scalar(
            ("g", clock), lambda: lr() * (1 - mu(count())) / (1 - product()), param
        )  # fmt: skip

        def of_mean() -> float:
            following = mu(count() + 1)
            return lr() * following / (1 - product() * following)

        scale = sqrt(v / at.scalar(("v", clock), second, param)) + at.number("eps", param)
        return param - (grad * of_grad + m * at.scalar(("m", clock), of_mean, param)) / scale

    def _mu(self, at: Step) -> Any:
        beta, decay = at.read("betas", 0), at.read("momentum_decay")
        return lambda t: beta() * (1.0 - 0.5 * 0.96 ** (t * decay()))

    def _product(self, state: State, at: Step, count: Number) -> Number:
        """mu_1 .. mu_t, kept in float32 as PyTorch does; multiplied once per group and step."""
        key = ("product", id(state["step"]))
        made = at.kept_reads
        if key not in made:
            total, mu = state["mu_product"], self._mu(at)
            inside = at.inside(state["step"])
            before = later(total, 0)

            def product() -> float:
                value = np.float32(before())
                for back in range(max(inside, 1) - 1, -1, -1):
                    value = value * np.float32(mu(count() - back))
                return float(value)

            made[key] = product
            total.assign((total * at.scalar(key, lambda: mu(count()), total)).node, "step")
        return made[key]


class RAdam(Moments):
    """Adam without v until the variance of its step can be told: with r_inf = 2 / (1 - b2) - 1 and
    r = r_inf - 2 t b2^t / (1 - b2^t), p <- p - lr m' while r <= 5, then p <- p - lr m' R sqrt(1 -
    b2^t) / (sqrt(v) + eps), R^2 = (r-4)(r-2) r_inf / ((r_inf-4)(r_inf-2) r). Source: Liu et al.,
    ICLR 2020, in PyTorch's form.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Any = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, **torch_only(foreach, capturable, differentiable),
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        del defaults["fused"]
        super().__init__(params, defaults, decoupled_weight_decay)

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        param, grad = self.decayed(param, grad, at)
        count, clock = at.tick(state["step"]), id(state["step"])
        m, v = self.first(grad, state, at), self.second(grad, state, at)
        lr, first, beta = at.read("lr"), self.correction(at, 0, count), at.read("betas", 1)
        eps = at.read("eps")

        def factor() -> float | None:
            return rectified(beta(), count())

        def size() -> float:
            found = factor()
            return lr() / first() * (1.0 if found is None else found)

        # one formula for both phases, so that a recording of the first holds in the second
        adapts = at.scalar(("a", clock), lambda: float(factor() is not None), param)
        added = at.scalar(("b", clock), lambda: 1.0 if factor() is None else eps(), param)
        return param - m / (sqrt(v) * adapts + added) * at.scalar(("m", clock), size, param)


def rectified(beta: float, step: float) -> float | None:
    """sqrt(1 - beta^t) R of RAdam, or None while the variance cannot be told."""
    correction = 1 - beta**step
    limit = 2 / (1 - beta) - 1
    length = limit - 2 * step * beta**step / correction
    if length <= 5:
        return None
    top, bottom = (length - 4) * (length - 2) * limit, (limit - 4) * (limit - 2) * length
    return (top / bottom) ** 0.5 * correction**0.5


class Adamax(Moments):
    """m <- b1 m + (1 - b1) g;  u <- max(b2 u, |g| + eps);  p <- p - lr / (1 - b1^t) * m / u.
    Source: Kingma and Ba, ICLR 2015, in PyTorch's form.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 2e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Any = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, **torch_only(foreach, capturable, differentiable),
        }  # fmt: skip
        del defaults["fused"]
        super().__init__(params, defaults, False)

    def init_one(self, param: Tensor, group: Group) -> State:
        return {"step": tensor(0.0), "exp_avg": zeros_like(param), "exp_inf": zeros_like(param)}

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        param, grad = self.decayed(param, grad, at)
        count = at.tick(state["step"])
        m, old = self.first(grad, state, at), state["exp_inf"]
        largest = maximum(
            old * at.number("betas", param, 1), absolute(grad) + at.number("eps", param)
        )
        old.assign(largest.node, "step")
        lr, first = at.read("lr"), self.correction(at, 0, count)
        size: Scalar = at.scalar(("m", id(state["step"])), lambda: lr() / first(), param)
        return param - m / largest * size

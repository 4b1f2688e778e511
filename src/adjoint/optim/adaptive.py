"""A step size for every weight from its past gradients: Adagrad, Adadelta, RMSprop, Rprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adjoint.base import errors
from adjoint.optim.optimizer import Optimizer, check_range, torch_only
from adjoint.optim.step import Group, State, Step
from adjoint.tensors.arithmetic import where
from adjoint.tensors.creation import full_like, tensor, zeros_like
from adjoint.tensors.elementwise import clamp, sign, sqrt
from adjoint.tensors.tensor import Tensor


class Adagrad(Optimizer):
    """s <- s + g^2;  p <- p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps).

    s is a sum, so steps only get shorter. Source: Duchi, Hazan and Singer, JMLR 2011.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: Any = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "maximize": maximize,
            **torch_only(foreach, False, differentiable, fused),
        }  # fmt: skip
        for name in ("lr", "lr_decay", "eps", "weight_decay", "initial_accumulator_value"):
            check_range("Adagrad", name, defaults[name], 0.0)
        del defaults["capturable"]
        super().__init__(params, defaults)

    def init_one(self, param: Tensor, group: Group) -> State:
        start = group["initial_accumulator_value"]
        return {"step": tensor(0.0), "sum": full_like(param, start)}

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        count = at.tick(state["step"])
        if at.has("weight_decay"):
            grad = grad + param * at.number("weight_decay", param)
        total = state["sum"].assign((state["sum"] + grad * grad).node, "step")
        lr, decay = at.read("lr"), at.read("lr_decay")
        size = at.scalar(
            ("size", id(state["step"])), lambda: lr() / (1 + (count() - 1) * decay()), param
        )
        return param - grad / (sqrt(total) + at.number("eps", param)) * size


class Adadelta(Optimizer):
    """s <- rho s + (1 - rho) g^2;  d = g sqrt(u + eps) / sqrt(s + eps);
    u <- rho u + (1 - rho) d^2;  p <- p - lr d. Source: Zeiler, arXiv:1212.5701.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1.0,
        rho: Any = 0.9,
        eps: float = 1e-6,
        weight_decay: Any = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            **torch_only(foreach, capturable, differentiable),
        }  # fmt: skip
        for name in ("lr", "rho", "eps", "weight_decay"):
            check_range("Adadelta", name, defaults[name], 0.0)
        del defaults["fused"]
        super().__init__(params, defaults)

    def init_one(self, param: Tensor, group: Group) -> State:
        return {
            "step": tensor(0.0), "square_avg": zeros_like(param), "acc_delta": zeros_like(param),
        }  # fmt: skip

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        at.tick(state["step"])
        if at.has("weight_decay"):
            grad = grad + param * at.number("weight_decay", param)
        rho, rest, eps = at.number("rho", param), at.rest("rho", param), at.number("eps", param)
        square, moved = state["square_avg"], state["acc_delta"]
        square.assign((square * rho + grad * grad * rest).node, "step")
        delta = sqrt(moved + eps) / sqrt(square + eps) * grad
        moved.assign((moved * rho + delta * delta * rest).node, "step")
        return param - delta * at.rate(param)


class RMSprop(Optimizer):
    """s <- alpha s + (1 - alpha) g^2;  d = g / (sqrt(s) + eps);  p <- p - lr d.

    ``centered`` subtracts the square of the average gradient from s; ``momentum`` moves along
    b <- momentum b + d. Source: Tieleman and Hinton 2012; Graves, arXiv:1308.0850.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-2,
        alpha: Any = 0.99,
        eps: float = 1e-8,
        weight_decay: Any = 0,
        momentum: Any = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "maximize": maximize,
            **torch_only(foreach, capturable, differentiable),
        }  # fmt: skip
        for name in ("lr", "alpha", "eps", "weight_decay", "momentum"):
            check_range("RMSprop", name, defaults[name], 0.0)
        del defaults["fused"]
        super().__init__(params, defaults)

    def init_one(self, param: Tensor, group: Group) -> State:
        made: State = {"step": tensor(0.0), "square_avg": zeros_like(param)}
        if group["momentum"]:
            made["momentum_buffer"] = zeros_like(param)
        if group["centered"]:
            made["grad_avg"] = zeros_like(param)
        return made

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        at.tick(state["step"])
        if at.has("weight_decay"):
            grad = grad + param * at.number("weight_decay", param)
        alpha, rest = at.number("alpha", param), at.rest("alpha", param)
        square = state["square_avg"]
        square.assign((square * alpha + grad * grad * rest).node, "step")
        spread: Tensor = square
        if at["centered"]:
            mean = state["grad_avg"]
            mean.assign((mean + (grad - mean) * rest).node, "step")
            spread = square - mean * mean
        step = grad / (sqrt(spread) + at.number("eps", param))
        if at.has("momentum"):
            buffer = state["momentum_buffer"]
            moved = buffer * at.number("momentum", param) + step
            step = buffer.assign(moved.node, "step")
        return param - step * at.rate(param)


class Rprop(Optimizer):
    """A step size per weight, times etas[1] while the gradient keeps its sign and etas[0] (and no
    step) when it changes, inside ``step_sizes``. For full batches. Source: Riedmiller and Braun,
    ICNN 1993.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range("Rprop", "lr", lr, 0.0)
        for name, pair in (("etas", etas), ("step_sizes", step_sizes)):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise errors.bad_argument("Rprop", name, pair, "a pair of numbers")
            for i, part in enumerate(pair):
                check_range("Rprop", f"{name}[{i}]", part, 0.0)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise errors.argument(
                "Rprop", f"etas must be below and above 1, got {etas}", hint="etas=(0.5, 1.2)"
            )
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize,
            **torch_only(foreach, capturable, differentiable),
        }  # fmt: skip
        del defaults["fused"]
        super().__init__(params, defaults)

    def init_one(self, param: Tensor, group: Group) -> State:
        return {
            "step": tensor(0.0), "prev": zeros_like(param),
            "step_size": full_like(param, float(group["lr"])),
        }  # fmt: skip

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        at.tick(state["step"])
        (less, more), (low, high) = at["etas"], at["step_sizes"]
        kept = sign(grad * state["prev"])
        size = state["step_size"]
        size = where(kept > 0, size * more, where(kept < 0, size * less, size))
        size = clamp(size, low, high)
        state["step_size"].assign(size.node, "step")
        grad = where(kept < 0, 0.0, grad)
        state["prev"].assign(grad.clone().node, "step")
        return param - sign(grad) * size

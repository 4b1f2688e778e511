"""L-BFGS: a quasi-Newton method that remembers the last steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_integer
from adjoint.ir.node import state as recording
from adjoint.optim.line_search import Point, strong_wolfe
from adjoint.optim.optimizer import Optimizer, check_range
from adjoint.optim.step import State, plain
from adjoint.tensors.arithmetic import add
from adjoint.tensors.creation import zeros_like
from adjoint.tensors.modes import enable_grad, no_grad
from adjoint.tensors.movement import cat, reshape
from adjoint.tensors.tensor import Tensor


class LBFGS(Optimizer):
    """p <- p - t H g, where H approximates the inverse Hessian from the last ``history_size`` steps
    and changes of the gradient. For full batches; one group only.

    ``step(closure)`` makes up to ``max_iter`` iterations; closure clears the gradients,
    computes the loss, calls backward and returns the loss. ``line_search_fn="strong_wolfe"``
    chooses t, else it is ``lr``. What it does depends on values, so the closure may be recorded by
    ``jit`` but not the step. Source: Liu and Nocedal, Mathematical Programming 1989, in PyTorch's
    form.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_range("LBFGS", "lr", lr, 0.0)
        for name, value in (("max_iter", max_iter), ("history_size", history_size)):
            check_range("LBFGS", name, as_integer("LBFGS", name, value), 1)
        if line_search_fn is not None:
            as_choice("LBFGS line_search_fn", line_search_fn, ["strong_wolfe"])
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": as_integer("LBFGS", "max_eval", max_eval),
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        }  # fmt: skip
        for name in ("tolerance_grad", "tolerance_change"):
            check_range("LBFGS", name, defaults[name], 0.0)
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise errors.argument(
                "LBFGS", "takes one group of parameters",
                hint="pass a list of tensors: it has one step size for all of them",
            )  # fmt: skip

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to ``max_iter`` iterations; gives the loss before them."""
        if closure is None or recording.capture is not None:
            raise errors.argument(
                "LBFGS", "step needs a closure, and cannot be recorded itself",
                hint="optimizer.step(closure); jit may record the closure",
            )  # fmt: skip
        self.was_stepped = True
        with no_grad():
            return _Run(self, closure).go()

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]


class _Run:
    """One call of ``step``."""

    def __init__(self, owner: LBFGS, closure: Callable[[], Any]) -> None:
        self.params = owner.param_groups[0]["params"]
        self.group = owner.param_groups[0]
        self.closure = closure
        self.evaluations = 0
        self.lr = float(owner.rates[0])
        self.memory: State = owner.state.setdefault(self.params[0], {})
        self.memory.setdefault("func_evals", 0)
        self.memory.setdefault("n_iter", 0)

    def go(self) -> Any:
        first, loss, gradient = self._evaluate()
        group, memory = self.group, self.memory
        for iteration in range(1, group["max_iter"] + 1):
            if _largest(gradient) <= group["tolerance_grad"]:
                break
            memory["n_iter"] += 1
            direction = self._direction(gradient)
            before = loss
            memory.update(d=direction, prev_flat_grad=gradient, prev_loss=loss)
            t = self.lr
            if memory["n_iter"] == 1:
                t = min(1.0, 1.0 / gradient.abs().sum().item()) * self.lr
            memory["t"] = t
            slope = (gradient @ direction).item()
            if slope > -group["tolerance_change"]:
                break
            point = Point(0.0, loss, gradient, slope)
            loss, gradient, t = self._move(point, direction, t, iteration)
            memory["t"] = t
            moved = abs(t) * _largest(direction)
            small = min(moved, abs(loss - before)) if iteration < group["max_iter"] else 0.0
            if self.evaluations >= group["max_eval"] or small <= group["tolerance_change"]:
                break
        return first

    def _direction(self, gradient: Tensor) -> Tensor:
        """-H g by the two-loop recursion."""
        memory = self.memory
        if memory["n_iter"] == 1:
            memory.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -gradient
        y, s = gradient - memory["prev_flat_grad"], memory["d"] * memory["t"]
        product = (y @ s).item()
        if product > 1e-10:
            if len(memory["ro"]) == self.group["history_size"]:
                for name in ("old_dirs", "old_stps", "ro"):
                    memory[name].pop(0)
            memory["old_dirs"].append(y)
            memory["old_stps"].append(s)
            memory["ro"].append(1.0 / product)
            memory["H_diag"] = product / (y @ y).item()
        past = list(zip(memory["old_dirs"], memory["old_stps"], memory["ro"], strict=True))
        q, shares = -gradient, []
        for y, s, ro in reversed(past):
            shares.append((s @ q).item() * ro)
            q = q - y * shares[-1]
        r = q * memory["H_diag"]
        for (y, s, ro), share in zip(past, reversed(shares), strict=True):
            r = r + s * (share - (y @ r).item() * ro)
        return r

    def _move(
        self, start: Point, direction: Tensor, t: float, iteration: int
    ) -> tuple[float, Tensor, float]:
        """The loss and gradient after a step, and how long it was."""
        if self.group["line_search_fn"] is None:
            self._shift(direction, t)
            if iteration == self.group["max_iter"]:
                return start.loss, start.gradient, t
            _, loss, gradient = self._evaluate()
            return loss, gradient, t
        places = [p.detach().clone() for p in self.params]

        def evaluate(t: float) -> Point:
            self._shift(direction, t)
            _, loss, gradient = self._evaluate()
            for param, place in zip(self.params, places, strict=True):
                param.assign(place.clone().node, "step")
            return Point(t, loss, gradient, (gradient @ direction).item())

        most = self.group["max_eval"] - self.evaluations
        size = _largest(direction)
        point, _ = strong_wolfe(
            evaluate, start, t, size, most, self.group["tolerance_change"]
        )  # fmt: skip
        self._shift(direction, point.t)
        return point.loss, point.gradient, point.t

    def _evaluate(self) -> tuple[Any, float, Tensor]:
        self.evaluations += 1
        self.memory["func_evals"] += 1
        with enable_grad():
            loss = self.closure()
        flat = [reshape(zeros_like(p) if p.grad is None else p.grad, -1) for p in self.params]
        return loss, float(plain(loss)), cat(flat)

    def _shift(self, direction: Tensor, t: float) -> None:
        start = 0
        for param in self.params:
            part = reshape(direction[start : start + param.numel()], *param.shape)
            param.assign(add(param, part * t).node, "step")
            start += param.numel()


def _largest(vector: Tensor) -> float:
    return vector.abs().max().item()

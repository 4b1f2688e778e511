"""Newton's method and its relatives, for problems with few parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.ir.node import state as recording
from adjoint.optim.curvature import hessian, jacobian, joined, parted
from adjoint.optim.line_search import backtracking
from adjoint.optim.optimizer import Optimizer, check_range
from adjoint.tensors import linalg
from adjoint.tensors.creation import eye
from adjoint.tensors.elementwise import abs as absolute
from adjoint.tensors.modes import enable_grad, no_grad
from adjoint.tensors.tensor import Tensor


class _Whole(Optimizer):
    """One step for all parameters at once, from what the closure computes."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """``closure`` computes the loss (or residuals) and calls no backward."""
        name = type(self).__name__
        if closure is None:
            raise errors.argument(
                name, "step needs a closure that computes the loss",
                hint="optimizer.step(lambda: loss_function(model(x), y))",
            )  # fmt: skip
        self.was_stepped = True
        with enable_grad():
            value = closure()
        if not isinstance(value, Tensor) or not value.requires_grad:
            raise errors.grad(
                f"{name}: what the closure computes does not depend on the parameters",
                hint="return the loss itself, not loss.item()",
            )
        with no_grad():
            self._step(value, closure)
            if self._count is not None:
                self._ticks.up(self._count)
        return value.detach()

    def _step(self, value: Tensor, closure: Callable[[], Any]) -> None:
        raise NotImplementedError

    def _move(self, steps: list[Tensor], t: Any) -> None:
        for param, step in zip(self._all(), steps, strict=True):
            param.assign((param - step * t).node, "step")

    def _rate(self) -> Any:
        """lr; the same for all groups."""
        from adjoint.optim.step import Step

        self._prepare([(g, []) for g in self.param_groups])
        group = self.param_groups[0]
        return Step(group, self._changing, self._ticks, self._steps()).rate(group["params"][0])


class Newton(_Whole):
    """p <- p - lr (H + damping 1)^-1 g with the Hessian H of the loss over all parameters.

    lr=1: full steps, which solve a convex quadratic at once; below 1 the method is damped.
    ``line_search`` halves the step until the loss falls. ``indefinite``: what to do where H has a
    negative eigenvalue, and a full step may go uphill: "raise" GradError, or "flip": use |H|.
    ``step(closure)``: closure computes the loss. Away from a quadratic, a full step goes to the
    minimum of the local model and not to that of the loss. Memory grows with the square of the
    number of parameters. Source: Nocedal and Wright, Numerical Optimization, 2006, chapter 3.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1.0,
        damping: float = 0.0,
        line_search: bool = False,
        indefinite: str = "raise",
    ) -> None:
        check_range("Newton", "lr", lr, 0.0)
        check_range("Newton", "damping", damping, 0.0)
        as_choice("Newton indefinite", indefinite, ["raise", "flip"])
        defaults = {
            "lr": lr, "damping": damping, "line_search": line_search, "indefinite": indefinite,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _step(self, value: Tensor, closure: Callable[[], Any]) -> None:
        group, params = self.param_groups[0], self._all()
        with enable_grad():
            curvature = hessian(value, params).detach()
            slope = joined(_gradients(value, params)).detach()
        curvature = self._definite(curvature, group)
        step = linalg.solve(curvature, slope)
        steps, rate = parted(step, params), self._rate()
        if not group["line_search"]:
            self._move(steps, rate)
            return
        places = [p.detach().clone() for p in params]

        def loss_at(t: float) -> float:
            for param, place in zip(params, places, strict=True):
                param.assign(place.clone().node, "step")
            self._move(steps, t * rate)
            return closure().item()

        found = backtracking(loss_at, value.item(), -(slope @ step).item() * rate)
        loss_at(found)

    def _definite(self, curvature: Tensor, group: Any) -> Tensor:
        size = curvature.shape[0]
        if group["indefinite"] == "flip":
            values, vectors = linalg.eigh(curvature)
            curvature = (vectors * absolute(values)) @ vectors.T
        elif recording.capture is None:
            least = linalg.eigvalsh(curvature).min().item() + group["damping"]
            if least < 0:
                raise errors.grad(
                    f"Newton: the Hessian has the eigenvalue {least:.3g}: a step may go uphill",
                    hint="indefinite='flip', a larger damping=, or a better starting point",
                )
        if group["damping"]:
            curvature = curvature + eye(size, dtype=curvature.dtype) * group["damping"]
        return curvature


class GaussNewton(_Whole):
    """p <- p - lr (J^T J + damping 1)^-1 J^T r, with the Jacobian J of the residuals r.

    Minimises |r|^2 / 2; ``step(closure)``: closure computes r. With damping it is the method of
    Levenberg and Marquardt. For linear r one step gives the least squares solution. Source: Nocedal
    and Wright, Numerical Optimization, 2006, chapter 10.
    """

    def __init__(self, params: Iterable[Any], lr: Any = 1.0, damping: float = 0.0) -> None:
        check_range("GaussNewton", "lr", lr, 0.0)
        check_range("GaussNewton", "damping", damping, 0.0)
        super().__init__(params, {"lr": lr, "damping": damping})

    def _step(self, value: Tensor, closure: Callable[[], Any]) -> None:
        params, damping = self._all(), self.param_groups[0]["damping"]
        with enable_grad():
            slopes = jacobian(value, params).detach()
        residuals = value.detach().reshape(-1)
        if damping:
            matrix = slopes.T @ slopes + eye(slopes.shape[1], dtype=slopes.dtype) * damping
            step = linalg.solve(matrix, slopes.T @ residuals)
        else:
            step = linalg.lstsq(slopes, residuals.unsqueeze(1)).solution.squeeze(1)
        self._move(parted(step, params), self._rate())


def _gradients(value: Tensor, params: list[Tensor]) -> Any:
    from adjoint.autograd import grad

    return grad(value, params, retain_graph=True, materialize_grads=True)

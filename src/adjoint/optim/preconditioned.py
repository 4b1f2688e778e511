"""Gradient descent whose gradient goes through a preconditioner first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from adjoint.base import errors
from adjoint.optim.curvature import joined, parted
from adjoint.optim.optimizer import Active, Optimizer, check_range
from adjoint.optim.step import Step
from adjoint.tensors.handle import Handle
from adjoint.tensors.tensor import Tensor

Preconditioner = Callable[[list[Tensor]], Sequence[Tensor]]


class Preconditioned(Optimizer):
    """p <- p - lr P(g).

    preconditioner: a function from the gradients of all parameters to as many steps; or a tensor
    for the vector of all numbers: of that length (a diagonal) or square (a matrix). With the
    inverse Hessian it is Newton's method. It may be replaced between steps (``opt.preconditioner =
    ...``). All parameters need gradients. Source: Nocedal and Wright, Numerical Optimization, 2006.
    """

    def __init__(
        self, params: Iterable[Any], preconditioner: Preconditioner | Tensor, lr: Any = 1.0
    ) -> None:
        check_range("Preconditioned", "lr", lr, 0.0)
        super().__init__(params, {"lr": lr})
        self.preconditioner = preconditioner
        if not callable(preconditioner) and not isinstance(preconditioner, Handle):
            raise errors.bad_argument(
                "Preconditioned", "preconditioner", preconditioner, "a function or a tensor"
            )

    def apply(self) -> None:
        missing = [p for p in self._all() if p.grad is None]
        if missing:
            raise errors.grad(
                f"Preconditioned: {len(missing)} parameters have no gradient",
                hint="leave them out of the optimiser, or call backward() first",
            )
        gradients = [p.grad for p in self._all() if p.grad is not None]
        found = self._conditioned(gradients)
        self._steps_of = {id(p): s for p, s in zip(self._all(), found, strict=True)}
        super().apply()
        del self._steps_of

    def update_group(self, active: Active, at: Step) -> None:
        for param, _ in active:
            step = self._steps_of[id(param)]
            param.assign((param - step * at.rate(param)).node, "step")

    def _conditioned(self, gradients: list[Tensor]) -> Sequence[Tensor]:
        how = self.preconditioner
        if not isinstance(how, Handle):
            found = list(how(gradients))
            if [tuple(f.shape) for f in found] != [g.shape for g in gradients]:
                raise errors.shape(
                    "Preconditioned", "the function must return one step for each gradient",
                    *found[:2], hint="of the shapes of the gradients it was given",
                )  # fmt: skip
            return found
        flat = joined(gradients)
        if how.shape not in ((flat.shape[0],), (flat.shape[0],) * 2):
            raise errors.shape(
                "Preconditioned", f"the parameters hold {flat.shape[0]} numbers", how,
                hint="a vector of that length or a square matrix",
            )  # fmt: skip
        return parted(how * flat if how.ndim == 1 else how @ flat, gradients)

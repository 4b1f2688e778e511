"""Muon: momentum whose matrix is made orthogonal before it is used."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_integer, as_number
from adjoint.optim.optimizer import Optimizer, check_range
from adjoint.optim.step import Group, State, Step
from adjoint.tensors.creation import zeros_like
from adjoint.tensors.elementwise import clamp
from adjoint.tensors.norms import vector_norm
from adjoint.tensors.tensor import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients with the largest slope at 0: five rounds bring singular values near 1."""


class Muon(Optimizer):
    """b <- momentum b + (1 - momentum) g;  O = ``orthogonalized``(g + momentum (b - g));
    p <- p (1 - lr weight_decay) - lr s O, where s = sqrt(max(1, rows / columns)), or 0.2
    sqrt(max(rows, columns)) for ``adjust_lr_fn="match_rms_adamw"``.

    For the matrices of hidden layers; biases, embeddings and the last layer are for AdamW. Raises
    ShapeError for parameters that are no matrices. Source: Jordan et al. 2024; Liu et al.,
    arXiv:2502.16982. The rounds run in the parameter's dtype, where PyTorch uses bfloat16.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        weight_decay: Any = 0.1,
        momentum: Any = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = NEWTON_SCHULZ,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay), ("momentum", momentum)):
            check_range("Muon", name, value, 0.0)
        if adjust_lr_fn is not None:
            as_choice("Muon adjust_lr_fn", adjust_lr_fn, ["original", "match_rms_adamw"])
        _check_rounds(ns_coefficients, ns_steps)
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        super().add_param_group(param_group)
        for param in self.param_groups[-1]["params"]:
            if param.ndim != 2:
                del self.param_groups[-1]
                raise errors.shape(
                    "Muon", "a parameter is no matrix", param,
                    hint="give the other parameters to AdamW: [p for p in params if p.ndim != 2]",
                )  # fmt: skip

    def init_one(self, param: Tensor, group: Group) -> State:
        return {"momentum_buffer": zeros_like(param)}

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        buffer, rest = state["momentum_buffer"], at.rest("momentum", param)
        buffer.assign((buffer + (grad - buffer) * rest).node, "step")
        moved = buffer
        if at["nesterov"]:
            moved = grad + (buffer - grad) * at.number("momentum", param)
        step = orthogonalized(moved, at["ns_coefficients"], at["ns_steps"], at["eps"])
        rows, columns = param.shape
        scale = sqrt(max(1, rows / columns))
        if at["adjust_lr_fn"] == "match_rms_adamw":
            scale = 0.2 * sqrt(max(rows, columns))
        lr = at.read("lr")
        size = at.scalar(("lr times", scale), lambda: lr() * scale, param)
        return param * at.kept(param) - step * size


def orthogonalized(
    matrix: Tensor,
    coefficients: tuple[float, float, float] = NEWTON_SCHULZ,
    steps: int = 5,
    eps: float = 1e-7,
) -> Tensor:
    """Near U V^T for a matrix U S V^T: ``steps`` rounds of X <- a X + (b A + c A^2) X, A = X X^T,
    from X = matrix / |matrix|. The default coefficients leave singular values in 0.68 .. 1.13."""
    if matrix.ndim != 2:
        raise errors.shape("orthogonalized", "needs a matrix", matrix, hint="flatten it first")
    a, b, c = _check_rounds(coefficients, steps)
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / clamp(vector_norm(x), min=as_number("orthogonalized", "eps", eps))
    for _ in range(steps):
        gram = x @ x.T
        x = x * a + (gram * b + (gram @ gram) * c) @ x
    return x.T if tall else x


def _check_rounds(coefficients: Any, steps: Any) -> tuple[float, ...]:
    if not isinstance(coefficients, (tuple, list)) or len(coefficients) != 3:
        raise errors.bad_argument("Muon", "ns_coefficients", coefficients, "three numbers")
    if not 0 <= as_integer("Muon", "ns_steps", steps) < 100:
        raise errors.argument("Muon", f"ns_steps must be in 0 .. 99, got {steps}", hint="5, say")
    return tuple(as_number("Muon", "ns_coefficients", c) for c in coefficients)

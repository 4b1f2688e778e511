"""K-FAC: the curvature of a linear layer as a product of two small matrices."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

from adjoint.autograd import grad
from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.nn.linear import Linear
from adjoint.nn.module import Module
from adjoint.optim.optimizer import Active, Optimizer, check_range
from adjoint.optim.step import State, Step
from adjoint.tensors import linalg
from adjoint.tensors.creation import eye, ones, zeros, zeros_like
from adjoint.tensors.elementwise import sqrt as root
from adjoint.tensors.functional.softmax import softmax
from adjoint.tensors.handle import RemovableHook
from adjoint.tensors.modes import no_grad
from adjoint.tensors.movement import cat
from adjoint.tensors.tensor import Tensor

Factors = list[tuple[Tensor, Tensor]]


class KFAC(Optimizer):
    """W <- W - lr G^-1 (dL/dW) A^-1 for every ``nn.Linear`` of ``model``; plain gradient descent
    for other parameters.

    A is the mean of a a^T over the inputs a of the layer (with a 1 for the bias), G that of g g^T,
    where g g^T is the curvature of the loss of one example seen from the layer's output: exact for
    ``loss="gaussian"`` (half the squared error, mean over examples) and ``"categorical"``
    (cross-entropy). Both are averaged over steps with ``decay`` and damped by sqrt(damping). They
    are collected while the model runs forward in training mode. Source: Martens and Grosse, ICML
    2015.
    """

    def __init__(
        self,
        model: Module,
        lr: Any = 0.1,
        loss: str = "categorical",
        damping: float = 1e-3,
        decay: float = 0.95,
        weight_decay: Any = 0,
        momentum: Any = 0,
    ) -> None:
        if not isinstance(model, Module):
            raise errors.bad_argument("KFAC", "model", model, "a module")
        as_choice("KFAC loss", loss, ["gaussian", "categorical"])
        for name, value in (("lr", lr), ("damping", damping), ("weight_decay", weight_decay)):
            check_range("KFAC", name, value, 0.0)
        check_range("KFAC", "decay", decay, 0.0, 1.0)
        check_range("KFAC", "momentum", momentum, 0.0, 1.0)
        defaults = {
            "lr": lr, "damping": damping, "decay": decay, "weight_decay": weight_decay,
            "momentum": momentum,
        }  # fmt: skip
        super().__init__(model.parameters(), defaults)
        self._loss = loss
        self._layers = [m for m in model.modules() if isinstance(m, Linear)]
        self._owner = {id(layer.weight): layer for layer in self._layers}
        self._biases = {id(layer.bias) for layer in self._layers if layer.bias is not None}
        self._seen: dict[int, tuple[Tensor, Tensor]] = {}
        self._hooks: list[RemovableHook] = [
            layer.register_forward_hook(self._note) for layer in self._layers
        ]
        self._hooks.append(model.register_forward_hook(self._collect))

    def detach(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()

    def _note(self, layer: Module, args: tuple[Any, ...], out: Tensor) -> None:
        if layer.training and out.requires_grad:
            self._seen[id(layer)] = (args[0].detach(), out)

    def _collect(self, model: Module, args: tuple[Any, ...], out: Tensor) -> None:
        if not model.training or not self._seen:
            return
        layers = [layer for layer in self._layers if id(layer) in self._seen]
        pairs = [self._seen[id(layer)] for layer in layers]
        found = kronecker_factors(pairs, out, self._loss, [ly.bias is not None for ly in layers])
        self._seen.clear()
        decay = self.param_groups[0]["decay"]
        for layer, factors in zip(layers, found, strict=True):
            state = self.state.setdefault(layer.weight, {})
            for name, new in zip(("A", "G", "weight"), (*factors, None), strict=True):
                if name not in state:
                    shape, dtype = () if new is None else new.shape, layer.weight.dtype
                    self.remember(state, name, lambda s=shape, d=dtype: zeros(s, dtype=d))
            with no_grad():
                for name, new in zip(("A", "G"), factors, strict=True):
                    blend = state[name] * decay + new * (1 - decay)
                    state[name].assign(blend.node, "KFAC")
                weight = state["weight"] * decay + (1 - decay)
                state["weight"].assign(weight.node, "KFAC")

    def update_group(self, active: Active, at: Step) -> None:
        gradients = {id(p): g for p, g in active}
        steps: list[tuple[Tensor, Tensor]] = []
        for param, gradient in active:
            layer = self._owner.get(id(param))
            if layer is not None and "A" in self.state[param]:
                steps += self._natural(layer, gradients, at)
            elif id(param) not in self._biases:
                steps.append((param, gradient))
        for param, step in steps:
            if at.has("weight_decay"):
                step = step + param * at.number("weight_decay", param)
            if at.has("momentum"):
                state = self.state[param]
                if "momentum_buffer" not in state:
                    self.remember(state, "momentum_buffer", lambda p=param: zeros_like(p))
                buffer = state["momentum_buffer"]
                moved = buffer * at.number("momentum", param) + step
                step = buffer.assign(moved.node, "step")
            param.assign((param - step * at.rate(param)).node, "step")

    def _natural(
        self, layer: Linear, gradients: dict[int, Tensor], at: Step
    ) -> list[tuple[Tensor, Tensor]]:
        """G^-1 (dL/dW) A^-1, the bias as one more column."""
        state: State = self.state[layer.weight]
        whole = gradients[id(layer.weight)]
        if layer.bias is not None:
            whole = cat([whole, gradients[id(layer.bias)].unsqueeze(1)], 1)
        extra = sqrt(at["damping"])
        inputs, outputs = (_damped(state[n] / state["weight"], extra) for n in ("A", "G"))
        step = linalg.solve(outputs, linalg.solve(inputs, whole.T).T)
        if layer.bias is None:
            return [(layer.weight, step)]
        return [(layer.weight, step[:, :-1]), (layer.bias, step[:, -1])]


def kronecker_factors(
    pairs: Sequence[tuple[Tensor, Tensor]], out: Tensor, loss: str = "categorical",
    has_bias: Sequence[bool] | None = None,
) -> Factors:  # fmt: skip
    """(A, G) for each (input, output) of a linear layer, whose computation led to ``out`` (N, C).

    The curvature of layer i is kron(G, A), rows of the weight one after another: equal to that of
    the loss if the layers after it are linear or there is one example.
    """
    count = out.shape[0]
    scores = out.reshape(count, -1)
    outputs = [z for _, z in pairs]
    sums: list[Any] = [0.0] * len(pairs)
    for seed in _seeds(scores.detach(), loss):
        slopes = grad(scores, outputs, seed, retain_graph=True, materialize_grads=True)
        for i, slope in enumerate(slopes):
            flat = slope.detach().reshape(-1, slope.shape[-1])
            sums[i] = sums[i] + flat.T @ flat
    found: Factors = []
    for i, (x, _) in enumerate(pairs):
        rows = x.reshape(-1, x.shape[-1])
        if has_bias is None or has_bias[i]:
            rows = cat([rows, ones(rows.shape[0], 1, dtype=rows.dtype)], 1)
        found.append((rows.T @ rows / rows.shape[0], sums[i] / count))
    return found


def _seeds(scores: Tensor, loss: str) -> list[Tensor]:
    """Vectors v_c for each example with sum_c v_c v_c^T = the Hessian of the loss in the scores."""
    hot = eye(scores.shape[1], dtype=scores.dtype)
    if loss == "gaussian":
        return [hot[c].expand(*scores.shape) for c in range(scores.shape[1])]
    share = softmax(scores, 1)
    return [(hot[c] - share) * root(share[:, c : c + 1]) for c in range(scores.shape[1])]


def _damped(matrix: Tensor, extra: float) -> Tensor:
    return matrix + eye(matrix.shape[0], dtype=matrix.dtype) * extra

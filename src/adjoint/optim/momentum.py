"""Momentum in the forms that textbooks write, chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.ir.capture import known
from adjoint.optim.optimizer import Optimizer, check_range
from adjoint.optim.step import Group, State, Step
from adjoint.tensors.creation import tensor, zeros_like
from adjoint.tensors.modes import no_grad
from adjoint.tensors.tensor import Tensor

FORMS = ("outside", "inside", "signed", "average")


class Momentum(Optimizer):
    """Gradient descent with momentum mu, whose velocity v starts at 0:

    - ``"outside"``: v <- mu v + g;  p <- p - lr v (PyTorch's SGD)
    - ``"inside"``: v <- mu v + lr g;  p <- p - v
    - ``"signed"``: v <- mu v - lr g;  p <- p + v (the velocity points where p moves)
    - ``"average"``: v <- mu v + (1 - mu) g;  p <- p - lr v, an average of gradients

    mu is the share of the velocity that is kept; 1 - mu is friction. For a constant lr the first
    three give the same path, and so does the last with lr / (1 - mu). When lr changes, the velocity
    of "inside" and "signed" keeps the old one. ``bias_correction`` divides v by the weight it has
    so far, 1 - mu^t (of "average") or (1 - mu^t) / (1 - mu).

    nesterov: ``"look_ahead"`` takes the gradient at the point where the velocity alone leads: pass
    a closure to ``step``. ``True`` is the form of the libraries, whose parameters are that point.
    Source: Polyak 1964; Nesterov 1983; Sutskever et al., ICML 2013.
    """

    compiles = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        momentum: Any = 0.9,
        form: str = "outside",
        nesterov: bool | str = False,
        bias_correction: bool = False,
        weight_decay: Any = 0,
        *,
        maximize: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            check_range("Momentum", name, value, 0.0, 1.0 if name == "momentum" else float("inf"))
        as_choice("Momentum form", form, FORMS)
        if not isinstance(nesterov, bool):
            as_choice("Momentum nesterov", nesterov, ["look_ahead"])
        if nesterov and bias_correction:
            raise errors.argument(
                "Momentum", "bias_correction goes with plain momentum only",
                hint="leave nesterov out",
            )  # fmt: skip
        defaults = {
            "lr": lr, "momentum": momentum, "form": form, "nesterov": nesterov,
            "bias_correction": bias_correction, "weight_decay": weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_one(self, param: Tensor, group: Group) -> State:
        return {"step": tensor(0.0), "velocity": zeros_like(param)}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As for every optimiser; ``nesterov="look_ahead"`` needs the closure."""
        ahead = [g for g in self.param_groups if known(lambda g=g: g["nesterov"]) == "look_ahead"]
        if not ahead:
            return super().step(closure)
        if closure is None:
            raise errors.argument(
                "Momentum", "looking ahead needs the gradient at another point",
                hint="pass step(closure), where closure computes the loss and calls backward()",
            )  # fmt: skip
        return super().step(lambda: self._looking_ahead(closure, ahead))

    def _looking_ahead(self, closure: Callable[[], Any], groups: list[Group]) -> Any:
        """``closure()`` with parameters at p + (where the velocity leads)."""
        places = [(p, p.detach(), g) for g in groups for p in g["params"] if p in self.state]
        for param, start, group in places:
            at = Step(group, self._changing, self._ticks, self._steps())
            with no_grad():
                param.assign((start + self._lead(param, at)).node, "step")
        loss = closure()
        for param, start, _ in places:
            with no_grad():
                param.assign(start.clone().node, "step")
        return loss

    def _lead(self, param: Tensor, at: Step) -> Tensor:
        velocity = self.state[param]["velocity"] * at.number("momentum", param)
        if at["form"] in ("outside", "average"):
            velocity = velocity * at.rate(param)
        return velocity if at["form"] == "signed" else -velocity

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        count = at.tick(state["step"])
        if at.has("weight_decay"):
            grad = grad + param * at.number("weight_decay", param)
        form, momentum, rate = at["form"], at.number("momentum", param), at.rate(param)
        added = grad
        if form == "average":
            added = grad * at.rest("momentum", param)
        elif form != "outside":
            added = grad * rate
        added = -added if form == "signed" else added
        velocity = state["velocity"]
        moved = velocity.assign((velocity * momentum + added).node, "step")
        if at["nesterov"] is True:
            moved = moved * momentum + added
        if at["bias_correction"]:
            moved = moved / self._weight(param, state, at, count)
        if form in ("outside", "average"):
            moved = moved * rate
        return param + moved if form == "signed" else param - moved

    def _weight(self, param: Tensor, state: State, at: Step, count: Any) -> Any:
        """The sum of the weights that the gradients so far have in the velocity."""
        mu, average = at.read("momentum"), at["form"] == "average"

        def weight() -> float:
            whole = 1 - mu() ** count()
            return whole if average else whole / (1 - mu())

        return at.scalar(("weight", id(state["step"])), weight, param)

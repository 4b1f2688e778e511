"""Optimizer: parameter groups, state, and the loop over parameters that all optimisers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_items, as_number
from adjoint.base.dtype import float64
from adjoint.ir.capture import known, live, suspended
from adjoint.ir.node import Node
from adjoint.tensors.creation import tensor
from adjoint.tensors.handle import Handle, wrap
from adjoint.tensors.modes import enable_grad, no_grad
from adjoint.tensors.tensor import Tensor

Group = dict[str, Any]
State = dict[str, Any]


class Optimizer:
    """Base class. A subclass says what it remembers per parameter and how one is updated.

    params: tensors, or dicts with a list ``"params"`` and options of their own; ``defaults``: the
    options of groups that do not give them. Raises ArgumentError for no parameters, for one named
    twice, and for results of computations.
    """

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        groups = [] if isinstance(params, Handle) else as_items(params)
        if groups is None or isinstance(params, Handle):
            got = errors.describe(params)
            raise errors.argument(
                type(self).__name__, f"params must be a list of tensors, got {got}",
                hint="pass model.parameters(), or [param]",
            )  # fmt: skip
        if not groups:
            raise errors.argument(
                type(self).__name__, "got no parameters",
                hint="does the model have any? register them as attributes in __init__",
            )  # fmt: skip
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, State] = {}
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def init_one(self, param: Tensor, group: Group) -> State:
        """What is remembered for ``param`` from step to step."""
        return {}

    def update_one(self, param: Tensor, grad: Tensor, state: State, group: Group) -> Tensor:
        """The new value of ``param``; may change ``state``. Gradients are off here."""
        raise NotImplementedError(f"{type(self).__name__} does not define update_one")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what ``closure`` computes first."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                known(lambda group=group: _options(group))
                for param in group["params"]:
                    if param.grad is not None:
                        self._update(param, group)
        return loss

    def _update(self, param: Tensor, group: Group) -> None:
        state = self.state.get(param)
        if state is None:
            state = self.state[param] = {}
            with suspended():
                made = self.init_one(param, group)
            for name, value in made.items():
                self.remember(state, name, value)
        grad = -param.grad if group.get("maximize") else param.grad
        param.assign(self.update_one(param, grad, state, group).node, "step")

    def remember(self, state: State, name: str, value: Tensor) -> None:
        """Add a tensor to ``state`` that later steps change by ``assign``."""
        with suspended() as capture:
            state[name] = value
            if capture is not None:
                capture.adopt(value)

    def rate(self, group: Group) -> Any:
        """The learning rate of ``group``: a number, or inside ``jit`` a float64 tensor that is
        asked for anew at every run, so that a schedule never records again."""
        if isinstance(group["lr"], Handle):
            return group["lr"]
        found = live(lambda: group["lr"], float64)
        return wrap(found) if isinstance(found, Node) else found

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients (or set them to zero)."""
        for group in self.param_groups:
            for param in group["params"]:
                param.forget_gradient(set_to_none)

    def add_param_group(self, group: Group) -> None:
        """Take in more parameters, with options of their own."""
        params = [group["params"]] if isinstance(group["params"], Handle) else list(group["params"])
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for param in params:
            if not isinstance(param, Tensor):
                raise errors.not_a_tensor(type(self).__name__, param)
            if not param.is_leaf:
                raise errors.argument(
                    type(self).__name__, "a parameter is the result of a computation",
                    hint="optimise leaves: x.detach().requires_grad_()",
                )  # fmt: skip
            if id(param) in known:
                raise errors.argument(
                    type(self).__name__,
                    "a parameter is named twice",
                    hint="put each parameter into one group only",
                )
            known.add(id(param))
        unknown = set(group) - {"params"} - set(self.defaults)
        if unknown:
            raise errors.unknown_name(f"{type(self).__name__} option", min(unknown), self.defaults)
        self.param_groups.append({**self.defaults, **group, "params": params})

    def state_dict(self) -> dict[str, Any]:
        """State and options, parameters named by their number, as in PyTorch."""
        numbers = {id(p): i for i, p in enumerate(self._all())}
        state = {
            numbers[id(p)]: {k: v.detach() if isinstance(v, Handle) else v for k, v in s.items()}
            for p, s in self.state.items()
        }
        count, groups = 0, []
        for group in self.param_groups:
            size = len(group["params"])
            groups.append({**group, "params": list(range(count, count + size))})
            count += size
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave. Raises ArgumentError when groups differ in size."""
        given = [len(g["params"]) for g in state_dict["param_groups"]]
        have = [len(g["params"]) for g in self.param_groups]
        if given != have:
            raise errors.argument(
                "load_state_dict",
                f"saved groups hold {given} parameters, these hold {have}",
                hint="build the optimiser from the same model before loading",
            )
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({k: v for k, v in saved.items() if k != "params"})
        params = self._all()
        self.state = {}
        for number, saved in state_dict["state"].items():
            copied = {k: _copied(v, params[int(number)]) for k, v in saved.items()}
            self.state[params[int(number)]] = copied

    def _all(self) -> list[Tensor]:
        return [p for g in self.param_groups for p in g["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.items()) if k != "params"]
        return "\n".join([*lines, ")"])


def _options(group: Group) -> Any:
    return tuple((k, v) for k, v in group.items() if k not in ("params", "lr"))


def rounded(number: Any, param: Tensor) -> Any:
    """A number, or a tensor that stands for one, in the dtype of ``param``."""
    return number.to(param.dtype) if isinstance(number, Tensor) else number


def check_range(
    optimiser: str, name: str, value: Any, low: float, high: float = float("inf")
) -> None:
    """Raise ArgumentError unless ``low <= value < high`` (a tensor is not looked at)."""
    if not isinstance(value, Handle) and not low <= as_number(optimiser, name, value) < high:
        limits = f"at least {low}" if high == float("inf") else f"in [{low}, {high})"
        raise errors.argument(
            optimiser,
            f"{name} must be {limits}, got {errors.clip(value)}",
            hint=f"check {name}= in the call",
        )


def _copied(value: Any, param: Tensor) -> Any:
    if not isinstance(value, Handle):
        return value
    return tensor(value, dtype=param.dtype if value.ndim else value.dtype)

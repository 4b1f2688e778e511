"""Optimizer: parameter groups, state, and the loop over parameters that all optimisers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.arguments import as_items, as_number
from adjoint.base.dtype import int64
from adjoint.ir.capture import known, suspended
from adjoint.ir.node import state as engine
from adjoint.optim.step import Changing, Group, Number, State, Step, Ticks, later, plain, split
from adjoint.tensors.creation import tensor
from adjoint.tensors.handle import Handle, RemovableHook
from adjoint.tensors.jit import jit
from adjoint.tensors.mistakes import StepWatch
from adjoint.tensors.modes import enable_grad, no_grad
from adjoint.tensors.tensor import Tensor

Active = list[tuple[Tensor, Tensor]]
PATIENCE = 2  # steps with the same parameters before they are compiled


class Optimizer:
    """Base class. A subclass says what it remembers per parameter and how one is updated.

    params: tensors, pairs (name, tensor), or dicts with a list ``"params"`` and options of their
    own; ``defaults``: the options of groups that do not give them. Any option that is a number may
    be a function of the step count instead (see ``optim.schedules``). Raises ArgumentError for no
    parameters, for one named twice, and for results of computations.
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
        self.was_stepped = False
        self._count: Tensor | None = None
        self._layout = 0
        self._ticks = Ticks()
        self._changing = Changing()
        self._mistakes = StepWatch(type(self).__name__)
        self._last: tuple[int, ...] = ()
        self._repeats = 0
        self._programs: dict[tuple[int, ...], jit] = {}
        self._before: list[Callable[..., Any]] = []
        self._after: list[Callable[..., Any]] = []
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    compiles = False
    """Set to True in the body of a class whose updates read no values and are element by element,
    so that compiled ones have the same bits. Not inherited: a subclass may do anything."""

    # --- for subclasses ---

    def init_one(self, param: Tensor, group: Group) -> State:
        """What is remembered for ``param`` from step to step. A tensor under ``"step"`` counts;
        parameters that start together share it."""
        return {}

    def update_one(self, param: Tensor, grad: Tensor, state: State, at: Step) -> Tensor:
        """The new value of ``param``; may change ``state``. Gradients are off here."""
        raise NotImplementedError(f"{type(self).__name__} does not define update_one")

    def update_group(self, active: Active, at: Step) -> None:
        """Update the parameters of a group that have a gradient."""
        ascend = at.group.get("maximize")
        for param, grad in active:
            new = self.update_one(param, -grad if ascend else grad, self.state[param], at)
            param.assign(new.node, "step")

    # --- the step ---

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what ``closure`` computes first."""
        for hook in self._before:
            hook(self, (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            self._use_gradients()
        for hook in self._after:
            hook(self, (closure,), {})
        return loss

    def _use_gradients(self) -> None:
        """Update what has a gradient; from the third step with the same parameters on as one
        compiled program, where the class says that its updates can be captured."""
        self.was_stepped = True
        work = self._work()
        first = next((active[0][0] for _, active in work if active), None)
        self._mistakes.step(first, self._all() if first is None else [])
        self._prepare(work)
        own = type(self).__dict__.get("compiles", False)
        if engine.recording or engine.watch is not None or not own:
            self.apply()
            return
        key = tuple(id(p) for _, active in work for p, _ in active)
        self._repeats = self._repeats + 1 if key == self._last else 0
        self._last = key
        if self._repeats < PATIENCE:
            self.apply()
            return
        if key not in self._programs:
            self._programs = {key: jit(self.apply)}
        self._programs[key]()

    def _work(self) -> list[tuple[Group, Active]]:
        """The parameters that have a gradient, group by group."""
        return [
            (group, [(p, p.grad) for p in group["params"] if p.grad is not None])
            for group in self.param_groups
        ]

    def apply(self) -> None:
        """Use the gradients that are there."""
        known(lambda: self._layout)
        steps = self._steps()
        names = [n for n in self.defaults if n != "lr"]
        for group, active in self._work():
            if active:
                at = Step(group, self._changing, self._ticks, steps)
                at.guard(names)
                self.update_group(active, at)
        if self._count is not None:
            self._ticks.up(self._count)

    def _prepare(self, work: list[tuple[Group, Active]]) -> None:
        """State for parameters that have none yet; one count for all that step together."""
        if self._count is None and any(_is_scheduled(group) for group, _ in work):
            self._count = self._adopted(lambda: tensor(0, dtype=int64))
            self._layout += 1
        for group, active in work:
            fresh: State = {}
            for param, _ in active:
                if param not in self.state:
                    self.state[param] = self._first(param, group, fresh)
            counted = [p for p in group["params"] if "step" in self.state.get(p, ())]
            if counted and len(active) < len(counted):
                self._separate({id(p) for p, _ in active}, counted)

    def _first(self, param: Tensor, group: Group, shared: State) -> State:
        with suspended():
            made = self.init_one(param, group)
        state: State = {}
        for name, value in made.items():
            if name in SHARED and name in shared:
                state[name] = shared[name]
            else:
                self.remember(state, name, lambda value=value: value)
                shared[name] = state[name]
        return state

    def _separate(self, active: set[int], counted: list[Tensor]) -> None:
        """Give the active parameters counts of their own where others share them."""
        idle = {id(self.state[p]["step"]) for p in counted if id(p) not in active}
        made: dict[int, Tensor] = {}
        for param in counted:
            state = self.state[param]
            if id(param) in active and id(state["step"]) in idle:
                for name in SHARED & set(state):
                    old = state[name]
                    if id(old) not in made:
                        made[id(old)] = self._adopted(lambda old=old: split(old))
                        self._layout += 1
                    state[name] = made[id(old)]

    def remember(self, state: State, name: str, make: Callable[[], Any]) -> Any:
        """Add what ``make`` gives to ``state``; later steps change it by ``assign``."""
        state[name] = made = self._adopted(make)
        return made

    def _adopted(self, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, as if it had been there before a capture that is going on."""
        with suspended() as capture:
            made = make()
            if capture is not None and isinstance(made, Handle):
                capture.adopt(made)
        return made

    def _steps(self) -> Number:
        if self._count is None:
            return lambda: 0
        return later(self._count, self._ticks.now(self._count))

    @property
    def rates(self) -> list[float]:
        """The learning rate of each group in the next step."""
        steps = self._steps()
        return [float(_resolved(group["lr"], steps)) for group in self.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients (or set them to zero)."""
        for group in self.param_groups:
            for param in group["params"]:
                param.forget_gradient(set_to_none)

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHook:
        """Call ``hook(optimizer, args, kwargs)`` before every step."""
        self._before.append(hook)
        return RemovableHook(self._before, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHook:
        """Call ``hook(optimizer, args, kwargs)`` after every step."""
        self._after.append(hook)
        return RemovableHook(self._after, hook)

    def add_param_group(self, param_group: Group) -> None:
        """Take in more parameters, with options of their own."""
        name = type(self).__name__
        given = param_group["params"]
        params = [given] if isinstance(given, Handle) else list(given)
        names = [p[0] if isinstance(p, tuple) else None for p in params]
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for param in params:
            _check_param(name, param, known)
            known.add(id(param))
        unknown = set(param_group) - {"params", "initial_lr"} - set(self.defaults)
        if unknown:
            raise errors.unknown_name(f"{name} option", min(unknown), self.defaults)
        group = {**self.defaults, **param_group, "params": params}
        if any(n is not None for n in names):
            group["param_names"] = names
        self.param_groups.append(group)
        self._layout += 1

    # --- saving ---

    def state_dict(self) -> dict[str, Any]:
        """State and options, parameters named by their number, as in PyTorch. A schedule is saved
        as its present value and how far it is, under ``"schedules"``."""
        numbers = {id(p): i for i, p in enumerate(self._all())}
        state = {
            numbers[id(p)]: {k: _snapshot(v) for k, v in s.items()}
            for p, s in self.state.items()
            if s
        }
        count, groups = 0, []
        steps = self._steps()
        for group in self.param_groups:
            size = len(group["params"])
            saved = {k: _resolved(v, steps) for k, v in group.items() if k != "params"}
            scheduled = {k: _progress(v) for k, v in group.items() if _scheduled(v)}
            if scheduled:
                saved["schedules"] = {"step": int(steps()), "state": scheduled}
            groups.append({**saved, "params": list(range(count, count + size))})
            count += size
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave (or PyTorch's). Schedules of this optimiser stay, and
        go on where the saved ones were. Raises ArgumentError when groups differ in size."""
        given = [len(g["params"]) for g in state_dict["param_groups"]]
        have = [len(g["params"]) for g in self.param_groups]
        if given != have:
            raise errors.argument(
                "load_state_dict",
                f"saved groups hold {given} parameters, these hold {have}",
                hint="build the optimiser from the same model before loading",
            )
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            self._load_options(group, saved)
        saved_states = {int(k): v for k, v in state_dict["state"].items()}
        counts: dict[tuple[int, str, float], Tensor] = {}
        for number, param in enumerate(self._all()):
            if number in saved_states:
                self._load_state(param, saved_states[number], counts)
            elif self.state.pop(param, None):
                self._layout += 1

    def _load_options(self, group: Group, saved: Group) -> None:
        progress = saved.get("schedules")
        for name, value in saved.items():
            if name not in ("params", "schedules") and not _scheduled(group.get(name)):
                group[name] = value
        if progress is None:
            return
        if self._count is None:
            self._count = tensor(0, dtype=int64)
            self._layout += 1
        self._count.assign(tensor(progress["step"], dtype=int64).node, "load_state_dict")
        for name, state in progress["state"].items():
            if state is not None and hasattr(group[name], "load_state_dict"):
                group[name].load_state_dict(state)

    def _load_state(self, param: Tensor, saved: State, counts: dict[Any, Tensor]) -> None:
        """Into the tensors that are there, which recordings refer to; else into new ones."""
        old = self.state.get(param)
        new: State = {}
        taken = {id(t) for t in counts.values()}
        where = self._group_of(param)
        self._layout += old is not None and set(old) != set(saved)
        for name, value in saved.items():
            new[name] = copied = _copied(name, value, param)
            key = (where, name, float(copied.item()) if name in SHARED else 0.0)
            if not isinstance(copied, Tensor):
                continue
            if name in SHARED and key in counts:
                new[name] = counts[key]
                self._layout += old is None or old.get(name) is not counts[key]
                continue
            present = None if old is None else old.get(name)
            if present is not None and _fits(present, copied) and id(present) not in taken:
                new[name] = present.assign(copied.node, "load_state_dict")
            else:
                self._layout += 1
            if name in SHARED:
                counts[key] = new[name]
        self.state[param] = new

    def _group_of(self, param: Tensor) -> int:
        found = (i for i, g in enumerate(self.param_groups) if id(param) in map(id, g["params"]))
        return next(found)

    def _all(self) -> list[Tensor]:
        return [p for g in self.param_groups for p in g["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.items()) if k != "params"]
        return "\n".join([*lines, ")"])


SHARED = {"step", "mu_product"}
"""State of rank 0 that parameters which step together have in common."""


def check_range(
    optimiser: str, name: str, value: Any, low: float, high: float = float("inf")
) -> None:
    """Raise ArgumentError unless ``low <= value < high`` (schedules and tensors not looked at)."""
    if isinstance(value, Handle) or callable(value):
        return
    if not low <= as_number(optimiser, name, value) < high:
        limits = f"at least {low}" if high == float("inf") else f"in [{low}, {high})"
        raise errors.argument(
            optimiser,
            f"{name} must be {limits}, got {errors.clip(value)}",
            hint=f"check {name}= in the call",
        )


def check_pair(optimiser: str, name: str, value: Any) -> None:
    """Raise unless ``value`` is a pair of numbers in [0, 1)."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise errors.bad_argument(optimiser, name, value, "a pair of numbers")
    for i, part in enumerate(value):
        check_range(optimiser, f"{name}[{i}]", part, 0.0, 1.0)


def torch_only(
    foreach: bool | None, capturable: bool, differentiable: bool, fused: bool | None = None
) -> Group:
    """PyTorch's switches between its implementations: kept, and without effect here. Raises
    ArgumentError for ``differentiable``, which is a different thing."""
    if differentiable:
        raise errors.argument(
            "optimiser", "differentiable=True is not supported",
            hint="write the update out with tensors: p = p - lr * autograd.grad(loss, p, "
            "create_graph=True)[0]",
        )  # fmt: skip
    return {"foreach": foreach, "capturable": capturable, "differentiable": False, "fused": fused}


def _check_param(name: str, param: Any, known: set[int]) -> None:
    if not isinstance(param, Tensor):
        raise errors.not_a_tensor(name, param)
    if not param.is_leaf:
        raise errors.argument(
            name, "a parameter is the result of a computation",
            hint="optimise leaves: x.detach().requires_grad_()",
        )  # fmt: skip
    if id(param) in known:
        raise errors.argument(
            name, "a parameter is named twice", hint="put each parameter into one group only"
        )


def _parts(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _scheduled(value: Any) -> bool:
    return any(callable(part) for part in _parts(value))


def _is_scheduled(group: Group) -> bool:
    return any(_scheduled(value) for name, value in group.items() if name != "params")


def _resolved(value: Any, steps: Number) -> Any:
    """An option as plain numbers."""
    if isinstance(value, (tuple, list)):
        return type(value)(_resolved(v, steps) for v in value)
    return plain(value(int(steps()))) if callable(value) else value


def _progress(value: Any) -> Any:
    """What a schedule remembers besides the step, if anything."""
    return value.state_dict() if hasattr(value, "state_dict") else None


def _snapshot(value: Any) -> Any:
    if isinstance(value, Handle):
        return value.detach()
    if isinstance(value, (list, tuple)):
        return [_snapshot(v) for v in value]
    return value


def _copied(name: str, value: Any, param: Tensor) -> Any:
    if isinstance(value, (list, tuple)):
        return [_copied(name, v, param) for v in value]
    if not isinstance(value, Handle) and not hasattr(value, "__array__"):
        return value
    made = tensor(value if isinstance(value, Handle) else np.asarray(value))
    return made if name in SHARED or made.dtype.kind != "f" else made.to(param.dtype)


def _fits(present: Any, value: Tensor) -> bool:
    return (
        isinstance(present, Handle)
        and present.shape == value.shape
        and present.dtype is value.dtype
    )

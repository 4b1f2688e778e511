"""One step of an optimiser: its options as numbers, its counts, the same inside ``jit``.

Whatever changes from step to step (a learning rate, a bias correction, a scheduled momentum) is
worked out in Python. While a step is being captured it becomes an input of the recording that is
worked out anew at every run: once for each group, not once for each parameter.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from adjoint.base import errors
from adjoint.base.dtype import DType
from adjoint.ir.capture import known, live
from adjoint.ir.node import Node, state
from adjoint.tensors.creation import tensor
from adjoint.tensors.handle import Handle, wrap
from adjoint.tensors.tensor import Tensor

Group = dict[str, Any]
State = dict[str, Any]
Number = Callable[[], float]  # what gives a number of this step, at every run
Scalar = Any  # a Python number, or while capturing a tensor of rank 0


class Ticks:
    """How often each count has gone up inside the capture that is going on."""

    def __init__(self) -> None:
        self._capture: weakref.ref[Any] | None = None
        self._counts: dict[int, int] = {}

    def now(self, count: Tensor) -> int:
        """How often ``count`` went up so far; 0 outside of a capture, where it shows itself."""
        if state.capture is None or self._capture is None:
            return 0
        return self._counts.get(id(count), 0) if self._capture() is state.capture else 0

    def up(self, count: Tensor) -> int:
        """Add 1 to ``count``; gives how often it went up inside this capture."""
        if state.capture is not None:
            before = self.now(count)
            if self._capture is None or self._capture() is not state.capture:
                self._capture, self._counts = weakref.ref(state.capture), {}
            self._counts[id(count)] = before + 1
        count.assign((count + 1).node, "step")
        return self.now(count)


class Changing:
    """Options that were found to change from one recording to the next. From then on they are
    inputs of the recording, so that the next change records nothing."""

    def __init__(self) -> None:
        self._recorded: dict[tuple[int, str], Any] = {}
        self._names: set[tuple[int, str]] = set()

    def look(self, group: Group, names: list[str]) -> None:
        """Compare with what was recorded before; called at the start of a captured step."""
        for name in names:
            key, value = (id(group), name), group[name]
            before = self._recorded.setdefault(key, value)
            if is_numbers(value) and is_numbers(before) and before != value:
                self._names.add(key)

    def __contains__(self, of: tuple[Group, str]) -> bool:
        return (id(of[0]), of[1]) in self._names


class Step:
    """The options of one group in one step, for ``Optimizer.update_one``.

    ``at["momentum"]``: the plain option. ``number``: an option as a factor. ``scalar``: any number
    of this step as a factor. ``read``: an option as a function that gives it at every run.
    """

    def __init__(self, group: Group, changing: Changing, ticks: Ticks, steps: Number) -> None:
        self.group = group
        self._changing = changing
        self._ticks = ticks
        self._steps = steps
        self._made: dict[Any, Any] = {}
        self.kept_reads: dict[Any, Number] = {}

    def __getitem__(self, name: str) -> Any:
        return self.group[name]

    def guard(self, names: list[str]) -> None:
        """Note on which plain options the recording depends."""
        if state.capture is None:
            return
        self._changing.look(self.group, names)
        fixed = [n for n in names if not self._varies(n)]
        group = self.group
        known(lambda: tuple((n, group[n]) for n in fixed))

    def has(self, name: str) -> bool:
        """Whether an option is not 0: what decides how the update is computed."""
        group = self.group
        if callable(group[name]):
            return True
        return known(lambda: bool(group[name]))

    def read(self, name: str, part: int | None = None) -> Number:
        """A function that gives the option (element ``part`` of it) as it is in this step."""
        group, steps = self.group, self._steps

        def now() -> float:
            value = group[name] if part is None else group[name][part]
            return plain(value(steps()) if callable(value) else value)

        return now

    def number(self, name: str, like: Handle, part: int | None = None) -> Scalar:
        """The option as a factor for tensors like ``like``."""
        if self._varies(name):
            return self.scalar((name, part), self.read(name, part), like)
        return self.group[name] if part is None else self.group[name][part]

    def rest(self, name: str, like: Handle, part: int | None = None) -> Scalar:
        """1 minus the option, as a factor."""
        if self._varies(name):
            now = self.read(name, part)
            return self.scalar(("1 -", name, part), lambda: 1 - now(), like)
        return 1 - (self.group[name] if part is None else self.group[name][part])

    def rate(self, like: Handle) -> Scalar:
        """The learning rate as a factor."""
        return self.scalar("lr", self.read("lr"), like)

    def kept(self, like: Handle) -> Scalar:
        """1 - lr * weight_decay: what decoupled weight decay leaves of a parameter."""
        lr, decay = self.read("lr"), self.read("weight_decay")
        return self.scalar("kept", lambda: 1 - lr() * decay(), like)

    def scalar(self, key: Any, read: Number, like: Handle) -> Scalar:
        """``read()``, once for all parameters of the group that share ``key`` (and dtype)."""
        if state.capture is None:
            if key not in self._made:
                self._made[key] = read()
            return self._made[key]
        key = (key, like.dtype.name)
        if key not in self._made:
            self._made[key] = _source(read, like.dtype)
        return self._made[key]

    def tick(self, count: Tensor) -> Number:
        """Count this step (once for all parameters that share ``count``); gives the new count."""
        if id(count) not in self._made:
            inside = self._ticks.up(count)
            self._made[id(count)] = later(count, inside)
        return self._made[id(count)]

    def inside(self, count: Tensor) -> int:
        """How often ``count`` went up inside the capture, this step included."""
        return self._ticks.now(count)

    def _varies(self, name: str) -> bool:
        value = self.group[name]
        parts: tuple[Any, ...] = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        if name == "lr" or any(callable(p) or isinstance(p, Handle) for p in parts):
            return True
        return (self.group, name) in self._changing


def later(count: Tensor, inside: int) -> Number:
    """A function that gives ``count`` (as it is when a run begins) + ``inside``."""
    if state.capture is None:
        value = count.item()
        return lambda: value
    return lambda: count.node.array("step").item() + inside


def plain(value: Any) -> Any:
    """A number, also if a tensor or a NumPy number holds it."""
    if isinstance(value, Handle):
        return value.node.array("an option of the optimiser").item()
    return value


def is_numbers(value: Any) -> bool:
    """Whether an option is a number or a tuple of numbers (and no flag or name)."""
    if isinstance(value, (tuple, list)):
        return all(is_numbers(v) for v in value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def split(count: Tensor) -> Tensor:
    """A count of its own for parameters that do not take part in the same steps any more."""
    if count.node.is_abstract and count.node.op is not None:
        raise errors.argument(
            "step", "in one recorded function, a later step leaves out parameters of an earlier",
            hint="put them into two groups, or record the two steps as two functions",
        )  # fmt: skip
    return tensor(count, dtype=count.dtype)


def _source(read: Number, dtype: DType) -> Scalar:
    found = live(read, dtype)
    return wrap(found) if isinstance(found, Node) else found

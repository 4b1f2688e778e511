"""Mistakes that can be seen from gradients alone, without a look at every operation.

A loss that broadcast (N, 1) against (N,) is found by a short walk back from the loss when its
backward pass begins. A gradient that was used by a step, and then added to, is found by the
numbers of nodes: one parameter for each optimiser is looked at.
"""

from __future__ import annotations

import weakref
from typing import Any

from adjoint.base.advice import advise
from adjoint.base.wording import dims
from adjoint.ir.node import Node, next_serial, state

DEPTH = 6  # operations between a loss and what it is the sum of, and from there to a difference
OF_LOSSES = {"mul", "div", "neg", "call", "select", "maximum", "minimum", "exp", "log", "sqrt"}


def check_loss(loss: Node) -> None:
    """Warn when ``loss`` is a mean or sum over a difference of (N, 1) and (N,), which is (N, N)."""
    node = loss
    for _ in range(DEPTH):  # down to what was summed, past factors
        if node.op is None or not node.args or len(node.shape) > 1:
            break
        node = next((a for a in node.args if a.needs_grad), node.args[0])
    shape = node.shape
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
        return
    found = _difference(node, DEPTH)
    if found is not None:
        a, b = (dims(inner.shape) for inner in found)
        advise(
            f"a loss of {a} and {b} was broadcast to {dims(shape)}: every prediction is compared "
            "with every target",
            hint="Give both one shape, y.reshape(p.shape), or use nn.functional.mse_loss, which "
            "raises for shapes that differ",
        )


def _difference(node: Node, depth: int) -> tuple[Node, Node] | None:
    """What went into the difference of a prediction and a target that were both broadcast."""
    op, args = node.op, node.args
    if op is None or not args or depth == 0:
        return None
    if op.name == "sub" and all(a.op is not None and a.op.name == "broadcast" for a in args):
        a, b = (x.args[0] for x in args if x.args)
        computed = [x for x in (a, b) if x.needs_grad]
        tall, flat = sorted((a, b), key=lambda x: -x.ndim)
        alone = len(computed) == 1 and computed[0].leaf is None
        return (a, b) if alone and tall.shape == (*flat.shape, 1) else None
    if op.name not in OF_LOSSES:
        return None
    same = (x for x in args if x.needs_grad and x.shape == node.shape)
    return next((f for x in same if (f := _difference(x, depth - 1)) is not None), None)


class Use:
    """The gradient of one parameter that the last step used, and whether it was added to since.

    ``serial``: that of the gradient; None while there is none, -1 for any (a captured step leaves
    its gradient to each run). ``tip``: the node that it grew into.
    """

    __slots__ = ("grown", "owner", "serial", "tip")

    def __init__(self, owner: weakref.ref[Any]) -> None:
        self.owner = owner
        self.serial: int | None = None
        self.forget()

    def forget(self) -> None:
        """The gradient was cleared."""
        self.serial = self.tip = None
        self.grown = False

    def added(self, old: Node | None, new: Node) -> None:
        """A backward pass made ``old`` (None: nothing) into ``new``."""
        if old is None:
            self.forget()
            return
        used = old.serial == self.serial or (self.serial == -1 and _left_by_run(old))
        self.grown = used or (self.grown and old.serial == self.tip)
        self.tip = new.serial


USES: dict[int, Use] = {}  # by the id of the parameter


class Dropped:
    """The gradient that was cleared last: whose it was, and when it was made."""

    owner = 0
    serial = -1


class StepWatch:
    """What one optimiser warns of: gradients used twice, and cleared before they were used."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._warned = False
        self._last = -1

    def step(self, param: Any, others: list[Any]) -> None:
        """A step begins; ``param`` has a gradient (None: no parameter has), of ``others`` all."""
        if param is None:
            lost = Dropped.serial > self._last and any(id(p) == Dropped.owner for p in others)
            if lost:
                self._say("found no gradients: they were cleared after backward()",
                          "Call zero_grad() before backward(), or after step()")  # fmt: skip
            return
        use = USES.get(id(param))
        if use is None:
            key = id(param)
            owner = weakref.ref(param, lambda _: USES.pop(key, None))
            use = USES[key] = Use(owner)
        if use.grown:
            self._say(
                "uses gradients that contain those of earlier steps: backward() added to them",
                "Call zero_grad() once for each step; to add up the gradients of k batches on "
                "purpose, call backward() k times and then step() and zero_grad()",
            )
        use.forget()
        use.serial = -1 if state.capture is not None else param.grad.node.serial
        self._last = next_serial()

    def _say(self, what: str, hint: str) -> None:
        if not self._warned:
            self._warned = True
            advise(f"{self._name}.step() {what}", hint=hint)


def _left_by_run(old: Node) -> bool:
    """Whether ``old`` is a gradient from outside of a capture, and not zeros put there by hand."""
    outside = state.capture is not None and state.capture.owns(old)
    return outside and old.value is not None and bool(old.value.any())

"""Schedules: functions of the step count, to be given as ``lr=`` or any other number of an
optimiser. Step 0 is the first update.

    optimiser = optim.AdamW(model.parameters(), lr=schedules.one_cycle(0.01, steps=1000))

The count belongs to the optimiser and is saved with it, so there is no ``scheduler.step()`` to
forget, and a step recorded by ``jit`` is never recorded again.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_integer, as_number

Schedule = Callable[[int], float]


def constant(value: float) -> Schedule:
    """``value`` at every step."""
    value = as_number("constant", "value", value)
    return lambda step: value


def linear(start: float, end: float, steps: int) -> Schedule:
    """From ``start`` to ``end`` in ``steps`` steps, then ``end``."""
    count = _count("linear", "steps", steps)
    return lambda step: end if step >= count else start + (end - start) * step / count


def cosine(start: float, steps: int, end: float = 0.0) -> Schedule:
    """end + (start - end) (1 + cos(pi step / steps)) / 2, then ``end``.

    It only falls; the jump back up is ``cosine_restarts``. Source: Loshchilov and Hutter, ICLR
    2017.
    """
    count = _count("cosine", "steps", steps)

    def value(step: int) -> float:
        return end if step >= count else _cosine(start, end, step / count)

    return value


def cosine_restarts(start: float, first: int, factor: int = 1, end: float = 0.0) -> Schedule:
    """``cosine`` over ``first`` steps, again over ``factor`` times as many, and so on.

    The weights go on as they are (a warm restart). Source: Loshchilov and Hutter, ICLR 2017.
    """
    place = cycles(first, factor)

    def value(step: int) -> float:
        at, length = place(step)
        return _cosine(start, end, at / length)

    return value


def cycles(first: int, factor: int = 1) -> Callable[[int], tuple[int, int]]:
    """step -> (steps since the cycle began, its length), for cycles of ``first`` steps, then
    ``first * factor`` and so on. The lowest rate, good for a snapshot, is at length - 1."""
    _count("cycles", "first", first)
    _count("cycles", "factor", factor)

    def place(step: int) -> tuple[int, int]:
        if factor == 1:
            return step % first, first
        length, at = first, step
        while at >= length:
            at, length = at - length, length * factor
        return at, length

    return place


def warm_up(after: Schedule | float, steps: int, start: float = 0.0) -> Schedule:
    """Linearly from ``start`` * after(0) to after(0) in ``steps`` steps, then ``after`` from its
    beginning. ``after`` may be a number."""
    count = _count("warm_up", "steps", steps)
    follow = after if callable(after) else constant(after)

    def value(step: int) -> float:
        if step >= count:
            return follow(step - count)
        return follow(0) * (start + (1 - start) * step / count)

    return value


def one_cycle(
    peak: float, steps: int, rise: float = 0.3, start_divisor: float = 25.0,
    end_divisor: float = 1e4, anneal: str = "cos", three_phase: bool = False,
) -> Schedule:  # fmt: skip
    """Up from peak / start_divisor to ``peak`` in the share ``rise`` of the steps, then down to
    peak / (start_divisor * end_divisor); with ``three_phase`` by way of the start again.

    Source: Smith and Topin, arXiv:1708.07120, with PyTorch's numbers. Raises ArgumentError after
    the last step.
    """
    count = _count("one_cycle", "steps", steps)
    start = peak / start_divisor
    phases = one_cycle_phases(rise, count, three_phase)
    levels = [start, peak, start, start / end_divisor] if three_phase else [
        start, peak, start / end_divisor,
    ]  # fmt: skip
    return _within("one_cycle", count, phased(phases, levels, anneal))


def one_cycle_momentum(
    steps: int, low: float = 0.85, high: float = 0.95, rise: float = 0.3, anneal: str = "cos",
    three_phase: bool = False,
) -> Schedule:  # fmt: skip
    """The momentum that goes with ``one_cycle``: down from ``high`` to ``low`` while the rate
    rises, and back."""
    count = _count("one_cycle_momentum", "steps", steps)
    phases = one_cycle_phases(rise, count, three_phase)
    levels = [high, low, high, high] if three_phase else [high, low, high]
    return _within("one_cycle_momentum", count, phased(phases, levels, anneal))


def one_cycle_phases(rise: float, steps: int, three_phase: bool) -> list[float]:
    """The steps at which the phases of a cycle end."""
    rise = as_number("one_cycle", "rise", rise)
    if not 0 <= rise <= 1:
        raise errors.argument(
            "one_cycle", f"the rise is a share of the steps in [0, 1], got {rise}", hint="0.3, say"
        )
    if three_phase:
        return [rise * steps - 1, 2 * rise * steps - 2, steps - 1]
    return [rise * steps - 1, steps - 1]


def phased(ends: Sequence[float], levels: Sequence[float], anneal: str = "cos") -> Schedule:
    """From one level to the next, reached at each of ``ends``; "cos" or "linear" in between."""
    as_choice("anneal", anneal, ["cos", "linear"])
    bend = _cosine if anneal == "cos" else _straight

    def value(step: int) -> float:
        at = min(sum(step > end for end in ends), len(ends) - 1)
        begin, end = ends[at - 1] if at else 0.0, ends[at]
        share = (step - begin) / (end - begin) if end != begin else 1.0
        return bend(levels[at], levels[at + 1], share)

    return value


def step_decay(start: float, every: int, factor: float = 0.1) -> Schedule:
    """start * factor^(number of times ``every`` steps have passed)."""
    count = _count("step_decay", "every", every)
    return lambda step: start * factor ** (step // count)


def multi_step(start: float, milestones: Sequence[int], factor: float = 0.1) -> Schedule:
    """start * factor^(number of milestones reached)."""
    places = sorted(as_integer("multi_step", "milestones", m) for m in milestones)
    return lambda step: start * factor ** bisect_right(places, step)


def polynomial(start: float, steps: int, power: float = 1.0, end: float = 0.0) -> Schedule:
    """end + (start - end) (1 - step / steps)^power, then ``end``."""
    count = _count("polynomial", "steps", steps)
    return lambda step: end + (start - end) * (1 - min(step, count) / count) ** power


def exponential(start: float, factor: float) -> Schedule:
    """start * factor^step."""
    return lambda step: start * factor**step


def inverse_sqrt(start: float, steps: int = 1) -> Schedule:
    """start / sqrt(1 + step / steps): the 1/sqrt(t) decay of stochastic gradient descent; larger
    ``steps`` begin it later. Source: Robbins and Monro 1951; Polyak and Juditsky 1992."""
    count = _count("inverse_sqrt", "steps", steps)
    return lambda step: start / math.sqrt(1 + step / count)


def cyclic(
    low: float, high: float, up: int, down: int | None = None, mode: str = "triangular",
    factor: float = 1.0,
) -> Schedule:  # fmt: skip
    """From ``low`` up to ``high`` in ``up`` steps, down in ``down``, and again. "triangular2"
    halves the height after each cycle, "exp_range" multiplies it by factor^step. Source: Smith,
    WACV 2017."""
    as_choice("cyclic mode", mode, ["triangular", "triangular2", "exp_range"])
    total = _count("cyclic", "up", up) + (up if down is None else _count("cyclic", "down", down))
    ratio = up / total

    def value(step: int) -> float:
        cycle = math.floor(1 + step / total)
        x = 1.0 + step / total - cycle
        height = x / ratio if x <= ratio else (x - 1) / (ratio - 1)
        scale = {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exp_range": factor**step}
        return low + (high - low) * height * scale[mode]

    return value


def join(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another: number i + 1 begins (at its own step 0) at ``boundaries[i]``."""
    places = [as_integer("join", "boundaries", b) for b in boundaries]
    if len(places) != len(schedules) - 1 or places != sorted(places):
        raise errors.argument(
            "join", f"{len(schedules)} schedules need {len(schedules) - 1} growing boundaries, "
            f"got {places}", hint="join([warm, cool], [100]) changes over at step 100",
        )  # fmt: skip

    def value(step: int) -> float:
        at = bisect_right(places, step)
        return schedules[at](step - (places[at - 1] if at else 0))

    return value


def product(*schedules: Schedule) -> Schedule:
    """The product of schedules: a warm-up factor times a decay, say."""
    return lambda step: math.prod(s(step) for s in schedules)


def per_epoch(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    """``schedule`` as a function of the epoch: it changes every ``steps_per_epoch`` steps."""
    count = _count("per_epoch", "steps_per_epoch", steps_per_epoch)
    return lambda step: schedule(step // count)


class Plateau:
    """``start``, times ``factor`` whenever the reported number has not improved for more than
    ``patience`` reports.

    ``report(loss)`` once an epoch. threshold: the least share (``threshold_mode="rel"``) or amount
    ("abs") that counts as better; cooldown: reports that are not counted after a change; least: the
    lowest rate; eps: smaller changes are not made. What it remembers is saved with the optimiser.
    """

    def __init__(
        self, start: float, factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", mode: str = "min", cooldown: int = 0, least: float = 0.0,
        eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if as_number("Plateau", "factor", factor) >= 1:
            raise errors.argument("Plateau", "factor must be below 1", hint="0.1, say")
        as_choice("Plateau mode", mode, ["min", "max"])
        as_choice("Plateau threshold_mode", threshold_mode, ["rel", "abs"])
        self.rate, self.factor, self.least, self.eps = start, factor, least, eps
        self.patience, self.cooldown = patience, cooldown
        self.threshold, self.threshold_mode, self.mode = threshold, threshold_mode, mode
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = self.resting = 0

    def __call__(self, step: int) -> float:
        return self.rate

    def report(self, value: Any) -> bool:
        """Take note of a loss (or score); whether the rate was lowered."""
        if self._is_better(float(value)):
            self.best, self.bad = float(value), 0
        else:
            self.bad += 1
        if self.resting > 0:
            self.resting, self.bad = self.resting - 1, 0
        if self.bad <= self.patience:
            return False
        self.resting, self.bad = self.cooldown, 0
        lower = max(self.rate * self.factor, self.least)
        if self.rate - lower <= self.eps:
            return False
        self.rate = lower
        return True

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * value < sign * self.best * (1 - sign * self.threshold)
        return sign * value < sign * self.best - self.threshold

    def state_dict(self) -> dict[str, float]:
        """What it remembers."""
        return {"rate": self.rate, "best": self.best, "bad": self.bad, "resting": self.resting}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from ``state_dict()``."""
        self.__dict__.update(state)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _straight(start: float, end: float, share: float) -> float:
    return (end - start) * share + start


def _within(op: str, steps: int, schedule: Schedule) -> Schedule:
    def value(step: int) -> float:
        if step > steps:
            raise errors.argument(
                op, f"step {step} of a cycle of {steps} steps",
                hint="make the cycle as long as the run: steps=epochs * len(loader)",
            )  # fmt: skip
        return schedule(step)

    return value


def _count(op: str, name: str, value: Any) -> int:
    count = as_integer(op, name, value)
    if count < 1:
        raise errors.argument(
            op, f"{name} must be at least 1, got {count}", hint="a number of steps"
        )
    return count

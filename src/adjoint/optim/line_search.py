"""Line searches: how far to go along a direction."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

ENOUGH = 1e-4  # the share of the predicted decrease that has to be reached
FLAT = 0.9  # the share of the first slope that may be left


class Point(NamedTuple):
    """A place on the line: how far, the loss, the gradient, the slope along the line."""

    t: float
    loss: float
    gradient: Any
    slope: float


Evaluate = Callable[[float], Point]


def strong_wolfe(
    evaluate: Evaluate, start: Point, t: float, size: float, most: int, tolerance: float = 1e-9
) -> tuple[Point, int]:
    """A point with loss <= start + 1e-4 t slope and |slope there| <= 0.9 |slope|, and how often
    ``evaluate`` was called; the best point so far after ``most`` rounds.

    t: the first try; size: the largest element of the direction. Source: Nocedal and Wright,
    Numerical Optimization, 2006, algorithms 3.5 and 3.6, with the choices of minFunc.
    """
    before, point, calls, rounds = start, evaluate(t), 1, 0
    bracket: list[Point] = []
    while rounds < most and not bracket:
        if _too_high(point, start) or (rounds > 1 and point.loss >= before.loss):
            bracket = [before, point]
        elif abs(point.slope) <= -FLAT * start.slope:
            return point, calls
        elif point.slope >= 0:
            bracket = [before, point]
        else:
            least, farthest = point.t + 0.01 * (point.t - before.t), point.t * 10
            t = cubic_minimum(before, point, least, farthest)
            before, point = point, evaluate(t)
            calls, rounds = calls + 1, rounds + 1
    if not bracket:
        return (start if start.loss <= point.loss else point), calls
    return _zoom(evaluate, start, bracket, calls, most - rounds, tolerance / size)


def _zoom(
    evaluate: Evaluate, start: Point, bracket: list[Point], calls: int, most: int, width: float
) -> tuple[Point, int]:
    """Narrow a bracket that holds a good point."""
    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    stuck = False
    for _ in range(most):
        left, right = sorted((bracket[0].t, bracket[1].t))
        if right - left < width:
            break
        t, stuck = _inside(cubic_minimum(bracket[0], bracket[1], left, right), left, right, stuck)
        point = evaluate(t)
        calls += 1
        if _too_high(point, start) or point.loss >= bracket[low].loss:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if abs(point.slope) <= -FLAT * start.slope:
            return point, calls
        if point.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
    return bracket[low], calls


def _inside(t: float, left: float, right: float, stuck: bool) -> tuple[float, bool]:
    """``t``, moved off an end that it has been near before."""
    margin = 0.1 * (right - left)
    if min(right - t, t - left) >= margin:
        return t, False
    if not stuck and left < t < right:
        return t, True
    return (right - margin if abs(t - right) < abs(t - left) else left + margin), False


def _too_high(point: Point, start: Point) -> bool:
    return point.loss > start.loss + ENOUGH * point.t * start.slope


def cubic_minimum(a: Point, b: Point, least: float, most: float) -> float:
    """Where the cubic through two points with their slopes is lowest, kept in [least, most]; the
    middle if it has no minimum."""
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (least + most) / 2
    d2 = sqrt(square)
    if a.t <= b.t:
        t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    else:
        t = a.t - (a.t - b.t) * ((a.slope + d2 - d1) / (a.slope - b.slope + 2 * d2))
    return min(max(t, least), most)


def backtracking(
    loss_at: Callable[[float], float], loss: float, slope: float, most: int = 40
) -> float:
    """The first of 1, 1/2, 1/4, ... where loss_at(t) <= loss + 1e-4 t slope (the last tried if
    none is). Source: Armijo 1966."""
    t = 1.0
    for _ in range(most):
        if loss_at(t) <= loss + ENOUGH * t * slope:
            return t
        t /= 2
    return t

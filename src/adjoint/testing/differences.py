"""Derivatives of functions of nodes against central differences; the numbers behind gradcheck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import OF_NUMPY, float64
from adjoint.ir.node import Array, Node, constant, grad_mode
from adjoint.ops.rows import zeros_like
from adjoint.ops.structure import variable
from adjoint.transform.grad import Pullback
from adjoint.transform.jvp import jvp, linearize

Nodes = Sequence[Node]
Function = Callable[..., Nodes]
Modes = Callable[["Comparison"], "Mismatch | None"]


@dataclass(frozen=True)
class Mismatch:
    """Where a derivative and its finite difference differ most.

    input, element: the argument that was moved, or None for a random direction. output, at: the
    result that was read, or None for a random weighted sum of all. order: of the derivative.
    """

    mode: str
    input: int | None
    element: tuple[int, ...]
    output: int | None
    at: tuple[int, ...]
    analytic: float
    numeric: float
    order: int = 1

    def lines(self, names: Sequence[str]) -> list[str]:
        """The mismatch in words; ``names`` of the inputs of the first function."""
        return [
            f"worst element: {self._moved(names)}, {self._read()}",
            f"analytic {self.analytic!r}, numeric {self.numeric!r}",
        ]

    def _moved(self, names: Sequence[str]) -> str:
        if self.input is None:
            return "inputs moved in a random direction"
        if self.input < len(names):
            return f"{names[self.input]}, element {self.element}"
        return f"cotangent {self.input - len(names)}, element {self.element}"

    def _read(self) -> str:
        if self.output is None:
            return "for a random combination of all results"
        return f"for result {self.output}, element {self.at}"


@dataclass(frozen=True)
class Comparison:
    """One function at one point: its nodes in, its values out, the step and the tolerances.

    A derivative d passes against a difference n when |d - n| <= atol + rtol |n|; NaN never does.
    """

    function: Function
    args: tuple[Node, ...]
    values: tuple[Array, ...]
    eps: float
    atol: float
    rtol: float
    random: np.random.Generator

    @classmethod
    def at(cls, function: Function, args: Nodes, **settings: Any) -> Comparison:
        """Evaluate ``function`` at ``args``; raises GradcheckError when it cannot be checked."""
        values = evaluate(function, args)
        for k, (first, second) in enumerate(zip(values, evaluate(function, args), strict=True)):
            if is_float(first) and first.dtype != np.float64:
                raise errors.wrong_dtype(
                    "gradcheck", str(first.dtype), f"float64, for result {k} too",
                    hint="the function rounds: differences cancel most digits of a shorter float",
                )  # fmt: skip
            _check_finite(f"result {k} of the function", first)
            if not np.array_equal(first, second):
                raise errors.gradcheck(
                    f"result {k} changes from call to call",
                    hint="draw random numbers outside the function, and keep no state in it",
                )
        return cls(function, tuple(args), tuple(values), **settings)

    def call(self, arrays: Sequence[Array]) -> list[Array]:
        """The float results for other arguments."""
        return self.floats(evaluate(self.function, [constant(a) for a in arrays]))

    def floats(self, items: Sequence[Any]) -> list[Any]:
        """Those of one item per result that belong to a float result."""
        pairs = zip(items, self.values, strict=True)
        return [item for item, value in pairs if is_float(value)]

    def with_cotangents(self, cts: Sequence[Array]) -> list[Node | None]:
        """One node per result: the given arrays for floats, None for the others."""
        given = iter(cts)
        return [constant(next(given)) if is_float(v) else None for v in self.values]

    def excess(self, analytic: Array, numeric: Array) -> Array:
        """How many times the tolerance each element is off; NaN counts as infinitely far."""
        with np.errstate(invalid="ignore"):
            ratio = np.abs(analytic - numeric) / (self.atol + self.rtol * np.abs(numeric))
        return np.where(np.isnan(ratio), inf, ratio)


def evaluate(function: Function, args: Nodes) -> list[Array]:
    """The values of ``function(*args)``, without a graph."""
    with grad_mode(False):
        return [n.array("gradcheck") for n in function(*args)]


def is_float(value: Array) -> bool:
    return OF_NUMPY[value.dtype].kind == "f"


def check(
    function: Function, args: Nodes, *, order: int, mode: str, seed: int, **settings: float
) -> Mismatch | None:
    """The worst disagreement of the derivatives up to ``order`` at ``args``, or None.

    ``args`` are float64. Order k + 1 checks u, x -> J(x)^T u, the gradient function of order k.
    """
    random = np.random.default_rng(seed)
    for level in range(1, order + 1):
        here = Comparison.at(function, args, random=random, **settings)
        if level == 1:
            _check_connected(function, args)
        for compare in _MODES[mode]:
            found = compare(here)
            if found is not None:
                return replace(found, order=level)
        cts = [constant(random.standard_normal(v.shape)) for v in here.floats(here.values)]
        function, args = gradient(here), (*args, *cts)
    return None


def gradient(here: Comparison) -> Function:
    """The function (x, u) -> J(x)^T u, with zeros where nothing arrives."""
    count, floats = len(here.args), [is_float(v) for v in here.values]

    def pulled(*nodes: Node) -> Nodes:
        given = iter(nodes[count:])
        pull = Pullback(here.function, nodes[:count], [True] * count)
        found = pull([next(given) if f else None for f in floats])
        pairs = zip(found, nodes[:count], strict=True)
        return [zeros_like(x) if g is None else g for g, x in pairs]

    return pulled


def random_reverse(here: Comparison) -> Mismatch | None:
    """<J^T u, v> against <u, f(x + eps v) - f(x - eps v)> / (2 eps), u and v random."""
    arrays = [a.array() for a in here.args]
    directions = [here.random.standard_normal(a.shape) for a in arrays]
    weights = [here.random.standard_normal(v.shape) for v in here.floats(here.values)]
    grads = _pulled(here, _pullback(here), weights)
    steps, slopes = _slope(here, arrays, directions)
    analytic = sum(float(np.vdot(g, v)) for g, v in zip(grads, steps, strict=True))
    terms = [w * s for w, s in zip(weights, slopes, strict=True)]
    numeric = sum(float(t.sum()) for t in terms)
    scale = sum(float(np.abs(t).sum()) for t in terms)
    if abs(analytic - numeric) <= here.atol + here.rtol * scale:
        return None
    return _locate(here, arrays, weights, grads)


def random_forward(here: Comparison) -> Mismatch | None:
    """J v against (f(x + eps v) - f(x - eps v)) / (2 eps), v random, for each result."""
    arrays = [a.array() for a in here.args]
    directions = [here.random.standard_normal(a.shape) for a in arrays]
    steps, slopes = _slope(here, arrays, directions)
    _, tangents = jvp(here.function, here.args, [constant(s) for s in steps])
    pushed = [t.array() for t in here.floats(tangents)]
    scale = max((float(np.abs(s).max(initial=0.0)) for s in slopes), default=0.0)
    if _all_within(here, pushed, slopes, scale):
        return None
    return elementwise_forward(here) or _worst_result(here, pushed, slopes)


def elementwise_reverse(here: Comparison) -> Mismatch | None:
    """Every row of the Jacobian by reverse mode against every column by differences."""
    results = here.floats(here.values)
    pull = _pullback(here)
    rows: list[list[Array]] = []
    for k, value in enumerate(results):
        for i in range(value.size):
            seeds = [np.zeros(r.shape) for r in results]
            seeds[k].reshape(-1)[i] = 1.0
            rows.append([g.reshape(-1) for g in _pulled(here, pull, seeds)])
    if not rows:
        return None
    analytic = np.concatenate([np.stack(columns) for columns in zip(*rows, strict=True)], axis=1)
    return _worst(here, "reverse mode", analytic, _jacobian(here))


def elementwise_forward(here: Comparison) -> Mismatch | None:
    """Every column of the Jacobian by forward mode against the same column by differences."""
    _, push = linearize(here.function, here.args)
    columns: list[Array] = []
    for k, arg in enumerate(here.args):
        for i in range(_size(arg)):
            tangents = [np.zeros(a.shape) for a in here.args]
            tangents[k].reshape(-1)[i] = 1.0
            pushed = here.floats(push([constant(t) for t in tangents]))
            columns.append(_joined([p.array() for p in pushed]))
    if not columns:
        return None
    return _worst(here, "forward mode", np.stack(columns, axis=1), _jacobian(here))


_MODES: dict[str, tuple[Modes, ...]] = {
    "random": (random_reverse, random_forward),
    "elementwise": (elementwise_reverse, elementwise_forward),
    "both": (random_reverse, random_forward, elementwise_reverse, elementwise_forward),
}
MODES = tuple(_MODES)


def _check_finite(what: str, value: Array) -> None:
    if is_float(value) and not np.isfinite(value).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise errors.gradcheck(
            f"{what} is {float(value[at])!r} at element {at}",
            hint="choose inputs where the function is finite",
        )


def _check_connected(function: Function, args: Nodes) -> None:
    with grad_mode(True):
        results = function(*(variable(a) for a in args))
    if not any(r.needs_grad for r in results):
        raise errors.gradcheck(
            "no result depends on the inputs in a differentiable way",
            hint="a detach(), no_grad(), a NumPy call or an integer result cuts the graph",
        )


def _pullback(here: Comparison) -> Pullback:
    return Pullback(here.function, here.args, [True] * len(here.args))


def _pulled(here: Comparison, pull: Pullback, cts: Sequence[Array]) -> list[Array]:
    """The gradients as arrays; raises GradcheckError when one has another type than its input."""
    found = pull(here.with_cotangents(cts))
    grads: list[Array] = []
    for k, (grad, arg) in enumerate(zip(found, here.args, strict=True)):
        if grad is None:
            grads.append(np.zeros(arg.shape))
            continue
        if grad.shape != arg.shape or grad.dtype is not float64:
            raise errors.gradcheck(
                f"the gradient of input {k} is {errors.describe(grad)}, "
                f"the input is {errors.describe(arg)}",
                hint="a backward returns gradients of the shape and dtype of its inputs",
            )
        grads.append(grad.array())
    return grads


def _slope(
    here: Comparison, arrays: Sequence[Array], directions: Sequence[Array]
) -> tuple[list[Array], list[Array]]:
    """The directions as they were really taken, and the slope of each result along them."""
    scale = max((float(np.abs(a).max(initial=1.0)) for a in arrays), default=1.0)
    step = here.eps * scale
    ahead = [a + step * d for a, d in zip(arrays, directions, strict=True)]
    behind = [a - step * d for a, d in zip(arrays, directions, strict=True)]
    taken = [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
    pairs = zip(here.call(ahead), here.call(behind), strict=True)
    return taken, [(f - b) / (2 * step) for f, b in pairs]


def _jacobian(here: Comparison) -> Array:
    """Central differences of all results (rows) with respect to all elements (columns)."""
    arrays = [np.array(a.array()) for a in here.args]
    columns: list[Array] = []
    for array in arrays:
        flat = array.reshape(-1)
        for i, old in enumerate(flat.tolist()):
            step = here.eps * max(1.0, abs(old))
            flat[i] = old + step
            ahead, high = _joined(here.call([a.copy() for a in arrays])), float(flat[i])
            flat[i] = old - step
            behind, low = _joined(here.call([a.copy() for a in arrays])), float(flat[i])
            flat[i] = old
            columns.append((ahead - behind) / (high - low))
    rows = sum(v.size for v in here.floats(here.values))
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0))


def _locate(
    here: Comparison, arrays: Sequence[Array], weights: Sequence[Array], grads: Sequence[Array]
) -> Mismatch:
    """The element whose slope in <u, f> differs most from its gradient."""
    numeric = _joined(weights) @ _jacobian(here)
    analytic = _joined(grads)
    column = int(np.argmax(here.excess(analytic, numeric)))
    k, element = _place(column, arrays)
    found = float(analytic[column]), float(numeric[column])
    return Mismatch("reverse mode", k, element, None, (), *found)


def _worst(here: Comparison, mode: str, analytic: Array, numeric: Array) -> Mismatch | None:
    if numeric.size == 0:
        return None
    excess = here.excess(analytic, numeric)
    row, column = (int(i) for i in np.unravel_index(np.argmax(excess), excess.shape))
    if excess[row, column] <= 1.0:
        return None
    k, element = _place(column, [a.array() for a in here.args])
    output, at = _place(row, here.floats(here.values))
    numbers = float(analytic[row, column]), float(numeric[row, column])
    return Mismatch(mode, k, element, output, at, *numbers)


def _all_within(
    here: Comparison, analytic: Sequence[Array], numeric: Sequence[Array], scale: float
) -> bool:
    allowed = here.atol + here.rtol * scale
    pairs = zip(analytic, numeric, strict=True)
    return all(bool((np.abs(a - n) <= allowed).all()) for a, n in pairs)


def _worst_result(here: Comparison, pushed: Sequence[Array], slopes: Sequence[Array]) -> Mismatch:
    analytic, numeric = _joined(pushed), _joined(slopes)
    row = int(np.argmax(here.excess(analytic, numeric)))
    output, at = _place(row, here.floats(here.values))
    numbers = float(analytic[row]), float(numeric[row])
    return Mismatch("forward mode", None, (), output, at, *numbers)


def _place(position: int, arrays: Sequence[Array]) -> tuple[int, tuple[int, ...]]:
    """Which array, and where in it, element ``position`` of all of them in a row is."""
    for k, array in enumerate(arrays):
        if position < array.size:
            return k, tuple(int(i) for i in np.unravel_index(position, array.shape))
        position -= array.size
    raise IndexError(position)


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.zeros(0), *(np.asarray(a, np.float64).reshape(-1) for a in arrays)])


def _size(node: Node) -> int:
    return int(np.prod(node.shape, dtype=np.int64))

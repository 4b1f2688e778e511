"""Inputs for every named region; a region without an entry fails the tests.

Later regions need a line in ``REGION_CASES``: shapes and how to draw the inputs, the static
parameters, and what may be differentiated. The kernel must give what the body gives.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import adjoint
from adjoint.base.dtype import DType, float32, float64, uint32
from adjoint.tensors.regions import REGIONS
from tests.ops.op_cases import (
    FLOATS,
    INTEGERS,
    Array,
    Draw,
    Input,
    Shape,
    coarse,
    divisor,
    plain,
    positive,
    spaced,
)  # fmt: skip

WIDE = (float64, float32)
Make = Callable[[np.random.Generator, DType], list[Array]]


def load_all() -> None:
    """Import every module, so that ``REGIONS`` is full."""
    for module in pkgutil.walk_packages(adjoint.__path__, "adjoint."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


load_all()


@dataclass(frozen=True)
class RegionCase:
    """One use of a region.

    inputs: drawn one by one, or ``make``: all together. static: parameters. moved: the arguments
    a derivative is checked by (None: all floats; (): none exists here). ulps: allowed distance of
    kernel and body, in units of the dtype's epsilon times the largest value.
    """

    inputs: tuple[Input, ...] = ()
    make: Make | None = None
    static: dict[str, Any] = field(default_factory=dict[str, Any])
    dtypes: tuple[DType, ...] = FLOATS
    moved: tuple[int, ...] | None = None
    ulps: float = 8

    def draw(self, dtype: DType, seed: int = 0) -> list[Array]:
        rng = np.random.default_rng(seed)
        if self.make is not None:
            return self.make(rng, dtype)
        return [i.draw(rng, i.shape, i.dtype or dtype) for i in self.inputs]


SHAPES: tuple[Shape, ...] = ((), (0, 2), (2, 3))


def pointwise(*draws: Draw, **options: Any) -> list[RegionCase]:
    """A region that works element by element, in several shapes."""
    made = [RegionCase(tuple(Input(s, d) for d in draws), **options) for s in SHAPES]
    return made


def flat(*draws: Draw, **options: Any) -> list[RegionCase]:
    return pointwise(*draws, moved=(), **options)


def within(low: float, high: float) -> Draw:
    def draw(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
        return np.asarray(rng.uniform(low, high, shape)).astype(dtype.numpy)

    return draw


def special(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    values = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -2.5]
    return np.asarray(rng.choice(values, shape)).astype(dtype.numpy)


def rows(*draws: Draw, dtypes: tuple[DType, ...] = FLOATS, **options: Any) -> list[RegionCase]:
    """A region along ``axis``."""
    static = options.pop("static", {})
    found: list[RegionCase] = []
    for shape, axis in [((5,), 0), ((2, 4), 1), ((3, 2), 0), ((2, 3, 2), 1), ((0, 3), 1)]:
        given = tuple(Input(shape, d) for d in draws)
        found.append(RegionCase(given, static={"axis": axis, **static}, dtypes=dtypes, **options))
    return found


def permuted(*shape: int) -> Make:
    """x, some of its flat places (some twice), and a value for each."""

    def make(rng: np.random.Generator, dtype: DType) -> list[Array]:
        size = int(np.prod(shape))
        places = rng.integers(0, size, 4) if size else np.zeros(0, np.int64)
        return [plain(rng, shape, dtype), places, plain(rng, places.shape, dtype)]

    return make


def matrices(*shape: int, symmetric: bool = False, definite: bool = False) -> Make:
    """Well-conditioned matrices."""

    def make(rng: np.random.Generator, dtype: DType) -> list[Array]:
        a = rng.uniform(-1, 1, shape)
        small = min(shape[-2:], default=0)
        a[..., range(small), range(small)] += np.arange(2, 2 + small)
        if symmetric or definite:
            a = a + np.swapaxes(a, -1, -2)
        if definite:
            a = a @ np.swapaxes(a, -1, -2)
        return [a.astype(dtype.numpy)]

    return make


def decomposition(*shapes: Shape, **options: Any) -> list[RegionCase]:
    symmetric = options.pop("symmetric", False)
    definite = options.pop("definite", False)
    makes = [matrices(*s, symmetric=symmetric, definite=definite) for s in shapes]
    return [RegionCase(make=m, dtypes=WIDE, **options) for m in makes]


def systems(rng: np.random.Generator, dtype: DType) -> list[Array]:
    return [*matrices(2, 3, 3)(rng, dtype), plain(rng, (2, 3, 2), dtype)]


def sorted_rows(rng: np.random.Generator, dtype: DType) -> list[Array]:
    return [np.sort(coarse(rng, (2, 5), dtype), axis=1), coarse(rng, (2, 3), dtype)]


def weights(rng: np.random.Generator, dtype: DType) -> list[Array]:
    drawn = rng.uniform(0, 1, (2, 5))
    drawn[:, -1] = 0
    return [np.cumsum(drawn, axis=1).astype(dtype.numpy), within(0, 1)(rng, (2, 3), dtype)]


def softmax_pair(rng: np.random.Generator, dtype: DType) -> list[Array]:
    """A cotangent and the logarithm of probabilities along axis 1."""
    x = rng.uniform(-2, 2, (2, 3))
    log_share = x - np.log(np.exp(x).sum(1, keepdims=True))
    return [plain(rng, (2, 3), dtype), log_share.astype(dtype.numpy)]


def classified(count: int) -> Make:
    """Scores and class numbers of ``count`` rows; -1 is to be ignored."""

    def make(rng: np.random.Generator, dtype: DType) -> list[Array]:
        classes = rng.integers(0, 4, count)
        classes[1::3] = -1
        return [plain(rng, (count, 4), dtype), classes]

    return make


def classified_slope(reduction: str) -> Make:
    def make(rng: np.random.Generator, dtype: DType) -> list[Array]:
        ct = plain(rng, (4,) if reduction == "none" else (), dtype)
        return [ct, *classified(4)(rng, dtype)]

    return make


def frames() -> list[tuple[Any, Shape]]:
    """Windows with what an array needs to have them: strides, padding, cropping, dilation."""
    from adjoint.tensors.functional.windows import Frame

    return [
        (Frame((2,), (2,), ((0, 0),), (1,)), (2, 6)),
        (Frame((3,), (1,), ((1, 1),), (1,)), (5,)),
        (Frame((2, 3), (1, 2), ((1, 0), (0, 1)), (1, 1)), (2, 4, 5)),
        (Frame((2, 2), (2, 2), ((0, -1), (0, 0)), (1, 1)), (5, 4)),
        (Frame((2,), (1,), ((0, 0),), (2,)), (0, 5)),
    ]


def windows(**options: Any) -> list[RegionCase]:
    return [
        RegionCase((Input(shape, spaced),), static={"frame": frame}, **options)
        for frame, shape in frames()
    ]


def of_windows(
    make: Callable[[Any, Array, np.random.Generator], list[Array]], **options: Any
) -> list[RegionCase]:
    """Regions on an array and its windowed maximum."""

    def made(frame: Any, shape: Shape) -> Make:
        return lambda rng, dtype: make(frame, spaced(rng, shape, dtype), rng)

    return [RegionCase(make=made(f, s), static={"frame": f}, **options) for f, s in frames()]


def largest(frame: Any, x: Array) -> Array:
    return REGIONS["window_max"].kernel(x, frame=frame)  # type: ignore[misc]


def like(x: Array, rng: np.random.Generator) -> Array:
    return np.asarray(rng.uniform(-1, 1, x.shape)).astype(x.dtype)


def spreads() -> list[RegionCase]:
    found: list[RegionCase] = []
    for frame, shape in frames():
        count = len(frame.kernel)
        lead, sizes = shape[: len(shape) - count], shape[len(shape) - count :]
        given = (Input((*lead, *frame.places(sizes))),)
        found.append(RegionCase(given, static={"frame": frame, "sizes": sizes}))
    return found


def attended(
    mask: str, gradient: bool, *, queries: int = 3, keys: int = 4, **options: Any
) -> RegionCase:
    """Queries, keys and values of 2 examples and 3 heads, with a mask or none; with the mask
    "empty" the second query may attend to nothing, and its infinite result has no derivative."""

    def make(rng: np.random.Generator, dtype: DType) -> list[Array]:
        wide = np.dtype(np.float32) if dtype.bits == 16 else dtype.numpy
        sizes = [(2, 3, queries, 2), (2, 3, keys, 2), (2, 3, keys, 5)]
        given = [rng.uniform(-1, 1, s).astype(dtype.numpy) for s in sizes]
        if gradient:
            ct = rng.uniform(-1, 1, (2, 3, queries, 5)).astype(dtype.numpy)
            delta, log_total = rng.uniform(-1, 1, (2, 2, 3, queries)).astype(wide)
            given = [ct, delta, *given, log_total + 1]
        if mask in ("bool", "empty"):
            kept = rng.random((1, 3, queries, keys)) < 0.7
            kept[..., 0] = True
            kept[:, :, 1] = mask == "bool"
            given.append(kept)
        elif mask == "float":
            given.append(rng.uniform(-1, 1, (2, 1, 1, keys)).astype(dtype.numpy))
        return given

    static = {"causal": mask == "causal", "scale": 0.7}
    return RegionCase(make=make, static=static, ulps=16, **options)


def attended_in_all_ways(gradient: bool) -> list[RegionCase]:
    found = [attended(m, gradient) for m in ("none", "bool", "float", "causal")]
    found.append(attended("causal", gradient, queries=5, keys=2))
    moved = None if gradient else ()
    found.append(attended("empty", gradient, moved=moved))
    return [*found, attended("none", gradient, keys=0, moved=moved)]


def standardized(gradient: bool) -> list[RegionCase]:
    """Over rows, over all but the channels, over groups, with and without weights."""
    found: list[RegionCase] = []
    layouts: list[tuple[Shape, Shape, Shape]] = [
        ((3, 5), (1,), (1,)), ((4, 3, 2), (0, 2), (1,)), ((2, 2, 3, 2), (2, 3), (1, 2)),
    ]  # fmt: skip
    for (shape, axes, features), affine, centred in [
        (layouts[0], 2, True), (layouts[0], 1, False), (layouts[0], 0, False),
        (layouts[1], 2, True), (layouts[1], 1, True), (layouts[2], 2, True), (layouts[2], 0, True),
    ]:  # fmt: skip
        static: dict[str, Any] = {"axes": axes, "features": features, "eps": 1e-3}
        static["centred"] = centred
        weights = [Input(tuple(shape[f] for f in features), plain)] * affine
        given = [Input(shape, plain), *weights]
        if gradient:
            stats = tuple(n for a, n in enumerate(shape) if a not in axes)
            static["offset"] = affine == 2
            given = [Input(shape, plain), Input(shape, plain), Input(stats, plain)]
            given += [Input(stats, positive), *weights[:1]]
        dtypes = WIDE if gradient else FLOATS
        found.append(RegionCase(tuple(given), static=static, dtypes=dtypes, ulps=32))
    return found


def recurrent(
    draw: Callable[[Callable[..., Array], int], list[Array]], width: int = 2, **static: bool
) -> list[RegionCase]:
    """Three steps of two examples and ``width`` units: all steps, and some that are left out."""
    found: list[RegionCase] = []
    for masked in (False, True):

        def make(rng: np.random.Generator, dtype: DType, masked: bool = masked) -> list[Array]:
            given = draw(lambda *s: rng.uniform(-0.9, 0.9, s).astype(dtype.numpy), width)
            kept = rng.random((3, 2, 1)) < 0.6
            return [*given, kept] if masked else given

        case = RegionCase(make=make, static={**static, "masked": masked}, dtypes=WIDE, ulps=64)
        found.append(case)
    return found


def lstms(gradient: bool) -> list[RegionCase]:
    def draw(of: Callable[..., Array], p: int) -> list[Array]:
        last = [of(p, 2)] if p != 2 else []
        if gradient:
            given = [of(3, 2, p), of(3, 2, 2), of(2, 2), of(3, 2, 2), of(3, 2, 8), of(8, p)]
            return [*given, *last]
        return [of(3, 2, 8), of(2, p), of(2, 2), of(8, p), *last]

    return [*recurrent(draw, projected=False), *recurrent(draw, 1, projected=True)]


def reduced_over(draw: Draw, **options: Any) -> list[RegionCase]:
    places: Sequence[tuple[Shape, Shape]] = [
        ((4,), (0,)),
        ((2, 3), (1,)),
        ((2, 3, 2), (0, 2)),
        ((0, 2), (1,)),
    ]
    return [RegionCase((Input(s, draw),), static={"axes": a}, **options) for s, a in places]


def argmaxes(**static: Any) -> list[RegionCase]:
    return rows(coarse, dtypes=(*FLOATS, *INTEGERS), moved=(), static=static)


def tables(**options: Any) -> list[RegionCase]:
    return [RegionCase(make=permuted(*s), **options) for s in ((6,), (2, 3), (0,))]


def words(given: Shape, dtype: DType, **static: Any) -> RegionCase:
    """Random words that become floats of one dtype."""
    inputs = (Input(given, plain, uint32),)
    return RegionCase(inputs, static={"dtype": dtype, **static}, dtypes=(dtype,), moved=(), ulps=8)


ANY = (*FLOATS, *INTEGERS)
HALF = within(0.1, 0.9)
UNIT = within(-0.9, 0.9)

REGION_CASES: dict[str, list[RegionCase]] = {
    # assignment
    "index_set": tables(dtypes=ANY),
    "largest_at": [RegionCase(make=permuted(6)), RegionCase(make=permuted(9))],
    "replaced": pointwise(plain, plain, moved=()),
    # signs, rounding, classes, bounds
    "sign": flat(plain), "abs": pointwise(plain), "signbit": flat(plain),
    "copysign": pointwise(plain, plain, moved=(0,)),
    "ceil": flat(plain), "trunc": flat(plain), "round": flat(plain),
    "nextafter": flat(plain, plain, dtypes=WIDE),
    "isnan": flat(special), "isinf": flat(special), "isfinite": flat(special),
    "is_nonzero": flat(special),
    "fmod": pointwise(plain, divisor), "floor_divide": flat(plain, divisor),
    "root": pointwise(positive),
    "clamp": [
        *pointwise(plain, static={"low": -1.0, "high": 1.0}),
        *pointwise(plain, static={"low": None, "high": 0.5}),
        *pointwise(plain, static={"low": 0.0, "high": None}),
    ],
    "clamp_between": pointwise(plain, plain, plain),
    # powers, exponentials, trigonometry
    "log1p": pointwise(positive), "expm1": pointwise(plain), "exp2": pointwise(plain),
    "log2": pointwise(positive), "log10": pointwise(positive),
    "logaddexp": pointwise(plain, plain), "sigmoid": pointwise(plain),
    "rsqrt": pointwise(positive), "tan": pointwise(UNIT),
    "asin": pointwise(UNIT), "acos": pointwise(UNIT), "sinh": pointwise(plain),
    "cosh": pointwise(plain), "asinh": pointwise(plain), "acosh": pointwise(within(1.2, 4)),
    "atanh": pointwise(UNIT), "atan2": pointwise(divisor, divisor),
    "hypot": pointwise(divisor, divisor),
    "power": pointwise(positive, plain, ulps=16),
    "power_number": [
        case for e in (2.0, 3.0, -1.0, 0.5, 0.0, 1.0, 2.5)
        for case in pointwise(positive, static={"exponent": e}, ulps=16)
    ],
    "erfc": pointwise(plain), "erfinv": pointwise(UNIT), "digamma": pointwise(positive),
    "lgamma": pointwise(positive),
    # along axes
    "argmax": argmaxes(), "running_argmax": argmaxes(),
    "running_product": rows(divisor, ulps=16), "running_logsumexp": rows(plain, ulps=16),
    "top_indices": [
        *rows(coarse, dtypes=ANY, moved=(), static={"k": 2, "largest": True})[:4],
        *rows(coarse, dtypes=ANY, moved=(), static={"k": 1, "largest": False})[:4],
    ],
    "euclidean": reduced_over(plain), "logsumexp": reduced_over(plain),
    "softmax": rows(plain), "log_softmax": rows(plain),
    "softmax_gradient": rows(plain, positive),
    "log_softmax_gradient": [RegionCase(make=softmax_pair, static={"axis": 1})],
    "search": [
        RegionCase(make=sorted_rows, static={"right": r}, moved=(), dtypes=ANY)
        for r in (True, False)
    ],
    # linear algebra
    "inverse": decomposition((3, 3), (2, 2, 2), (1, 1)), "det": decomposition((3, 3), (2, 2, 2)),
    "solve": [RegionCase(make=systems, dtypes=WIDE)],
    "cofactor": decomposition((3, 3), (2, 2, 2), ulps=64),
    "slogdet": decomposition((3, 3), (2, 2, 2)),
    "cholesky": decomposition((3, 3), (2, 2, 2), definite=True),
    "qr": decomposition((3, 3), (4, 2), (2, 3, 2), static={"complete": False}),
    "svd": decomposition((3, 3), (4, 2), (2, 2, 3), static={"complete": False}),
    "eigh": decomposition((3, 3), (2, 2, 2), symmetric=True),
    "pinv": decomposition((3, 3), (4, 2), (2, 2, 3), static={"rtol": 1e-10}),
    # random numbers from words
    "uniform": [words((6, 2), float64), *(words((6,), d) for d in FLOATS if d is not float64)],
    "normal": [words((2, 3, 2), float64, shape=(5,)), words((2, 3), float32, shape=(2, 3))],
    "chosen": [RegionCase(make=weights, dtypes=WIDE, moved=())],
    # activations
    "relu": pointwise(plain), "leaky_relu": pointwise(plain, static={"slope": 0.1}),
    "threshold": pointwise(plain, static={"limit": 0.5, "value": 3.0}),
    "step": flat(plain, static={"at_zero": 0.5, "passes": False}),
    "hardtanh": pointwise(plain, static={"low": -1.0, "high": 0.5}),
    "hardswish": pointwise(within(-5, 5)),
    "elu": pointwise(plain, static={"alpha": 0.7, "scale": 1.3, "rate": 2.0}),
    "gelu": pointwise(plain), "gelu_tanh": pointwise(plain), "silu": pointwise(plain),
    "softplus": pointwise(plain, static={"beta": 2.0, "limit": 3.0}), "softsign": pointwise(plain),
    "logsigmoid": pointwise(plain),
    # attention
    "attention": attended_in_all_ways(gradient=False),
    "attention_gradient": attended_in_all_ways(gradient=True),
    # normalisation
    "standardize": standardized(gradient=False),
    "standardize_gradient": standardized(gradient=True),
    # recurrence
    "lstm": lstms(gradient=False), "lstm_gradient": lstms(gradient=True),
    "gru": recurrent(lambda of, h: [of(3, 2, 3 * h), of(2, h), of(3 * h, h), of(h)]),
    "gru_gradient": recurrent(
        lambda of, h: [of(3, 2, h), of(2, h), of(3, 2, h), of(3, 2, 4 * h), of(3 * h, h)]
    ),
    "rnn": [
        *recurrent(lambda of, h: [of(3, 2, h), of(2, h), of(h, h)], relu=False),
        *recurrent(lambda of, h: [of(3, 2, h), of(2, h), of(h, h)], relu=True),
    ],
    "rnn_gradient": [
        *recurrent(lambda of, h: [of(3, 2, h), of(3, 2, h), of(h, h)], relu=False),
        *recurrent(lambda of, h: [of(3, 2, h), of(3, 2, h), of(h, h)], relu=True),
    ],
    # losses
    "binary_cross_entropy": pointwise(HALF, HALF),
    "binary_cross_entropy_with_logits": pointwise(plain, HALF),
    "cross_entropy": [
        RegionCase(make=classified(n), static={"ignore": -1, "reduction": r}, ulps=16)
        for r in ("mean", "sum", "none") for n in (4, 1)
    ],
    "cross_entropy_slope": [
        RegionCase(make=classified_slope(r), static={"ignore": -1, "reduction": r}, ulps=16)
        for r in ("mean", "sum", "none")
    ],
    # windows
    "window_max": windows(), "window_sum": windows(ulps=16), "window_spread": spreads(),
    "to_first_max": of_windows(
        lambda f, x, rng: [like(largest(f, x), rng), x, largest(f, x)], moved=(0,)
    ),
    "from_first_max": of_windows(lambda f, x, rng: [like(x, rng), x, largest(f, x)], moved=(0,)),
    "place_of_max": of_windows(lambda f, x, rng: [x, largest(f, x)], moved=()),
}  # fmt: skip

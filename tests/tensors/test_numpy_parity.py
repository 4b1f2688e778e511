"""Every dtype against NumPy over generated shapes, layouts and operations."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import adjoint as ad
from adjoint.base.errors import ShapeError

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[Any, Array]  # a tensor and the array it should equal

DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64",
]  # fmt: skip
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-6, "float64": 1e-12}
CASES = 100  # of each family and dtype


def numpy_dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def shape_of(rng: random.Random, low: int = 0, high: int = 6) -> tuple[int, ...]:
    """Rank 0 to 6; now and then an axis of size 0."""
    rank = rng.randint(low, high)
    sizes = [rng.choice((1, 2, 3, 4) if rank < 4 else (1, 2, 3)) for _ in range(rank)]
    if rank and rng.random() < 0.12:
        sizes[rng.randrange(rank)] = 0
    return tuple(sizes)


def values(rng: random.Random, shape: tuple[int, ...], dtype: str) -> Array:
    numbers = np.random.default_rng(rng.getrandbits(32))
    if dtype == "bool":
        return numbers.random(shape) < 0.5
    if "int" in dtype:
        low = 0 if dtype.startswith("u") else -9
        return numbers.integers(low, 10, shape).astype(dtype)
    return numbers.normal(size=shape).astype(numpy_dtype(dtype))


def operand(rng: random.Random, shape: tuple[int, ...], dtype: str) -> Pair:
    """A tensor of ``shape`` and its array; stored forwards, backwards, or with axes exchanged."""
    array = values(rng, shape, dtype)
    layout = rng.randrange(4)
    if layout == 1 and shape:  # shares memory that runs backwards
        array = array[tuple(slice(None, None, rng.choice((1, -1))) for _ in shape)]
        return ad.from_numpy(array), array
    if layout == 2 and shape:  # computed by a flip
        axes = tuple(a for a in range(len(shape)) if rng.random() < 0.5)
        return ad.flip(ad.tensor(array), axes), np.flip(array, axes)
    if layout == 3:  # computed by a permutation
        order = list(range(len(shape)))
        rng.shuffle(order)
        back = tuple(int(i) for i in np.argsort(order))
        return ad.tensor(array.transpose(order)).permute(back), array
    return ad.tensor(array), array


def check(found: Any, expected: Any, dtype: str, scale: float = 1.0) -> None:
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    value = found.numpy()
    if dtype in TOLERANCE and value.dtype.kind in "fV":
        tolerance = TOLERANCE[dtype]
        np.testing.assert_allclose(
            value.astype(np.float64), expected.astype(np.float64),
            rtol=tolerance, atol=tolerance * scale,
        )  # fmt: skip
    else:
        np.testing.assert_array_equal(value, expected)


# --- families: each makes one case --------------------------------------------------------------


def basic_index(rng: random.Random, shape: tuple[int, ...]) -> list[Any]:
    index: list[Any] = []
    for n in shape:
        kind = rng.randrange(4)
        if kind == 0 and n:
            index.append(rng.randrange(-n, n))
        elif kind == 1:
            index.append(slice(None))
        else:
            ends = [None, *range(-n - 1, n + 2)]
            index.append(slice(rng.choice(ends), rng.choice(ends), rng.choice([-2, -1, 1, 2, 3])))
    return index


def indexing(rng: random.Random, dtype: str) -> None:
    shape = shape_of(rng)
    tensor, array = operand(rng, shape, dtype)
    index: list[Any] = basic_index(rng, shape)
    if rng.random() < 0.3:
        del index[rng.randint(0, len(shape)) :]
    if rng.random() < 0.3 and len(index) == len(shape):
        at = rng.randint(0, len(index))
        index[at : rng.randint(at, len(index))] = [...]
    for _ in range(rng.choice((0, 0, 1, 2))):
        index.insert(rng.randint(0, len(index)), None)
    check(tensor[tuple(index)], array[tuple(index)], dtype)


def advanced_indexing(rng: random.Random, dtype: str) -> None:
    shape = shape_of(rng, 1, 4)
    tensor, array = operand(rng, shape, dtype)
    if rng.random() < 0.25:
        mask = values(rng, shape[: rng.randint(1, len(shape))], "bool")
        check(tensor[ad.tensor(mask)], array[mask], dtype)
        return
    index: list[Any] = basic_index(rng, shape)
    common = shape_of(rng, 0, 2)
    numbers = np.random.default_rng(rng.getrandbits(32))
    for axis in rng.sample(range(len(shape)), rng.randint(1, len(shape))):
        n = shape[axis]
        if n == 0:
            continue
        size = tuple(rng.choice((1, s)) for s in common) if rng.random() < 0.3 else common
        index[axis] = numbers.integers(-n, n, size)
    if rng.random() < 0.2:
        index.insert(rng.randint(0, len(index)), None)
    ours = tuple(ad.tensor(i) if isinstance(i, np.ndarray) else i for i in index)
    check(tensor[ours], array[tuple(index)], dtype)
    if rng.random() < 0.5:  # and assignment to the same places
        target, value = ad.tensor(array), values(rng, array[tuple(index)].shape, dtype)
        target[ours] = ad.tensor(value)
        copy = array.copy()
        copy[tuple(index)] = value
        check(target, copy, dtype)


def reshaping(rng: random.Random, dtype: str) -> None:
    shape = shape_of(rng)
    tensor, array = operand(rng, shape, dtype)
    kind = rng.randrange(5)
    if kind == 0:
        sizes = [s for n in shape for s in ((n, 1) if rng.random() < 0.3 else (n,))]
        while len(sizes) > 1 and rng.random() < 0.5:
            at = rng.randrange(len(sizes) - 1)
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        if sizes and 0 not in shape and rng.random() < 0.3:
            sizes[rng.randrange(len(sizes))] = -1
        check(tensor.reshape(*sizes) if sizes else tensor.reshape(()), array.reshape(sizes), dtype)
    elif kind == 1:
        check(tensor.squeeze(), array.squeeze(), dtype)
    elif kind == 2:
        axis = rng.randint(-len(shape) - 1, len(shape))
        check(tensor.unsqueeze(axis), np.expand_dims(array, axis), dtype)
    elif kind == 3:
        check(tensor.flatten(), array.reshape(-1), dtype)
    else:
        wide = (rng.randint(1, 3), *(rng.randint(0, 3) if n == 1 else n for n in shape))
        check(ad.broadcast_to(tensor, wide), np.broadcast_to(array, wide), dtype)


def moving(rng: random.Random, dtype: str) -> None:
    shape = shape_of(rng, 1)
    tensor, array = operand(rng, shape, dtype)
    rank = len(shape)
    a, b, shift = rng.randrange(-rank, rank), rng.randrange(-rank, rank), rng.randint(-5, 5)
    kind = rng.randrange(7)
    if kind == 0:
        order = rng.sample(range(rank), rank)
        check(tensor.permute(*order), array.transpose(order), dtype)
    elif kind == 1:
        check(tensor.transpose(a, b), np.swapaxes(array, a, b), dtype)
    elif kind == 2:
        check(tensor.movedim(a, b), np.moveaxis(array, a, b), dtype)
    elif kind == 3:
        axes = tuple(rng.sample(range(rank), rng.randint(1, rank)))
        check(tensor.flip(axes), np.flip(array, axes), dtype)
    elif kind == 4:
        check(tensor.roll(shift, b), np.roll(array, shift, b), dtype)
    elif kind == 5:
        times = tuple(rng.randint(0, 2) for _ in range(rng.randint(1, rank)))
        check(tensor.tile(times), np.tile(array, times), dtype)
    else:
        check(tensor.repeat_interleave(2, b), np.repeat(array, 2, b), dtype)


def joining(rng: random.Random, dtype: str) -> None:
    shape = shape_of(rng, 1, 5)
    axis = rng.randrange(-len(shape), len(shape))
    kind = rng.randrange(3)
    if kind == 0:
        pieces = []
        for _ in range(rng.randint(1, 4)):
            sizes = list(shape)
            sizes[axis] = rng.randint(0, 3)
            pieces.append(operand(rng, tuple(sizes), dtype))
        check(
            ad.cat([t for t, _ in pieces], axis),
            np.concatenate([a for _, a in pieces], axis),
            dtype,
        )
    elif kind == 1:
        pieces = [operand(rng, shape, dtype) for _ in range(rng.randint(1, 3))]
        check(ad.stack([t for t, _ in pieces], axis), np.stack([a for _, a in pieces], axis), dtype)
    else:
        tensor, array = operand(rng, shape, dtype)
        cuts = sorted(rng.randint(0, shape[axis]) for _ in range(2))
        sizes = [cuts[0], cuts[1] - cuts[0], shape[axis] - cuts[1]]
        for found, expected in zip(
            tensor.split(sizes, axis), np.split(array, cuts, axis), strict=True
        ):
            check(found, expected, dtype)


def reductions(rng: random.Random, dtype: str) -> None:
    shape = shape_of(rng)
    tensor, array = operand(rng, shape, dtype)
    rank = len(shape)
    wide = array.astype(np.float64) if dtype in TOLERANCE else array
    count = max(array.size, 1)
    axes: Any = None
    if rank and rng.random() < 0.8:
        axes = tuple(rng.sample(range(-rank, 0), rng.randint(1, rank)))
        axes = (
            axes if len({a % rank for a in axes}) == len(axes) and rng.random() < 0.5 else axes[0]
        )
    keep = rng.random() < 0.5
    names = ["sum", "prod", "any", "all", "count_nonzero"]
    places = (axes,) if isinstance(axes, int) else axes if axes is not None else range(rank)
    if 0 not in [shape[a] for a in places]:
        names += ["amax", "amin", "max", "min"]
        if dtype in TOLERANCE:
            names += ["mean", "var", "std"]
        if axes is None or isinstance(axes, int):
            names += ["argmax", "argmin"]
    if isinstance(axes, int):
        names += ["cumsum"]
    name = rng.choice(names)
    if name == "cumsum":
        check(ad.cumsum(tensor, axes), np.cumsum(wide, axes), dtype, scale=count)
    elif name == "count_nonzero":
        check(ad.count_nonzero(tensor, axes), np.count_nonzero(array, axes), dtype)
    elif name in ("var", "std"):
        found = getattr(ad, name)(tensor, axis=axes, keepdims=keep, correction=0)
        check(found, getattr(np, name)(wide, axis=axes, keepdims=keep), dtype, scale=2)
    elif name == "prod" and dtype == "bool":
        check(
            ad.prod(tensor, axis=axes, keepdims=keep),
            np.prod(array, axis=axes, keepdims=keep),
            dtype,
        )
    else:
        found = getattr(ad, name)(tensor, axis=axes, keepdims=keep)
        expected = getattr(np, name)(wide, axis=axes, keepdims=keep)
        check(found, expected, dtype, scale=count if name in ("sum", "mean") else 1e-3)


def arithmetic(rng: random.Random, dtype: str) -> None:
    shape = shape_of(rng, 0, 5)
    other = tuple(1 if rng.random() < 0.3 else n for n in shape)[rng.randint(0, len(shape)) :]
    (x, a), (y, b) = operand(rng, shape, dtype), operand(rng, other, dtype)
    if rng.random() < 0.5:
        x, a, y, b = y, b, x, a
    kind = rng.randrange(6)
    if kind == 0:
        check(x + y, a + b, dtype)
    elif kind == 1:
        check(x * y, a * b, dtype)
    elif kind == 2:
        check(x < y, a < b, dtype)
        check(x >= y, a >= b, dtype)
        check(x != y, a != b, dtype)
    elif kind == 3:
        check(ad.maximum(x, y), np.maximum(a, b), dtype)
    elif kind == 4:
        check(ad.where(x > y, x, y), np.where(a > b, a, b), dtype)
    elif dtype != "bool":
        check(x - y, a - b, dtype)


FAMILIES: list[Callable[[random.Random, str], None]] = [
    indexing, advanced_indexing, reshaping, moving, joining, reductions, arithmetic,
]  # fmt: skip


@pytest.mark.feature("T1")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_generated_cases_equal_numpy(family: Callable[..., None], dtype: str) -> None:
    assert CASES * len(FAMILIES) >= 500
    for seed in range(CASES):
        try:
            family(random.Random(f"{family.__name__} {dtype} {seed}"), dtype)
        except Exception as problem:
            problem.add_note(f"case {seed} of {family.__name__} for {dtype}")
            raise


# --- broadcasting -------------------------------------------------------------------------------


def shapes_up_to(rank: int, sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [s for r in range(rank + 1) for s in itertools.product(sizes, repeat=r)]


@pytest.mark.feature("T15")
def test_all_broadcast_pairs_of_rank_up_to_4() -> None:
    shapes = shapes_up_to(4, (1, 2, 3))
    tensors = {s: ad.tensor(np.arange(1.0, 1.0 + np.prod(s)).reshape(s)) for s in shapes}
    arrays = {s: t.numpy() for s, t in tensors.items()}
    rng = random.Random(0)
    fits = 0
    for a, b in itertools.product(shapes, shapes):
        try:
            expected = arrays[a] * arrays[b]
        except ValueError:
            if rng.random() < 0.05:  # making the message takes time
                with pytest.raises(ShapeError, match="do not broadcast"):
                    _ = tensors[a] * tensors[b]
            continue
        fits += 1
        np.testing.assert_array_equal((tensors[a] * tensors[b]).numpy(), expected)
    assert fits > 3000


@pytest.mark.feature("T15", "T13")
@pytest.mark.parametrize("other", [(4,), (1,), (), (3, 1), (2, 1, 1), (1, 3, 4), (0, 1, 1, 1)])
def test_the_gradient_of_a_broadcast_sums_over_the_repeated_axes(other: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x = ad.tensor(rng.normal(size=(2, 3, 4)), requires_grad=True)
    y = ad.tensor(rng.normal(size=other), requires_grad=True)
    out = x * y
    weight = rng.normal(size=out.shape)
    (out * ad.tensor(weight)).sum().backward()
    lead = len(out.shape) - len(other)
    padded = (1,) * lead + other
    axes = tuple(i for i, n in enumerate(padded) if n == 1)
    full = weight * x.detach().numpy()
    expected = full.sum(axis=axes, keepdims=True).reshape(other)
    assert y.grad.shape == other and x.grad.shape == x.shape
    np.testing.assert_allclose(y.grad.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.feature("T15")
def test_a_bias_allocates_only_the_output() -> None:
    rows, columns = 1000, 500
    x, bias = ad.zeros(rows, columns), ad.ones(columns, requires_grad=True)
    _ = x + bias
    tracemalloc.start()
    try:
        out = x + bias
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert out.nbytes <= peak <= 1.05 * out.nbytes  # the bias, repeated, would double it
    out.sum().backward()
    np.testing.assert_array_equal(bias.grad.numpy(), np.full(columns, rows, np.float32))

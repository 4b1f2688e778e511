"""Gather, scatter, masks, embeddings and segments: against PyTorch, NumPy and dense references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError, ArgumentError, DTypeError, IndexingError, ShapeError
from adjoint.ir.node import constant
from tests.tensors.twins import agree, floats, maps, numbers, smooth

RNG = np.random.default_rng(0)
X = floats(3, 4, 5)
SMALL = {  # an index smaller than X along the other axes, with repeats along its own
    0: RNG.integers(0, 3, (6, 3, 5)), 1: RNG.integers(0, 4, (2, 7, 5)),
    2: RNG.integers(0, 5, (3, 2, 8)),
}  # fmt: skip
REDUCTIONS = ["sum", "prod", "mean", "amax", "amin"]


def corner(source: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """PyTorch's gradients need a source of the size of the index."""
    return source[tuple(slice(0, n) for n in index.shape)]


def unrepeated(dim: int) -> np.ndarray:
    """An index that names each place once: what PyTorch defines for overwriting."""
    order = np.argsort(floats(*X.shape, seed=3), axis=dim)
    return order[tuple(slice(0, 2) if i != dim else slice(None) for i in range(3))]


# --- gather and take -----------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_gather(dim: int) -> None:
    index = SMALL[dim % 3]
    agree(lambda x, i: ad.gather(x, dim, i), lambda x, i: torch.gather(x, dim, i), X, index)
    smooth(lambda x: ad.gather(x, dim, ad.tensor(index)) ** 2, X)
    got = ad.tensor(X).gather(dim, ad.tensor(index - X.shape[dim]))  # counted from the end
    np.testing.assert_array_equal(
        numbers(got), numbers(ad.gather(ad.tensor(X), dim, ad.tensor(index)))
    )


def test_gather_edges() -> None:
    assert ad.gather(ad.tensor(2.0), 0, ad.tensor(0)).item() == 2
    assert ad.gather(ad.tensor(2.0), 0, ad.tensor([0, 0])).tolist() == [2, 2]
    assert ad.gather(ad.ones(3, 4), 1, ad.zeros(3, 0, dtype=ad.int64)).shape == (3, 0)
    assert ad.gather(ad.ones(3, 4), 1, ad.zeros(0, dtype=ad.int64)).shape == (0,)
    with pytest.raises(IndexingError, match="index 4 is out of range for an axis of size 4"):
        ad.gather(ad.ones(3, 4), 1, ad.full((3, 1), 4))
    with pytest.raises(ShapeError, match="none longer except axis 1"):
        ad.gather(ad.ones(3, 4), 1, ad.zeros(4, 1, dtype=ad.int64))
    with pytest.raises(DTypeError, match="integer index"):
        ad.gather(ad.ones(3), 0, ad.ones(3))


def test_take_and_take_along_dim() -> None:
    flat = RNG.integers(-60, 60, (2, 7))
    agree(ad.take, torch.take, X, flat % 60)
    np.testing.assert_array_equal(numbers(ad.take(ad.tensor(X), ad.tensor(flat))), X.ravel()[flat])
    for shape, dim in (((3, 1, 2), 2), ((1, 6, 5), 1)):
        index = RNG.integers(0, X.shape[dim], shape)
        agree(
            lambda x, i: ad.take_along_dim(x, i, dim),  # noqa: B023
            lambda x, i: torch.take_along_dim(x, i, dim), X, index,  # noqa: B023
        )  # fmt: skip
    agree(ad.take_along_dim, torch.take_along_dim, X, flat % 60)
    with pytest.raises(ShapeError, match="as many axes"):
        ad.take_along_dim(ad.ones(2, 2), ad.tensor([0]), 0)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_index_select(dim: int) -> None:
    index = np.array([2, 0, 2, 1])
    agree(
        lambda x, i: ad.index_select(x, dim, i),
        lambda x, i: torch.index_select(x, dim, i),
        X,
        index,
    )
    smooth(lambda x: x.index_select(dim, ad.tensor(index)) ** 2, X)
    maps(lambda x, i: ad.index_select(x, dim % 3 - 1, i), X, np.stack([index] * 3))
    with pytest.raises(ShapeError, match="1-D index"):
        ad.index_select(ad.tensor(X), dim, ad.tensor([[0]]))


# --- scatter -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_scatter_overwrites(dim: int) -> None:
    index = unrepeated(dim % 3)
    source = floats(*X.shape, seed=1)
    agree(
        lambda x, i, s: ad.scatter(x, dim, i, s),
        lambda x, i, s: torch.scatter(x, dim, i, corner(s, i)),
        X, index, source,
    )  # fmt: skip
    agree(lambda x, i: x.scatter(dim, i, 3.5), lambda x, i: x.scatter(dim, i, 3.5), X, index)
    smooth(lambda x, s: ad.scatter(x, dim, ad.tensor(index), s) ** 2, X, source)


def test_the_last_write_wins() -> None:
    index, source = ad.tensor([1, 1, 0, 1]), ad.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    out = ad.scatter(ad.zeros(3), 0, index, source)
    assert out.tolist() == [3, 4, 0]
    out.sum().backward()
    assert source.grad is not None and source.grad.tolist() == [0, 0, 1, 1]
    assert ad.scatter(ad.ones(3), 0, index, 2.0, reduce="add").tolist() == [3, 7, 1]
    assert ad.scatter(ad.ones(3), 0, index, value=2.0, reduce="multiply").tolist() == [2, 8, 1]


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_scatter_add(dim: int) -> None:
    index = SMALL[dim % 3]
    source = floats(*(9, 9, 9), seed=1)
    agree(
        lambda x, i, s: ad.scatter_add(x, dim, i, s),
        lambda x, i, s: torch.scatter_add(x, dim, i, corner(s, i)), X, index, source,
    )  # fmt: skip
    smooth(lambda x, s: ad.scatter_add(x, dim, ad.tensor(index), s) ** 2, X, source[:6, :7, :8])


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dim", [0, 2])
def test_scatter_reduce(reduce: str, include_self: bool, dim: int) -> None:
    index, source = SMALL[dim], floats(6, 7, 8, seed=1)
    agree(
        lambda x, i, s: ad.scatter_reduce(x, dim, i, s, reduce, include_self=include_self),
        lambda x, i, s: torch.scatter_reduce(
            x, dim, i, corner(s, i), reduce, include_self=include_self
        ),
        X, index, source,
    )  # fmt: skip
    i = ad.tensor(index)
    smooth(
        lambda x, s: ad.scatter_reduce(x, dim, i, s, reduce, include_self=include_self), X, source
    )


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce_of_integers(reduce: str, include_self: bool) -> None:
    x, s, i = RNG.integers(-9, 9, 6), RNG.integers(-9, 9, 20), RNG.integers(0, 4, 20)
    got = ad.scatter_reduce(
        ad.tensor(x), 0, ad.tensor(i), ad.tensor(s), reduce, include_self=include_self
    )
    want = torch.scatter_reduce(
        torch.tensor(x), 0, torch.tensor(i), torch.tensor(s), reduce, include_self=include_self
    )
    np.testing.assert_array_equal(numbers(got), want)


def test_scatter_reduce_ties_zeros_and_nan() -> None:
    i = np.array([0, 0, 1, 1, 1])
    s = np.array([2.0, 2.0, 0.0, 3.0, 0.0])
    for reduce in REDUCTIONS:
        agree(
            lambda x, t: ad.scatter_reduce(x, 0, ad.tensor(i), t, reduce),  # noqa: B023
            lambda x, t: torch.scatter_reduce(x, 0, torch.tensor(i), t, reduce),  # noqa: B023
            np.array([2.0, 1.0, 5.0]), s,
        )  # fmt: skip
    smooth(
        lambda x, t: ad.scatter_reduce(x, 0, ad.tensor(i), t, "prod"), np.array([2.0, 0.0, 5.0]), s
    )
    nan = ad.scatter_reduce(ad.zeros(2), 0, ad.tensor([0]), ad.tensor([np.nan]).float(), "amax")
    np.testing.assert_array_equal(numbers(nan), [np.nan, 0])


def test_scatter_errors() -> None:
    x, i = ad.zeros(3), ad.tensor([0, 1])
    with pytest.raises(ShapeError, match="at least as large"):
        ad.scatter(x, 0, i, ad.ones(1))
    with pytest.raises(DTypeError, match="different dtypes"):
        ad.scatter_add(x, 0, i, ad.ones(2).double())
    with pytest.raises(IndexingError, match="index 3 is out of range"):
        ad.scatter_add(x, 0, ad.tensor([3]), ad.ones(1))
    with pytest.raises(ArgumentError, match="did you mean 'amax'"):
        ad.scatter_reduce(x, 0, i, ad.ones(2), "max")
    with pytest.raises(ArgumentError, match="add"):
        ad.scatter(x, 0, i, 1.0, reduce="sum")
    with pytest.raises(ArgumentError, match="needs src="):
        ad.scatter(x, 0, i)
    with pytest.raises(DTypeError, match="int64"):
        ad.scatter(ad.tensor([1, 2]), 0, i, 1.5)


def test_scatter_edges() -> None:
    assert ad.scatter_add(ad.tensor(1.0), 0, ad.tensor(0), 2.0).item() == 3
    assert ad.scatter(ad.tensor(1.0), 0, ad.tensor([0]), 2.0).shape == ()
    none = ad.zeros(0, dtype=ad.int64)
    assert ad.scatter_add(ad.ones(2, 3), 0, none.reshape(0, 3), ad.ones(0, 3)).sum().item() == 6
    assert ad.scatter(ad.ones(0, 3), 1, ad.zeros(0, 2, dtype=ad.int64), 1.0).shape == (0, 3)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_index_add_copy_and_fill(dim: int) -> None:
    index = np.array([2, 0, 2])
    shape = list(X.shape)
    shape[dim] = 3
    source = floats(*shape, seed=1)
    agree(
        lambda x, i, s: ad.index_add(x, dim, i, s, alpha=2),
        lambda x, i, s: torch.index_add(x, dim, i, s, alpha=2), X, index, source,
    )  # fmt: skip
    agree(
        lambda x, i: ad.index_fill(x, dim, i, 7.0), lambda x, i: torch.index_fill(x, dim, i, 7.0),
        X, index,
    )  # fmt: skip
    index = np.array([2, 0, 1])
    agree(
        lambda x, i, s: ad.index_copy(x, dim, i, s), lambda x, i, s: torch.index_copy(x, dim, i, s),
        X, index, source,
    )  # fmt: skip
    i = ad.tensor(index)
    smooth(lambda x, s: ad.index_add(x, dim, i, s) ** 2, X, source)
    smooth(lambda x, s: ad.index_copy(x, dim, i, s) ** 2, X, source)
    smooth(lambda x: ad.index_fill(x, dim, i, 2.0) ** 2, X)
    with pytest.raises(ShapeError, match="source must have shape"):
        ad.index_add(ad.tensor(X), dim, i, ad.ones(2, 2).double())


def test_index_put_and_put() -> None:
    rows, columns = np.array([0, 2, 0]), np.array([1, 3, 1])
    values = floats(3, 5)
    for accumulate in (False, True):
        agree(
            lambda x, v: ad.index_put(x, (ad.tensor(rows), ad.tensor(columns)), v, accumulate),  # noqa: B023
            lambda x, v: torch.index_put(x, (torch.tensor(rows), torch.tensor(columns)), v, accumulate),  # noqa: B023, E501
            X, values, gradient=accumulate,  # PyTorch's gradient counts overwritten values
        )  # fmt: skip
        flat, new = np.array([7, 1, 7]), floats(3)
        agree(
            lambda x, v: ad.put(x, ad.tensor(flat), v, accumulate),  # noqa: B023
            lambda x, v: torch.Tensor.put(x, torch.tensor(flat), v, accumulate),  # noqa: B023
            X, new, gradient=accumulate,
        )  # fmt: skip
    mask = ad.tensor(X > 0)
    out = ad.index_put(ad.tensor(X), (mask,), ad.tensor(1.0).double(), accumulate=True)
    np.testing.assert_array_equal(numbers(out), np.where(X > 0, X + 1, X))
    with pytest.raises(ShapeError, match="a value of the same dtype"):
        ad.put(ad.zeros(3), ad.tensor([0]), ad.ones(2))


# --- masks ---------------------------------------------------------------------------------------


def test_masks() -> None:
    mask = X > 0.3
    row = np.array([True, False, False, True, True])
    for m in (mask, row):
        agree(ad.masked_select, torch.masked_select, X, m)
        agree(lambda x, k: ad.masked_fill(x, k, -2.5), lambda x, k: x.masked_fill(k, -2.5), X, m)
    agree(ad.masked_scatter, torch.masked_scatter, X, mask, floats(70, seed=1))
    smooth(lambda x: ad.masked_fill(x, ad.tensor(mask), 1.0) ** 2, X)
    smooth(lambda x, s: ad.masked_scatter(x, ad.tensor(mask), s) ** 2, X, floats(70, seed=1))
    maps(lambda x, m: ad.masked_fill(x, m, 0.5), X, mask)
    keep = ad.masked_fill(ad.tensor(X), ad.tensor(mask), -np.inf)
    assert keep.dtype is ad.float64
    assert ad.ones(2).masked_fill(ad.tensor([True, False]), 2).dtype is ad.float32
    filled = ad.ones(2, 2).masked_fill(ad.eye(2).bool(), ad.tensor(5.0))
    assert filled.tolist() == [[5, 1], [1, 5]]


def test_mask_errors() -> None:
    x, mask = ad.ones(3), ad.tensor([True, False, True])
    with pytest.raises(DTypeError, match="bool mask"):
        x.masked_fill(ad.tensor([1, 0, 1]), 0)
    with pytest.raises(ShapeError, match="broadcast"):
        x.masked_fill(ad.tensor([True, False]), 0)
    with pytest.raises(ShapeError, match="number or a 0-d"):
        x.masked_fill(mask, ad.ones(3))
    with pytest.raises(DTypeError, match="int64"):
        ad.tensor([1, 2, 3]).masked_fill(mask, 0.5)
    with pytest.raises(ShapeError, match="selects 2 elements"):
        x.masked_scatter(mask, ad.ones(1))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("scatter", (0, ad.tensor([1, 0]), 2.0)), ("scatter_add", (0, ad.tensor([1, 1]), 2.0)),
        ("scatter_reduce", (0, ad.tensor([1, 1]), 2.0, "prod")),
        ("index_add", (0, ad.tensor([1, 1]), ad.ones(2))),
        ("index_copy", (0, ad.tensor([1]), ad.ones(1))), ("index_fill", (0, ad.tensor([1]), 4.0)),
        ("index_put", ((ad.tensor([1]),), 3.0)), ("put", (ad.tensor([1]), ad.ones(1))),
        ("masked_fill", (ad.tensor([True, False, True]), 9.0)),
        ("masked_scatter", (ad.tensor([True, False, True]), ad.zeros(2))),
    ],
)  # fmt: skip
def test_in_place_methods(name: str, arguments: Any) -> None:
    x = ad.tensor([1.0, 2.0, 3.0])
    want = getattr(ad, name)(x, *arguments)
    assert x.tolist() == [1, 2, 3]
    assert getattr(x, f"{name}_")(*arguments) is x
    assert x.tolist() == want.tolist() != [1, 2, 3]


# --- embeddings ----------------------------------------------------------------------------------


def test_one_hot() -> None:
    x = np.array([[0, 2], [1, 2]])
    for count in (-1, 5):
        np.testing.assert_array_equal(
            numbers(ad.one_hot(ad.tensor(x), count)),
            torch.nn.functional.one_hot(torch.tensor(x), count),
        )
    assert ad.one_hot(ad.zeros(0, dtype=ad.int64), 3).shape == (0, 3)
    assert ad.one_hot(ad.tensor(1), 3).tolist() == [0, 1, 0]
    with pytest.raises(IndexingError, match="out of range"):
        ad.one_hot(ad.tensor([3]), 3)
    with pytest.raises(IndexingError, match="negative"):
        ad.one_hot(ad.tensor([-1]), 3)
    with pytest.raises(DTypeError, match="integer"):
        ad.one_hot(ad.ones(2))
    with pytest.raises(ArgumentError, match="num_classes"):
        ad.one_hot(ad.zeros(0, dtype=ad.int64))


@pytest.mark.feature("O31")
@pytest.mark.parametrize("padding_idx", [None, 1, -2])
def test_embedding(padding_idx: int | None) -> None:
    table, index = floats(6, 3), np.array([[1, 4, 1], [0, 1, 4]])
    agree(
        lambda i, w: ad.embedding(i, w, padding_idx),
        lambda i, w: torch.nn.functional.embedding(i, w, padding_idx),
        index, table,
    )  # fmt: skip
    w = ad.tensor(table, requires_grad=True)
    ad.embedding(ad.tensor(index), w, padding_idx).sum().backward()
    assert w.grad is not None
    want = np.bincount(index.ravel(), minlength=6).astype(float)
    if padding_idx is not None:
        want[padding_idx] = 0
    np.testing.assert_array_equal(numbers(w.grad), np.repeat(want[:, None], 3, 1))
    if padding_idx is None:
        smooth(lambda w: ad.embedding(ad.tensor(index), w) ** 2, table)


def test_embedding_errors() -> None:
    with pytest.raises(IndexingError, match="index 6 is out of range for axis 0 of size 6"):
        ad.embedding(ad.tensor([6]), ad.ones(6, 2))
    with pytest.raises(IndexingError, match="negative"):
        ad.embedding(ad.tensor([-1]), ad.ones(6, 2))
    with pytest.raises(DTypeError, match="integer"):
        ad.embedding(ad.tensor([1.0]), ad.ones(6, 2))
    with pytest.raises(ShapeError, match="2 dimensions"):
        ad.embedding(ad.tensor([1]), ad.ones(6))
    with pytest.raises(IndexingError, match="padding_idx 7"):
        ad.embedding(ad.tensor([1]), ad.ones(6, 2, requires_grad=True), 7)


# --- segments ------------------------------------------------------------------------------------

SEGMENTS: dict[str, tuple[Callable[..., Any], Callable[[np.ndarray], np.ndarray]]] = {
    "sum": (ad.segment_sum, lambda rows: rows.sum(0)),
    "mean": (ad.segment_mean, lambda rows: rows.mean(0)),
    "max": (ad.segment_max, lambda rows: rows.max(0)),
    "min": (ad.segment_min, lambda rows: rows.min(0)),
}


@pytest.mark.feature("O36")
@pytest.mark.parametrize("name", list(SEGMENTS))
@pytest.mark.parametrize("shape", [(9,), (9, 3), (9, 2, 2), (0, 3)], ids=str)
def test_segments(name: str, shape: tuple[int, ...]) -> None:
    mine, theirs = SEGMENTS[name]
    data, ids = floats(*shape), np.array([4, 0, 4, 2, 0, 2, 4, 4, 5])[: shape[0]]
    want = np.zeros((7, *shape[1:]))  # segments 1, 3 and 6 are empty
    for s in set(ids):
        want[s] = theirs(data[ids == s])
    got = mine(ad.tensor(data), ad.tensor(ids), 7)
    np.testing.assert_allclose(numbers(got), want, atol=1e-12)
    if shape[0]:
        smooth(lambda x: mine(x, ad.tensor(ids), 7) ** 2, data)
        assert mine(ad.tensor(data), ad.tensor(ids)).shape == (6, *shape[1:])
    else:
        assert mine(ad.tensor(data), ad.tensor(ids)).shape == (0, *shape[1:])


@pytest.mark.feature("O36")
def test_segment_softmax() -> None:
    data, ids = floats(9, 2) * 300, np.array([4, 0, 4, 2, 0, 2, 4, 4, 5])
    want = np.zeros_like(data)
    for s in set(ids):
        want[ids == s] = torch.softmax(torch.tensor(data[ids == s]), 0).numpy()
    got = ad.segment_softmax(ad.tensor(data), ad.tensor(ids), 7)
    np.testing.assert_allclose(numbers(got), want, rtol=1e-10, atol=1e-300)
    smooth(lambda x: ad.segment_softmax(x, ad.tensor(ids)) ** 2, floats(9, 2))


@pytest.mark.feature("O36")
def test_a_million_edges() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=1_000_000).astype(np.float32)
    ids = rng.integers(0, 1000, len(data))
    order = np.argsort(ids, kind="stable")
    groups = np.split(data[order].astype(np.float64), np.cumsum(np.bincount(ids))[:-1])
    x, i = ad.tensor(data, requires_grad=True), ad.tensor(ids)
    for name, (mine, theirs) in SEGMENTS.items():
        want = np.array([theirs(g) for g in groups])
        scale = np.array([np.abs(g).sum() for g in groups]) if name == "sum" else 1
        assert np.abs(numbers(mine(x, i)) - want).max() <= 1e-5 * np.max(scale)
    weights = ad.segment_softmax(x, i)
    want = np.concatenate([np.exp(g - g.max()) / np.exp(g - g.max()).sum() for g in groups])
    np.testing.assert_allclose(numbers(weights)[order], want, rtol=1e-5)
    ad.segment_mean(x, i).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(numbers(x.grad), 1 / np.bincount(ids)[ids], rtol=1e-5)


def test_segment_ties_share_the_gradient() -> None:
    x = ad.tensor([1.0, 3.0, 3.0, 2.0], requires_grad=True)
    ad.segment_max(x, ad.tensor([0, 0, 0, 1])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 0.5, 0.5, 1]


def test_segments_of_integers_and_batches() -> None:
    x, ids = np.array([5, -3, 2, 7]), np.array([1, 1, 3, 1])
    assert ad.segment_sum(ad.tensor(x), ad.tensor(ids)).tolist() == [0, 9, 0, 2]
    assert ad.segment_max(ad.tensor(x), ad.tensor(ids)).tolist() == [0, 7, 0, 2]
    assert ad.segment_min(ad.tensor(x), ad.tensor(ids)).tolist() == [0, -3, 0, 2]
    for mine, _ in SEGMENTS.values():
        maps(
            lambda d, i: mine(d, i, 3),  # noqa: B023
            floats(2, 5, 2), np.array([[0, 2, 0, 0, 2], [1, 1, 2, 0, 2]]),
        )  # fmt: skip


def test_segment_errors() -> None:
    data = ad.ones(3, 2)
    with pytest.raises(IndexingError, match="segment id 5 is outside 0 to 3"):
        ad.segment_sum(data, ad.tensor([0, 5, 1]), 4)
    with pytest.raises(IndexingError, match="segment id -1"):
        ad.segment_max(data, ad.tensor([0, -1, 1]))
    with pytest.raises(ShapeError, match="one segment id per row"):
        ad.segment_sum(data, ad.tensor([0, 1]))
    with pytest.raises(DTypeError, match="integer segment ids"):
        ad.segment_sum(data, ad.ones(3))
    with pytest.raises(DTypeError, match="float"):
        ad.segment_mean(ad.tensor([1, 2]), ad.tensor([0, 0]))
    with pytest.raises(AdjointError):
        ad.segment_softmax(ad.tensor([1, 2]), ad.tensor([0, 0]))


def test_the_definition_of_largest_at_equals_its_fast_path() -> None:
    from adjoint.tensors.segments import largest_at

    x, places, updates = floats(5), np.array([1, 0, 1, 4, 1]), floats(5, seed=1)
    updates[3] = np.nan
    assert largest_at.body is not None and largest_at.kernel is not None
    body = largest_at.body(*map(constant, (x, places, updates)))[0].array()
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(body, largest_at.kernel(x, places, updates))


@pytest.mark.parametrize("name", ["gather", "scatter_add", "scatter", "index_add", "embedding"])
def test_batches(name: str) -> None:
    x, source = floats(2, 4, 3), floats(2, 5, 3, seed=1)
    index = RNG.integers(0, 4, (2, 5, 3))
    if name == "gather":
        maps(lambda a, i: ad.gather(a, 0, i), x, index)
    elif name == "embedding":
        maps(lambda i, w: ad.embedding(i, w, 1), index, floats(4, 2), shared=(1,))
    elif name == "index_add":
        maps(lambda a, i, s: ad.index_add(a, 0, i, s), x, index[:, :, 0], source)
    else:
        maps(lambda a, i, s: getattr(ad, name)(a, 0, i, s), x, index, source)

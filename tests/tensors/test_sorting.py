"""Sorting, quantiles, scans, sets and bins: against PyTorch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import ArgumentError, DTypeError, IndexingError, ShapeError
from adjoint.ir.graph import record
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Type, constant
from tests.tensors.twins import agree, floats, maps, numbers, smooth

X = floats(4, 5, 3)
TIES = np.array([[3, 1, 3, 2, 1, 3], [0, 0, 0, 0, 0, 0]])
NAN = np.array([2.0, np.nan, -1.0, np.inf, np.nan, -np.inf, 0.0])
EDGES: list[Any] = [
    np.zeros((0,)), np.zeros((2, 0)), np.zeros((0, 3)), np.array(1.5), floats(1), floats(6)[::-2],
    floats(4, 3).T, np.broadcast_to(floats(3), (2, 3)),
]  # fmt: skip


# --- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
def test_sort(dim: int, descending: bool) -> None:
    agree(lambda x: x.sort(dim, descending), lambda x: x.sort(dim, descending), X)
    agree(lambda x: x.argsort(dim, descending), lambda x: x.argsort(dim, descending), X)
    smooth(lambda x: ad.sort(x, dim, descending).values ** 2, X)
    maps(lambda x: ad.sort(x, dim, descending), X)


def test_sort_is_stable() -> None:
    for descending in (False, True):
        got = ad.tensor(TIES).argsort(1, descending, stable=True)
        want = torch.sort(torch.tensor(TIES), dim=1, descending=descending, stable=True).indices
        np.testing.assert_array_equal(numbers(got), want)
        equal = ad.sort(ad.tensor(TIES), 1, descending)
        np.testing.assert_array_equal(numbers(equal.indices), want)


def test_nan_is_last_and_first_when_descending() -> None:
    np.testing.assert_array_equal(numbers(ad.sort(ad.tensor(NAN), axis=0)), np.sort(NAN))
    down = ad.sort(ad.tensor(NAN), descending=True)
    np.testing.assert_array_equal(numbers(down.values), np.sort(NAN)[::-1])
    half = ad.tensor(NAN).bfloat16().sort().values
    np.testing.assert_array_equal(numbers(half.double()), np.sort(NAN))


@pytest.mark.parametrize("x", EDGES, ids=lambda a: str(a.shape))
def test_sort_of_any_array(x: np.ndarray) -> None:
    if x.ndim:
        np.testing.assert_array_equal(numbers(ad.sort(ad.from_numpy(x), axis=-1)), np.sort(x, -1))
        np.testing.assert_array_equal(numbers(ad.msort(ad.from_numpy(x))), np.sort(x, 0))
    else:
        found = ad.sort(ad.from_numpy(x))
        assert found.values.shape == found.indices.shape == ()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float16", "bfloat16"])
def test_sort_keeps_the_dtype(dtype: str) -> None:
    x = ad.tensor(TIES).to(dtype)
    found = x.sort()
    assert found.values.dtype is x.dtype and found.indices.dtype is ad.int64
    want = np.sort(numbers(x.double()), 1)
    np.testing.assert_array_equal(numbers(found.values.double()), want)


@pytest.mark.parametrize("largest", [True, False])
def test_topk_and_kthvalue(largest: bool) -> None:
    agree(lambda x: x.topk(2, 1, largest), lambda x: x.topk(2, 1, largest), X)
    agree(lambda x: x.topk(3, largest=largest), lambda x: x.topk(3, largest=largest), X)
    agree(lambda x: x.kthvalue(2, 1), lambda x: x.kthvalue(2, 1), X)
    agree(lambda x: x.kthvalue(5, 1, True), lambda x: x.kthvalue(5, 1, True), X)
    maps(lambda x: ad.topk(x, 2, 0), X)
    values = ad.topk(ad.tensor(X), 2, axis=1)
    np.testing.assert_array_equal(numbers(values), np.sort(X, 1)[:, :-3:-1])


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.uint8])
def test_the_fast_path_of_topk_takes_the_first_of_a_tie(largest: bool, dtype: Any) -> None:
    from adjoint.tensors.sorting import top_indices

    x = np.random.default_rng(0).integers(0, 9, (3, 70, 2)).astype(dtype)
    nan = x.astype(np.float64)
    nan[0, 5:15] = np.nan
    for data in (x, nan):
        for k in (0, 1, 5, 8, 40, 70):
            static: Any = {"axis": 1, "k": k, "largest": largest}
            assert top_indices.body is not None and top_indices.kernel is not None
            want = top_indices.body(constant(data), **static)[0].array()
            np.testing.assert_array_equal(top_indices.kernel(data, **static), want)
    values = ad.topk(ad.tensor(x), 5, 1, largest).values
    order = np.sort(x, 1)
    np.testing.assert_array_equal(numbers(values), order[:, :-6:-1] if largest else order[:, :5])


def test_topk_edges() -> None:
    assert ad.topk(ad.ones(3), 0).values.shape == (0,)
    assert ad.topk(ad.tensor(2.0), 1).values.shape == ()
    assert ad.kthvalue(ad.tensor(2.0), 1).indices.item() == 0
    with pytest.raises(ArgumentError, match="best 4 of 3 elements"):
        ad.topk(ad.ones(3), 4)
    with pytest.raises(ArgumentError, match="counts from 1"):
        ad.kthvalue(ad.ones(3), 0)
    with pytest.raises(IndexingError, match="axis 2"):
        ad.sort(ad.ones(3), 2)
    with pytest.raises(IndexingError):
        ad.sort(ad.tensor(1.0), 1)


@pytest.mark.parametrize("name", ["median", "nanmedian"])
@pytest.mark.parametrize("with_nan", [False, True])
def test_medians(name: str, with_nan: bool) -> None:
    mine, theirs = getattr(ad, name), getattr(torch, name)
    data = X.copy()
    if with_nan:
        data[0, 1, 2] = data[1, :, 0] = data[2, 0, 0] = data[2, 1, 0] = np.nan
    agree(lambda t: mine(t, 1)[0], lambda t: theirs(t, 1)[0], data, gradient=not with_nan)
    agree(
        lambda t: mine(t, 1, True)[0], lambda t: theirs(t, 1, True)[0], data, gradient=not with_nan
    )
    agree(mine, theirs, data, gradient=not with_nan)
    picked = mine(ad.tensor(data), 1)
    at = np.take_along_axis(data, numbers(picked.indices)[:, None], 1)[:, 0]
    np.testing.assert_array_equal(at, numbers(picked.values))
    np.testing.assert_array_equal(numbers(mine(ad.tensor(X), axis=2)), np.sort(X, 2)[..., 1])
    assert mine(ad.tensor([3, 1, 2, 0])).item() == 1
    assert mine(ad.ones(2, 3), axis=None, keepdims=True).shape == (1, 1)
    with pytest.raises(ShapeError, match="no middle"):
        mine(ad.zeros(0))


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "nearest", "midpoint"])
def test_quantiles(interpolation: str) -> None:
    q = [0.0, 0.1, 0.5, 0.77, 1.0]
    for share in (0.3, q):
        tq = torch.tensor(share, dtype=torch.float64)
        for dim in (None, 0, -1):
            for keep in (False, True):
                agree(
                    lambda x: ad.quantile(x, share, dim, keep, interpolation=interpolation),  # noqa: B023
                    lambda x: torch.quantile(x, tq.to(x.dtype), dim, keep, interpolation=interpolation),  # noqa: B023, E501
                    X,
                )  # fmt: skip
    smooth(lambda x: ad.quantile(x, 0.3, 1, interpolation=interpolation) ** 2, X)


def test_quantiles_with_nan() -> None:
    x = X.copy()
    x[0, 1, 2] = x[1, :, 0] = x[2, 0, 0] = np.nan
    for q in (0.5, [0.2, 0.9]):
        tq = torch.tensor(q, dtype=torch.float64)
        agree(lambda t: ad.quantile(t, q, 1), lambda t: torch.quantile(t, tq, 1), x, single=None)  # noqa: B023
        agree(
            lambda t: ad.nanquantile(t, q, 1), lambda t: torch.nanquantile(t, tq, 1), x, single=None  # noqa: B023
        )  # fmt: skip
    np.testing.assert_allclose(
        numbers(ad.nanquantile(ad.tensor(x), 0.4, axis=1, keepdims=True)),
        np.nanquantile(np.where(np.isnan(x).all(1, keepdims=True), 0, x), 0.4, 1, keepdims=True)
        + np.where(np.isnan(x).all(1, keepdims=True), np.nan, 0),
    )


def test_quantile_errors() -> None:
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        ad.quantile(ad.ones(3), 1.5)
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        ad.quantile(ad.ones(3), float("nan"))
    with pytest.raises(ArgumentError, match="did you mean 'linear'"):
        ad.quantile(ad.ones(3), 0.5, interpolation="liner")
    with pytest.raises(DTypeError, match="float"):
        ad.quantile(ad.tensor([1, 2]), 0.5)
    with pytest.raises(ShapeError, match="empty"):
        ad.quantile(ad.zeros(0), 0.5)


def test_mode() -> None:
    x = np.random.default_rng(0).integers(0, 4, (6, 9, 4))
    for dim in (0, 1, -1):
        got, want = ad.mode(ad.tensor(x), dim), torch.mode(torch.tensor(x), dim)
        np.testing.assert_array_equal(numbers(got.values), want.values)
        picked = np.take_along_axis(x, np.expand_dims(numbers(got.indices), dim), dim)
        np.testing.assert_array_equal(picked.squeeze(dim), want.values)
    assert ad.mode(ad.tensor([1.0, 2.0, 2.0])).indices.item() == 2
    assert ad.mode(ad.ones(2, 3), keepdim=True).values.shape == (2, 1)
    assert ad.mode(ad.tensor(4.0)).values.item() == 4


# --- scans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cumprod", "cummax", "cummin", "logcumsumexp", "diff"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_scans(name: str, dim: int) -> None:
    mine, theirs = getattr(ad, name), getattr(torch, name)
    agree(lambda x: mine(x, dim=dim), lambda x: theirs(x, dim=dim), X)
    maps(lambda x: mine(x, dim=dim % 3 - 1), X)
    if name not in ("cummax", "cummin"):
        smooth(lambda x: mine(x, dim=dim), X[:, :3])


def test_cumprod_with_zeros() -> None:
    x = floats(3, 6)
    x[0, 2] = x[1, 0] = x[1, 4] = 0
    agree(lambda t: ad.cumprod(t, 1), lambda t: torch.cumprod(t, 1), x)
    smooth(lambda t: ad.cumprod(t, 1), x)


def test_integer_scans_are_exact() -> None:
    x = np.random.default_rng(0).integers(-9, 9, (3, 40))
    for dtype in ("int64", "int32"):
        got = ad.cumprod(ad.tensor(x).to(dtype), 1)
        want = np.cumprod(x.astype(dtype), 1, dtype=np.int64)
        np.testing.assert_array_equal(numbers(got), want)
    want = torch.tensor(x).cummin(1)
    found = ad.cummin(ad.tensor(x), 1)
    np.testing.assert_array_equal(numbers(found.values), want.values)
    np.testing.assert_array_equal(numbers(found.indices), want.indices)
    flags = ad.tensor(x > 0)
    np.testing.assert_array_equal(
        numbers(ad.cummax(flags, axis=1)), np.maximum.accumulate(x > 0, 1)
    )
    np.testing.assert_array_equal(numbers(ad.diff(flags)), np.diff(x > 0))


def test_running_extremes_with_nan_and_ties() -> None:
    for data in (NAN, TIES[0].astype(float), np.zeros(5)):
        for name in ("cummax", "cummin"):
            got = getattr(ad, name)(ad.tensor(data))
            want = getattr(torch, name)(torch.tensor(data), 0)
            np.testing.assert_array_equal(numbers(got.values), want.values)
            np.testing.assert_array_equal(numbers(got.indices), want.indices)


def test_logcumsumexp_of_extremes() -> None:
    x = np.array([-np.inf, -np.inf, 1000.0, 0.0, 1001.0, -2000.0])
    agree(lambda t: ad.logcumsumexp(t, 0), lambda t: torch.logcumsumexp(t, 0), x[2:])
    np.testing.assert_array_equal(
        numbers(ad.logcumsumexp(ad.tensor(x))), np.logaddexp.accumulate(x)
    )
    y = ad.tensor(x, requires_grad=True)
    ad.logcumsumexp(y)[-1].backward()
    assert y.grad is not None and np.isfinite(numbers(y.grad)).all()
    with pytest.raises(DTypeError, match="float"):
        ad.logcumsumexp(ad.tensor([1]))


@pytest.mark.parametrize("name", ["running_product", "running_logsumexp", "running_argmax"])
def test_the_definition_of_a_scan_equals_its_fast_path(name: str) -> None:
    from adjoint.tensors.regions import REGIONS

    region = REGIONS[name]
    for shape, axis in (((7,), 0), ((3, 8, 2), 1), ((2, 0), 1), ((1,), 0)):
        x = floats(*shape)
        assert region.body is not None and region.kernel is not None
        body = region.body(constant(x), axis=axis)[0].array()
        np.testing.assert_allclose(body, region.kernel(x, axis=axis), rtol=1e-12)


def test_scan_edges() -> None:
    assert ad.cumprod(ad.tensor(2.0), 0).item() == 2
    assert ad.cummax(ad.tensor(2.0), 0).indices.item() == 0
    assert ad.cumprod(ad.zeros(0, 3), 0).shape == (0, 3)
    with pytest.raises(ArgumentError, match="needs dim"):
        ad.cumprod(ad.ones(2, 2))
    with pytest.raises(ArgumentError, match="needs dim"):
        ad.cummax(ad.ones(2, 2))
    np.testing.assert_array_equal(
        numbers(ad.cumprod(ad.tensor(floats(3, 4)[::-1, ::2]), axis=0)),
        np.cumprod(floats(3, 4)[::-1, ::2], axis=0),
    )


def test_diff_several_times() -> None:
    for n in range(6):
        np.testing.assert_allclose(numbers(ad.diff(ad.tensor(X), n, 0)), np.diff(X, n, 0))
    extra = ad.zeros(4, 1, 3, dtype=ad.float64)
    np.testing.assert_allclose(
        numbers(ad.diff(ad.tensor(X), axis=1, prepend=extra, append=extra)),
        np.diff(X, axis=1, prepend=0, append=0),
    )
    with pytest.raises(IndexingError):
        ad.diff(ad.tensor(1.0))


# --- sets and bins -------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [None, 0, 1, -1])
def test_unique(dim: int | None) -> None:
    x = np.random.default_rng(0).integers(0, 2, (5, 2, 3))
    got = ad.unique(ad.tensor(x), return_inverse=True, return_counts=True, dim=dim)
    want = torch.unique(torch.tensor(x), return_inverse=True, return_counts=True, dim=dim)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_array_equal(numbers(g), w)
    np.testing.assert_array_equal(numbers(ad.unique(ad.tensor(x), dim=dim)), want[0])
    got = ad.unique_consecutive(ad.tensor(x), return_inverse=True, return_counts=True, dim=dim)
    want = torch.unique_consecutive(
        torch.tensor(x), return_inverse=True, return_counts=True, dim=dim
    )
    for g, w in zip(got, want, strict=True):
        np.testing.assert_array_equal(numbers(g), w)


def test_unique_of_floats() -> None:
    assert ad.unique(ad.tensor(NAN)).shape == torch.unique(torch.tensor(NAN)).shape
    half = ad.tensor([2.0, 1.0, 2.0]).bfloat16()
    assert ad.unique(half).tolist() == [1, 2] and ad.unique(half).dtype is ad.bfloat16
    x = ad.tensor([2.0, 1.0, 2.0], requires_grad=True)
    (ad.unique(x) * ad.tensor([3.0, 5.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [5, 3, 0]
    assert ad.unique(ad.zeros(0)).shape == ad.unique_consecutive(ad.zeros(0)).shape == (0,)
    assert ad.unique(ad.tensor(3)).tolist() == [3]


@pytest.mark.parametrize("right", [False, True])
def test_searchsorted(right: bool) -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 7, 8, 9):
        sequence, values = np.sort(rng.integers(0, 6, n)), rng.integers(-1, 8, (3, 5))
        got = ad.searchsorted(ad.tensor(sequence), ad.tensor(values), right=right)
        want = torch.searchsorted(torch.tensor(sequence), torch.tensor(values), right=right)
        np.testing.assert_array_equal(numbers(got), want)
        got = ad.bucketize(ad.tensor(values), ad.tensor(sequence), right=right)
        np.testing.assert_array_equal(numbers(got), want)
    rows, many = np.sort(floats(4, 6), 1), floats(4, 3, seed=1)
    got = ad.searchsorted(ad.tensor(rows), ad.tensor(many), right=right)
    want = torch.searchsorted(torch.tensor(rows), torch.tensor(many), right=right)
    np.testing.assert_array_equal(numbers(got), want)
    each = ad.vmap(lambda s, v: ad.searchsorted(s, v, right=right))
    np.testing.assert_array_equal(numbers(each(ad.tensor(rows), ad.tensor(many))), want)
    assert ad.searchsorted(ad.tensor([1, 3]), 2).item() == 1
    assert ad.searchsorted(ad.tensor([1, 3]), 2.5, out_int32=True).dtype is ad.int32


@pytest.mark.parametrize("right", [False, True])
def test_recorded_search_equals_numpy(right: bool) -> None:
    from adjoint.tensors.sets import search

    for n in (0, 1, 3, 8):
        sequence = np.sort(np.append(floats(n), [np.nan] * (n > 1)))
        values = np.concatenate((NAN, sequence, floats(4, seed=2)))
        types = [Type(a.shape, ad.float64) for a in (sequence, values)]
        assert search.body is not None
        graph = record(lambda s, v: search.body(s, v, right=right), types)  # type: ignore[misc]
        got = interpret(graph, [constant(sequence), constant(values)])[0].array()
        side: Any = "right" if right else "left"
        np.testing.assert_array_equal(got, np.searchsorted(sequence, values, side))


def test_search_options_and_errors() -> None:
    x = ad.tensor([3, 1, 2])
    assert ad.searchsorted(x, ad.tensor([2]), sorter=x.argsort(), side="right").item() == 2
    with pytest.raises(ArgumentError, match="side"):
        ad.searchsorted(x, x, side="middle")
    with pytest.raises(ShapeError, match="leading axes"):
        ad.searchsorted(ad.ones(2, 3), ad.ones(3, 3))
    with pytest.raises(ShapeError, match="1-D"):
        ad.bucketize(ad.ones(2), ad.ones(2, 2))


def test_bincount_and_histc() -> None:
    x = np.array([1, 4, 1, 0])
    assert ad.bincount(ad.tensor(x)).tolist() == np.bincount(x).tolist()
    assert ad.bincount(ad.tensor(x), minlength=7).tolist() == np.bincount(x, minlength=7).tolist()
    w = floats(4)
    agree(
        lambda t: ad.bincount(ad.tensor(x), t, 6),
        lambda t: torch.bincount(torch.tensor(x), t, 6), w, gradient=False, single=None,
    )  # fmt: skip
    smooth(lambda t: ad.bincount(ad.tensor(x), t), w)
    assert ad.bincount(ad.tensor([], dtype=ad.int64)).shape == (0,)
    with pytest.raises(ArgumentError, match="negative"):
        ad.bincount(ad.tensor([-1]))
    with pytest.raises(ShapeError, match="1-D integer"):
        ad.bincount(ad.tensor([1.0]))
    data = floats(100)
    for args in ((10,), (5, -1.0, 1.0), (7, 0.0, 0.0)):
        agree(
            lambda t: ad.histc(t, *args), lambda t: torch.histc(t, *args), data, gradient=False  # noqa: B023
        )  # fmt: skip
    assert ad.histc(ad.tensor([1.0, 1.0]), 2).tolist() == torch.histc(torch.ones(2), 2).tolist()
    with pytest.raises(ArgumentError, match="bins > 0"):
        ad.histc(ad.tensor(data), 0)


def test_isin_and_places() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 6):
        a, b = rng.integers(0, 9, (4, 3)), rng.integers(0, 9, n)
        for invert in (False, True):
            got = ad.isin(ad.tensor(a), ad.tensor(b), invert=invert)
            np.testing.assert_array_equal(numbers(got), np.isin(a, b, invert=invert))
    assert ad.isin(ad.tensor(NAN), ad.tensor([np.nan, 2.0])).tolist() == [True] + [False] * 6
    assert ad.isin(ad.tensor([1, 2]), 2).tolist() == [False, True]
    x = np.array([[0, 1], [2, 0]])
    assert ad.flatnonzero(ad.tensor(x)).tolist() == [1, 2]
    assert ad.argwhere(ad.tensor(x)).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("name", ["sort", "topk", "median", "unique", "cummax"])
def test_methods_are_the_functions(name: str) -> None:
    x = ad.tensor(floats(6))
    arguments = {"topk": (2,), "cummax": (0,)}.get(name, ())
    got, want = getattr(x, name)(*arguments), getattr(ad, name)(x, *arguments)
    got, want = (v if isinstance(v, tuple) else (v,) for v in (got, want))
    for g, w in zip(got, want, strict=True):
        np.testing.assert_array_equal(numbers(g), numbers(w))

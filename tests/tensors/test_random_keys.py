"""Explicit keys: derived keys, keyed distributions, recorded and mapped over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import adjoint as ad
from adjoint.base import errors
from adjoint.ir.graph import record
from adjoint.ir.interpret import interpret
from adjoint.ir.node import Type, constant, state
from adjoint.tensors.generator import Generator
from adjoint.tensors.handle import wrap
from adjoint.tensors.regions import REGIONS

COUNT = 20_000
FLOATS = [ad.float64, ad.float32, ad.float16, ad.bfloat16]


def wide(x: Any) -> np.ndarray[Any, Any]:
    return x.double().numpy().reshape(-1)


def test_keys() -> None:
    assert ad.random.key(2**33 + 5).tolist() == [5, 2]
    assert ad.random.key(-1).tolist() == [0xFFFFFFFF, 0xFFFFFFFF]
    keys = ad.random.split(ad.random.key(0), 500).numpy()
    more = [ad.random.fold_in(ad.random.key(0), i).numpy() for i in range(500)]
    streams = np.concatenate([keys, more, ad.random.bits(ad.random.key(0), (500, 2)).numpy()])
    assert len({tuple(k) for k in streams.tolist()}) == 1500
    assert ad.random.split(ad.random.key(0), (2, 3)).shape == (2, 3, 2)


@pytest.mark.parametrize("data", [0, 1, 2**31, 2**40 + 3])
def test_fold_in_takes_numbers_and_tensors_alike(data: int) -> None:
    key = ad.random.key(9)
    expected = ad.random.fold_in(key, data).tolist()
    assert ad.random.fold_in(key, ad.tensor(data)).tolist() == expected
    step = ad.tensor([data, data])
    mapped = ad.vmap(lambda d: ad.random.fold_in(key, d))(step)
    assert mapped.tolist() == [expected, expected]


def test_keyed_distributions() -> None:
    keys = iter(ad.random.split(ad.random.key(4), 9))
    u = wide(ad.random.uniform(next(keys), (COUNT,), minval=2.0, maxval=4.0))
    assert stats.kstest(u, "uniform", (2, 2)).pvalue > 0.01
    assert stats.kstest(wide(ad.random.normal(next(keys), (COUNT,))), "norm").pvalue > 0.01
    assert stats.kstest(wide(ad.random.exponential(next(keys), (COUNT,))), "expon").pvalue > 0.01
    cut = wide(ad.random.truncated_normal(next(keys), -1.0, 2.0, (COUNT,)))
    assert stats.kstest(cut, stats.truncnorm(-1, 2).cdf).pvalue > 0.01
    hits = ad.random.bernoulli(next(keys), 0.2, (COUNT,))
    assert hits.dtype is ad.bool
    assert stats.binomtest(int(wide(hits).sum()), COUNT, 0.2).pvalue > 0.01
    counts = np.bincount(ad.random.randint(next(keys), (COUNT,), 0, 7).numpy())
    assert stats.chisquare(counts).pvalue > 0.01
    x = ad.arange(12).reshape(6, 2)
    shuffled = ad.random.permutation(next(keys), x)
    assert sorted(shuffled.tolist()) == x.tolist()
    assert sorted(ad.random.permutation(next(keys), 5).tolist()) == [0, 1, 2, 3, 4]


def test_categorical() -> None:
    logits = np.array([[0.0, 1.0, -np.inf], [2.0, 0.0, 0.0]])
    key = ad.random.key(8)
    found = ad.random.categorical(key, ad.tensor(logits), shape=(COUNT, 2)).numpy()
    for row, chances in zip(found.T, np.exp(logits), strict=True):
        counts = np.bincount(row, minlength=3)
        assert (counts[chances == 0] == 0).all()
        live = chances > 0
        expected = chances[live] / chances.sum() * COUNT
        assert stats.chisquare(counts[live], expected).pvalue > 0.01
    assert ad.random.categorical(key, ad.zeros(5)).shape == ()
    assert ad.random.categorical(key, ad.zeros(5, 4), axis=0).shape == (4,)


# --- recorded and mapped ---


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", ["uniform", "normal", "exponential"])
def test_vmap_over_keys_is_the_loop(name: str, dtype: Any) -> None:
    draw: Callable[..., Any] = getattr(ad.random, name)
    keys = ad.random.split(ad.random.key(2), 4)
    mapped = ad.vmap(lambda k: draw(k, (3, 5), dtype))(keys)
    looped = np.stack([draw(k, (3, 5), dtype).numpy() for k in keys])
    np.testing.assert_array_equal(mapped.numpy(), looped)


def test_vmap_of_the_other_distributions_is_the_loop() -> None:
    keys = ad.random.split(ad.random.key(2), 4)
    cases: list[Callable[[Any], Any]] = [
        lambda k: ad.random.randint(k, (5,), -3, 9),
        lambda k: ad.random.permutation(k, 6),
        lambda k: ad.random.categorical(k, ad.tensor([0.0, 1.0, 2.0])),
        lambda k: ad.random.bernoulli(k, 0.5, (6,)),
        lambda k: ad.random.split(k, 3),
    ]
    for f in cases:
        looped = np.stack([f(k).numpy() for k in keys])
        np.testing.assert_array_equal(ad.vmap(f)(keys).numpy(), looped)


def test_the_kernels_agree_with_the_bodies_they_stand_for() -> None:
    words = ad.random.bits(ad.random.key(0), (2, 9, 2)).node
    cases: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        *(("uniform", (words,), {"dtype": d}) for d in FLOATS),
        ("normal", (words,), {"shape": (17,), "dtype": ad.float64}),
        ("normal", (constant(words.array()[..., 0]),), {"shape": (3, 6), "dtype": ad.float32}),
    ]
    sums = np.cumsum([[0.0, 1.0, 0.0, 3.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0]], axis=1)
    u = np.array([[0.0, 0.25, 0.2499, 0.9999, 1 - 2.0**-53]] * 2)
    cases.append(("chosen", (constant(sums), constant(u)), {}))
    for name, args, static in cases:
        region = REGIONS[name]
        kernel = region.kernel(*(a.array() for a in args), **static)
        body = region.body(*args, **static)[0].array()
        np.testing.assert_array_equal(kernel, body, err_msg=name)


def test_drawing_records() -> None:
    def function(key: Any) -> list[Any]:
        return [ad.random.normal(wrap(key), (3,)).node]

    graph = record(function, [Type((2,), ad.uint32)])
    assert "random_bits" in str(graph)
    key = ad.random.key(5)
    replayed = interpret(graph, [key.node])[0].array()
    np.testing.assert_array_equal(replayed, ad.random.normal(key, (3,)).numpy())


def test_randomness_inside_vmap() -> None:
    x = ad.zeros(4, 3)
    different = ad.vmap(lambda v: v + ad.rand(3), randomness="different")(x).numpy()
    assert len({tuple(r) for r in different.tolist()}) == 4
    same = ad.vmap(lambda v: v + ad.rand(3), randomness="same")(x).numpy()
    assert len({tuple(r) for r in same.tolist()}) == 1
    with pytest.raises(errors.AdjointError, match="random"):
        ad.vmap(lambda v: v + ad.rand(3))(x)


def test_the_last_source_of_keys_on_the_stack_wins() -> None:
    key = ad.random.key(1)
    g = Generator().manual_seed(0)
    before = g.get_state().tolist()
    state.random = (lambda: ad.random.key(0).node, lambda: key.node)
    try:
        found = ad.rand(3, generator=g)
    finally:
        state.random = ()
    np.testing.assert_array_equal(found.numpy(), ad.random.uniform(key, (3,)).numpy())
    assert g.get_state().tolist() == before

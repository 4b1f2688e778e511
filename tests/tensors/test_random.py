"""Random tensors: known answers, distributions against scipy, seeds and state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import adjoint as ad
from adjoint.base import errors
from adjoint.ops.source import philox
from adjoint.tensors.generator import Generator, philox4

COUNT = 20_000
FLOATS = [ad.float64, ad.float32, ad.float16, ad.bfloat16]

# Random123 1.14, tests/kat_vectors, philox4x32 with 10 rounds: counter, key, words
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]  # fmt: skip


@pytest.fixture
def generator() -> Generator:
    return Generator().manual_seed(7)


def wide(x: Any) -> np.ndarray[Any, Any]:
    return x.double().numpy().reshape(-1)


# --- bits ---


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_known_answers(counter: Any, key: Any, words: Any) -> None:
    assert philox4(counter, *key) == words


@pytest.mark.parametrize("key", [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0xA4093822, 0x299F31D0)])
@pytest.mark.parametrize("first", [0, 2**32 - 3, 2**63])
def test_philox_arrays_are_the_same_function(first: int, key: tuple[int, int]) -> None:
    out = np.empty(4 * 9, np.uint32)
    philox(out, first, *key)
    for i, row in enumerate(out.reshape(-1, 4)):
        counter = first + i
        expected = philox4((counter & 0xFFFFFFFF, counter >> 32, 0, 0), *key)
        assert tuple(row.tolist()) == expected


def test_words_do_not_depend_on_the_block_or_the_shape() -> None:
    key = ad.random.key(3)
    many = ad.random.bits(key, (4 * (1 << 14) + 6,)).numpy()
    few = ad.random.bits(key, (5, 7)).numpy()
    np.testing.assert_array_equal(many[:35].reshape(5, 7), few)
    last = (1 << 14) + 1
    assert tuple(many[-2:].tolist()) == philox4((last, 0, 0, 0), 3, 0)[:2]


def test_every_bit_is_a_fair_coin() -> None:
    words = ad.random.bits(ad.random.key(1), (COUNT,)).numpy()
    ones = ((words[:, None] >> np.arange(32, dtype=np.uint32)) & 1).sum(0)
    assert stats.binomtest(int(ones.sum()), 32 * COUNT).pvalue > 1e-4
    assert min(stats.binomtest(int(n), COUNT).pvalue for n in ones) > 1e-5


# --- distributions ---


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rand_is_uniform_and_below_one(dtype: Any, generator: Generator) -> None:
    x = ad.rand(COUNT, generator=generator, dtype=dtype)
    values = wide(x)
    assert x.dtype is dtype
    assert values.min() >= 0
    assert values.max() < 1
    if dtype.bits >= 32:
        assert stats.kstest(values, "uniform").pvalue > 0.01
    digits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[dtype.name]
    scaled = values * 2.0**digits
    np.testing.assert_array_equal(scaled, np.floor(scaled))
    assert (scaled % 2 == 1).mean() == pytest.approx(0.5, abs=0.02)  # the last digit is used
    assert abs(values.mean() + 2.0 ** (-digits - 1) - 0.5) < 4 * (1 / 12 / COUNT) ** 0.5


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_randn_is_normal(dtype: Any, generator: Generator) -> None:
    x = ad.randn(COUNT, generator=generator, dtype=dtype)
    values = wide(x)
    assert x.dtype is dtype
    assert np.isfinite(values).all()
    if dtype.bits >= 32:
        assert stats.kstest(values, "norm").pvalue > 0.01
    assert abs(values.mean()) < 4 / COUNT**0.5
    assert abs(values.var() - 1) < 4 * (2 / COUNT) ** 0.5
    assert abs(stats.skew(values)) < 4 * (6 / COUNT) ** 0.5
    assert abs(stats.kurtosis(values)) < 4 * (24 / COUNT) ** 0.5


def test_the_pairs_of_randn_are_independent(generator: Generator) -> None:
    first, second = ad.randn(2, COUNT, generator=generator, dtype=ad.float64).numpy()
    for f in (np.abs, np.sign, np.square):
        assert abs(np.corrcoef(f(first), f(second))[0, 1]) < 4 / COUNT**0.5


def test_uniform_normal_exponential_with_parameters(generator: Generator) -> None:
    u = wide(ad.uniform(-3.0, 5.0, (COUNT,), generator=generator))
    assert stats.kstest(u, "uniform", (-3, 8)).pvalue > 0.01
    n = wide(ad.normal(2.0, 3.0, (COUNT,), generator=generator))
    assert stats.kstest(n, "norm", (2, 3)).pvalue > 0.01
    e = wide(ad.exponential(0.5, (COUNT,), generator=generator))
    assert e.min() >= 0
    assert stats.kstest(e, "expon", (0, 2)).pvalue > 0.01


@pytest.mark.parametrize("limits", [(-2.0, 2.0), (-0.5, 3.0), (2.0, 4.0), (-float("inf"), 1.0)])
def test_truncated_normal(limits: tuple[float, float], generator: Generator) -> None:
    x = ad.truncated_normal(a=limits[0], b=limits[1], size=(COUNT,), generator=generator)
    assert stats.kstest(wide(x), stats.truncnorm(*limits).cdf).pvalue > 0.01
    assert wide(x).min() >= limits[0]
    assert wide(x).max() <= limits[1]
    y = wide(ad.truncated_normal(5.0, 2.0, 1.0, 6.0, (COUNT,), generator=generator))
    assert stats.kstest(y, stats.truncnorm(-2, 0.5, 5, 2).cdf).pvalue > 0.01


def test_uniform_stays_below_its_end_where_rounding_would_reach_it(generator: Generator) -> None:
    x = ad.uniform(1e6, 1e6 + 0.25, (COUNT,), generator=generator)
    assert set(x.numpy().tolist()) <= {1e6, 1e6 + 0.0625, 1e6 + 0.125, 1e6 + 0.1875}


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 10, ad.int64), (-5, 6, ad.int32), (0, 256, ad.uint8), (-128, 128, ad.int8),
     (-(2**63), 2**63, ad.int64), (0, 2**64, ad.uint64), (-3, 4, ad.float32), (0, 2, ad.bool)],
)  # fmt: skip
def test_randint_is_uniform(low: int, high: int, dtype: Any, generator: Generator) -> None:
    x = ad.randint(low, high, (COUNT,), generator=generator, dtype=dtype)
    assert x.dtype is dtype
    values = [int(v) for v in x.tolist()]
    assert min(values) >= low
    assert max(values) < high
    cells = min(high - low, 16)
    counts = np.bincount([(v - low) * cells // (high - low) for v in values], minlength=cells)
    edges = [-(-i * (high - low) // cells) for i in range(cells + 1)]
    expected = np.diff(np.array(edges, dtype=object)).astype(float) / (high - low) * COUNT
    assert stats.chisquare(counts, expected).pvalue > 0.005


def test_randperm_is_a_permutation_and_all_orders_are_likely() -> None:
    g = Generator().manual_seed(0)
    for n in (0, 1, 2, 1000):
        np.testing.assert_array_equal(np.sort(ad.randperm(n, generator=g).numpy()), np.arange(n))
    orders = [tuple(ad.randperm(3, generator=g).tolist()) for _ in range(1200)]
    _, counts = np.unique(np.array(orders), axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("rate", [0.1, 3.0, 40.0])
def test_poisson(rate: float, generator: Generator) -> None:
    found = wide(ad.poisson(ad.full((3000,), rate), generator))
    low, top = (int(stats.poisson.ppf(q, rate)) for q in (0.001, 0.999))
    counts = np.bincount(np.clip(found, low, top).astype(int) - low, minlength=top - low + 1)
    edges = np.concatenate(([0.0], stats.poisson.cdf(np.arange(low, top), rate), [1.0]))
    assert stats.chisquare(counts, np.diff(edges) * len(found)).pvalue > 0.01
    assert (wide(ad.poisson(ad.zeros(9), generator)) == 0).all()


@pytest.mark.parametrize("dtype", [*FLOATS, ad.int64, ad.bool], ids=str)
def test_bernoulli(dtype: Any, generator: Generator) -> None:
    x = ad.zeros(COUNT, dtype=dtype)
    x.bernoulli_(0.3, generator=generator)
    hits = float(wide(x).sum())
    assert set(wide(x)) == {0.0, 1.0}
    assert stats.binomtest(int(hits), COUNT, 0.3).pvalue > 0.001
    p = ad.tensor([0.0, 1.0] * 1000)
    np.testing.assert_array_equal(ad.bernoulli(p, generator=generator).numpy(), p.numpy())


@pytest.mark.parametrize("weights", [[1.0, 2.0, 0.0, 5.0], [0.0, 3.0, 1.0, 0.0]])
def test_multinomial_with_replacement(weights: list[float], generator: Generator) -> None:
    rows = ad.tensor([weights, weights[::-1]])
    found = ad.multinomial(rows, COUNT, replacement=True, generator=generator).numpy()
    assert found.shape == (2, COUNT)
    for row, w in zip(found, rows.numpy(), strict=True):
        counts = np.bincount(row, minlength=4)
        assert (counts[w == 0] == 0).all()
        expected = w[w > 0] / w.sum() * COUNT
        assert stats.chisquare(counts[w > 0], expected).pvalue > 0.01


def test_multinomial_without_replacement(generator: Generator) -> None:
    weights = np.array([1.0, 2.0, 0.0, 5.0])
    rows = ad.tensor(np.tile(weights, (COUNT, 1)))
    found = ad.multinomial(rows, 2, generator=generator).numpy()
    assert (found[:, 0] != found[:, 1]).all()
    assert not (found == 2).any()
    p = weights / weights.sum()
    for first in (0, 1, 3):
        for second in {0, 1, 3} - {first}:
            chance = p[first] * p[second] / (1 - p[first])
            hits = int(((found[:, 0] == first) & (found[:, 1] == second)).sum())
            assert stats.binomtest(hits, COUNT, chance).pvalue > 0.001
    assert sorted(ad.multinomial(ad.ones(5), 5, generator=generator).tolist()) == [0, 1, 2, 3, 4]


def test_random_fills_the_range_of_the_dtype(generator: Generator) -> None:
    bytes_ = ad.zeros(COUNT, dtype=ad.uint8)
    bytes_.random_(generator=generator)
    assert len(set(bytes_.tolist())) == 256
    x = ad.zeros(COUNT).random_(3, generator=generator)
    assert set(x.tolist()) == {0.0, 1.0, 2.0}
    assert set(ad.zeros(COUNT).random_(-2, 1, generator=generator).tolist()) == {-2.0, -1.0, 0.0}


# --- seeds and state ---


@pytest.mark.feature("T40")
def test_the_same_seed_gives_the_same_run_bit_for_bit() -> None:
    def run() -> list[bytes]:
        ad.manual_seed(11)
        x = ad.zeros(7)
        x.normal_()
        draws = [ad.rand(3, 2), ad.randn(5, dtype=ad.float64), ad.randperm(9), x, ad.rand(())]
        return [d.numpy().tobytes() for d in draws]

    assert run() == run()


@pytest.mark.feature("T40")
def test_a_saved_state_continues_bit_for_bit() -> None:
    ad.manual_seed(5)
    ad.rand(3)
    saved = ad.get_rng_state()
    expected = [ad.randn(4).numpy() for _ in range(3)]
    ad.manual_seed(6)
    ad.set_rng_state(saved)
    for values in expected:
        np.testing.assert_array_equal(ad.randn(4).numpy(), values)
    other = Generator()
    other.set_state(saved.numpy())
    np.testing.assert_array_equal(ad.randn(4, generator=other).numpy(), expected[0])


def test_the_state_holds_large_seeds_and_offsets() -> None:
    g = Generator().manual_seed(-1)
    assert g.initial_seed() == 2**64 - 1
    g.set_state(np.array([1, 2, 0xFFFFFFFF, 0xFFFFFFFF], np.uint32))
    assert g.initial_seed() == 1 + 2 * 2**32
    before = g.next_key().array().tolist()
    assert g.get_state().tolist() == [1, 2, 0, 0]
    g.set_state(np.array([1, 2, 0, 0], np.uint32))
    assert g.next_key().array().tolist() != before


def test_generators_are_independent_of_each_other_and_of_the_default_one() -> None:
    ad.manual_seed(1)
    expected = ad.rand(4).numpy()
    ad.manual_seed(1)
    a, b = Generator().manual_seed(1), Generator().manual_seed(2)
    first = ad.rand(4, generator=a).numpy()
    np.testing.assert_array_equal(ad.rand(4).numpy(), expected)
    np.testing.assert_array_equal(first, expected)
    assert (ad.rand(4, generator=b).numpy() != first).any()


def test_seeding() -> None:
    assert ad.manual_seed(3) is ad.default_generator
    assert ad.initial_seed() == 3
    found = {ad.seed() for _ in range(4)}
    assert len(found) == 4
    assert ad.initial_seed() in found
    assert Generator().initial_seed() == 67280421310721  # as in PyTorch
    assert str(Generator().device) == "cpu"


def test_successive_keys_are_different_and_their_streams_uncorrelated() -> None:
    g = Generator().manual_seed(0)
    keys = np.array([g.next_key().array() for _ in range(2000)])
    assert len({tuple(k) for k in keys.tolist()}) == 2000
    for word in keys.T:
        assert stats.kstest(word / 2.0**32, "uniform").pvalue > 0.01
    rows = np.array([ad.randn(500, generator=g, dtype=ad.float64).numpy() for _ in range(40)])
    between = np.corrcoef(rows)[np.triu_indices(40, 1)] * 500**0.5
    assert stats.kstest(between, "norm").pvalue > 0.01


def test_neighbouring_seeds_give_unrelated_numbers() -> None:
    rows = np.array([ad.randn(500, generator=Generator().manual_seed(s)).numpy() for s in range(9)])
    assert np.abs(np.corrcoef(rows)[np.triu_indices(9, 1)]).max() < 5 / 500**0.5


# --- shapes, dtypes, devices ---


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 0, 3), (2, 3, 5), (1, 1)])
def test_shapes(shape: tuple[int, ...]) -> None:
    like = ad.zeros(shape)
    made = [
        ad.rand(shape), ad.randn(*shape) if shape else ad.randn(()), ad.rand(list(shape)),
        ad.randn(shape, dtype=ad.float64), ad.rand_like(like), ad.randn_like(like),
        ad.randint(5, shape), ad.randint_like(like, 5), ad.normal(0, 1, shape),
        ad.uniform(0, 1, shape), ad.exponential(1.0, shape), ad.bernoulli(like),
        ad.zeros(shape).normal_(), ad.zeros(shape).uniform_(), ad.zeros(shape).random_(),
        ad.random.uniform(ad.random.key(0), shape), ad.random.normal(ad.random.key(0), shape),
    ]  # fmt: skip
    assert {x.shape for x in made} == {shape}


def test_like_functions_take_dtype_and_device_from_the_tensor() -> None:
    assert ad.rand_like(ad.zeros(2, dtype=ad.float64)).dtype is ad.float64
    assert ad.randn_like(ad.zeros(2), dtype=ad.float16).dtype is ad.float16
    assert ad.randint_like(ad.zeros(2, dtype=ad.int16), 3).dtype is ad.int16
    meta = ad.zeros(2, 3, device="meta")
    for made in (ad.rand_like(meta), ad.randn_like(meta), ad.rand(2, 3, device="meta")):
        assert str(made.device) == "meta"
        assert made.shape == (2, 3)


def test_parameters_that_are_tensors_broadcast_and_get_gradients() -> None:
    mean = ad.zeros(3, 1, requires_grad=True)
    std = ad.ones(4, requires_grad=True)
    g = Generator().manual_seed(0)
    x = ad.normal(mean, std, generator=g)
    assert x.shape == (3, 4)
    x.sum().backward()
    noise = ad.normal(0, 1, (3, 4), generator=Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(mean.grad.numpy(), np.full((3, 1), 4.0))
    np.testing.assert_allclose(std.grad.numpy(), noise.sum(0), rtol=1e-6)


def test_requires_grad_makes_a_leaf() -> None:
    x = ad.rand(3, requires_grad=True)
    assert x.requires_grad
    assert x.is_leaf


def test_filling_changes_the_base_of_a_view() -> None:
    x = ad.zeros(4, 3)
    x[1].uniform_(1, 2)
    np.testing.assert_array_equal((x.numpy() > 0).all(1), [False, True, False, False])


# --- mistakes ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ad.rand(3, dtype=ad.int64), "rand: got int64, needs a float dtype"),
        (lambda: ad.rand(-1), "negative"),
        (lambda: ad.rand(2**50), "more than can be allocated"),
        (lambda: ad.rand(2.5), "size must be an integer"),
        (lambda: ad.rand(3, generator=3), "needs an adjoint.Generator"),
        (lambda: ad.randint(3, 3, (2,)), "range from 3 to 3 is empty"),
        (lambda: ad.randint(0, 300, (2,), dtype=ad.uint8), "do not fit into uint8"),
        (lambda: ad.randint(3), "size is missing"),
        (lambda: ad.randint(0.5, 3, (2,)), "needs integers"),
        (lambda: ad.normal(0.0, -1.0, (2,)), "std must not be negative, got -1"),
        (lambda: ad.normal(0.0, ad.tensor([1.0, np.nan])), "std must not be negative, got nan"),
        (lambda: ad.truncated_normal(0.0, 1.0, 9.0, 10.0), "holds almost nothing"),
        (lambda: ad.truncated_normal(0.0, 0.0), "holds almost nothing"),
        (lambda: ad.exponential(0.0, (2,)), "rate must be positive"),
        (lambda: ad.uniform(1.0, 0.0, (2,)), "high - low must not be negative"),
        (lambda: ad.bernoulli(ad.tensor([0.5, 1.5])), r"p must be in \[0, 1\], got 1.5"),
        (lambda: ad.bernoulli(ad.tensor([1, 0])), "needs probabilities of a float dtype"),
        (lambda: ad.poisson(ad.tensor([-1.0])), r"rate must be in \[0, 1e5\], got -1"),
        (lambda: ad.multinomial(ad.ones(3), 4), "cannot draw 4 of 3"),
        (lambda: ad.multinomial(ad.tensor([1.0, -1.0]), 1), "not negative"),
        (lambda: ad.multinomial(ad.tensor([1.0, 0.0]), 2), "1 positive weights"),
        (lambda: ad.multinomial(ad.zeros(2), 1, True), "0 positive weights"),
        (lambda: ad.multinomial(ad.ones(1, 1, 1), 1), "one row or a matrix"),
        (lambda: ad.manual_seed("a"), "needs an integer"),
        (lambda: ad.manual_seed(2**64), "64 bits"),
        (lambda: ad.set_rng_state(ad.zeros(4)), "get_state"),
        (lambda: ad.set_rng_state(None), "get_state"),
        (lambda: ad.random.uniform(3, (2,)), "adjoint.random.key"),
        (lambda: ad.random.uniform(ad.zeros(2), (2,)), "adjoint.random.key"),
        (lambda: ad.zeros(3, dtype=ad.int64).normal_(), "needs a float tensor"),
        (lambda: ad.zeros(3, requires_grad=True).normal_(), "in-place change of a leaf"),
    ],
)
def test_mistakes_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(errors.AdjointError, match=message):
        call()

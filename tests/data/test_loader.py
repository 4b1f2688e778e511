from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from adjoint.data import DataLoader, Dataset, Subset, TensorDataset, collate
from adjoint.tensors.creation import from_numpy
from adjoint.tensors.tensor import Tensor


class Pairs(Dataset[tuple[float, np.ndarray]]):
    def __getitem__(self, index: int) -> tuple[float, np.ndarray]:
        return index / 2, np.full(3, index, np.int32)

    def __len__(self) -> int:
        return 5


class Point(NamedTuple):
    x: float
    y: float


def epoch(loader: DataLoader) -> list[list[int]]:
    return [batch[0].numpy().tolist() for batch in loader]


def numbers(count: int) -> TensorDataset:
    return TensorDataset(np.arange(count))


@given(count=st.integers(0, 20), size=st.integers(1, 8), shuffle=st.booleans(), drop=st.booleans())
def test_each_sample_once(count: int, size: int, shuffle: bool, drop: bool) -> None:
    loader = DataLoader(numbers(count), size, shuffle, drop, seed=1)
    batches = epoch(loader)
    assert len(batches) == len(loader)
    assert all(len(batch) == size for batch in batches[:-1])
    seen = [number for batch in batches for number in batch]
    assert len(set(seen)) == len(seen) == (count - count % size if drop else count)
    expected = torch.utils.data.DataLoader(range(count), size, drop_last=drop)
    assert [len(batch) for batch in batches] == [len(batch) for batch in expected]
    if not shuffle:
        assert batches == [batch.tolist() for batch in expected]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    loader, again, other = (
        DataLoader(numbers(50), 7, shuffle=True, seed=seed) for seed in (5, 5, 6)
    )
    first, second = epoch(loader), epoch(loader)
    assert first != second
    assert [epoch(again), epoch(again)] == [first, second]
    assert epoch(other) != first
    again.epoch = 1
    assert epoch(again) == second


def test_a_half_read_epoch_disturbs_nothing() -> None:
    loader = DataLoader(numbers(10), 2, shuffle=True)
    half = iter(loader)
    next(half)
    whole = epoch(loader)
    loader.epoch = 1
    assert epoch(loader) == whole


def test_the_seed_of_a_generator() -> None:
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(numbers(9), 9, shuffle=True, generator=generator)
    assert epoch(loader) == epoch(DataLoader(numbers(9), 9, shuffle=True, seed=5))


def test_both_ways_of_reading_give_the_same() -> None:
    data = TensorDataset(np.random.default_rng(0).random((9, 2), np.float32), np.arange(9))
    fast = DataLoader(Subset(data, [8, 1, 4, 5, 0]), 2, shuffle=True, seed=3)
    slow = DataLoader([data[i] for i in (8, 1, 4, 5, 0)], 2, shuffle=True, seed=3)
    for left, right in zip(fast, slow, strict=True):
        for a, b in zip(left, right, strict=True):
            assert isinstance(a, Tensor)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_batches_do_not_share_memory_with_the_data() -> None:
    array = np.zeros((4, 2), np.float32)
    (batch,) = next(iter(DataLoader(TensorDataset(array), 4)))
    array[:] = 1
    assert not batch.numpy().any()


def test_own_datasets_are_collated() -> None:
    halves, rows = list(DataLoader(Pairs(), 3))[1]
    np.testing.assert_array_equal(halves.numpy(), np.array([1.5, 2], np.float32), strict=True)
    np.testing.assert_array_equal(rows.numpy(), np.array([[3] * 3, [4] * 3], np.int32), strict=True)


def test_an_own_collate_function() -> None:
    loader = DataLoader(["a", "bb", "ccc"], 2, collate_fn="".join)
    assert list(loader) == ["abb", "ccc"]


@pytest.mark.parametrize("size", [0, -1, 2.0, True, None])
def test_wrong_batch_sizes(size: int) -> None:
    with pytest.raises(ArgumentError, match="batch_size must be 1 or more"):
        DataLoader(numbers(3), size)


def test_two_seeds() -> None:
    with pytest.raises(ArgumentError, match="not both"):
        DataLoader(numbers(3), generator=torch.Generator(), seed=1)


@pytest.mark.parametrize(
    ("samples", "dtype"),
    [
        ([1.5, 2.5], np.float32),
        ([np.float64(1.5), np.float64(2.5)], np.float64),
        ([1, 2], np.int64),
        ([True, False], np.bool_),
        ([np.zeros((2, 3), np.float16)] * 2, np.float16),
    ],
)
def test_numbers_and_arrays_are_stacked(samples: list, dtype: type) -> None:
    batch = collate(samples)
    assert isinstance(batch, Tensor)
    np.testing.assert_array_equal(batch.numpy(), np.array(samples, dtype), strict=True)


def test_nested_samples_keep_their_form() -> None:
    samples = [
        {"name": n, "at": Point(i, i + 0.5), "x": [from_numpy(np.ones(2))]}
        for i, n in [(1, "a"), (2, "b")]
    ]
    batch = collate(samples)
    assert batch["name"] == ["a", "b"]
    assert isinstance(batch["at"], Point)
    assert batch["at"].y.numpy().tolist() == [1.5, 2.5]
    assert batch["x"][0].shape == (2, 2)


def test_samples_of_different_shapes() -> None:
    with pytest.raises(ShapeError, match=r"int64\[2\] and int64\[3\]"):
        collate([np.arange(2), np.arange(3)])


def test_samples_of_unknown_type() -> None:
    with pytest.raises(DTypeError, match="collate_fn"):
        collate([object()])

"""Random samples are the same for any number of workers and after a restart, new in each epoch."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest

from adjoint.base.errors import ArgumentError
from adjoint.data import DataLoader, TensorDataset
from adjoint.data.order import sample_generator


class Noisy:
    """Noise for each sample, as an augmentation draws it."""

    def __init__(self, count: int = 23) -> None:
        self.count = count
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("sample is to be used")

    def sample(self, index: int, rng: np.random.Generator) -> Any:
        self.threads.add(threading.current_thread().name)
        if index == 99:
            raise KeyError("a broken sample")
        return index, rng.normal(size=3)


def stream(workers: int, epochs: int = 2, first: int = 0, **options: Any) -> list[Any]:
    data = Noisy()
    loader = DataLoader(data, 4, shuffle=True, seed=5, num_workers=workers, **options)
    loader.epoch = first
    found = [[x.tolist() for x in batch] for _ in range(epochs) for batch in loader]
    assert all("adjoint-loader" in n for n in data.threads) == (workers > 0)
    return found


def test_the_stream_does_not_depend_on_the_workers() -> None:
    alone = stream(0)
    assert len(alone) == 12
    for workers in (1, 2, 4):
        assert stream(workers) == alone
    assert stream(2, 1, first=1) == alone[6:]  # after a restart
    noise = [tuple(row) for batch in alone for row in batch[1]]
    assert len(set(noise)) == 2 * 23  # no two samples, no two epochs are alike
    assert sorted(i for batch in alone[:6] for i in batch[0]) == list(range(23))


def test_generators_of_samples_are_independent() -> None:
    keys = itertools.product((0, 1), (0, 1), (0, 1, 2))
    draws = [sample_generator(*key).random(500) for key in keys]
    correlations = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlations).max() < 0.2
    first, second = (sample_generator(1, 2, 3).random(4) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_errors_of_workers_arrive_and_loops_may_end_early() -> None:
    loader = DataLoader(Noisy(200), 10, seed=0, num_workers=2)
    with pytest.raises(KeyError, match="broken"):
        list(loader)
    next(iter(loader))
    before = threading.active_count()
    for _ in range(3):
        for _batch in DataLoader(TensorDataset(np.arange(50)), 5, num_workers=2):
            break
    for thread in threading.enumerate():
        if thread.name.startswith("adjoint-loader"):
            thread.join(5)
    assert threading.active_count() <= before
    with pytest.raises(ArgumentError, match="num_workers"):
        DataLoader(Noisy(), num_workers=-1)

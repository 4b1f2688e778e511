"""Batches of a data set, in an order that can be repeated."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np

from adjoint.base import errors
from adjoint.data.collate import collate
from adjoint.data.dataset import take
from adjoint.data.order import sample_generator, shuffled_order
from adjoint.tensors.creation import from_numpy


class Samples(Protocol):
    """All a data set needs: a `Dataset` has it, and so has a list."""

    def __getitem__(self, index: int, /) -> Any: ...

    def __len__(self) -> int: ...


class Seeded(Protocol):
    """All a loader needs of a random generator."""

    def initial_seed(self) -> int:
        """The seed the generator was started with."""
        ...


class DataLoader:
    """Iterates over `dataset` in batches: `for x, y in DataLoader(train, 64, shuffle=True)`.

    The order of an epoch is a function of the seed and the number of the epoch alone: `epoch`
    counts up with every iteration and may be set, to go on where a run stopped. The seed is
    `seed`, or that of `generator`. A data set that rests on arrays is read by one indexing
    operation for each batch; other samples go through `collate_fn`, which gets a list of them.

    A data set that draws random numbers has a method `sample(index, rng)` in place of brackets:
    `rng` is a NumPy generator that depends on the seed, the epoch and the index alone, so that the
    samples are the same for any `num_workers` (threads that make batches ahead of the loop)
    and after a restart, and others in each epoch. Raises ArgumentError for a batch size below one.
    """

    def __init__(
        self,
        dataset: Samples,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        generator: Seeded | None = None,
        seed: int | None = None,
        num_workers: int = 0,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            what = f"batch_size must be 1 or more, not {batch_size!r}"
            hint = "a whole number of samples, such as 32; len(dataset) takes all at once"
            raise errors.argument("DataLoader", what, hint=hint)
        if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 0:
            what = f"num_workers must be 0 or more, not {num_workers!r}"
            hint = "the number of threads that make batches ahead; 0 makes them in the loop"
            raise errors.argument("DataLoader", what, hint=hint)
        if generator is not None and seed is not None:
            hint = "seed= alone is enough; a generator only lends its initial_seed()"
            raise errors.argument("DataLoader", "give a seed or a generator, not both", hint=hint)
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.collate_fn = collate_fn
        self.num_workers = num_workers
        self.seed = generator.initial_seed() if generator is not None else seed or 0
        self.epoch = 0

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def __iter__(self) -> Iterator[Any]:
        count = len(self.dataset)
        order = shuffled_order(count, self.seed, self.epoch) if self.shuffle else np.arange(count)
        make = partial(self._batch, self.epoch)
        self.epoch += 1
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        parts = (order[start : start + self.batch_size] for start in starts)
        return self._ahead(make, parts) if self.num_workers else map(make, parts)

    def _ahead(
        self, make: Callable[[np.ndarray], Any], parts: Iterator[np.ndarray]
    ) -> Iterator[Any]:
        """Batches in order, two for each thread under way; an error of a thread is raised here."""
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="adjoint-loader")
        waiting: deque[Future[Any]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(make, part))
                if len(waiting) > 2 * self.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _batch(self, epoch: int, indices: np.ndarray) -> Any:
        draw = getattr(self.dataset, "sample", None)
        if draw is not None:
            made = [draw(int(i), sample_generator(self.seed, epoch, int(i))) for i in indices]
            return (self.collate_fn or collate)(made)
        arrays = take(self.dataset, indices) if self.collate_fn is None else None
        if arrays is not None:
            return tuple(from_numpy(array) for array in arrays)
        samples = [self.dataset[int(index)] for index in indices]
        return (self.collate_fn or collate)(samples)

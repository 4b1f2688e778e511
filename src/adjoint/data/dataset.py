"""What a data set is, and the two that most programs need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from adjoint.base import errors
from adjoint.tensors.creation import from_numpy
from adjoint.tensors.tensor import Tensor

Sample = TypeVar("Sample", covariant=True)


class Dataset(ABC, Generic[Sample]):
    """A number of samples, each found by its position from 0 to len - 1."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    @abstractmethod
    def __len__(self) -> int: ...


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is the i-th row of each array: `TensorDataset(images, labels)[i]`.

    Takes tensors and NumPy arrays of one length and keeps the arrays, not copies. Raises
    ShapeError when the lengths differ.
    """

    def __init__(self, *arrays: Tensor | np.ndarray) -> None:
        self.arrays = tuple(a.detach().numpy() if isinstance(a, Tensor) else a for a in arrays)
        if len({array.shape[:1] for array in self.arrays} | {()}) != 2:
            what = "needs one or more arrays of the same length along axis 0"
            hint = "each array holds one row per sample: TensorDataset(images, labels)"
            raise errors.shape("TensorDataset", what, *self.arrays, hint=hint)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        _check_index(self, index)
        return tuple(from_numpy(np.array(array[index])) for array in self.arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])


class Subset(Dataset[Sample]):
    """The samples of `dataset` at `indices`, in that order.

    Raises IndexingError for an index that `dataset` does not have.
    """

    def __init__(self, dataset: Dataset[Sample], indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)
        if len(self.indices):
            _check_index(dataset, int(self.indices.min()))
            _check_index(dataset, int(self.indices.max()))

    def __getitem__(self, index: int) -> Sample:
        _check_index(self, index)
        return self.dataset[int(self.indices[index])]

    def __len__(self) -> int:
        return len(self.indices)


def take(dataset: object, indices: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """The stacked fields of many samples by one indexing operation for each array.

    None where only `dataset[index]` says what a sample is, as in a subclass with its own
    `__getitem__`.
    """
    own = type(dataset).__getitem__ if isinstance(dataset, Dataset) else None
    if isinstance(dataset, TensorDataset) and own is TensorDataset.__getitem__:
        return tuple(array[indices] for array in dataset.arrays)
    if isinstance(dataset, Subset) and own is Subset.__getitem__:
        return take(dataset.dataset, dataset.indices[indices])
    return None


def _check_index(dataset: Dataset[object], index: int) -> None:
    if not -len(dataset) <= index < len(dataset):
        last = len(dataset) - 1
        hint = f"allowed: {-len(dataset)} to {last}" if last >= 0 else "the data set is empty"
        raise errors.index(f"sample {index} of a data set with {last + 1} samples", hint=hint)

from __future__ import annotations

import numpy as np
import pytest

from adjoint.base.errors import IndexingError, ShapeError
from adjoint.data import Dataset, Subset, TensorDataset
from adjoint.data.dataset import take
from adjoint.tensors.creation import from_numpy

IMAGES = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
LABELS = np.array([3, 1, 4, 1])


class Squares(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index * index

    def __len__(self) -> int:
        return 5


class Doubled(TensorDataset):
    def __getitem__(self, index: int):
        return tuple(2 * field for field in super().__getitem__(index))


def test_rows_of_arrays_and_tensors() -> None:
    dataset = TensorDataset(IMAGES, from_numpy(LABELS))
    assert len(dataset) == 4
    image, label = dataset[-2]
    np.testing.assert_array_equal(image.numpy(), IMAGES[2])
    assert (label.shape, label.item()) == ((), 4)
    assert len(list(dataset)) == 4


@pytest.mark.parametrize("arrays", [(), (np.float32(1),), (IMAGES, LABELS[:3])])
def test_arrays_of_different_lengths(arrays: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(ShapeError, match="TensorDataset"):
        TensorDataset(*arrays)


@pytest.mark.parametrize("index", [4, -5])
def test_no_such_sample(index: int) -> None:
    dataset = TensorDataset(LABELS)
    with pytest.raises(IndexingError, match=f"sample {index} of a data set with 4 samples"):
        dataset[index]
    with pytest.raises(IndexingError, match=f"sample {index} of"):
        Subset(dataset, range(4))[index]
    with pytest.raises(IndexingError, match=f"sample {index} of"):
        Subset(dataset, [0, index])


def test_subsets_nest() -> None:
    subset = Subset(Subset(Squares(), [4, 3, 2]), np.array([2, 0, -2, 0]))
    assert list(subset) == [4, 16, 9, 16]
    assert list(Subset(Squares(), [])) == []


def test_many_samples_at_once() -> None:
    subset = Subset(TensorDataset(IMAGES, LABELS), [3, 2, 0])
    images, labels = take(subset, np.array([1, 1, 2])) or ()
    np.testing.assert_array_equal(images, IMAGES[[2, 2, 0]])
    np.testing.assert_array_equal(labels, LABELS[[2, 2, 0]])
    assert not np.shares_memory(images, IMAGES)


def test_own_samples_are_asked_one_by_one() -> None:
    assert take(Squares(), np.arange(2)) is None
    assert take(Subset(Squares(), [1, 2]), np.arange(2)) is None
    assert take(Doubled(LABELS), np.arange(2)) is None
    assert take([1, 2, 3], np.arange(2)) is None


def test_a_dataset_needs_a_length() -> None:
    class Endless(Dataset[int]):
        def __getitem__(self, index: int) -> int:
            return index

    with pytest.raises(TypeError, match="__len__"):
        Endless()

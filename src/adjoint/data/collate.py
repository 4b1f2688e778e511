"""Put samples together into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.tensors.creation import from_numpy
from adjoint.tensors.tensor import Tensor


def collate(samples: Sequence[Any]) -> Any:
    """Stack samples along a new first axis, field by field.

    Tensors, arrays and numbers become tensors of shape (sample, ...), with float32 for Python
    floats; tuples, lists and dicts keep their form; strings become a list. Raises ShapeError for
    fields of different shapes and DTypeError for other types.
    """
    first = samples[0]
    match first:
        case str() | bytes():
            return list(samples)
        case Mapping():
            return {key: collate([sample[key] for sample in samples]) for key in first}
        case tuple() | list():
            fields = [collate(field) for field in zip(*samples, strict=True)]
            named = hasattr(first, "_fields")
            return type(first)(*fields) if named else type(first)(fields)
        case _:
            return _stack([_array(sample) for sample in samples])


def _array(value: Any) -> np.ndarray:
    match value:
        case Tensor():
            return value.detach().numpy()
        case float():
            return np.asarray(value, value.dtype if isinstance(value, np.generic) else np.float32)
        case bool() | int():
            return np.asarray(value)
        case np.ndarray() | np.generic():
            return np.asarray(value)
        case _:
            hint = "give the DataLoader a collate_fn that knows this type"
            raise errors.not_a_tensor("collate", value, hint=hint)


def _stack(arrays: list[np.ndarray]) -> Tensor:
    odd = next((array for array in arrays if array.shape != arrays[0].shape), None)
    if odd is not None:
        hint = "pad or crop the samples to one shape, or give the DataLoader a collate_fn"
        raise errors.shape("collate", "samples have different shapes", arrays[0], odd, hint=hint)
    return from_numpy(np.stack(arrays))

"""NumPy, DLPack and torch, in and out: what shares memory, and what is refused."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError, ArgumentError, DTypeError, GradError

NUMPY_DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "float32", "float64",
]  # fmt: skip
TORCH_DTYPES = [d for d in NUMPY_DTYPES if d not in ("uint16", "uint32", "uint64")]


def address(array: Any) -> int:
    return array.__array_interface__["data"][0]


# --- NumPy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*NUMPY_DTYPES, ml_dtypes.bfloat16])
def test_arrays_keep_their_dtype_and_values(dtype: Any) -> None:
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    for tensor in (ad.tensor(array), ad.as_tensor(array), ad.from_numpy(array)):
        assert tensor.dtype.numpy == array.dtype
        assert tensor.numpy().dtype == array.dtype
        np.testing.assert_array_equal(tensor.numpy(), array)
    assert ad.tensor(array).tolist() == array.tolist()
    assert type(ad.tensor(array)[0, 1].item()) is type(array[0, 1].item())


def test_tensor_copies_and_from_numpy_shares() -> None:
    array = np.arange(4.0)
    copied, shared = ad.tensor(array), ad.from_numpy(array)
    array[0] = 7.0
    assert copied.tolist()[0] == 0.0
    assert shared.tolist()[0] == 7.0
    assert address(shared.numpy()) == address(array)
    assert address(ad.as_tensor(array).numpy()) == address(array)
    assert address(ad.as_tensor(array, dtype="float32").numpy()) != address(array)


def test_numpy_is_read_only_and_shares_memory() -> None:
    x = ad.tensor([1.0, 2.0])
    out = x.numpy()
    assert not out.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        out[0] = 5.0
    assert address(x.numpy()) == address(out)
    mine = out.copy()
    mine[0] = 5.0
    assert x.tolist() == [1.0, 2.0]


def test_a_change_in_place_does_not_reach_an_array_given_out_before() -> None:
    x = ad.tensor([1.0, 2.0])
    before = x.numpy()
    x.add_(1.0)
    x[0] = 9.0
    assert before.tolist() == [1.0, 2.0] and x.tolist() == [9.0, 3.0]


def test_a_tensor_that_requires_grad_is_not_silently_an_array() -> None:
    x = ad.ones(2, requires_grad=True)
    for convert in (ad.Tensor.numpy, np.asarray, np.sum, np.array, np.exp):
        with pytest.raises(GradError, match="detach"):
            convert(x)
    assert np.asarray(x.detach()).tolist() == [1.0, 1.0]


def test_the_array_protocol() -> None:
    x = ad.tensor([1.5, 2.5])
    assert address(np.asarray(x)) == address(x.numpy())
    assert address(np.array(x)) != address(x.numpy())
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.array(x, dtype=np.int32).tolist() == [1, 2]
    with pytest.raises(ValueError, match="copy"):
        np.array(x, dtype=np.float64, copy=False)
    assert np.add(x, 1).tolist() == [2.5, 3.5]
    assert isinstance(np.exp(x), np.ndarray)
    assert np.stack([x, x]).shape == (2, 2)
    for function in (np.sum, np.mean, np.std, np.max, np.sort, np.transpose, np.linalg.norm):
        assert function(x) == pytest.approx(function(np.array([1.5, 2.5])))
        assert not isinstance(function(x), ad.Tensor)
    assert np.float32(2.5) in x
    np.testing.assert_allclose(ad.tensor([0.1]), [0.1], rtol=1e-7)


@pytest.mark.parametrize(
    "operator",
    ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "eq", "ne"],
)
@pytest.mark.parametrize("left", [np.array([3.0, 8.0]), np.float64(3.0), np.array(2.0)], ids=str)
def test_an_array_on_the_left_gives_a_tensor(operator: str, left: Any) -> None:
    import operator as operators

    function = getattr(operators, operator)
    x = ad.tensor([2.0, 4.0], dtype="float64", requires_grad=True)
    found = function(left, x)
    assert isinstance(found, ad.Tensor)
    np.testing.assert_array_equal(found.detach().numpy(), function(left, np.array([2.0, 4.0])))
    if operator in ("add", "sub", "mul", "truediv", "pow"):
        found.sum().backward()
        assert x.grad is not None


def test_an_integer_array_on_the_left() -> None:
    x = ad.tensor([6, 3])
    bits = np.array([5, 1])
    assert (bits & x).tolist() == [4, 1] and (bits | x).tolist() == [7, 3]
    assert (bits ^ x).tolist() == [3, 2] and (bits << x).tolist() == [320, 8]
    assert (np.array([64, 64]) >> x).tolist() == [1, 8]
    assert isinstance(bits & x, ad.Tensor)
    values = np.arange(10.0)
    assert values[x].tolist() == [6.0, 3.0]
    assert values[ad.tensor(4)] == 4.0


def test_numpy_scalars_are_numbers_and_do_not_widen() -> None:
    x = ad.ones(2)
    for scalar in (np.float64(2.0), np.float32(2.0), np.int64(2), np.sqrt(4)):
        assert (x * scalar).dtype is ad.float32 and (scalar * x).dtype is ad.float32
    assert (x * np.array([2.0])).dtype is ad.float64
    assert ad.full((2,), np.int64(3)).dtype is ad.int64
    assert ad.full((2,), np.bool_(True)).dtype is ad.bool_
    assert ad.maximum(np.ones(2), np.zeros(2)).tolist() == [1.0, 1.0]


def test_layouts_of_numpy_are_understood() -> None:
    base = np.arange(24.0).reshape(2, 3, 4)
    for array in (
        base[:, ::-1],
        base.T,
        base[..., 1],
        np.broadcast_to(base[0], (2, 3, 4)),
        base[:0],
    ):
        np.testing.assert_array_equal(ad.from_numpy(array).numpy(), array)
        np.testing.assert_array_equal((ad.from_numpy(array) + 1.0).numpy(), array + 1)
    np.testing.assert_array_equal(ad.tensor(base.astype(">f8")).numpy(), base)


@pytest.mark.parametrize(
    "bad",
    [np.array(["a"]), np.array([object()]), np.array([1j]), np.array("2020", "M8[s]")],
    ids=lambda array: array.dtype.str,
)
def test_arrays_without_numbers_are_refused(bad: Any) -> None:
    for function in (ad.tensor, ad.as_tensor, ad.from_numpy):
        with pytest.raises(DTypeError, match="dtype"):
            function(bad)
    with pytest.raises(AdjointError):
        _ = ad.ones(1) + bad


# --- DLPack -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_dlpack_shares_memory_with_numpy_both_ways(dtype: str) -> None:
    x = ad.tensor(np.array([0, 1, 1, 0]).astype(dtype)) * ad.tensor(1, dtype=dtype)
    array = np.from_dlpack(x)
    assert array.dtype == np.dtype(dtype) and address(array) == address(x.numpy())
    source = np.array([[1, 0], [1, 1]]).astype(dtype)
    back = ad.from_dlpack(source)
    assert back.dtype.numpy == source.dtype and address(back.numpy()) == address(source)
    np.testing.assert_array_equal(back.numpy(), source)


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_dlpack_shares_memory_with_torch_both_ways(dtype: str) -> None:
    x = ad.tensor(np.array([0, 1, 1, 0]).astype(dtype))
    theirs = torch.from_dlpack(x)
    assert theirs.data_ptr() == address(x.numpy())
    assert theirs.tolist() == x.tolist()
    source = torch.tensor([[1, 0], [1, 1]]).to(getattr(torch, dtype))
    back = ad.from_dlpack(source)
    assert address(back.numpy()) == source.data_ptr()
    assert back.dtype.name == dtype and back.tolist() == source.tolist()


def test_dlpack_keeps_strides() -> None:
    x = ad.tensor(np.arange(6.0).reshape(2, 3)).T
    assert torch.from_dlpack(x).tolist() == x.tolist()
    back = ad.from_dlpack(torch.arange(6.0).reshape(2, 3).t())
    np.testing.assert_array_equal(back.numpy(), np.arange(6.0).reshape(2, 3).T)


def test_dlpack_of_read_only_memory_is_a_copy() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    theirs = torch.from_dlpack(ad.from_numpy(array))
    theirs[0] = 7.0
    assert array[0] == 0.0
    wide = ad.ones(1).expand(3)
    assert torch.from_dlpack(wide).tolist() == [1.0, 1.0, 1.0]


def test_dlpack_refusals_name_the_fix() -> None:
    with pytest.raises(GradError, match="detach"):
        np.from_dlpack(ad.ones(2, requires_grad=True))
    with pytest.raises(DTypeError, match="float"):
        np.from_dlpack(ad.ones(2, dtype="bfloat16"))
    with pytest.raises(ArgumentError, match="refused"):
        ad.from_dlpack(torch.ones(2, requires_grad=True))
    with pytest.raises(ArgumentError, match="refused"):
        ad.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(DTypeError, match="__dlpack__"):
        ad.from_dlpack([1.0])
    assert ad.ones(2).__dlpack_device__() == (1, 0)


def test_torch_tensors_are_taken_like_arrays() -> None:
    source = torch.tensor([1.0, 2.0])
    assert ad.tensor(source).tolist() == [1.0, 2.0]
    assert address(ad.as_tensor(source).numpy()) == source.data_ptr()
    assert torch.tensor(ad.ones(2).numpy().copy()).tolist() == [1.0, 1.0]


# --- copying and pickling -----------------------------------------------------------------------


def test_pickling_is_refused_with_a_pointer_to_safetensors() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(AdjointError, match="safetensors"):
            pickle.dumps(ad.ones(2), protocol)


def test_deepcopy_copies_leaves() -> None:
    x = ad.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    twin = copy.deepcopy({"x": x, "again": x})
    assert twin["x"] is twin["again"] and twin["x"] is not x
    assert twin["x"].requires_grad and twin["x"].is_leaf
    assert twin["x"].grad.tolist() == [2.0, 4.0]
    with ad.no_grad():
        twin["x"].add_(1.0)
    assert x.tolist() == [1.0, 2.0] and twin["x"].tolist() == [2.0, 3.0]
    with pytest.raises(GradError, match="clone"):
        copy.deepcopy(x * 2)
    shallow = copy.copy(x)
    assert shallow is not x and shallow.requires_grad and shallow.is_leaf
    assert copy.copy(x * 2).tolist() == [2.0, 4.0]

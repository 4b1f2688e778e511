"""Weights in files: nothing is lost, torch reads them, and damage is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adjoint import nn
from adjoint.base.dtype import ALL
from adjoint.base.errors import AdjointError, ArgumentError, DTypeError
from adjoint.interop import files, load, load_metadata, save
from adjoint.interop.safetensors import ALIASES
from adjoint.models import LeNet
from adjoint.tensors.creation import from_numpy, tensor
from adjoint.tensors.generator import manual_seed
from adjoint.tensors.movement import permute

pytestmark = pytest.mark.feature("M14")


def bits(array: np.ndarray) -> tuple[object, tuple[int, ...], bytes]:
    return array.dtype, array.shape, array.tobytes()


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4)], ids=str)
def test_every_dtype_comes_back_bit_by_bit(dtype, shape, tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, size=(*shape, dtype.itemsize), dtype=np.uint8)
    array = (raw & 1 if dtype.name == "bool" else raw).view(dtype.numpy).reshape(shape)
    save({"x": from_numpy(array)}, tmp_path / "a.safetensors")
    found = load(tmp_path / "a.safetensors")["x"]
    assert found.dtype is dtype
    assert bits(found.numpy()) == bits(array)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
        hnp.arrays(
            st.sampled_from(["f4", "f8", "i4", "u1", "?"]), hnp.array_shapes(min_dims=0, min_side=0)
        ),
        max_size=5,
    ),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
)
def test_any_names_arrays_and_text_come_back(tmp_path_factory, arrays, metadata) -> None:
    path = tmp_path_factory.mktemp("files") / "a.safetensors"
    save(arrays, path, metadata)
    found = load(path)
    assert {name: bits(t.numpy()) for name, t in found.items()} == {
        name: bits(array) for name, array in arrays.items()
    }
    assert load_metadata(path) == metadata


def test_torch_reads_what_we_write_and_the_other_way(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    x = np.linspace(-3, 3, 12).reshape(3, 4)
    save({"w": tensor(x, dtype="bfloat16"), "b": tensor(x)}, path, {"format": "pt"})
    theirs = safetensors.torch.load_file(path)
    assert theirs["w"].dtype is torch.bfloat16
    assert torch.equal(theirs["w"], torch.tensor(x).bfloat16())
    assert torch.equal(theirs["b"], torch.tensor(x))

    layer = torch.nn.Linear(3, 2)
    safetensors.torch.save_file(layer.state_dict(), path)
    ours = load(path)
    assert sorted(ours) == ["bias", "weight"]
    np.testing.assert_array_equal(ours["weight"].numpy(), layer.weight.detach().numpy())


def test_a_view_is_written_in_its_own_order(tmp_path: Path) -> None:
    x = tensor([[1.0, 2, 3], [4, 5, 6]])
    turned = {"t": permute(x, 1, 0), "back": x[:, ::-1], "row": x[1]}
    save(turned, tmp_path / "a.safetensors")
    for name, found in load(tmp_path / "a.safetensors").items():
        np.testing.assert_array_equal(found.numpy(), turned[name].numpy())


def test_a_tensor_with_two_names_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    w = tensor(np.zeros((100, 100), np.float32))
    save({"embed": w, "head": w, "detached": w.detach(), "other": w.clone() + 0}, path)
    assert path.stat().st_size < 2.1 * 40_000
    apart = load(path)
    assert sorted(apart) == ["detached", "embed", "head", "other"]
    assert apart["head"] is not apart["embed"]
    apart["head"].fill_(1)
    assert float(apart["embed"].sum()) == 0
    tied = load(path, tie=True)
    assert tied["head"] is tied["embed"] is tied["detached"]
    assert tied["other"] is not tied["embed"]
    assert load_metadata(path) == {}


@pytest.mark.parametrize("cut", [0, 5, 8, 40, -1])
def test_a_file_that_was_cut_off_is_named(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save({"x": tensor([1.0, 2.0])}, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ArgumentError, match=r"weights\.safetensors is not a whole safetensors"):
        load(path)


@given(st.binary(max_size=64))
def test_garbage_never_does_more_than_raise(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("files") / "a.safetensors"
    path.write_bytes(content)
    try:
        load(path)
    except AdjointError as error:
        assert "a.safetensors" in str(error)


def test_a_dtype_that_adjoint_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    header = {"q": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0")
    with pytest.raises(DTypeError, match=r"'q' in .*a\.safetensors: got F8_E4M3"):
        load(path)


@pytest.mark.parametrize("table", ["[]", "{", '{"x": "x"}', '{"y": "z"}'])
def test_a_bad_alias_table_is_refused(table: str, tmp_path: Path) -> None:
    import safetensors.numpy

    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(1)}, path, {ALIASES: table})
    with pytest.raises(ArgumentError, match="makes no sense"):
        load(path)


@pytest.mark.parametrize(
    ("tensors", "path", "metadata", "message"),
    [
        ({"x": np.zeros(1)}, "a.pt", None, "does not end in .safetensors"),
        ({1: np.zeros(1)}, "a.safetensors", None, "cannot be the name"),
        ({"__metadata__": np.zeros(1)}, "a.safetensors", None, "cannot be the name"),
        ({"a": {"b": np.zeros(1)}}, "a.safetensors", None, "joined by dots"),
        ({"a": 1.0}, "a.safetensors", None, "must be a tensor"),
        ({"a": np.zeros(1, complex)}, "a.safetensors", None, "must be a tensor"),
        ([np.zeros(1)], "a.safetensors", None, "give a dict"),
        ({}, "a.safetensors", {"epochs": 3}, "is not text"),
        ({}, "a.safetensors", {ALIASES: "{}"}, "written by save itself"),
    ],
)
def test_what_cannot_be_saved_is_refused(tensors, path, metadata, message, tmp_path) -> None:
    with pytest.raises(AdjointError, match=message):
        save(tensors, tmp_path / path, metadata)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.safetensors"
    save({"x": tensor([1.0])}, path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="disk full"):
                save({"x": tensor([2.0])}, path)
        assert path.read_bytes() == before
        assert [f.name for f in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_content_is_on_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch) -> None:
    steps: list[str] = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)
        monkeypatch.setattr(
            os, step, lambda *a, real=real, step=step: (steps.append(step), real(*a))[1]
        )
    files.write_text(tmp_path / "a.txt", "hello")
    assert steps == ["fsync", "replace", "fsync"]
    assert (tmp_path / "a.txt").read_text() == "hello"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    link = tmp_path / "latest.safetensors"
    link.symlink_to(tmp_path / "deep" / "real.safetensors")
    save({"x": tensor([1.0])}, str(link))
    assert link.is_symlink()
    assert (tmp_path / "deep" / "real.safetensors").is_file()


def test_a_saved_value_does_not_change_with_the_tensor(tmp_path: Path) -> None:
    x = tensor([1.0, 2.0])
    save({"x": x}, tmp_path / "a.safetensors")
    x.fill_(5)
    assert load(tmp_path / "a.safetensors")["x"].tolist() == [1.0, 2.0]


def test_bfloat16_is_that_of_ml_dtypes(tmp_path: Path) -> None:
    save({"x": np.ones(2, ml_dtypes.bfloat16)}, tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors")["x"].numpy().dtype == ml_dtypes.bfloat16


def test_a_model_and_its_torch_twin_exchange_weights(tmp_path: Path) -> None:
    path = tmp_path / "lenet.safetensors"
    manual_seed(0)
    ours = LeNet()
    save(ours.state_dict(), path)
    theirs = twin()
    theirs.load_state_dict(safetensors.torch.load_file(path))
    images = np.random.default_rng(0).normal(size=(2, 1, 32, 32)).astype(np.float32)
    wanted = theirs(torch.tensor(images)).detach().numpy()
    np.testing.assert_allclose(ours(tensor(images)).detach().numpy(), wanted, atol=1e-5)

    fresh = twin()
    safetensors.torch.save_file(fresh.state_dict(), path)
    ours.load_state_dict(load(path))
    for name, value in fresh.state_dict().items():
        assert bits(ours.state_dict()[name].detach().numpy()) == bits(value.numpy())


def twin() -> torch.nn.Module:
    """LeNet in torch, with the same names."""
    layers = torch.nn
    model = layers.Module()
    model.features = layers.Sequential(
        layers.Conv2d(1, 6, 5), layers.ReLU(), layers.MaxPool2d(2),
        layers.Conv2d(6, 16, 5), layers.ReLU(), layers.MaxPool2d(2),
    )  # fmt: skip
    model.classifier = layers.Sequential(
        layers.Flatten(), layers.Linear(400, 120), layers.ReLU(), layers.Linear(120, 84),
        layers.ReLU(), layers.Linear(84, 10),
    )  # fmt: skip
    model.forward = lambda x: model.classifier(model.features(x))
    return model


def test_tied_layers_stay_tied_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tied.safetensors"

    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(40, 40, bias=False), nn.Linear(40, 40, bias=False))
        model[1].weight = model[0].weight
        return model

    model, other = tied(), tied()
    save(model.state_dict(), path)
    assert path.stat().st_size < 1.5 * 40 * 40 * 4
    state = load(path)
    assert sorted(state) == ["0.weight", "1.weight"]
    other.load_state_dict(state)
    assert other[0].weight is other[1].weight
    np.testing.assert_array_equal(
        other[1].weight.detach().numpy(), model[0].weight.detach().numpy()
    )


def test_a_file_of_another_model_is_reported_name_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(nn.Sequential(nn.Linear(2, 3)).state_dict(), path)
    with pytest.raises(AdjointError) as caught:
        nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)).load_state_dict(load(path))
    message = str(caught.value)
    assert [n for n in ("1.weight", "1.bias", "0.weight", "3", "4") if n not in message] == []

from __future__ import annotations

import gzip
import hashlib
import struct
import sys
from pathlib import Path

import numpy as np
import pooch
import pytest

from adjoint.base.errors import AdjointError, ArgumentError, MissingExtraError, ShapeError
from adjoint.data import load_mnist, mnist

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)
IMAGE_FILE = b"\0\0\x08\x03" + struct.pack(">3I", *IMAGES.shape) + IMAGES.tobytes()
LABEL_FILE = b"\0\0\x08\x01" + struct.pack(">I", len(LABELS)) + LABELS.tobytes()


def write(folder: Path, labels: bytes = LABEL_FILE) -> None:
    (folder / "t10k-images-idx3-ubyte").write_bytes(IMAGE_FILE)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def test_plain_and_gzipped_files(tmp_path: Path) -> None:
    write(tmp_path)
    images, labels = load_mnist(tmp_path, "test")
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(images[:, 0], IMAGES.astype(np.float32) / 255)
    np.testing.assert_array_equal(labels, LABELS)


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    write(tmp_path, b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\1\2")
    with pytest.raises(ShapeError, match=r"uint8\[5, 28, 28\] and uint8\[2\]"):
        load_mnist(tmp_path, "test")


def test_missing_files_say_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(
        ArgumentError, match=r"train-images-idx3-ubyte\.gz[^$]*download=True"
    ) as caught:
        load_mnist(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_unknown_part(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'valid' is not known"):
        load_mnist(tmp_path, "valid")


def test_no_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(AdjointError, match="could not download train-images") as caught:
        load_mnist(tmp_path, download=True)
    message = str(caught.value)
    assert all(f"{mirror}: no route to host" in message for mirror in mnist.MIRRORS)
    assert f"put the four files into {tmp_path}" in message


def test_download_tries_the_next_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "mirror"
    source.mkdir()
    names = {"t10k-images-idx3-ubyte": IMAGE_FILE, "t10k-labels-idx1-ubyte": LABEL_FILE}
    for name, content in names.items():
        (source / f"{name}.gz").write_bytes(gzip.compress(content))
    sums = {n: hashlib.sha256((source / f"{n}.gz").read_bytes()).hexdigest() for n in names}
    retrieve = pooch.retrieve

    def from_disk(url: str, known_hash: str, fname: str, path: Path) -> str:
        if url.startswith(mnist.MIRRORS[0]):
            raise ConnectionError("down for maintenance")

        def copy(url: str, target: str, _: object) -> None:
            Path(target).write_bytes((source / url.rpartition("/")[2]).read_bytes())

        return retrieve(url, known_hash, fname, path, downloader=copy)

    monkeypatch.setattr(pooch, "retrieve", from_disk)
    monkeypatch.setattr(mnist, "SHA256", sums)
    labels = load_mnist(tmp_path / "data", "test", download=True)[1]
    np.testing.assert_array_equal(labels, LABELS)

    (tmp_path / "data" / "t10k-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setattr(mnist, "SHA256", sums | {"t10k-labels-idx1-ubyte": "0" * 64})
    with pytest.raises(AdjointError, match="SHA256 hash of downloaded file"):
        load_mnist(tmp_path / "data", "test", download=True)


def test_without_pooch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'adjoint\[data\]'"):
        load_mnist(tmp_path, download=True)


def test_the_real_files(mnist_dir: Path) -> None:
    for name, expected in mnist.SHA256.items():
        content = (mnist_dir / f"{name}.gz").read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected
    images, labels = load_mnist(mnist_dir, "test")
    assert images.shape == (10_000, 1, 28, 28)
    # The published number of each digit, and the mean and deviation of the pixels.
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(labels).tolist() == counts
    assert images.mean(dtype=np.float64) == pytest.approx(0.1325, abs=1e-4)
    assert (images.min(), images.max()) == (0, 1)

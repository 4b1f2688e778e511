"""Image files: exact PNGs, Pillow's JPEGs, transparency on white, and damage that is named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adjoint.base.dtype import uint8
from adjoint.base.errors import ArgumentError, DTypeError, ShapeError
from adjoint.data import read_image, write_png
from adjoint.tensors.creation import tensor, zeros

pytestmark = pytest.mark.feature("T2")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 7), (3, 1, 1), (1, 1, 300)], ids=str)
def test_png_round_trip_is_exact(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = tensor(noise(*shape))
    write_png(x, tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found.dtype is uint8
    assert found.shape == shape
    np.testing.assert_array_equal(found.numpy(), x.numpy())


def test_pillow_sees_the_same_pixels(tmp_path: Path) -> None:
    x = noise(3, 4, 6)
    write_png(x, tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), x.transpose(1, 2, 0))
    write_png(x[0], str(tmp_path / "b.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), x[0])


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_what_pillow_decodes(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    smooth = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
    Image.fromarray(smooth).convert(mode).save(path, quality=90)
    found = read_image(path)
    wanted = np.asarray(Image.open(path).convert("RGB" if mode == "CMYK" else mode)).astype(int)
    assert found.shape == ((1, 40, 60) if mode == "L" else (3, 40, 60))
    got = found.numpy()[0] if mode == "L" else found.numpy().transpose(1, 2, 0)
    assert np.abs(got.astype(int) - wanted).max() <= 2


def test_a_palette_and_one_bit_become_plain_pixels(tmp_path: Path) -> None:
    checks = Image.fromarray((np.indices((4, 4)).sum(0) % 2 * 255).astype(np.uint8))
    checks.convert("1").save(tmp_path / "bits.png")
    found = read_image(tmp_path / "bits.png")
    np.testing.assert_array_equal(found.numpy()[0], np.asarray(checks))
    colours = Image.fromarray(np.full((2, 2, 3), (255, 0, 0), np.uint8))
    colours.quantize(2).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").numpy()[:, 0, 0].tolist() == [255, 0, 0]


def test_transparent_pixels_are_white_unless_asked_for(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (0, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").numpy(), pixels.transpose(2, 0, 1))
    gray = read_image(tmp_path / "a.png", mode="gray")
    assert gray.numpy().tolist() == [[[0, 255], [255, 255]]]
    assert read_image(tmp_path / "a.png", mode="rgb").shape == (3, 2, 2)


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").numpy().tolist() == [[[0, 0, 1, 255]]]


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ArgumentError, match=r"a\.png cannot be read as an image"):
        read_image(tmp_path / "a.png")
    buffer = io.BytesIO()
    Image.fromarray(noise(50, 50)).save(buffer, "PNG")
    (tmp_path / "b.png").write_bytes(buffer.getvalue()[:600])
    with pytest.raises(ArgumentError, match=r"b\.png cannot be read as an image"):
        read_image(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        read_image(tmp_path / "missing.png")


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="did you mean 'gray'"):
        read_image(tmp_path / "a.png", mode="grey")  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="needs uint8"):
        write_png(zeros(1, 2, 2), tmp_path / "a.png")
    for shape in [(2, 4, 4), (4,), (1, 0, 3), (1, 1, 3, 3)]:
        with pytest.raises(ShapeError):
            write_png(np.zeros(shape, np.uint8), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()

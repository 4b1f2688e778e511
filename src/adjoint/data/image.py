"""Image files as tensors, and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import uint8
from adjoint.tensors.creation import from_numpy
from adjoint.tensors.tensor import Tensor

Path_ = str | os.PathLike[str]
MODES = {"gray": "L", "rgb": "RGB", "rgba": "RGBA"}


def read_image(path: Path_, mode: Literal["gray", "rgb", "rgba"] | None = None) -> Tensor:
    """The pixels of an image file (PNG, JPEG, ...) as uint8: (1, H, W) gray, (3, H, W) colour.

    mode None keeps what the file has, with four channels where some pixels are transparent;
    ``gray`` and ``rgb`` show such pixels on white. 16-bit gray keeps its high byte. Raises
    ArgumentError for a file that is no image or is cut off, and MissingExtraError without Pillow.
    """
    if mode is not None and mode not in MODES:
        raise errors.unknown_name("read_image mode", mode, MODES)
    image_module = _pillow("read_image")
    with Path(path).open("rb") as file:
        try:
            with image_module.open(file) as image:
                pixels = _pixels(image, mode)
        except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as problem:
            what = f"{path} cannot be read as an image: {problem}"
            hint = "is it a PNG or JPEG, and whole? Another viewer shows what is wrong"
            raise errors.argument("read_image", what, hint=hint) from None
    channels_first = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return from_numpy(np.array(channels_first, np.uint8, order="C"))


def write_png(image: Tensor | np.ndarray, path: Path_) -> None:
    """Write uint8 pixels, (H, W), (1, H, W), (3, H, W) or (4, H, W), to a PNG file, without loss.

    Raises ShapeError or DTypeError for other tensors and MissingExtraError without Pillow.
    """
    x = image.detach().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if x.dtype != np.uint8:
        hint = "scale to 0 … 255 and convert: (x * 255).round().to(adjoint.uint8)"
        raise errors.wrong_dtype("write_png", x.dtype, uint8.name, hint=hint)
    if x.ndim == 3 and x.shape[0] == 1:
        x = x[0]
    if x.ndim == 3 and x.shape[0] in (3, 4):
        x = np.moveaxis(x, 0, -1)
    elif x.ndim != 2:
        what = "needs (H, W) or 1, 3 or 4 channels as (C, H, W)"
        hint = "channels come first: x.permute(2, 0, 1); write a batch image by image"
        raise errors.shape("write_png", what, x, hint=hint)
    if 0 in x.shape:
        hint = "one of its sizes is 0; check the slice it came from"
        raise errors.shape("write_png", "an image has at least one pixel", x, hint=hint)
    _pillow("write_png").fromarray(np.ascontiguousarray(x)).save(path, "PNG")


def _pillow(why: str) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise errors.missing_extra("pillow", "vision", why) from error
    return Image


def _pixels(image: Any, mode: str | None) -> np.ndarray:
    """(H, W) or (H, W, C) uint8 of an opened file."""
    if image.mode.startswith("I;16"):
        gray = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        image = _pillow("read_image").fromarray(gray)
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are {image.mode!r} numbers, which 8 bits cannot hold")
    clear = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    if mode is None:
        target = "RGBA" if clear else "L" if image.mode in ("1", "L") else "RGB"
    else:
        target = MODES[mode]
    if clear and target != "RGBA":
        image = _on_white(image.convert("RGBA"))
    return np.asarray(image if image.mode == target else image.convert(target))


def _on_white(image: Any) -> Any:
    white = _pillow("read_image").new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")

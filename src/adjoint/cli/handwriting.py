"""The data sets of ``adjoint train lenet``, brought to one form, and what each of them needs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adjoint.base import errors
from adjoint.base.config import FLAGS

if TYPE_CHECKING:
    import numpy as np

    Part = tuple[np.ndarray, np.ndarray]

SIZE = 32  # pixels a side: what LeNet was made for


@dataclass(frozen=True)
class Preset:
    """Usual settings for a data set, and what a picture needs to look like its images.

    ``box``: the side of the square the ink fills. ``through``: the side of the coarser grid the
    images were scanned on, or None. ``by_mass``: centred by mass, not by extent.
    """

    epochs: int
    batch_size: int
    box: int
    through: int | None
    by_mass: bool


PRESETS = {
    # bitmaps of 32x32, counted in blocks of 4x4
    "digits": Preset(epochs=20, batch_size=32, box=32, through=8, by_mass=False),
    # 28x28 with a margin, as in the paper; the ink fills 20x20
    "mnist": Preset(epochs=8, batch_size=64, box=20, through=None, by_mass=True),
}


@dataclass(frozen=True)
class Handwriting:
    """Images, float32 (sample, 1, 32, 32) in [0, 1], and labels, int64 (sample,)."""

    name: str
    train: Part
    test: Part

    @property
    def digest(self) -> str:
        """SHA-256 of all pixels and labels, first 16 digits."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test):
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]

    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training pixels."""
        return float(self.train[0].mean()), float(self.train[0].std())


def preset(data: str) -> Preset:
    """The settings of a data set; raises ArgumentError, with the nearest name, for unknown ones."""
    if data not in PRESETS:
        raise errors.unknown_name("--data", data, PRESETS)
    return PRESETS[data]


def load(data: str, data_dir: Path | None, download: bool) -> Handwriting:
    """Read a data set; MNIST from ``data_dir`` or the cache folder."""
    import numpy as np

    from adjoint.data import load_digits, load_mnist

    if data == "digits":
        if data_dir is not None or download:
            what = "--data-dir and --download belong to MNIST; digits need neither"
            raise errors.argument("train", what, hint="add --data mnist, or leave them out")
        return Handwriting(
            data, load_digits("train", size=SIZE, seed=0), load_digits("test", size=SIZE, seed=0)
        )
    folder = data_dir or FLAGS.cache / "mnist"
    margin = ((0, 0), (0, 0), (2, 2), (2, 2))
    parts: list[Any] = []
    for kind in ("train", "test"):
        images, labels = load_mnist(folder, kind, download=download)
        parts.append((np.pad(images, margin), labels))
    return Handwriting(data, *parts)


def standardised(images: np.ndarray, mean: float, std: float) -> np.ndarray:
    """(images - mean) / std, in float32."""
    return ((images - mean) / std).astype("float32")

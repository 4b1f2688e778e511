"""MNIST, and its drop-in replacements, from the four idx files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from adjoint.base import errors
from adjoint.data.idx import read_idx

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# Names, without .gz, and the SHA-256 of the gzipped files.
TRAIN_FILES = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
}
TEST_FILES = {
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
SHA256 = TRAIN_FILES | TEST_FILES
ALL_FILES = ", ".join(f"{name}.gz" for name in SHA256)


def load_mnist(
    data_dir: str | os.PathLike[str],
    kind: Literal["train", "test"] = "train",
    *,
    download: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Images, float32 (sample, 1, 28, 28) in [0, 1], and labels, int64 (sample,).

    Reads `train-images-idx3-ubyte` and its three siblings, gzipped or not, from `data_dir`; files
    of the same names and form, such as Fashion-MNIST's, load too. With `download`, missing files
    are fetched and compared with their SHA-256. Raises ArgumentError for files that are missing or
    malformed and AdjointError for a failed download. Source: LeCun, Bottou, Bengio and Haffner,
    "Gradient-based learning applied to document recognition", 1998.
    """
    if kind not in ("train", "test"):
        raise errors.unknown_name("load_mnist", kind, ["train", "test"])
    names = TRAIN_FILES if kind == "train" else TEST_FILES
    paths = [_find(Path(data_dir), name, download) for name in names]
    images, labels = (read_idx(path) for path in paths)
    if images.ndim != 3 or labels.shape != images.shape[:1] or images.dtype != np.uint8:
        what, hint = f"{paths[0].name} and its labels", "are these the four files of one data set?"
        raise errors.shape("load_mnist", what, images, labels, hint=hint)
    scaled = np.divide(images[:, None], np.float32(255), dtype=np.float32)
    return scaled, labels.astype(np.int64)


def _find(data_dir: Path, name: str, download: bool) -> Path:
    for path in (data_dir / name, data_dir / f"{name}.gz"):
        if path.is_file():
            return path
    if download:
        return _download(data_dir, name)
    raise errors.argument(
        "load_mnist",
        f"{data_dir} has neither {name} nor {name}.gz",
        hint=f"pass download=True, or put the four files there: {ALL_FILES}",
    )


def _download(data_dir: Path, name: str) -> Path:
    try:
        import pooch
    except ImportError as error:
        raise errors.missing_extra("pooch", "data", "downloading MNIST") from error
    reasons: list[str] = []
    for mirror in MIRRORS:
        try:
            found = pooch.retrieve(
                f"{mirror}{name}.gz", f"sha256:{SHA256[name]}", f"{name}.gz", data_dir
            )
        except (OSError, ValueError) as error:  # no network; wrong checksum
            reasons.append(f"{mirror}: {error}")
        else:
            return Path(found)
    raise errors.build(
        errors.AdjointError,
        f"load_mnist: could not download {name}.gz",
        lines=reasons,
        hint=f"without a network, put the four files into {data_dir} by hand: {ALL_FILES}",
    )

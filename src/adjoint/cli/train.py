"""``adjoint train``: a model, its data and its settings in; weights, curves and numbers out."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adjoint.base import errors
from adjoint.base.config import FLAGS
from adjoint.cli.own_name import own_name

if TYPE_CHECKING:
    import numpy as np

    from adjoint.train.loop import History

WEIGHTS = "lenet.safetensors"
SIZE = 32  # pixels a side: what LeNet was made for


@dataclass(frozen=True)
class DataSet:
    """Images, float32 (sample, 1, 32, 32) in [0, 1], and labels, int64 (sample,).

    What a picture needs to look like them: ``box``, the side of the square the ink fills, and
    ``through``, the side of the coarser grid it was scanned on, or None.
    """

    name: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    box: int
    through: int | None

    @property
    def digest(self) -> str:
        """SHA-256 of all pixels and labels, first 16 digits."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test):
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]

    def standardised(self) -> tuple[TensorDataset, TensorDataset, float, float]:
        """Training and test set with mean 0 and deviation 1 over the training pixels, and both."""
        from adjoint.data import TensorDataset

        mean, std = float(self.train[0].mean()), float(self.train[0].std())
        train, test = ((x - np.float32(mean)) / np.float32(std) for x in (self.train[0], self.test[0]))
        return TensorDataset(train, self.train[1]), TensorDataset(test, self.test[1]), mean, std


def lenet(
    *,
    data: str = "digits",
    data_dir: Path | None = None,
    download: Annotated[bool, Parameter(negative=())] = False,
    epochs: int | None = None,
    batch_size: int = 32,
    lr: float = 2e-3,
    seed: int = 0,
    out: Path = Path("runs/lenet"),
) -> int:
    """Train LeNet on handwritten digits.

    Parameters
    ----------
    data
        'digits' (1,797 images that come with scikit-learn) or 'mnist' (70,000).
    data_dir
        Folder with MNIST's four files; by default one in the cache folder.
    download
        Fetch MNIST's files if they are not there.
    epochs
        Passes over the training set; by default 20 for digits and 8 for MNIST.
    batch_size
        Images in a step.
    lr
        Learning rate of AdamW in the first epoch; it falls to nearly 0 along a cosine.
    seed
        Of the first weights and of the order of the images.
    out
        Folder for weights, settings, history and curves.
    """
    _check(epochs=epochs, batch_size=batch_size, lr=lr)
    images = _load(data, data_dir, download)
    epochs = epochs or {"digits": 20, "mnist": 8}[data]
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "model": "lenet", "data": data, "data_sha256": images.digest, "box": images.box,
        "through": images.through, "epochs": epochs, "batch_size": batch_size, "lr": lr,
        "seed": seed,
    }  # fmt: skip
    return _train(images, settings, out)


def _check(epochs: int | None, batch_size: int, lr: float) -> None:
    if epochs is not None and epochs < 1:
        what = f"--epochs must be 1 or more, not {epochs}"
        raise errors.argument("train", what, hint="leave it out for the usual number")
    if batch_size < 1:
        what = f"--batch-size must be 1 or more, not {batch_size}"
        raise errors.argument("train", what, hint="32 is usual")
    if not 0 < lr < float("inf"):
        what = f"--lr must be a positive number, not {lr}"
        raise errors.argument("train", what, hint="0.001 is usual")


def _load(data: str, data_dir: Path | None, download: bool) -> DataSet:
    import numpy as np

    from adjoint.data import load_digits, load_mnist

    if data not in ("digits", "mnist"):
        raise errors.unknown_name("--data", data, ["digits", "mnist"])
    if data == "digits":
        if data_dir is not None or download:
            what = "--data-dir and --download belong to MNIST; digits need neither"
            raise errors.argument("train", what, hint="add --data mnist, or leave them out")
        # Scanned at 32x32, then counted in blocks of 4x4.
        parts = [load_digits(kind, size=SIZE, seed=0) for kind in ("train", "test")]
        return DataSet(data, *parts, box=SIZE, through=8)
    folder = data_dir or FLAGS.cache / "mnist"
    parts = [load_mnist(folder, kind, download=download) for kind in ("train", "test")]
    # 28x28 with a margin, as in the paper; the ink fills 20x20.
    padded = [(np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2))), y) for x, y in parts]
    return DataSet(data, *padded, box=20, through=None)


def _train(images: DataSet, settings: dict[str, Any], out: Path) -> int:
    from adjoint.data import DataLoader, TensorDataset
    from adjoint.interop import save
    from adjoint.interop.files import write_text
    from adjoint.models.lenet import LeNet
    from adjoint.nn import CrossEntropyLoss
    from adjoint.optim import Adam
    from adjoint.tensors.generator import manual_seed
    from adjoint.train import ConfusionMatrix, evaluate, fit

    manual_seed(settings["seed"])
    model = LeNet()
    count = sum(p.numel() for p in model.parameters())
    print(
        f"data   {images.name}: {len(images.train[0]):,} training and {len(images.test[0]):,} test "
        f"images of {SIZE}x{SIZE}, sha256 {images.digest}\n"
        f"model  LeNet, {count:,} parameters\n"
        f"run    seed {settings['seed']}, {settings['epochs']} epochs, "
        f"batch {settings['batch_size']}, Adam with lr {settings['lr']:g}"
    )
    batch, seed = settings["batch_size"], settings["seed"]
    train = DataLoader(TensorDataset(*images.train), batch, shuffle=True, seed=seed)
    test = DataLoader(TensorDataset(*images.test), 500)
    loss, optimizer = CrossEntropyLoss(), Adam(model.parameters(), lr=settings["lr"])
    history = fit(model, train, test, optimizer, loss, settings["epochs"])

    confusion = ConfusionMatrix(10)
    final = evaluate(model, test, loss, confusion)
    result = {
        **settings, "parameters": count, "test_images": len(images.test[0]),
        "test_loss": final.loss, "test_accuracy": final.accuracy,
        "epochs_finished": len(history.epochs), "interrupted": history.interrupted,
    }  # fmt: skip
    save(model.state_dict(), out / WEIGHTS, {"config": json.dumps(result)})
    write_text(out / "config.json", json.dumps(result, indent=2) + "\n")
    matrix = confusion.compute()
    record = {**history.as_dict(), "confusion_matrix": matrix.tolist()}
    write_text(out / "history.json", json.dumps(record, indent=2) + "\n")
    _report(images, result, history, matrix, out)
    return 130 if history.interrupted else 0


def _report(
    images: DataSet, result: dict[str, Any], history: History, matrix: np.ndarray, out: Path
) -> None:
    from adjoint.train import save_training_figure

    right, total = int(matrix.trace()), int(matrix.sum())
    share = result["test_accuracy"]
    print(f"test accuracy {share:.2%} ({right:,} of {total:,} images of {images.name})")
    if history.interrupted:
        print(f"stopped after {len(history.epochs)} whole epochs of {result['epochs']}; ", end="")
    files = [WEIGHTS, "config.json", "history.json"]
    title = f"LeNet on {images.name}, seed {result['seed']}: {share:.2%} of {total:,} test images"
    try:
        save_training_figure(history, matrix, out / "curves.png", title)
        files.append("curves.png")
        example = _example(images, out)
    except errors.MissingExtraError as problem:
        print(f"no pictures: {problem.brief}", file=sys.stderr)
        example = "FILE.png"
    print(f"saved in {out}: {', '.join(files)}")
    weights = "" if out == Path("runs/lenet") else f" --weights {out / WEIGHTS}"
    print(f"next: {own_name()} predict {example}{weights}")


def _example(images: DataSet, out: Path) -> Path:
    """A test image as a file, dark on light as on paper, so that there is something to predict."""
    import numpy as np

    from adjoint.data import write_png

    pixels = 255 - np.rint(images.test[0][0, 0] * 255).astype(np.uint8)
    path = out / "example.png"
    write_png(np.kron(pixels, np.ones((8, 8), np.uint8)), path)
    return path

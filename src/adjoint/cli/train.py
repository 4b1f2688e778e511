"""``adjoint train``: a model, its data and its settings in; weights, curves and numbers out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adjoint.base import errors
from adjoint.cli.handwriting import SIZE, Handwriting, load, preset, standardised
from adjoint.cli.own_name import own_name

if TYPE_CHECKING:
    import numpy as np

    from adjoint.data import DataLoader
    from adjoint.train import History

OUT = Path("runs/lenet")
WEIGHTS = "lenet.safetensors"
# These two were found on a part of the training set held out, not on the test set.
WEIGHT_DECAY, LABEL_SMOOTHING = 0.1, 0.1


def lenet(
    *,
    data: str = "digits",
    data_dir: Path | None = None,
    download: Annotated[bool, Parameter(negative=())] = False,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float = 2e-3,
    seed: int = 0,
    out: Path = OUT,
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
        Images in a step; by default 32 for digits and 64 for MNIST.
    lr
        Learning rate of AdamW in the first epoch; it falls to nearly 0 along a cosine.
    seed
        Of the first weights and of the order of the images.
    out
        Folder for weights, settings, history and curves.
    """
    usual = preset(data)
    settings = {
        "model": "lenet", "data": data, "seed": seed, "lr": lr, "weight_decay": WEIGHT_DECAY,
        "label_smoothing": LABEL_SMOOTHING,
        "epochs": usual.epochs if epochs is None else epochs,
        "batch_size": usual.batch_size if batch_size is None else batch_size,
        "box": usual.box, "through": usual.through, "by_mass": usual.by_mass,
    }  # fmt: skip
    _check(settings)
    images = load(data, data_dir, download)
    out.mkdir(parents=True, exist_ok=True)
    settings["mean"], settings["std"] = images.scale()
    settings["data_sha256"] = images.digest
    return _train(images, settings, out)


def _check(settings: dict[str, Any]) -> None:
    for name in ("epochs", "batch_size"):
        if settings[name] < 1:
            what = f"--{name.replace('_', '-')} must be 1 or more, not {settings[name]}"
            raise errors.argument("train", what, hint="leave it out for the usual number")
    if not 0 < settings["lr"] < float("inf"):
        what = f"--lr must be a positive number, not {settings['lr']}"
        raise errors.argument("train", what, hint="0.002 is usual")


def _train(images: Handwriting, settings: dict[str, Any], out: Path) -> int:
    from adjoint.interop import save
    from adjoint.interop.files import write_text
    from adjoint.models import LeNet
    from adjoint.nn import CrossEntropyLoss
    from adjoint.optim import AdamW
    from adjoint.tensors.generator import manual_seed
    from adjoint.train import ConfusionMatrix, cosine_decay, evaluate, fit

    train, test = _loaders(images, settings)
    manual_seed(settings["seed"])
    model = LeNet()
    loss = CrossEntropyLoss(label_smoothing=settings["label_smoothing"])
    optimizer = AdamW(model.parameters(), settings["lr"], weight_decay=settings["weight_decay"])
    settings["parameters"] = sum(p.numel() for p in model.parameters())
    _announce(images, settings)
    rate = cosine_decay(settings["lr"], settings["epochs"])
    history = fit(model, train, test, optimizer, loss, settings["epochs"], learning_rate=rate)

    confusion = ConfusionMatrix(10)
    final = evaluate(model, test, loss, confusion)
    matrix = confusion.compute()
    result = {
        **settings, "test_images": int(matrix.sum()), "test_loss": final.loss,
        "test_accuracy": final.accuracy, "epochs_finished": len(history.epochs),
        "interrupted": history.interrupted,
    }  # fmt: skip
    save(model.state_dict(), out / WEIGHTS, {"config": json.dumps(result)})
    write_text(out / "config.json", json.dumps(result, indent=2) + "\n")
    record = {**history.as_dict(), "confusion_matrix": matrix.tolist()}
    write_text(out / "history.json", json.dumps(record, indent=2) + "\n")
    _report(images, result, history, matrix, out)
    return 130 if history.interrupted else 0


def _loaders(images: Handwriting, settings: dict[str, Any]) -> tuple[DataLoader, DataLoader]:
    from adjoint.data import DataLoader, TensorDataset

    train, test = (
        TensorDataset(standardised(x, settings["mean"], settings["std"]), y)
        for x, y in (images.train, images.test)
    )
    shuffled = DataLoader(train, settings["batch_size"], shuffle=True, seed=settings["seed"])
    return shuffled, DataLoader(test, 500)


def _announce(images: Handwriting, settings: dict[str, Any]) -> None:
    print(
        f"data   {images.name}: {len(images.train[0]):,} training and {len(images.test[0]):,} "
        f"test images of {SIZE}x{SIZE}, sha256 {settings['data_sha256']}\n"
        f"model  LeNet, {settings['parameters']:,} parameters\n"
        f"run    seed {settings['seed']}, epochs {settings['epochs']}, "
        f"batch {settings['batch_size']}, AdamW from lr {settings['lr']:g}, "
        f"label smoothing {settings['label_smoothing']:g}",
        flush=True,
    )


def _report(
    images: Handwriting, result: dict[str, Any], history: History, matrix: np.ndarray, out: Path
) -> None:
    from adjoint.train import save_training_figure

    share, right, total = result["test_accuracy"], int(matrix.trace()), int(matrix.sum())
    if history.interrupted:
        print(f"stopped after {len(history.epochs)} of {result['epochs']} epochs")
    print(f"test accuracy {share:.2%}: {right:,} of {total:,} images of {images.name}")
    title = f"LeNet on {images.name}, seed {result['seed']}: {share:.2%} of {total:,} test images"
    files, example = [WEIGHTS, "config.json", "history.json"], Path("FILE.png")
    try:
        save_training_figure(history, matrix, out / "curves.png", title)
        files.append("curves.png")
        example = _example(images, out)
    except errors.MissingExtraError as problem:
        print(f"no picture: {problem.brief}", file=sys.stderr)
    print(f"saved in {out}: {', '.join(files)}")
    weights = "" if out == OUT else f" --weights {out / WEIGHTS}"
    print(f"next: {own_name()} predict {example}{weights}")


def _example(images: Handwriting, out: Path) -> Path:
    """A test image as a file, dark on light as on paper, so that there is one to predict."""
    import numpy as np

    from adjoint.data import write_png

    pixels = 255 - np.rint(images.test[0][0, 0] * 255).astype(np.uint8)
    path = out / "example.png"
    write_png(np.kron(pixels, np.ones((8, 8), np.uint8)), path)
    return path

"""``adjoint predict``: which digit a picture shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adjoint.base import errors
from adjoint.cli.handwriting import SIZE, standardised
from adjoint.cli.own_name import own_name

PICTURE = ("box", "through", "by_mass")  # how a picture is brought to the form of the data
DEFAULT_WEIGHTS = Path("runs/lenet/lenet.safetensors")


def predict(file: Path, /, *, weights: Path = DEFAULT_WEIGHTS) -> int:
    """Say which digit a picture shows.

    Parameters
    ----------
    file
        A picture of one handwritten digit, dark on light or light on dark: PNG, JPEG, ...
    weights
        What 'train lenet' has saved.
    """
    if not weights.is_file():
        hint = f"train them first: {own_name()} train lenet"
        raise errors.argument("predict", f"there are no weights at {weights}", hint=hint)
    if not file.is_file():
        hint = "a picture of one handwritten digit: PNG, JPEG, ..."
        raise errors.argument("predict", f"there is no file {file}", hint=hint)
    probabilities = _probabilities(file, weights)
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    print(f"{file} shows a {best} (probability {probabilities[best]:.2%})")
    for digit, probability in enumerate(probabilities):
        print(f"  {digit}  {probability:7.2%}  {'#' * round(probability * 40)}".rstrip())
    return 0


def _probabilities(file: Path, weights: Path) -> list[float]:
    from adjoint.data import read_image
    from adjoint.data.digit_image import digit_image
    from adjoint.interop import load
    from adjoint.models import LeNet
    from adjoint.nn.functional import softmax
    from adjoint.tensors.creation import from_numpy
    from adjoint.tensors.modes import no_grad

    settings = _settings(weights)
    gray = read_image(file, mode="gray").numpy()[0]
    picture = digit_image(gray, SIZE, *(settings[key] for key in PICTURE))
    x = from_numpy(standardised(picture[None, None], settings["mean"], settings["std"]))
    model = LeNet()
    model.load_state_dict(load(weights))
    model.eval()
    with no_grad():
        return softmax(model(x), dim=1)[0].tolist()


def _settings(weights: Path) -> dict[str, Any]:
    """What was saved beside the weights; raises ArgumentError for weights of something else."""
    from adjoint.interop import load_metadata

    settings: Any = None
    try:
        settings = json.loads(load_metadata(weights)["config"])
        known = settings["model"] == "lenet" and settings.keys() >= {*PICTURE, "mean", "std"}
    except (KeyError, TypeError, ValueError, AttributeError):
        known = False
    if not known:
        hint = f"make such a file: {own_name()} train lenet"
        what = f"{weights} was not saved by 'train lenet'"
        raise errors.argument("predict", what, hint=hint)
    return settings

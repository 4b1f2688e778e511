"""The commands, as cyclopts sees them: names and one import path each."""

from __future__ import annotations

from collections.abc import Callable

from cyclopts import App

DESCRIPTION = "Train and use neural networks with Adjoint."
EPILOGUE = "Errors are one message; --debug, anywhere on the line, shows the whole traceback."
# One line each for the list of commands, which is printed without importing them.
TRAIN_LENET = "LeNet on handwritten digits."
PREDICT = "Say which digit a picture shows."
DOCTOR = "Print versions, the machine and what is installed, for a report of a problem."


def build(version: Callable[[], str]) -> App:
    """The application; commands are imported when they are run or explained."""
    app = App(
        name="adjoint", help=DESCRIPTION, help_epilogue=EPILOGUE, version=version,
        help_format="plaintext",
    )  # fmt: skip
    train = App(name="train", help="Train a model and save its weights, curves and settings.")
    train.command("adjoint.cli.train:lenet", name="lenet", help=TRAIN_LENET)
    app.command(train)
    app.command("adjoint.cli.predict:predict", name="predict", help=PREDICT)
    app.command("adjoint.cli.doctor:doctor", name="doctor", help=DOCTOR)
    return app

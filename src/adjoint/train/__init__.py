"""Training loops, metrics and pictures of them. `fit` is a loop a user could have written."""

from adjoint.train.accumulation import Accumulation
from adjoint.train.interrupt import StopRequest, stop_on_signal
from adjoint.train.loop import Epoch, History, Scores, evaluate, fit, train_epoch
from adjoint.train.metrics import Accuracy, ConfusionMatrix, Mean
from adjoint.train.plots import save_training_figure
from adjoint.train.scaling import GradScaler
from adjoint.train.schedule import cosine_decay

__all__ = [
    "Accumulation",
    "Accuracy",
    "ConfusionMatrix",
    "Epoch",
    "GradScaler",
    "History",
    "Mean",
    "Scores",
    "StopRequest",
    "cosine_decay",
    "evaluate",
    "fit",
    "save_training_figure",
    "stop_on_signal",
    "train_epoch",
]

"""Adjoint: tensors with automatic differentiation, a compiler, and deep learning on top.

The names stand in ``public.py``. They and the sub-packages are loaded when they are first used, so
that ``adjoint --help`` does not wait for NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what __getattr__ finds, for type checkers and editors
    from adjoint import array_api as array_api
    from adjoint import data as data
    from adjoint import interop as interop
    from adjoint import linalg as linalg
    from adjoint import models as models
    from adjoint import nn as nn
    from adjoint import optim as optim
    from adjoint import testing as testing
    from adjoint import train as train
    from adjoint import utils as utils
    from adjoint.interop.safetensors import load as load
    from adjoint.interop.safetensors import save as save
    from adjoint.public import *  # noqa: F403
    from adjoint.tensors.functional import celu as celu
    from adjoint.tensors.functional import conv1d as conv1d
    from adjoint.tensors.functional import conv2d as conv2d
    from adjoint.tensors.functional import conv3d as conv3d
    from adjoint.tensors.functional import cosine_similarity as cosine_similarity
    from adjoint.tensors.functional import dropout as dropout
    from adjoint.tensors.functional import log_softmax as log_softmax
    from adjoint.tensors.functional import logsumexp as logsumexp
    from adjoint.tensors.functional import prelu as prelu
    from adjoint.tensors.functional import relu as relu
    from adjoint.tensors.functional import selu as selu
    from adjoint.tensors.functional import softmax as softmax

__version__ = "0.1.0"

_SUBMODULES = (
    "array_api", "data", "interop", "linalg", "models", "nn", "optim", "testing", "train", "utils",
)  # fmt: skip
_INTERNAL = ("base", "cli", "compile", "ir", "ops", "runtime", "tensors", "transform")
_FUNCTIONAL = (
    "celu", "conv1d", "conv2d", "conv3d", "cosine_similarity", "dropout", "log_softmax",
    "logsumexp", "prelu", "relu", "selu", "softmax",
)  # fmt: skip
_ELSEWHERE = {
    "load": "adjoint.interop.safetensors", "save": "adjoint.interop.safetensors",
    **dict.fromkeys(_FUNCTIONAL, "adjoint.tensors.functional"),
}  # fmt: skip

if not TYPE_CHECKING:  # seen by a type checker, it would allow any name

    def __getattr__(name: str) -> object:
        """Load the sub-package, or the module that has the name, and keep what was found."""
        if name in _SUBMODULES or name in _INTERNAL:
            return import_module(f"adjoint.{name}")
        if name == "__all__":
            return __dir__()
        if not name.startswith("__"):
            module = import_module(_ELSEWHERE.get(name, "adjoint.public"))
            if hasattr(module, name):
                return globals().setdefault(name, getattr(module, name))
        from adjoint.base.errors import nearest

        hint = nearest(name, __dir__())
        raise AttributeError(f"module 'adjoint' has no attribute {name!r}. {hint}")

    def __dir__() -> list[str]:
        return sorted({*import_module("adjoint.public").__all__, *_SUBMODULES, *_ELSEWHERE})

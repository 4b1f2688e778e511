"""The functions behind the layers, under the names of ``torch.nn.functional``."""

from adjoint.tensors.functional import *  # noqa: F403
from adjoint.tensors.functional import __all__ as __all__

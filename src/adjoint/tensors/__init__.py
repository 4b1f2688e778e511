"""Floor 6: what users touch. Tensors, functions of tensors, and transforms of such functions."""

import adjoint.tensors.tensor  # noqa: F401  # every function here makes Tensors
from adjoint.compile import register

register()  # eager products and convolutions use compiled kernels

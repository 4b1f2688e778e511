"""Adjoint: tensors with automatic differentiation, a compiler, and deep learning on top."""

from adjoint.base.dtype import (
    DType, bfloat16, bool_, finfo, float16, float32, float64, iinfo, int8, int16, int32, int64,
    promote_types, uint8, uint16, uint32, uint64,
)  # fmt: skip
from adjoint.base.errors import AdjointError
from adjoint.runtime.device import Device, device
from adjoint.tensors.arithmetic import (
    add, bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift,
    bitwise_xor, div, eq, floor_divide, fmod, ge, gt, le, logical_and, logical_not, logical_or,
    logical_xor, lt, maximum, minimum, mul, ne, neg, positive, remainder, sub, where,
)  # fmt: skip
from adjoint.tensors import autograd
from adjoint.tensors.control import scan
from adjoint.tensors.creation import (
    arange, as_tensor, empty, empty_like, eye, from_dlpack, from_numpy, full, full_like, linspace,
    logspace, ones, ones_like, tensor, zeros, zeros_like,
)  # fmt: skip
from adjoint.tensors.indexing import nonzero
from adjoint.tensors.modes import (
    enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled,
)  # fmt: skip
from adjoint.tensors.movement import (
    broadcast_tensors, broadcast_to, cat, chunk, clone, diag, diag_embed, diagonal, expand_dims,
    flatten, flip, fliplr, flipud, hstack, matrix_transpose, meshgrid, movedim, narrow, permute,
    repeat_interleave, reshape, roll, select, split, squeeze, stack, t, tile, transpose, tril,
    triu, unbind, unflatten, unsqueeze, vstack,
)  # fmt: skip
from adjoint.tensors.reduction import (
    all, amax, amin, any, argmax, argmin, count_nonzero, cumsum, max, mean, min, prod, std,
    std_mean, sum, var, var_mean,
)  # fmt: skip
from adjoint.tensors.tensor import Tensor
from adjoint.tensors.transforms import (
    grad, hessian, hvp, jacfwd, jacrev, jvp, linearize, value_and_grad, vjp, vmap,
)  # fmt: skip

__version__ = "0.1.0"

# PyTorch's and NumPy's other names for the same things
bool = bool_
half, double, long, short = float16, float64, int64, int16
concat = concatenate = cat
swapaxes = transpose
moveaxis = movedim
subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg
pi, e, inf, nan, newaxis = 3.141592653589793, 2.718281828459045, float("inf"), float("nan"), None

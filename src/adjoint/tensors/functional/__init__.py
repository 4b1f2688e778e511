"""Functions of tensors that networks are made of, under PyTorch's names.

``adjoint.nn.functional`` is the public path.
"""

# ruff: noqa: I001  (names as text, not one a line)

from adjoint.tensors.contraction import bilinear
from adjoint.tensors.functional.activation import (
    celu, elu, gelu, glu, hardshrink, hardsigmoid, hardswish, hardtanh, leaky_relu, logsigmoid,
    maxout, mish, prelu, relu, relu6, selu, sigmoid, silu, softplus, softshrink, softsign, step,
    swiglu, tanh, tanhshrink, threshold,
)  # fmt: skip
from adjoint.tensors.functional.conv import (
    conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, convolve,
    correlate,
)  # fmt: skip
from adjoint.tensors.functional.divergence import (
    bernoulli_kl, categorical_kl, gaussian_kl, standard_gaussian_kl,
)  # fmt: skip
from adjoint.tensors.functional.dropout import (
    alpha_dropout, dropout, dropout1d, dropout2d, dropout3d,
)  # fmt: skip
from adjoint.tensors.functional.learnable import mixed, rational, spline
from adjoint.tensors.functional.likelihood import cross_entropy, gaussian_nll_loss, kl_div, nll_loss
from adjoint.tensors.functional.linear import (
    cosine_similarity, linear, normalize, pairwise_distance,
)  # fmt: skip
from adjoint.tensors.functional.loss import (
    binary_cross_entropy, binary_cross_entropy_with_logits, half_squared_error, huber_loss,
    l1_loss, mse_loss, poisson_nll_loss, smooth_l1_loss,
)  # fmt: skip
from adjoint.tensors.functional.padding import fold, pad, unfold
from adjoint.tensors.functional.pool import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool2d, adaptive_max_pool3d, avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d,
    max_pool2d, max_pool3d, max_unpool1d, max_unpool2d, max_unpool3d,
)  # fmt: skip
from adjoint.tensors.functional.softmax import log_softmax, logsumexp, softmax, softmin
from adjoint.tensors.functional.toeplitz import conv_matrix
from adjoint.tensors.scatter import embedding, one_hot

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "alpha_dropout", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "bernoulli_kl", "bilinear", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "categorical_kl", "celu", "conv1d", "conv2d", "conv3d",
    "conv_matrix", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolve",
    "correlate", "cosine_similarity", "cross_entropy", "dropout", "dropout1d", "dropout2d",
    "dropout3d", "elu", "embedding", "fold", "gaussian_kl", "gaussian_nll_loss", "gelu", "glu",
    "half_squared_error", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "huber_loss",
    "kl_div", "l1_loss", "leaky_relu", "linear", "log_softmax", "logsigmoid", "logsumexp",
    "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d",
    "maxout", "mish", "mixed", "mse_loss", "nll_loss", "normalize", "one_hot", "pad",
    "pairwise_distance", "poisson_nll_loss", "prelu", "rational", "relu", "relu6", "selu",
    "sigmoid", "silu", "smooth_l1_loss", "softmax", "softmin", "softplus", "softshrink",
    "softsign", "spline", "standard_gaussian_kl", "step", "swiglu", "tanh", "tanhshrink",
    "threshold", "unfold",
]  # fmt: skip

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
from adjoint.tensors.functional.attention import scaled_dot_product_attention
from adjoint.tensors.functional.attention_variants import (
    linear_attention, sliding_window_attention,
)  # fmt: skip
from adjoint.tensors.functional.alignment import ctc_loss
from adjoint.tensors.functional.contrast import (
    dice_loss, focal_loss, info_nce, iou_loss, sigmoid_focal_loss, tversky_loss,
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
from adjoint.tensors.functional.normalization import (
    batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm,
)  # fmt: skip
from adjoint.tensors.functional.margin import (
    cosine_embedding_loss, hinge_embedding_loss, hinge_loss, margin_ranking_loss,
    multi_margin_loss, multilabel_margin_loss, multilabel_soft_margin_loss, soft_margin_loss,
    triplet_margin_loss, triplet_margin_with_distance_loss,
)  # fmt: skip
from adjoint.tensors.functional.padding import fold, pad, unfold
from adjoint.tensors.functional.pool import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d,
    adaptive_max_pool2d, adaptive_max_pool3d, avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d,
    max_pool2d, max_pool3d, max_unpool1d, max_unpool2d, max_unpool3d,
)  # fmt: skip
from adjoint.tensors.functional.positions import (
    alibi_bias, alibi_slopes, relative_buckets, rotary, sinusoidal_positions, sliding_window_mask,
)  # fmt: skip
from adjoint.tensors.functional.softmax import log_softmax, logsumexp, softmax, softmin
from adjoint.tensors.functional.toeplitz import conv_matrix
from adjoint.tensors.scatter import embedding, one_hot

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "alibi_bias",
    "alibi_slopes",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bernoulli_kl",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "categorical_kl",
    "celu",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_matrix",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolve",
    "correlate",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dice_loss",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "embedding",
    "focal_loss",
    "fold",
    "gaussian_kl",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "group_norm",
    "half_squared_error",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "info_nce",
    "instance_norm",
    "iou_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "linear_attention",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "logsumexp",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "maxout",
    "mish",
    "mixed",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "poisson_nll_loss",
    "prelu",
    "rational",
    "relative_buckets",
    "relu",
    "relu6",
    "rms_norm",
    "rotary",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "sigmoid_focal_loss",
    "silu",
    "sinusoidal_positions",
    "sliding_window_attention",
    "sliding_window_mask",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "spline",
    "standard_gaussian_kl",
    "step",
    "swiglu",
    "tanh",
    "tanhshrink",
    "threshold",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "tversky_loss",
    "unfold",
]  # fmt: skip

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
from adjoint.tensors.functional.activation_variants import (
    celu_, elu_, geglu, gumbel_softmax, hardtanh_, leaky_relu_, reglu, relu_, rrelu, rrelu_, selu_,
    threshold_,
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
    alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout,
)  # fmt: skip
from adjoint.tensors.functional.embedding import embedding, embedding_bag
from adjoint.tensors.functional.filters import (
    gaussian_filter, gaussian_kernel, laplacian, prewitt, sobel,
)  # fmt: skip
from adjoint.tensors.functional.learnable import mixed, rational, spline
from adjoint.tensors.functional.likelihood import cross_entropy, gaussian_nll_loss, kl_div, nll_loss
from adjoint.tensors.functional.linear import (
    cosine_similarity, linear, normalize, pairwise_distance,
)  # fmt: skip
from adjoint.tensors.functional.local import (
    add_coordinates, conv_tbc, locally_connected1d, locally_connected2d, pdist,
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
from adjoint.tensors.functional.pool_variants import (
    adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d_with_indices, fractional_max_pool2d, fractional_max_pool2d_with_indices,
    fractional_max_pool3d, fractional_max_pool3d_with_indices, lp_pool1d, lp_pool2d, lp_pool3d,
    max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices,
)  # fmt: skip
from adjoint.tensors.functional.positions import (
    alibi_bias, alibi_slopes, relative_buckets, rotary, sinusoidal_positions, sliding_window_mask,
)  # fmt: skip
from adjoint.tensors.functional.resample import (
    channel_shuffle, interpolate, pixel_shuffle, pixel_unshuffle, upsample, upsample_bilinear,
    upsample_nearest,
)  # fmt: skip
from adjoint.tensors.functional.sampling_grid import affine_grid, grid_sample
from adjoint.tensors.functional.softmax import log_softmax, logsumexp, softmax, softmin
from adjoint.tensors.functional.toeplitz import conv_matrix
from adjoint.tensors.scatter import one_hot

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "add_coordinates",
    "affine_grid",
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
    "celu_",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_matrix",
    "conv_tbc",
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
    "elu_",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "focal_loss",
    "fold",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "gaussian_filter",
    "gaussian_kernel",
    "gaussian_kl",
    "gaussian_nll_loss",
    "geglu",
    "gelu",
    "glu",
    "grid_sample",
    "group_norm",
    "gumbel_softmax",
    "half_squared_error",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "info_nce",
    "instance_norm",
    "interpolate",
    "iou_loss",
    "kl_div",
    "l1_loss",
    "laplacian",
    "layer_norm",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "linear_attention",
    "local_response_norm",
    "locally_connected1d",
    "locally_connected2d",
    "log_softmax",
    "logsigmoid",
    "logsumexp",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
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
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "prelu",
    "prewitt",
    "rational",
    "reglu",
    "relative_buckets",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rotary",
    "rrelu",
    "rrelu_",
    "scaled_dot_product_attention",
    "selu",
    "selu_",
    "sigmoid",
    "sigmoid_focal_loss",
    "silu",
    "sinusoidal_positions",
    "sliding_window_attention",
    "sliding_window_mask",
    "smooth_l1_loss",
    "sobel",
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
    "threshold_",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "tversky_loss",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]  # fmt: skip

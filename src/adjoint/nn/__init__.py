"""Neural networks: modules, losses, initialisation, under PyTorch names."""

# ruff: noqa: I001, RUF022  (names as text, not one a line)

from adjoint.base.advice import TrainingWarning
from adjoint.nn import adversarial, functional, growing, init, mixing, regularisation, utils
from adjoint.nn.activation import (
    CELU, ELU, GELU, GLU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, LogSigmoid,
    LogSoftmax, Maxout, Mish, PReLU, ReLU, ReLU6, SELU, SiLU, Sigmoid, Softmax, Softmin,
    Softplus, Softshrink, Softsign, SwiGLU, Tanh, Tanhshrink, Threshold,
)  # fmt: skip
from adjoint.nn.attention import AdditiveAttention, KeyValueCache, MultiheadAttention
from adjoint.nn.batchnorm import (
    BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d,
    SyncBatchNorm,
)  # fmt: skip
from adjoint.nn.blocks import (
    Bottleneck, ConvNormReLU, Inception, LinearBottleneck, Parallel, Residual, Siamese,
)  # fmt: skip
from adjoint.nn.cells import GRUCell, LSTMCell, RNNCell, RNNCellBase
from adjoint.nn.adaptive_softmax import AdaptiveLogSoftmaxWithLoss
from adjoint.nn.containers import (
    ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential,
)  # fmt: skip
from adjoint.nn.contrast import CTCLoss, DiceLoss, FocalLoss, InfoNCE, IoULoss
from adjoint.nn.conv import (
    Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d,
)  # fmt: skip
from adjoint.nn.diagnosis import (
    DeadUnitMonitor, Diagnosis, Finding, diagnose, lint_init, recompute_bn_stats,
)  # fmt: skip
from adjoint.nn.dropout import (
    AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout,
)  # fmt: skip
from adjoint.nn.embedding import Embedding, EmbeddingBag
from adjoint.nn.learnable import (
    GEGLU, MixedActivation, RReLU, Rational, ReGLU, Softmax2d, Spline,
)  # fmt: skip
from adjoint.nn.gradients import GradientMonitor
from adjoint.nn.linear import Bilinear, Identity, Linear
from adjoint.nn.local import (
    AddCoordinates, CoordConv2d, GaussianBlur, LocallyConnected1d, LocallyConnected2d,
    SeparableConv1d, SeparableConv2d,
)  # fmt: skip
from adjoint.nn.loss import (
    BCELoss, BCEWithLogitsLoss, CosineSimilarity, CrossEntropyLoss, GaussianNLLLoss,
    HalfSquaredError, HuberLoss, KLDivLoss, L1Loss, MSELoss, NLLLoss, PairwiseDistance,
    PoissonNLLLoss, SmoothL1Loss,
)  # fmt: skip
from adjoint.nn.margin import (
    CosineEmbeddingLoss, HingeEmbeddingLoss, HingeLoss, MarginRankingLoss, MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss, MultiMarginLoss, SoftMarginLoss, TripletMarginLoss,
    TripletMarginWithDistanceLoss,
)  # fmt: skip
from adjoint.nn.module import Module
from adjoint.nn.normalization import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm
from adjoint.nn.noise import GaussianNoise, StochasticDepth
from adjoint.nn.padding import (
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d,
    Fold, ReflectionPad1d, ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d,
    ReplicationPad3d, Unfold, ZeroPad1d, ZeroPad2d, ZeroPad3d,
)  # fmt: skip
from adjoint.nn.parameter import Buffer, Parameter
from adjoint.nn.pool import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool1d,
    AdaptiveMaxPool2d, AdaptiveMaxPool3d, AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d,
    MaxPool3d, MaxUnpool1d, MaxUnpool2d, MaxUnpool3d,
)  # fmt: skip
from adjoint.nn.pool_variants import (
    FractionalMaxPool2d, FractionalMaxPool3d, LPPool1d, LPPool2d, LPPool3d,
)  # fmt: skip
from adjoint.nn.positions import (
    LearnedPositions, RelativePositionBias, RotaryPositions, SinusoidalPositions,
)  # fmt: skip
from adjoint.nn.recurrent import GRU, LSTM, RNN, RNNBase
from adjoint.nn.shape import Flatten, Unflatten
from adjoint.nn.state import IncompatibleKeys, StateDictError
from adjoint.nn.taps import Backbone, Taps
from adjoint.nn.transformer import (
    Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder,
    TransformerEncoderLayer,
)  # fmt: skip
from adjoint.nn.upsampling import (
    ChannelShuffle, PixelShuffle, PixelUnshuffle, Upsample, UpsamplingBilinear2d,
    UpsamplingNearest2d,
)  # fmt: skip

__all__ = [
    "AddCoordinates", "Backbone", "Bottleneck", "Buffer", "ChannelShuffle", "ConvNormReLU",
    "CoordConv2d", "EmbeddingBag", "FeatureAlphaDropout", "FractionalMaxPool2d",
    "FractionalMaxPool3d", "GEGLU", "GaussianBlur", "Inception", "LPPool1d", "LPPool2d", "LPPool3d",
    "LinearBottleneck", "LocallyConnected1d", "LocallyConnected2d", "MixedActivation", "Parallel",
    "ParameterDict", "PixelShuffle", "PixelUnshuffle", "RReLU", "Rational", "ReGLU", "Residual",
    "SeparableConv1d", "SeparableConv2d", "Siamese", "Softmax2d", "Spline", "Taps", "Upsample",
    "UpsamplingBilinear2d", "UpsamplingNearest2d",
    "DeadUnitMonitor", "Diagnosis", "Finding", "GradientMonitor", "TrainingWarning", "diagnose",
    "lint_init", "recompute_bn_stats",
    "GaussianNoise", "StochasticDepth",
    "AdaptiveLogSoftmaxWithLoss", "CTCLoss", "CosineEmbeddingLoss", "DiceLoss", "FocalLoss",
    "HingeEmbeddingLoss", "HingeLoss", "InfoNCE", "IoULoss", "MarginRankingLoss",
    "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss", "SoftMarginLoss",
    "TripletMarginLoss", "TripletMarginWithDistanceLoss",
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AdditiveAttention", "AlphaDropout", "AvgPool1d",
    "AvgPool2d", "AvgPool3d", "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d", "BatchNorm2d",
    "BatchNorm3d", "Bilinear", "CELU", "CircularPad1d", "CircularPad2d", "CircularPad3d",
    "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "Conv1d", "Conv2d", "Conv3d",
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "CosineSimilarity",
    "CrossEntropyLoss", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "ELU", "Embedding",
    "Flatten", "Fold", "GELU", "GLU", "GRU", "GRUCell", "GaussianNLLLoss", "GroupNorm",
    "HalfSquaredError", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "HuberLoss",
    "Identity", "IncompatibleKeys", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
    "KLDivLoss", "KeyValueCache", "L1Loss", "LSTM", "LSTMCell", "LayerNorm", "LeakyReLU",
    "LearnedPositions", "Linear", "LocalResponseNorm", "LogSigmoid", "LogSoftmax", "MSELoss",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
    "Maxout", "Mish", "Module", "ModuleDict", "ModuleList", "MultiheadAttention", "NLLLoss",
    "PReLU", "PairwiseDistance", "Parameter", "ParameterList", "PoissonNLLLoss", "RMSNorm",
    "RNN", "RNNBase", "RNNCell", "RNNCellBase", "ReLU", "ReLU6", "ReflectionPad1d",
    "ReflectionPad2d", "ReflectionPad3d", "RelativePositionBias", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "RotaryPositions", "SELU", "Sequential", "SiLU",
    "Sigmoid", "SinusoidalPositions", "SmoothL1Loss", "Softmax", "Softmin", "Softplus",
    "Softshrink", "Softsign", "StateDictError", "SwiGLU", "SyncBatchNorm", "Tanh", "Tanhshrink",
    "Threshold", "Transformer", "TransformerDecoder", "TransformerDecoderLayer",
    "TransformerEncoder", "TransformerEncoderLayer", "Unflatten", "Unfold", "ZeroPad1d",
    "ZeroPad2d", "ZeroPad3d", "adversarial",
    "functional", "growing", "init", "mixing", "regularisation", "utils",
]  # fmt: skip

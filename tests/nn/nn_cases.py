"""Every layer with a PyTorch twin, one line each; ``test_nn_cases.py`` runs them all.

A line: feature rows, name in ``nn``, arguments, options, inputs. An input is a shape (floats drawn
from the standard normal distribution, a gradient is compared), an array (taken as it is), or a
list of inputs (handed over as a tuple). Layers that draw random numbers need a probability of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """One use of a layer.

    given: keyword arguments of the call. twin: how PyTorch makes its layer, when not by the same
    name and arguments. printed: whether ``repr`` is the same. modes: in which it runs. slack:
    factor on the tolerance. wide: only float64, where float32 says nothing.
    """

    features: tuple[str, ...]
    name: str = ""
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    inputs: tuple[Any, ...] = ()
    given: dict[str, Any] = {}  # noqa: RUF012
    twin: Callable[[], Any] | None = None
    printed: bool = True
    modes: tuple[str, ...] = ("train", "eval")
    slack: float = 1.0
    captured: bool = True

    def __str__(self) -> str:
        shown = ", ".join(
            [*(str(a) for a in self.arguments), *(f"{k}={v}" for k, v in self.options.items())]
        )
        shapes = "-".join(_shown(i) for i in self.inputs)
        more = "".join(f"-{k}" for k in self.given)
        return f"{self.name}({shown})-{shapes}{more}".replace(" ", "")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + "-".join(_shown(v) for v in value) + "]"
    shape = value.shape if isinstance(value, np.ndarray) else value
    return "x".join(str(n) for n in shape)


NORMALISATION = [
    Case(("N1", "N2", "N3"), "BatchNorm1d", (3,), {}, ((4, 3),)),
    Case(("N1",), "BatchNorm1d", (3,), {"eps": 0.1, "momentum": 0.3}, ((2, 3, 5),)),
    Case(("N2",), "BatchNorm1d", (5,), {"momentum": None}, ((7, 5),)),
    Case(("N1", "N2", "N3"), "BatchNorm2d", (3,), {}, ((2, 3, 5, 4),)),
    Case(("N3",), "BatchNorm2d", (3,), {"affine": False}, ((2, 3, 1, 7),)),
    Case(("N3",), "BatchNorm2d", (3,), {"bias": False}, ((2, 3, 4, 3),)),
    Case(("N2",), "BatchNorm2d", (1,), {"track_running_stats": False}, ((1, 1, 5, 4),)),
    Case(("N1",), "BatchNorm3d", (2,), {}, ((3, 2, 2, 3, 4),)),
    Case(("N6",), "LayerNorm", (5,), {}, ((3, 5),)),
    Case(("N6",), "LayerNorm", (7,), {"eps": 1e-2, "bias": False}, ((2, 3, 7),)),
    Case(("N6",), "LayerNorm", ((3, 4),), {}, ((2, 5, 3, 4),)),
    Case(("N6",), "LayerNorm", (4,), {"elementwise_affine": False}, ((4,),)),
    Case(("N7",), "RMSNorm", (5,), {}, ((3, 5),)),
    Case(("N7",), "RMSNorm", ((3, 4),), {"eps": 1e-3}, ((2, 3, 4),)),
    Case(("N7",), "RMSNorm", (6,), {"elementwise_affine": False}, ((2, 3, 6),)),
    Case(("N4",), "GroupNorm", (2, 6), {}, ((3, 6, 5),)),
    Case(("N4",), "GroupNorm", (1, 4), {}, ((2, 4, 3, 5),)),
    Case(("N4",), "GroupNorm", (4, 4), {"bias": False}, ((2, 4, 3, 5),)),
    Case(("N4",), "GroupNorm", (3, 6), {"affine": False, "eps": 0.1}, ((2, 6),)),
    Case(("N5",), "InstanceNorm1d", (3,), {}, ((2, 3, 5),)),
    Case(("N5",), "InstanceNorm1d", (3,), {"affine": True}, ((3, 5),)),
    Case(("N5",), "InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True},
         ((2, 3, 4, 5),)),
    Case(("N5",), "InstanceNorm3d", (2,), {"eps": 1e-2}, ((2, 2, 3, 4, 2),)),
    Case((), "LocalResponseNorm", (3,), {"alpha": 0.5, "k": 2.0}, ((2, 5, 4, 3),)),
    Case((), "LocalResponseNorm", (4,), {"beta": 0.5}, ((2, 3, 6),)),
]  # fmt: skip

X = (5, 3, 4)  # steps, batch, features
LAYERS = {"num_layers": 2, "bidirectional": True}
RECURRENT = [
    Case(("Q1",), "RNN", (4, 6), {}, (X,)),
    Case(("Q1",), "RNN", (4, 6), {"nonlinearity": "relu", **LAYERS}, (X, (4, 3, 6))),
    Case(("Q1",), "RNN", (4, 6, 2), {"batch_first": True, "bias": False}, (X,)),
    Case(("Q1",), "RNN", (4, 6), {}, ((5, 4), (1, 6))),
    Case(("Q4",), "LSTM", (4, 6), {}, (X,)),
    Case(("Q4",), "LSTM", (4, 6), LAYERS, (X, [(4, 3, 6), (4, 3, 6)])),
    Case(("Q4",), "LSTM", (4, 6), {"proj_size": 2, **LAYERS}, (X, [(4, 3, 2), (4, 3, 6)])),
    Case(("Q4",), "LSTM", (4, 1), {"batch_first": True, "bias": False}, ((1, 1, 4),)),
    Case(("Q4",), "LSTM", (4, 6), {"bidirectional": True}, ((5, 4),)),
    Case(("Q5",), "GRU", (4, 6), {}, (X,)),
    Case(("Q5",), "GRU", (4, 6), {"batch_first": True, **LAYERS}, (X, (4, 5, 6))),
    Case(("Q5",), "GRU", (4, 6, 3), {"bias": False}, ((5, 4), (3, 6))),
    Case(("Q1",), "RNNCell", (4, 6), {}, ((3, 4), (3, 6))),
    Case(("Q1",), "RNNCell", (4, 6), {"nonlinearity": "relu", "bias": False}, ((4,),)),
    Case(("Q4",), "LSTMCell", (4, 6), {}, ((3, 4), [(3, 6), (3, 6)])),
    Case(("Q4",), "LSTMCell", (4, 6, False), {}, ((4,), [(6,), (6,)])),
    Case(("Q5",), "GRUCell", (4, 6), {}, ((3, 4), (3, 6))),
    Case(("Q5",), "GRUCell", (4, 6), {"bias": False}, ((3, 4),)),
]  # fmt: skip

BOOL = np.array([[0, 0, 1, 1, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 1]]) > 0  # (T, S), True: not
PADDING = np.array([[0, 0, 0, 0, 1], [0, 0, 0, 1, 1]]) > 0
QKV = ((3, 2, 4), (5, 2, 4), (5, 2, 4))
BATCH_FIRST = ((2, 3, 4), (2, 5, 4), (2, 5, 4))
LIGHT = {"need_weights": False}
MHA = {"name": "MultiheadAttention", "printed": False}
ATTENTION = [
    Case(("A2",), arguments=(4, 2), inputs=QKV, **MHA),
    Case(("A2",), arguments=(4, 2), inputs=QKV, given=LIGHT, **MHA),
    Case(("A2",), arguments=(6, 3, 0.0, False), inputs=((3, 6), (4, 6), (4, 6)), **MHA),
    Case(("A2",), arguments=(4, 1), options={"batch_first": True}, inputs=BATCH_FIRST,
         given={"average_attn_weights": False}, **MHA),
    Case(("A2",), arguments=(4, 2), inputs=((3, 2, 4), (5, 2, 7), (5, 2, 3)),
         options={"kdim": 7, "vdim": 3}, **MHA),
    Case(("A2",), arguments=(4, 2), inputs=QKV, given={"attn_mask": BOOL}, **MHA),
    Case(("A2",), arguments=(4, 2), inputs=QKV, given={"attn_mask": BOOL, **LIGHT}, **MHA),
    Case(("A2",), arguments=(4, 2), inputs=QKV, given={"attn_mask": (4, 3, 5), **LIGHT}, **MHA),
    Case(("A2",), arguments=(4, 2), inputs=QKV, given={"attn_mask": (3, 5)}, **MHA),
    Case(("A2",), arguments=(4, 2), inputs=QKV, given={"key_padding_mask": PADDING}, **MHA),
    Case(("A2",), arguments=(4, 2), options={"batch_first": True}, inputs=BATCH_FIRST,
         given={"key_padding_mask": PADDING, "attn_mask": BOOL, **LIGHT}, **MHA),
    Case(("A2",), arguments=(4, 2), options={"add_bias_kv": True, "add_zero_attn": True},
         inputs=QKV, given={"key_padding_mask": PADDING, "attn_mask": BOOL}, **MHA),
]  # fmt: skip

SQUARE = np.triu(np.full((3, 3), True), 1)
SIZES = (4, 2, 8, 0.0)  # features, heads, hidden, dropout
TWO = ((5, 2, 4), (3, 2, 4))
ENCODER = {"name": "TransformerEncoderLayer", "printed": False}
DECODER = {"name": "TransformerDecoderLayer", "printed": False}
WHOLE = {"name": "Transformer", "printed": False}
FEW = {"num_encoder_layers": 2, "num_decoder_layers": 1, "dim_feedforward": 8, "dropout": 0.0}
TRANSFORMER = [
    Case(("A3",), arguments=SIZES, inputs=((3, 2, 4),), **ENCODER),
    Case(("A3",), arguments=SIZES, inputs=((3, 2, 4),), options={"norm_first": True}, **ENCODER),
    Case(("A3",), arguments=SIZES, inputs=((2, 5, 4),), given={"src_key_padding_mask": PADDING},
         options={"activation": "gelu", "batch_first": True, "layer_norm_eps": 0.1}, **ENCODER),
    Case(("A3",), arguments=SIZES, inputs=((3, 2, 4),), given={"src_mask": SQUARE},
         options={"bias": False}, **ENCODER),
    Case(("A3",), arguments=SIZES, inputs=((3, 4),), **ENCODER),
    Case(("A3",), arguments=SIZES, inputs=TWO[::-1], given={"tgt_mask": SQUARE}, **DECODER),
    Case(("A3",), arguments=SIZES, inputs=TWO[::-1], options={"norm_first": True},
         given={"memory_mask": BOOL, "memory_key_padding_mask": PADDING}, **DECODER),
    Case(("A4",), arguments=(4, 2), options=FEW, inputs=TWO, given={"tgt_mask": SQUARE}, **WHOLE),
    Case(("A4",), arguments=(4, 2), options={"norm_first": True, "batch_first": True, **FEW},
         inputs=((2, 5, 4), (2, 3, 4)), given={"src_key_padding_mask": PADDING}, **WHOLE),
]  # fmt: skip

ONE = {"modes": ("eval",)}  # training is the same
FLAT = ((3, 5),)
LINE, IMAGE, VOLUME = ((2, 4, 7),), ((2, 4, 5, 6),), ((1, 2, 4, 5, 3),)
INDEX = np.array([[1, 4, 4], [0, 5, 2]])
BAG = np.array([1, 4, 4, 0, 2, 5, 1])
STARTS = np.array([0, 3, 3, 5])
LINEAR = [
    Case((), "Identity", (), {}, FLAT, **ONE),
    Case(("M4",), "Linear", (5, 7), {}, ((2, 3, 5),), **ONE),
    Case(("M4",), "Linear", (5, 1), {"bias": False}, ((5,),), **ONE),
    Case((), "Bilinear", (3, 4, 5), {}, ((2, 3), (2, 4)), **ONE),
    Case((), "Bilinear", (3, 1, 2), {"bias": False}, ((2, 3, 3), (2, 3, 1)), **ONE),
    Case(("O31",), "Embedding", (6, 3), {"padding_idx": -2}, (INDEX,), **ONE),
    Case(("O31",), "Embedding", (6, 3, None, 0.7, 1.0, True), {}, (INDEX,), **ONE),
    Case((), "EmbeddingBag", (6, 3), {}, (INDEX,), **ONE),
    Case((), "EmbeddingBag", (6, 3), {"padding_idx": 4}, (BAG, STARTS), **ONE),
    Case((), "EmbeddingBag", (6, 3), {"mode": "sum"}, (BAG, STARTS), **ONE),
    Case((), "EmbeddingBag", (6, 3), {"mode": "max", "include_last_offset": True, "max_norm": 1.0},
         (BAG, np.array([0, 2, 7])), **ONE),
    Case((), "EmbeddingBag", (6, 3), {"mode": "sum"}, (BAG, STARTS),
         given={"per_sample_weights": (7,)}, **ONE),
    Case((), "Flatten", (), {}, ((2, 3, 4),), **ONE),
    Case((), "Unflatten", (1, (2, 3)), {}, ((4, 6, 2),), **ONE),
    Case((), "CosineSimilarity", (), {"dim": 0}, (*FLAT, *FLAT), **ONE),
    Case((), "PairwiseDistance", (), {"p": 3.0, "keepdim": True}, (*FLAT, *FLAT), **ONE),
]  # fmt: skip

CONVOLUTION = [
    Case(("M9",), "Conv1d", (4, 6, 3), {"stride": 2, "padding": 1}, LINE, **ONE),
    Case(("M9",), "Conv1d", (4, 5, 3), {"padding": 1, "padding_mode": "replicate"}, LINE, **ONE),
    Case(("M9",), "Conv2d", (4, 5, (3, 2)), {"padding": (1, 0), "dilation": 2, "bias": False},
         IMAGE, **ONE),
    Case(("M9",), "Conv2d", (4, 6, 3), {"groups": 2, "padding": "same"}, IMAGE, **ONE),
    Case(("M9",), "Conv2d", (4, 3, 3), {"padding": 2, "padding_mode": "reflect"}, IMAGE, **ONE),
    Case(("M9",), "Conv2d", (4, 3, 3), {"padding": "same", "padding_mode": "circular"}, IMAGE,
         **ONE),
    Case(("M9",), "Conv2d", (4, 8, 3), {"groups": 4, "stride": 2}, ((4, 5, 6),), **ONE),
    Case(("M9",), "Conv3d", (2, 3, 2), {"stride": (1, 2, 1)}, VOLUME, **ONE),
    Case((), "ConvTranspose1d", (4, 6, 3), {"stride": 2, "output_padding": 1}, LINE, **ONE),
    Case((), "ConvTranspose2d", (4, 6, 3), {"stride": 2, "padding": 1, "groups": 2}, IMAGE, **ONE),
    Case((), "ConvTranspose2d", (4, 2, 3), {"stride": 2, "padding": 1}, IMAGE,
         given={"output_size": [10, 11]}, **ONE),
    Case((), "ConvTranspose3d", (2, 3, 2), {"dilation": 2, "bias": False}, VOLUME, **ONE),
    Case((), "Unfold", (2,), {"stride": 2, "padding": 1}, IMAGE, **ONE),
    Case((), "Fold", ((5, 4), (2, 3)), {"padding": 1}, ((2, 12, 24),), **ONE),
    Case((), "PixelShuffle", (2,), {}, IMAGE, **ONE),
    Case((), "PixelUnshuffle", (3,), {}, ((2, 1, 6, 3),), **ONE),
    Case((), "ChannelShuffle", (2,), {}, IMAGE, **ONE),
    Case((), "Upsample", ((7, 4),), {}, IMAGE, **ONE),
    Case((), "Upsample", (), {"scale_factor": 2}, LINE, **ONE),
    Case((), "Upsample", (), {"scale_factor": 1.6, "mode": "linear"}, LINE, **ONE),
    Case((), "Upsample", (), {"scale_factor": (1.7, 0.6), "mode": "bilinear"}, IMAGE, **ONE),
    Case((), "Upsample", ((4, 9),), {"mode": "bicubic", "align_corners": True}, IMAGE, **ONE),
    Case((), "Upsample", (), {"scale_factor": 1.5, "mode": "trilinear",
                              "recompute_scale_factor": True}, VOLUME, **ONE),
    Case((), "UpsamplingNearest2d", (), {"scale_factor": 3}, IMAGE, **ONE),
    Case((), "UpsamplingBilinear2d", (), {"size": (8, 3)}, IMAGE, **ONE),
]  # fmt: skip

POOLED = np.array([[[0, 3, 5]] * 4] * 2)  # places of maxima
CHANCE, CHANCE3 = (np.random.default_rng(0).uniform(size=s) for s in ((2, 4, 2), (1, 2, 3)))
POOLING = [
    Case((), "MaxPool1d", (2,), {}, LINE, **ONE),
    Case((), "MaxPool2d", (3, 2), {"padding": 1, "return_indices": True}, IMAGE, **ONE),
    Case((), "MaxPool2d", (2,), {"dilation": (2, 1), "stride": 1}, IMAGE, **ONE),
    Case((), "MaxPool3d", (2,), {"ceil_mode": True}, VOLUME, **ONE),
    Case((), "AvgPool1d", (2,), {"padding": 1}, LINE, **ONE),
    Case((), "AvgPool2d", (3, 2), {"padding": 1, "count_include_pad": False}, IMAGE, **ONE),
    Case((), "AvgPool2d", (3, 2), {"ceil_mode": True, "divisor_override": 5}, IMAGE, **ONE),
    Case((), "AvgPool3d", (2,), {}, VOLUME, **ONE),
    Case((), "LPPool1d", (2, 3), {"stride": 2}, LINE, **ONE),
    Case((), "LPPool2d", (2.0, 2), {"ceil_mode": True}, IMAGE, **ONE),
    Case((), "LPPool3d", (2, 2), {}, VOLUME, **ONE),
    Case(("O27",), "AdaptiveAvgPool1d", (3,), {}, LINE, **ONE),
    Case(("O27",), "AdaptiveAvgPool2d", ((1, 1),), {}, IMAGE, **ONE),
    Case(("O27",), "AdaptiveAvgPool2d", ((3, None),), {}, IMAGE, **ONE),
    Case(("O27",), "AdaptiveAvgPool3d", (2,), {}, VOLUME, **ONE),
    Case(("O27",), "AdaptiveMaxPool1d", (3,), {}, LINE, **ONE),
    Case(("O27",), "AdaptiveMaxPool2d", (3,), {"return_indices": True}, IMAGE, **ONE),
    Case(("O27",), "AdaptiveMaxPool3d", (2,), {}, VOLUME, **ONE),
    Case(("O29",), "MaxUnpool1d", (2,), {}, ((2, 4, 3), POOLED), **ONE),
    Case(("O29",), "MaxUnpool2d", (2,), {}, ((2, 4, 1, 3), POOLED[:, :, None]),
         given={"output_size": [3, 7]}, **ONE),
    Case(("O29",), "MaxUnpool3d", (2, 1), {"padding": 0},
         ((2, 4, 1, 1, 3), POOLED[:, :, None, None]), **ONE),
    Case((), "FractionalMaxPool2d", (2, (3, 4)), {"_random_samples": CHANCE}, IMAGE,
         printed=False, modes=("eval",)),
    Case((), "FractionalMaxPool3d", (2,), {"output_ratio": 0.5, "_random_samples": CHANCE3}, VOLUME,
         printed=False, modes=("eval",)),
]  # fmt: skip

PADDING_LAYERS = [
    Case((), "ConstantPad1d", ((1, 2), 3.5), {}, LINE, **ONE),
    Case((), "ConstantPad2d", ((1, 0, 2, -1), 0.5), {}, IMAGE, **ONE),
    Case((), "ConstantPad3d", (1, -2.0), {}, VOLUME, **ONE),
    Case((), "ZeroPad1d", (1,), {}, LINE, **ONE),
    Case((), "ZeroPad2d", ((2, 1, 0, 3),), {}, IMAGE, **ONE),
    Case((), "ZeroPad3d", (1,), {}, VOLUME, **ONE),
    Case((), "ReflectionPad1d", (2,), {}, LINE, **ONE),
    Case((), "ReflectionPad2d", ((1, 2, 0, 1),), {}, IMAGE, **ONE),
    Case((), "ReflectionPad3d", (1,), {}, VOLUME, **ONE),
    Case((), "ReplicationPad1d", ((3, 0),), {}, LINE, **ONE),
    Case((), "ReplicationPad2d", (1,), {}, IMAGE, **ONE),
    Case((), "ReplicationPad3d", (1,), {}, VOLUME, **ONE),
    Case((), "CircularPad1d", (2,), {}, LINE, **ONE),
    Case((), "CircularPad2d", ((1, 2, 3, 0),), {}, IMAGE, **ONE),
    Case((), "CircularPad3d", (1,), {}, VOLUME, **ONE),
]  # fmt: skip

ACTIVATIONS = [
    *(Case((), name, (), {}, FLAT, **ONE) for name in (
        "ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardswish", "Sigmoid", "Tanh",
        "LogSigmoid", "Softsign", "Tanhshrink", "LeakyReLU", "ELU", "CELU", "Hardtanh", "Softplus",
        "Softshrink", "Hardshrink", "GELU", "PReLU", "RReLU",
    )),
    Case((), "Hardsigmoid", (), {}, FLAT, slack=100, **ONE),  # PyTorch's 1 / 6 is a float32
    Case((), "LeakyReLU", (0.2,), {"inplace": False}, FLAT, **ONE),
    Case((), "ELU", (0.5,), {}, FLAT, **ONE), Case((), "CELU", (0.5,), {}, FLAT, **ONE),
    Case((), "Hardtanh", (-0.5, 0.7), {}, FLAT, **ONE),
    Case((), "Threshold", (0.1, 2.0), {}, FLAT, **ONE),
    Case((), "Softplus", (2.0, 1.0), {}, FLAT, **ONE),
    Case((), "Softshrink", (0.3,), {}, FLAT, **ONE),
    Case((), "Hardshrink", (0.3,), {}, FLAT, **ONE),
    Case((), "GELU", ("tanh",), {}, FLAT, **ONE),
    Case((), "RReLU", (0.25, 0.25), {}, FLAT),
    Case(("O9",), "GLU", (0,), {}, ((4, 3),), **ONE),
    Case(("O10",), "PReLU", (4, 0.1), {}, IMAGE, **ONE),
    Case(("O8", "O9"), "Softmax", (1,), {}, FLAT, **ONE),
    Case(("O8", "O9"), "LogSoftmax", (-1,), {}, LINE, **ONE),
    Case(("O8", "O9"), "Softmin", (0,), {}, FLAT, **ONE),
    Case(("O8", "O9"), "Softmax2d", (), {}, IMAGE, **ONE),
    *(Case(("M7",), name, (0.0,), {}, IMAGE) for name in ("Dropout", "AlphaDropout")),
    *(Case(("M7",), name, (0.4,), {}, shape, **ONE) for name, shape in (
        ("Dropout", FLAT), ("Dropout1d", LINE), ("Dropout2d", IMAGE), ("Dropout3d", VOLUME),
        ("AlphaDropout", FLAT), ("FeatureAlphaDropout", IMAGE),
    )),
]  # fmt: skip

CASES: list[Case] = [
    *NORMALISATION, *RECURRENT, *ATTENTION, *TRANSFORMER, *LINEAR, *CONVOLUTION, *POOLING,
    *PADDING_LAYERS, *ACTIVATIONS,
]  # fmt: skip

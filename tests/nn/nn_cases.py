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

CASES: list[Case] = [*NORMALISATION, *RECURRENT, *ATTENTION, *TRANSFORMER]

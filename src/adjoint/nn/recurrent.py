"""Recurrent layers: RNN, LSTM and GRU, stacked, in both directions, on padded or packed input."""

from __future__ import annotations

from math import sqrt
from typing import Any
from warnings import warn

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.dtype import float32
from adjoint.base.shape import as_size
from adjoint.ir.node import Node, constant
from adjoint.nn import init
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.nn.utils.rnn import PackedSequence, packed_places, padded
from adjoint.ops.movement import flip, narrow
from adjoint.ops.rows import full
from adjoint.ops.structure import results
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.arithmetic import to_dtype
from adjoint.tensors.functional import recurrence
from adjoint.tensors.handle import wrap
from adjoint.tensors.tensor import Tensor


class RNNBase(Module):
    """What RNN, LSTM and GRU share: weights by layer and direction, and the way through them.

    weight_ih_l{k} (gates H, input) and weight_hh_l{k} (gates H, H), with bias_ih_l{k} and
    bias_hh_l{k}, and weight_hr_l{k} (P, H) with a projection; ``_reverse`` is added to the names of
    the second direction. All start uniform in +-1 / sqrt(H).
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        self.input_size = as_size(name, input_size)
        self.hidden_size = as_size(name, hidden_size)
        self.num_layers = as_size(name, num_layers)
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(as_number(name, "dropout", dropout))
        self.bidirectional = bidirectional
        self.proj_size = as_size(name, proj_size)
        self._check_sizes(name)
        self._names: list[list[str]] = []
        out = self.proj_size or self.hidden_size
        for layer in range(self.num_layers):
            width = out * self.directions if layer else self.input_size
            for suffix in ("", "_reverse")[: self.directions]:
                self._add_weights(f"_l{layer}{suffix}", width, out, dtype, device)
        self.reset_parameters()

    def _check_sizes(self, name: str) -> None:
        if min(self.input_size, self.hidden_size, self.num_layers) < 1:
            raise errors.argument(
                name, "input_size, hidden_size and num_layers must be at least 1",
                hint="LSTM(input_size, hidden_size, num_layers)",
            )  # fmt: skip
        if self.proj_size >= self.hidden_size:
            raise errors.argument(
                name, f"proj_size={self.proj_size} has to be smaller than hidden_size",
                hint="0 leaves the projection out",
            )  # fmt: skip
        if not 0 <= self.dropout <= 1:
            raise errors.argument(
                name, f"dropout is a probability in [0, 1], got {self.dropout}", hint="0.2, say"
            )
        if self.dropout and self.num_layers == 1:
            warn(
                f"{name}: dropout={self.dropout} drops between layers, and there is one layer",
                stacklevel=4,
            )

    def _add_weights(
        self, suffix: str, width: int, out: int, dtype: object, device: object
    ) -> None:
        rows = self.gates * self.hidden_size
        shapes = {"weight_ih": (rows, width), "weight_hh": (rows, out)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        names: list[str] = []
        for name, shape in shapes.items():
            names.append(name + suffix)
            made = Parameter(creation.empty(shape, dtype=dtype, device=device))
            self.register_parameter(name + suffix, made)
        self._names.append(names)

    @property
    def directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, n) for n in names] for names in self._names]

    def flatten_parameters(self) -> None:
        """Nothing: exists so that PyTorch programs run."""

    def reset_parameters(self) -> None:
        """Draw new values, uniform in +-1 / sqrt(hidden_size)."""
        bound = 1 / sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """The outputs of the last layer at every step, and the last states of all layers.

        input: (T, B, input) or, with ``batch_first``, (B, T, input), or (T, input), or a
        PackedSequence. hx: the states before the first step, (layers * directions, B, H), zero by
        default; for an LSTM a pair of them. To stop the gradient there, detach them.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        x = input
        if x.ndim not in (2, 3):
            raise errors.shape(
                type(self).__name__, "needs 2 or 3 dimensions", x,
                hint="(steps, batch, features), or (steps, features) for one sequence",
            )  # fmt: skip
        single, swapped = x.ndim == 2, self.batch_first and x.ndim == 3
        states = _listed(hx)
        if single:
            x, states = x.unsqueeze(1), [s.unsqueeze(1) for s in states]
        elif swapped:
            x = x.transpose(0, 1)
        if x.shape[0] == 0:
            raise errors.shape(type(self).__name__, "the sequence has no steps", input,
                               hint="leave out empty sequences")  # fmt: skip
        out, last = self._run(x, states, None)
        if single:
            out, last = out.squeeze(1), [s.squeeze(1) for s in last]
        return out.transpose(0, 1) if swapped else out, self._shaped(last)

    def _packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        rows, kept = packed_places(packed)
        states = _listed(hx)
        if packed.sorted_indices is not None:
            states = [s.index_select(1, packed.sorted_indices) for s in states]
        mask = constant(kept[:, :, None])
        out, last = self._run(padded(packed.data, rows, kept, 0.0), states, mask)
        flat = ops.reshape(out.node, shape=(kept.size, out.shape[2]))
        data = wrap(ops.gather(flat, constant(np.flatnonzero(kept)), batch=0))
        if packed.unsorted_indices is not None:
            last = [s.index_select(1, packed.unsorted_indices) for s in last]
        return packed._replace(data=data), self._shaped(last)

    def _run(
        self, x: Tensor, states: list[Tensor], mask: Node | None
    ) -> tuple[Tensor, list[Tensor]]:
        """All layers on (T, B, features); ``states`` are given for all of them, or empty."""
        self._check(x, states)
        found: list[list[Node]] = []
        for layer in range(self.num_layers):
            outs: list[Node] = []
            for direction in range(self.directions):
                place = layer * self.directions + direction
                start = self._start(x, states, place)
                out, last = self._direction(x, start, place, mask, reverse=direction == 1)
                outs.append(out)
                found.append(last)
            x = wrap(outs[0] if len(outs) == 1 else ops.concat(*outs, axis=2))
            if self.dropout and layer + 1 < self.num_layers:
                x = F.dropout(x, self.dropout, self.training)
        stacked = [_stacked([f[k] for f in found]) for k in range(len(found[0]))]
        return x, stacked

    def _direction(
        self, x: Tensor, start: list[Node], place: int, mask: Node | None, reverse: bool
    ) -> tuple[Node, list[Node]]:
        """One layer in one direction: its outputs and its last states."""
        named = dict(zip(self._kinds(), self.all_weights[place], strict=True))
        given = F.linear(x, named["weight_ih"], self._input_bias(named)).node
        masks = [] if mask is None else [mask]
        if reverse:
            given, masks = flip(given, (0,)), [flip(m, (0,)) for m in masks]
        weights = {k: v.node for k, v in named.items()}
        if x.dtype.bits == 16:
            given, *start = (to_dtype(n, float32) for n in (given, *start))
            weights = {k: to_dtype(n, float32) for k, n in weights.items()}
        outs = self._steps(given, start, weights, masks)
        outs = [to_dtype(n, x.dtype) for n in outs]
        last = [_last(n) for n in outs]
        return flip(outs[0], (0,)) if reverse else outs[0], last

    def _kinds(self) -> list[str]:
        """The names of the weights of a layer, in the order they are registered in."""
        return [n[: n.index("_l")] for n in self._names[0]]

    def _input_bias(self, named: dict[str, Parameter]) -> Tensor | None:
        """What is added to the input's share of the gates, once for all steps."""
        return named["bias_ih"] + named["bias_hh"] if self.bias else None

    def _steps(
        self, x: Node, start: list[Node], weights: dict[str, Node], mask: list[Node]
    ) -> list[Node]:
        """The states after every step, each (T, B, size)."""
        raise NotImplementedError

    def _start(self, x: Tensor, states: list[Tensor], place: int) -> list[Node]:
        if states:
            return [_of_layer(s.node, place) for s in states]
        return [full(0, (x.shape[1], size), x.dtype) for size in self._state_sizes()]

    def _state_sizes(self) -> list[int]:
        return [self.hidden_size]

    def _check(self, x: Tensor, states: list[Tensor]) -> None:
        name = type(self).__name__
        if x.shape[2] != self.input_size:
            raise errors.shape(
                name, f"the input has {x.shape[2]} features, the layer takes {self.input_size}", x,
                hint="the last axis holds the features; check batch_first",
            )  # fmt: skip
        sizes = self._state_sizes()
        if states and len(states) != len(sizes):
            raise errors.argument(
                name, f"needs {len(sizes)} states, got {len(states)}",
                hint="an LSTM takes a pair (h, c), the others one tensor",
            )  # fmt: skip
        for given, size in zip(states, sizes if states else [], strict=True):
            wanted = (self.num_layers * self.directions, x.shape[1], size)
            if given.shape != wanted:
                raise errors.shape(
                    name, f"the state before the first step must be {errors.dims(wanted)}", given,
                    hint="(layers * directions, batch, size), also with batch_first",
                )  # fmt: skip
            if given.dtype is not x.dtype:
                raise errors.mixed_dtypes(name, x, given)

    def _shaped(self, last: list[Tensor]) -> Any:
        return last[0]

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        usual = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False,
        }  # fmt: skip
        for name, value in usual.items():
            if getattr(self, name) != value:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(RNNBase):
    """h = tanh(W_ih x + b_ih + W_hh h + b_hh) step by step, or relu of it; see ``RNNBase``."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        kind = as_choice("RNN", nonlinearity, ["tanh", "relu"])
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.nonlinearity = kind

    def _steps(
        self, x: Node, start: list[Node], weights: dict[str, Node], mask: list[Node]
    ) -> list[Node]:
        flags = {"relu": self.nonlinearity == "relu", "masked": bool(mask)}
        return [recurrence.rnn(x, start[0], weights["weight_hh"], *mask, **flags)]


class LSTM(RNNBase):
    """Long short-term memory: the state is a pair (h, c); see ``RNNBase``.

    i, f, g, o = the four parts of W_ih x + b_ih + W_hh h + b_hh, then
    c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c), or W_hr times that with
    ``proj_size``.
    """

    gates = 4

    def _steps(
        self, x: Node, start: list[Node], weights: dict[str, Node], mask: list[Node]
    ) -> list[Node]:
        flags = {"projected": bool(self.proj_size), "masked": bool(mask)}
        more = [weights["weight_hr"]] if self.proj_size else []
        out = recurrence.lstm(x, *start, weights["weight_hh"], *more, *mask, **flags)
        return results(out)[:2]

    def _state_sizes(self) -> list[int]:
        return [self.proj_size or self.hidden_size, self.hidden_size]

    def _shaped(self, last: list[Tensor]) -> Any:
        return tuple(last)


class GRU(RNNBase):
    """Gated recurrent unit; see ``RNNBase``.

    r, z = sigmoid of two parts of W_ih x + b_ih + W_hh h + b_hh, n = tanh(W_in x + b_in +
    r (W_hn h + b_hn)), h = (1 - z) n + z h. ``reset_after=False`` resets before the product, as
    first published: W_hn (r h) + b_hn.
    """

    gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        device: object = "cpu", dtype: object = None, *, reset_after: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.reset_after = reset_after

    def _input_bias(self, named: dict[str, Parameter]) -> Tensor | None:
        return gru_input_bias(named["bias_ih"], named["bias_hh"]) if self.bias else None

    def _steps(
        self, x: Node, start: list[Node], weights: dict[str, Node], mask: list[Node]
    ) -> list[Node]:
        size = self.hidden_size
        bias = full(0, (size,), x.dtype)
        if self.bias:
            bias = narrow(weights["bias_hh"], 0, 2 * size, size)
        given = (x, start[0], weights["weight_hh"], bias, *mask)
        if not self.reset_after:
            return [recurrence.gru_reset_first(*given)]
        return results(recurrence.gru(*given, masked=bool(mask)))[:1]


def gru_input_bias(bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
    """b_ih, and b_hh for the gates r and z; that of n is multiplied by r and so comes later."""
    size = bias_hh.shape[0] // 3
    recurrent = ops.concat(
        narrow(bias_hh.node, 0, 0, 2 * size), full(0, (size,), bias_hh.dtype), axis=0
    )
    return bias_ih + wrap(recurrent)


def _listed(hx: Any) -> list[Tensor]:
    if hx is None:
        return []
    return [*hx] if isinstance(hx, (tuple, list)) else [hx]


def _of_layer(states: Node, place: int) -> Node:
    return ops.reshape(narrow(states, 0, place, 1), shape=states.shape[1:])


def _last(outs: Node) -> Node:
    return _of_layer(outs, outs.shape[0] - 1)


def _stacked(nodes: list[Node]) -> Tensor:
    whole = [ops.reshape(n, shape=(1, *n.shape)) for n in nodes]
    return wrap(whole[0] if len(whole) == 1 else ops.concat(*whole, axis=0))

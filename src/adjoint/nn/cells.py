"""One step of a recurrent layer, for loops written by hand."""

from __future__ import annotations

from math import sqrt
from typing import Any

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.base.shape import as_size
from adjoint.ir.node import Node
from adjoint.nn import init
from adjoint.nn.module import Module
from adjoint.nn.parameter import Parameter
from adjoint.nn.recurrent import gru_input_bias
from adjoint.ops.movement import narrow
from adjoint.ops.rows import full
from adjoint.ops.structure import results
from adjoint.tensors import creation
from adjoint.tensors import functional as F
from adjoint.tensors.functional import recurrence
from adjoint.tensors.handle import wrap
from adjoint.tensors.tensor import Tensor


class RNNCellBase(Module):
    """weight_ih (gates H, input), weight_hh (gates H, H), bias_ih and bias_hh, all uniform in
    +-1 / sqrt(H) at first."""

    gates = 1
    states = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: object = "cpu",
        dtype: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        self.input_size = as_size(name, input_size)
        self.hidden_size = as_size(name, hidden_size)
        self.bias = bias
        rows = self.gates * self.hidden_size
        shapes = {
            "weight_ih": (rows, self.input_size), "weight_hh": (rows, self.hidden_size),
            "bias_ih": (rows,), "bias_hh": (rows,),
        }  # fmt: skip
        for key, shape in shapes.items():
            made = None
            if bias or key.startswith("weight"):
                made = Parameter(creation.empty(shape, dtype=dtype, device=device))
            self.register_parameter(key, made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, uniform in +-1 / sqrt(hidden_size)."""
        bound = 1 / sqrt(self.hidden_size) if self.hidden_size else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """The states after the step; input (B, input) or (input,), states (B, H) or (H,), zero by
        default."""
        name = type(self).__name__
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise errors.shape(
                name, f"needs (batch, {self.input_size}) or ({self.input_size},)", input,
                hint="one step of the sequence at a time",
            )  # fmt: skip
        rows = input if input.ndim == 2 else input.unsqueeze(0)
        gates = F.linear(rows, self.weight_ih, self._input_bias()).unsqueeze(0).node
        outs = self._step(gates, self._start(name, rows, hx))
        last = [ops.reshape(n, shape=n.shape[1 if input.ndim == 2 else 2 :]) for n in outs]
        return wrap(last[0]) if self.states == 1 else tuple(wrap(n) for n in last)

    def _start(self, name: str, rows: Tensor, hx: Any) -> list[Node]:
        wanted = (rows.shape[0], self.hidden_size)
        if hx is None:
            return [full(0, wanted, rows.dtype)] * self.states
        given = [*hx] if self.states == 2 else [hx]
        found: list[Node] = []
        for state in given:
            if state.shape not in (wanted, wanted[1:] if wanted[0] == 1 else wanted):
                raise errors.shape(name, f"the state must be {errors.dims(wanted)}", state,
                                   hint="(batch, hidden_size)")  # fmt: skip
            found.append(ops.reshape(state.node, shape=wanted))
        return found

    def _input_bias(self) -> Tensor | None:
        return self.bias_ih + self.bias_hh if self.bias else None

    def _step(self, x: Node, start: list[Node]) -> list[Node]:
        """The new states for gates (1, B, gates H), each (1, B, H)."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        text += "" if self.bias else ", bias=False"
        kind = getattr(self, "nonlinearity", "tanh")
        return text if kind == "tanh" else f"{text}, nonlinearity={kind}"


class RNNCell(RNNCellBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        kind = as_choice("RNNCell", nonlinearity, ["tanh", "relu"])
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = kind

    def _step(self, x: Node, start: list[Node]) -> list[Node]:
        relu = self.nonlinearity == "relu"
        return [recurrence.rnn(x, start[0], self.weight_hh.node, relu=relu, masked=False)]


class LSTMCell(RNNCellBase):
    """One step of ``LSTM``: (h, c) -> (h', c')."""

    gates = 4
    states = 2

    def _step(self, x: Node, start: list[Node]) -> list[Node]:
        out = recurrence.lstm(x, *start, self.weight_hh.node, projected=False, masked=False)
        return results(out)[:2]


class GRUCell(RNNCellBase):
    """One step of ``GRU``."""

    gates = 3

    def _input_bias(self) -> Tensor | None:
        return gru_input_bias(self.bias_ih, self.bias_hh) if self.bias else None

    def _step(self, x: Node, start: list[Node]) -> list[Node]:
        size = self.hidden_size
        bias = full(0, (size,), x.dtype)
        if self.bias:
            bias = narrow(self.bias_hh.node, 0, 2 * size, size)
        out = recurrence.gru(x, start[0], self.weight_hh.node, bias, masked=False)
        return results(out)[:1]

"""Recurrent layers as one region each: the steps run in a ``loop``, all else outside of it.

The input's share of the gates is one matrix product for the whole sequence, made before; inside a
step only the recurrent product is left. The derivative runs a loop backwards that gives the
cotangent of the gates at every step; that of the weights is then again one product.

T steps, B examples, H units. ``masked``: the last argument is bool (T, B, 1), and where it is False
a step leaves the state as it was.

``lstm(x, h, c, w[, p][, mask]; projected, masked) -> (hs, cs, gates)``
    x (T, B, 4H), h (B, P), c (B, H), w (4H, P), p (P, H) if ``projected``, else P = H.
    i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of x_t + h w^T; c = f c + i g; h = o tanh(c), or
    p times that. hs (T, B, P), cs (T, B, H), gates (T, B, 4H) after the non-linearities.
``gru(x, h, w, b[, mask]; masked) -> (hs, saved)``
    x (T, B, 3H), w (3H, H), b (H,). With u = h w^T: r, z = sigmoid(x + u), k = u_n + b,
    n = tanh(x_n + r k), h = n + z (h - n). saved (T, B, 4H) = r, z, n, k.
``rnn(x, h, w[, mask]; relu, masked) -> hs``
    h = tanh(x_t + h w^T), or relu of it.

Sources: Hochreiter and Schmidhuber, "Long short-term memory", 1997; Cho et al., 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjoint import ops
from adjoint.base.shape import numel
from adjoint.ir.graph import Graph, record
from adjoint.ir.node import Node, Params, Type, grad_mode, state
from adjoint.ir.reverse import Parts
from adjoint.ops.movement import flip, narrow, swap_last
from adjoint.ops.rows import Wanted, full, zeros_like
from adjoint.ops.structure import pullback, results
from adjoint.tensors.functional import recurrence_arrays as arrays
from adjoint.tensors.pointwise import above, select
from adjoint.tensors.regions import region
from adjoint.tensors.transcendental import sigmoid

Step = Callable[..., list[Node]]
_steps: dict[tuple[Any, ...], Graph] = {}


def repeated(
    step: Step, flags: dict[str, bool], carries: Sequence[Node], scanned: Sequence[Node],
    constants: Sequence[Node], reverse: bool = False,
) -> tuple[list[Node], list[Node]]:  # fmt: skip
    """The last carries and the stacked results of ``step(carries, slices, constants, **flags)``,
    which gives the new carries and what to stack."""
    length = scanned[0].shape[0]
    if reverse:
        scanned = [flip(x, (0,)) for x in scanned]
    types = [Type(n.shape, n.dtype) for n in carries]
    types += [Type(n.shape[1:], n.dtype) for n in scanned]
    types += [Type(n.shape, n.dtype) for n in constants]
    body = _recorded(step, flags, types)
    found = results(
        ops.loop(
            *carries, *scanned, *constants, body=body, carries=len(carries), scanned=len(scanned),
            length=length,
        )
    )  # fmt: skip
    stacked = found[len(carries) :]
    return found[: len(carries)], [flip(y, (0,)) for y in stacked] if reverse else stacked


def _recorded(step: Step, flags: dict[str, bool], types: list[Type]) -> Graph:
    """The step as a Graph, kept: recording it takes as long as a few steps do."""

    def record_it() -> Graph:
        with grad_mode(True):
            return record(lambda *n: step(*n, **flags), types, name=step.__name__.strip("_"))

    if state.capture is not None:  # what a capture meets must have been made inside it
        return record_it()
    key = (step, tuple(flags.items()), tuple(types))
    if key not in _steps:
        if len(_steps) >= 256:
            _steps.clear()
        _steps[key] = record_it()
    return _steps[key]


def _gates(x: Node, count: int) -> list[Node]:
    """``count`` equal parts of the last axis."""
    axis, size = x.ndim - 1, x.shape[-1] // count
    return [narrow(x, axis, k * size, size) for k in range(count)]


def _kept(mask: Sequence[Node], new: Node, old: Node | float) -> Node:
    """``new`` where the mask holds (or there is none), else ``old``."""
    if not mask:
        return new
    return select(ops.broadcast(mask[0], shape=new.shape), new, old)


def _joined(*parts: Node) -> Node:
    return ops.concat(*parts, axis=parts[0].ndim - 1)


def _before(first: Node, later: Node) -> Node:
    """The state before every step, from the one before the first and those after each."""
    start = ops.reshape(first, shape=(1, *first.shape))
    return ops.concat(start, narrow(later, 0, 0, later.shape[0] - 1), axis=0)


def _weight_gradient(ct: Node, before: Node) -> Node:
    """Sum over steps and examples of ct^T before."""
    rows = numel(ct.shape[:2])
    left = ops.reshape(ct, shape=(rows, ct.shape[2]))
    return ops.dot(swap_last(left), ops.reshape(before, shape=(rows, before.shape[2])))


def _present(cts: Parts, of: Node) -> list[Node]:
    """The cotangents of all results, zeros where none arrived."""
    found: list[Node] = []
    for ct, part in zip(cts.items, results(of), strict=True):
        found.append(full(0, part.shape, part.dtype) if ct is None else ct)
    return found


# --- LSTM -----------------------------------------------------------------------------------------


def _lstm_step(h: Node, c: Node, x: Node, *rest: Node, projected: bool, masked: bool) -> list[Node]:
    mask, (w, *p) = rest[:masked], rest[masked:]
    size = c.shape[1]
    pre = x + ops.dot(h, w)
    both = sigmoid(narrow(pre, 1, 0, 2 * size))
    g, o = ops.tanh(narrow(pre, 1, 2 * size, size)), sigmoid(narrow(pre, 1, 3 * size, size))
    i, f = _gates(both, 2)
    new_c = f * c + i * g
    new_h = o * ops.tanh(new_c)
    if projected:
        new_h = ops.dot(new_h, p[0])
    new_h, new_c = _kept(mask, new_h, h), _kept(mask, new_c, c)
    return [new_h, new_c, new_h, new_c, _joined(both, g, o)]


def _lstm_body(*args: Node, projected: bool, masked: bool) -> Sequence[Node]:
    x, h, c, w, *rest = args
    p = [swap_last(rest[0])] if projected else []
    flags = {"projected": projected, "masked": masked}
    scanned = [x, *rest[projected:]]
    return repeated(_lstm_step, flags, [h, c], scanned, [swap_last(w), *p])[1]


def _lstm_back_step(
    dh: Node, dc: Node, ct_h: Node, ct_c: Node, c_before: Node, c: Node, gates: Node, *rest: Node,
    projected: bool, masked: bool,
) -> list[Node]:  # fmt: skip
    mask, (w, *p) = rest[:masked], rest[masked:]
    i, f, g, o = _gates(gates, 4)
    dh, dc = dh + ct_h, dc + ct_c
    inner = ops.dot(dh, p[0]) if projected else dh
    t = ops.tanh(c)
    into = dc + inner * o * (1.0 - t * t)
    pre = _joined(
        into * g * i * (1.0 - i), into * c_before * f * (1.0 - f), into * i * (1.0 - g * g),
        inner * t * o * (1.0 - o),
    )  # fmt: skip
    new_h, new_c = _kept(mask, ops.dot(pre, w), dh), _kept(mask, into * f, dc)
    out = [new_h, new_c, _kept(mask, pre, 0)]
    return [*out, _kept(mask, dh, 0)] if projected else out


def _lstm_gradient_body(*args: Node, projected: bool, masked: bool) -> Sequence[Node]:
    ct_h, ct_c, c_first, cs, gates, w, *rest = args
    flags = {"projected": projected, "masked": masked}
    scanned = [ct_h, ct_c, _before(c_first, cs), cs, gates, *rest[projected:]]
    start = [zeros_like(narrow(ct_h, 0, 0, 1)), zeros_like(narrow(ct_c, 0, 0, 1))]
    start = [ops.reshape(s, shape=s.shape[1:]) for s in start]
    last, stacked = repeated(
        _lstm_back_step, flags, start, scanned, [w, *rest[:projected]], reverse=True
    )
    return [stacked[0], *last, *stacked[1:]]


def _lstm_vjp(
    ct: Parts, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    if ct.items[2] is not None:  # the gates are an output only inside a second derivative
        return pullback(lambda *n: _lstm_body(*n, **static), args, wanted, ct)
    _, h, c, w, *rest = args
    hs, cs, gates = results(out)
    ct_h, ct_c, _ = _present(ct, out)
    found = results(lstm_gradient(ct_h, ct_c, c, cs, gates, w, *rest, **static))
    pre, dh, dc = found[:3]
    grads: list[Node | None] = [pre, dh, dc, _weight_gradient(pre, _before(h, hs))]
    if static["projected"]:
        inner = _gates(gates, 4)[3] * ops.tanh(cs)
        grads.append(_weight_gradient(found[3], inner))
    return [*grads, *[None] * static["masked"]]


def _lstm_type(*args: Node, projected: bool, masked: bool) -> Any:
    x, h, c = args[:3]
    sizes = (h.shape[1], c.shape[1], x.shape[2])
    return tuple(Type((*x.shape[:2], s), x.dtype) for s in sizes)


def _lstm_gradient_type(*args: Node, projected: bool, masked: bool) -> Any:
    ct_h, ct_c, _, _, gates = args[:5]
    found = [gates.shape, ct_h.shape[1:], ct_c.shape[1:]]
    return tuple(Type(s, gates.dtype) for s in [*found, *[ct_h.shape] * projected])


lstm_gradient = region(
    "lstm_gradient", _lstm_gradient_body, kernel=arrays.lstm_gradient, infer=_lstm_gradient_type
)
lstm = region("lstm", _lstm_body, kernel=arrays.lstm, infer=_lstm_type, vjp=_lstm_vjp)


# --- GRU ------------------------------------------------------------------------------------------


def _gru_step(h: Node, x: Node, *rest: Node, masked: bool) -> list[Node]:
    mask, (w, b) = rest[:masked], rest[masked:]
    size = h.shape[1]
    recurrent = ops.dot(h, w)
    both = sigmoid(narrow(x, 1, 0, 2 * size) + narrow(recurrent, 1, 0, 2 * size))
    r, z = _gates(both, 2)
    k = narrow(recurrent, 1, 2 * size, size) + ops.broadcast(b, shape=h.shape)
    n = ops.tanh(narrow(x, 1, 2 * size, size) + r * k)
    new = _kept(mask, n + z * (h - n), h)
    return [new, new, _joined(both, n, k)]


def _gru_body(*args: Node, masked: bool) -> Sequence[Node]:
    x, h, w, b, *mask = args
    return repeated(_gru_step, {"masked": masked}, [h], [x, *mask], [swap_last(w), b])[1]


def _gru_back_step(
    dh: Node, ct_h: Node, before: Node, saved: Node, *rest: Node, masked: bool
) -> list[Node]:
    mask, (w,) = rest[:masked], rest[masked:]
    r, z, n, k = _gates(saved, 4)
    dh = dh + ct_h
    dn = dh * (1.0 - z) * (1.0 - n * n)
    dr, dz, dk = dn * k * r * (1.0 - r), dh * (before - n) * z * (1.0 - z), dn * r
    new = dh * z + ops.dot(_joined(dr, dz, dk), w)
    return [_kept(mask, new, dh), _kept(mask, _joined(dr, dz, dn, dk), 0)]


def _gru_gradient_body(*args: Node, masked: bool) -> Sequence[Node]:
    ct_h, h, hs, saved, w, *mask = args
    scanned = [ct_h, _before(h, hs), saved, *mask]
    last, stacked = repeated(
        _gru_back_step, {"masked": masked}, [zeros_like(h)], scanned, [w], reverse=True
    )
    return [stacked[0], *last]


def _gru_vjp(
    ct: Parts, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    if ct.items[1] is not None:
        return pullback(lambda *n: _gru_body(*n, **static), args, wanted, ct)
    _, h, w, _, *mask = args
    hs, saved = results(out)
    ct_h, _ = _present(ct, out)
    pre, dh = results(gru_gradient(ct_h, h, hs, saved, w, *mask, **static))
    dr, dz, _, dk = _gates(pre, 4)
    dw = _weight_gradient(_joined(dr, dz, dk), _before(h, hs))
    inputs = narrow(pre, 2, 0, 3 * h.shape[1])
    return [inputs, dh, dw, ops.reduce_sum(dk, axes=(0, 1)), *[None] * static["masked"]]


def _gru_type(*args: Node, masked: bool) -> Any:
    x, h = args[:2]
    return tuple(Type((*x.shape[:2], k * h.shape[1]), x.dtype) for k in (1, 4))


def _gru_gradient_type(*args: Node, masked: bool) -> Any:
    return tuple(Type(n.shape, n.dtype) for n in (args[3], args[1]))


gru_gradient = region(
    "gru_gradient", _gru_gradient_body, kernel=arrays.gru_gradient, infer=_gru_gradient_type
)
gru = region("gru", _gru_body, kernel=arrays.gru, infer=_gru_type, vjp=_gru_vjp)


def gru_reset_first(x: Node, h: Node, w: Node, b: Node, *mask: Node) -> Node:
    """The states of a GRU as first published: n = tanh(x_n + (r h) w_n^T + b)."""
    size = h.shape[1]
    both, last = narrow(w, 0, 0, 2 * size), narrow(w, 0, 2 * size, size)
    constants = [swap_last(both), swap_last(last), b]
    return repeated(_reset_first, {"masked": bool(mask)}, [h], [x, *mask], constants)[1][0]


def _reset_first(h: Node, x: Node, *rest: Node, masked: bool) -> list[Node]:
    mask, (both, last, b) = rest[:masked], rest[masked:]
    size = h.shape[1]
    r, z = _gates(sigmoid(narrow(x, 1, 0, 2 * size) + ops.dot(h, both)), 2)
    k = ops.dot(r * h, last) + ops.broadcast(b, shape=h.shape)
    n = ops.tanh(narrow(x, 1, 2 * size, size) + k)
    new = _kept(mask, n + z * (h - n), h)
    return [new, new]


# --- plain ----------------------------------------------------------------------------------------


def _rnn_step(h: Node, x: Node, *rest: Node, relu: bool, masked: bool) -> list[Node]:
    mask, (w,) = rest[:masked], rest[masked:]
    pre = x + ops.dot(h, w)
    new = ops.maximum(pre, zeros_like(pre)) if relu else ops.tanh(pre)
    new = _kept(mask, new, h)
    return [new, new]


def _rnn_body(*args: Node, relu: bool, masked: bool) -> Sequence[Node]:
    x, h, w, *mask = args
    flags = {"relu": relu, "masked": masked}
    return repeated(_rnn_step, flags, [h], [x, *mask], [swap_last(w)])[1]


def _rnn_back_step(
    dh: Node, ct_h: Node, h: Node, *rest: Node, relu: bool, masked: bool
) -> list[Node]:
    mask, (w,) = rest[:masked], rest[masked:]
    dh = dh + ct_h
    pre = select(above(h, 0), dh, 0) if relu else dh * (1.0 - h * h)
    return [_kept(mask, ops.dot(pre, w), dh), _kept(mask, pre, 0)]


def _rnn_gradient_body(*args: Node, relu: bool, masked: bool) -> Sequence[Node]:
    ct_h, hs, w, *mask = args
    flags = {"relu": relu, "masked": masked}
    start = full(0, hs.shape[1:], hs.dtype)
    last, stacked = repeated(_rnn_back_step, flags, [start], [ct_h, hs, *mask], [w], reverse=True)
    return [stacked[0], *last]


def _rnn_vjp(
    ct: Node, out: Node, wanted: Wanted, args: tuple[Node, ...], static: Params
) -> Sequence[Node | None]:
    _, h, w, *mask = args
    pre, dh = results(rnn_gradient(ct, out, w, *mask, **static))
    return [pre, dh, _weight_gradient(pre, _before(h, out)), *[None] * static["masked"]]


def _rnn_type(*args: Node, relu: bool, masked: bool) -> Type:
    return Type(args[0].shape, args[0].dtype)


def _rnn_gradient_type(*args: Node, relu: bool, masked: bool) -> Any:
    return tuple(Type(s, args[1].dtype) for s in (args[1].shape, args[1].shape[1:]))


rnn_gradient = region(
    "rnn_gradient", _rnn_gradient_body, kernel=arrays.rnn_gradient, infer=_rnn_gradient_type
)
rnn = region("rnn", _rnn_body, kernel=arrays.rnn, infer=_rnn_type, vjp=_rnn_vjp)

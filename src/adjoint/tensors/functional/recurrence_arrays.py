"""The recurrent regions in NumPy: what ``recurrence`` describes, step by step on arrays."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np

from adjoint.ir.node import Array


def _squash(z: Array, *parts: slice) -> None:
    """tanh of ``z`` in place, but sigmoid of the ``parts``: sigmoid(x) = (1 + tanh(x / 2)) / 2."""
    for part in parts:
        z[:, part] *= 0.5
    np.tanh(z, out=z)
    for part in parts:
        z[:, part] *= 0.5
        z[:, part] += 0.5


def _keep(mask: Sequence[Array], t: int, *pairs: tuple[Array, Array | float]) -> None:
    """Where the mask is False at step ``t``: the first of each pair becomes the second."""
    if mask:
        for new, old in pairs:
            np.copyto(new, old, where=~mask[0][t])


def _parts(x: Array, count: int) -> Generator[Array]:
    size = x.shape[-1] // count
    return (x[..., k * size : (k + 1) * size] for k in range(count))


def lstm(*args: Array, projected: bool, masked: bool) -> tuple[Array, ...]:
    x, h, c, w, *rest = args
    mask = rest[projected:]
    gates, size = x.copy(), c.shape[1]
    hs = np.empty((*x.shape[:2], h.shape[1]), x.dtype)
    cs = np.empty((*x.shape[:2], size), x.dtype)
    for t, z in enumerate(gates):
        z += np.matmul(h, w.T)
        _squash(z, slice(0, 2 * size), slice(3 * size, 4 * size))
        i, f, g, o = _parts(z, 4)
        new = cs[t]
        np.multiply(f, c, out=new)
        new += i * g
        inner = o * np.tanh(new)
        hs[t] = np.matmul(inner, rest[0].T) if projected else inner
        _keep(mask, t, (hs[t], h), (new, c))
        h, c = hs[t], new
    return hs, cs, gates


def lstm_gradient(*args: Array, projected: bool, masked: bool) -> tuple[Array, ...]:
    ct_h, ct_c, c_first, cs, gates, w, *rest = args
    mask = rest[projected:]
    pre = np.empty(gates.shape, gates.dtype)
    sums = np.empty(ct_h.shape, ct_h.dtype)
    dh, dc = np.zeros_like(ct_h[0]), np.zeros_like(ct_c[0])
    for t in range(len(gates))[::-1]:
        i, f, g, o = _parts(gates[t], 4)
        before = cs[t - 1] if t else c_first
        dh = np.add(dh, ct_h[t], out=sums[t])
        dc = dc + ct_c[t]
        inner = np.matmul(dh, rest[0]) if projected else dh
        squashed = np.tanh(cs[t])
        into = dc + inner * o * (1 - squashed * squashed)
        di, df, dg, do = _parts(pre[t], 4)
        np.multiply(into * g, i * (1 - i), out=di)
        np.multiply(into * before, f * (1 - f), out=df)
        np.multiply(into * i, 1 - g * g, out=dg)
        np.multiply(inner * squashed, o * (1 - o), out=do)
        new_h, new_c = np.matmul(pre[t], w), into * f
        _keep(mask, t, (new_h, dh), (new_c, dc), (pre[t], 0), (sums[t], 0))
        dh, dc = new_h, new_c
    return (pre, dh, dc, sums) if projected else (pre, dh, dc)


def gru(*args: Array, masked: bool) -> tuple[Array, ...]:
    x, h, w, b, *mask = args
    size = h.shape[1]
    hs = np.empty((*x.shape[:2], size), x.dtype)
    saved = np.empty((*x.shape[:2], 4 * size), x.dtype)
    for t, z in enumerate(saved):
        recurrent = np.matmul(h, w.T)
        both, (_, _, n, k) = z[:, : 2 * size], _parts(z, 4)
        np.add(x[t, :, : 2 * size], recurrent[:, : 2 * size], out=both)
        _squash(both, slice(0, 2 * size))
        np.add(recurrent[:, 2 * size :], b, out=k)
        np.multiply(both[:, :size], k, out=n)
        n += x[t, :, 2 * size :]
        np.tanh(n, out=n)
        new = np.subtract(h, n, out=hs[t])
        new *= both[:, size:]
        new += n
        _keep(mask, t, (new, h))
        h = new
    return hs, saved


def gru_gradient(*args: Array, masked: bool) -> tuple[Array, ...]:
    ct_h, h, hs, saved, w, *mask = args
    size = h.shape[1]
    pre = np.empty(saved.shape, saved.dtype)
    dh = np.zeros_like(h)
    for t in range(len(saved))[::-1]:
        r, z, n, k = _parts(saved[t], 4)
        dr, dz, dn, dk = _parts(pre[t], 4)
        dh = dh + ct_h[t]
        np.multiply(dh * (1 - z), 1 - n * n, out=dn)
        np.multiply(dn * k, r * (1 - r), out=dr)
        np.multiply(dh * ((hs[t - 1] if t else h) - n), z * (1 - z), out=dz)
        np.multiply(dn, r, out=dk)
        new = dh * z
        new += np.matmul(pre[t, :, : 2 * size], w[: 2 * size])
        new += np.matmul(dk, w[2 * size :])
        _keep(mask, t, (new, dh), (pre[t], 0))
        dh = new
    return pre, dh


def rnn(*args: Array, relu: bool, masked: bool) -> Array:
    x, h, w, *mask = args
    hs = x.copy()
    for t, new in enumerate(hs):
        new += np.matmul(h, w.T)
        if relu:
            np.maximum(new, 0, out=new)
        else:
            np.tanh(new, out=new)
        _keep(mask, t, (new, h))
        h = new
    return hs


def rnn_gradient(*args: Array, relu: bool, masked: bool) -> tuple[Array, ...]:
    ct_h, hs, w, *mask = args
    pre = np.empty(hs.shape, hs.dtype)
    dh = np.zeros_like(hs[0])
    for t in range(len(hs))[::-1]:
        dh = dh + ct_h[t]
        pre[t] = np.where(hs[t] > 0, dh, 0) if relu else dh * (1 - hs[t] * hs[t])
        new = np.matmul(pre[t], w)
        _keep(mask, t, (new, dh), (pre[t], 0))
        dh = new
    return pre, dh

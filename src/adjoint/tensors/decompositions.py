"""Linear algebra regions: LAPACK through NumPy, derivatives by formulas on the results.

All take (..., M, N) float32 or float64 and treat leading axes as a batch. Formulas: Giles, "An
extended collection of matrix derivative results", 2008, unless named. The derivative of
eigenvectors and singular vectors exists only where the values differ: where they are equal and
the vectors matter, it is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan
from typing import Any

import numpy as np

from adjoint import ops
from adjoint.base import errors
from adjoint.ir.node import Array, Node, Op, Params, Type, constant
from adjoint.ir.reverse import Parts
from adjoint.ops.movement import swap_last
from adjoint.ops.rows import batch_all, full, zeros_like
from adjoint.ops.structure import Region, call, results
from adjoint.tensors.pointwise import equals, select
from adjoint.tensors.regions import region

Wanted = tuple[bool, ...]
SINGULAR = "the matrix is singular"


def lower(node: Node, diagonal: int = 0) -> Node:
    """The lower triangle of the last two axes, zeros above ``diagonal``."""
    mask = np.tri(node.shape[-2], node.shape[-1], diagonal, dtype=bool)
    return select(_spread(constant(mask), node), node, zeros_like(node))


def upper(node: Node, diagonal: int = 0) -> Node:
    """The upper triangle of the last two axes, zeros below ``diagonal``."""
    mask = ~np.tri(node.shape[-2], node.shape[-1], diagonal - 1, dtype=bool)
    return select(_spread(constant(mask), node), node, zeros_like(node))


def on_diagonal(node: Node) -> Node:
    """(..., n) -> (..., n, n) with ``node`` on the diagonal."""
    n = node.shape[-1]
    wide = columns(node, n)
    mask = constant(np.eye(n, dtype=bool))
    return select(_spread(mask, wide), wide, zeros_like(wide))


def rows(node: Node, width: int) -> Node:
    """(..., n) -> (..., n, width): the same number along each row."""
    wide = ops.reshape(node, shape=(*node.shape, 1))
    return ops.broadcast(wide, shape=(*node.shape, width))


def columns(node: Node, height: int) -> Node:
    """(..., n) -> (..., height, n): the same number along each column."""
    wide = ops.reshape(node, shape=(*node.shape[:-1], 1, node.shape[-1]))
    return ops.broadcast(wide, shape=(*node.shape[:-1], height, node.shape[-1]))


def per_matrix(numbers: Node, like: Node) -> Node:
    """(...) -> (..., M, N): one number for each matrix of ``like``."""
    wide = ops.reshape(numbers, shape=(*numbers.shape, 1, 1))
    return ops.broadcast(wide, shape=like.shape)


def _spread(mask: Node, like: Node) -> Node:
    return mask if mask.shape == like.shape else ops.broadcast(mask, shape=like.shape)


def _lapack(op: str, problem: str, function: Callable[..., Any], *arrays: Array) -> Any:
    """``function(*arrays)``; raises ArgumentError that names the first matrix it fails on."""
    try:
        return function(*arrays)
    except np.linalg.LinAlgError:
        where = ""
        for at in np.ndindex(*arrays[0].shape[:-2]):
            try:
                function(*(a[at] for a in arrays))
            except np.linalg.LinAlgError:
                where = f" (matrix {at[0] if len(at) == 1 else at} of the batch)" if at else ""
                break
        raise errors.linear_algebra(op, problem + where) from None


def _over(x: Node, gap: Node) -> Node:
    """x / gap; where the gap is 0, 0 for x = 0 and NaN (no derivative) otherwise."""
    closed = equals(gap, 0)
    undefined = select(equals(x, 0), zeros_like(x), nan)
    return select(closed, undefined, x / select(closed, 1, gap))


def _gaps(values: Node) -> Node:
    """values_j - values_i at (i, j), and 1 on the diagonal."""
    n = values.shape[-1]
    eye = constant(np.eye(n, dtype=values.dtype.numpy))
    return columns(values, n) - rows(values, n) + _spread(eye, rows(values, n))


def _off_diagonal(x: Node) -> Node:
    return x - on_diagonal(diagonal_of(x))


def _matrix_region(
    name: str,
    kernel: Callable[..., Any],
    infer: Callable[..., Any],
    vjp: Callable[..., Sequence[Node | None]] | None = None,
    body: Callable[..., Sequence[Node]] | None = None,
) -> Region:
    """A region whose kernel takes leading axes as a batch, so that vmap adds one more."""

    def vmap(
        op: Op, size: int, batched: Sequence[bool], args: Sequence[Node], static: Params
    ) -> Node:
        return batch_all(call, size, batched, args, {**static, "region": made})

    made = region(name, body, kernel=kernel, infer=infer, vjp=vjp, vmap=vmap)
    return made


def _same(a: Node, **static: Any) -> Type:
    return Type(a.shape, a.dtype)


# --- inverse and solve ---------------------------------------------------------------------------


def _inverse_vjp(ct: Node, out: Node, wanted: Wanted, args: Any, static: Params) -> list[Node]:
    turned = swap_last(out)
    return [-ops.dot(ops.dot(turned, ct), turned)]


inverse = _matrix_region(
    "inverse", lambda a: _lapack("inv", SINGULAR, np.linalg.inv, a), _same, _inverse_vjp
)


def _solve_vjp(
    ct: Node, out: Node, wanted: Wanted, args: Any, static: Params
) -> list[Node | None]:  # fmt: skip
    found = solve(swap_last(args[0]), ct)
    return [-ops.dot(found, swap_last(out)) if wanted[0] else None, found]


solve = _matrix_region(
    "solve",
    lambda a, b: _lapack("solve", SINGULAR, np.linalg.solve, a, b),
    lambda a, b: Type(b.shape, b.dtype),
    _solve_vjp,
)
"""X with A X = B, for (..., N, N) and (..., N, K) with equal leading axes."""


# --- determinants ---------------------------------------------------------------------------------


def _det_vjp(ct: Node, out: Node, wanted: Wanted, args: Any, static: Params) -> list[Node]:
    return [per_matrix(ct, args[0]) * cofactor(args[0])]


def _cofactor_kernel(a: Array) -> Array:
    """det(U) det(V) U diag(product of the other singular values) V^T: right when singular too."""
    n = a.shape[-1]
    u, s, vh = np.linalg.svd(a)
    others = np.broadcast_to(s[..., None, :], (*s.shape, n)).copy()
    others[..., np.arange(n), np.arange(n)] = 1
    sign = np.linalg.det(u) * np.linalg.det(vh)
    found = np.matmul(u * np.prod(others, axis=-1)[..., None, :], vh)
    return (np.asarray(sign)[..., None, None] * found).astype(a.dtype, copy=False)


def _cofactor_body(a: Node) -> Sequence[Node]:
    return [per_matrix(det(a), a) * swap_last(inverse(a))]


det = _matrix_region(
    "det",
    lambda a: np.asarray(np.linalg.det(a), a.dtype),
    lambda a: Type(a.shape[:-2], a.dtype),
    _det_vjp,
)
cofactor = _matrix_region("cofactor", _cofactor_kernel, _same, body=_cofactor_body)
"""The derivative of det: det(A) A^-T where that exists. Second derivatives need a regular A."""


def _slogdet_kernel(a: Array) -> tuple[Array, Array]:
    sign, size = np.linalg.slogdet(a)
    return np.asarray(sign, a.dtype), np.asarray(size, a.dtype)


def _slogdet_vjp(
    ct: Parts, out: Node, wanted: Wanted, args: Any, static: Params
) -> list[Node | None]:  # fmt: skip
    size = ct.items[1]
    if size is None:
        return [None]
    return [per_matrix(size, args[0]) * swap_last(inverse(args[0]))]


slogdet = _matrix_region(
    "slogdet", _slogdet_kernel, lambda a: (Type(a.shape[:-2], a.dtype),) * 2, _slogdet_vjp
)


# --- factorisations -------------------------------------------------------------------------------


def _cholesky_vjp(ct: Node, out: Node, wanted: Wanted, args: Any, static: Params) -> list[Node]:
    """Source: Murray, "Differentiation of the Cholesky decomposition", 2016, equation 8."""
    turned = swap_last(out)
    inner = lower(ops.dot(turned, ct))
    inner = inner - on_diagonal(diagonal_of(inner)) * 0.5
    half = solve(turned, inner)
    found = solve(turned, swap_last(half))
    return [(found + swap_last(found)) * 0.5]


def diagonal_of(node: Node) -> Node:
    """The diagonal of the last two (equal) axes."""
    n, lead = node.shape[-1], node.shape[:-2]
    flat = ops.reshape(node, shape=(*lead, n * n))
    zeros, ones = (0,) * (len(lead) + 1), (1,) * len(lead)
    return ops.slice(flat, starts=zeros, sizes=(*lead, n), steps=(*ones, n + 1))


cholesky = _matrix_region(
    "cholesky",
    lambda a: _lapack("cholesky", "the matrix is not positive definite", np.linalg.cholesky, a),
    _same,
    _cholesky_vjp,
)


def _qr_type(a: Node, complete: bool = False) -> tuple[Type, Type]:
    *lead, m, n = a.shape
    k = m if complete else min(m, n)
    return Type((*lead, m, k), a.dtype), Type((*lead, k, n), a.dtype)


def _qr_kernel(a: Array, complete: bool = False) -> tuple[Array, ...]:
    return tuple(np.linalg.qr(a, "complete" if complete else "reduced"))


def _qr_vjp(ct: Parts, out: Node, wanted: Wanted, args: Any, static: Params) -> list[Node]:
    """For M >= N. Source: Walter and Lehmann, "Algorithmic differentiation of linear algebra
    functions", 2018, section 4.1."""
    q, r = results(out)
    if q.shape[-1] != r.shape[-1]:
        raise errors.grad(
            f"qr: mode='complete' of {errors.describe(args[0])} has no derivative",
            hint="use mode='reduced'",
        )
    to_q, to_r = ct.items
    inner = zeros_like(r)
    if to_r is not None:
        inner = ops.dot(r, swap_last(to_r))
    if to_q is not None:
        inner = inner - ops.dot(swap_last(to_q), q)
    found = ops.dot(q, lower(inner) + swap_last(lower(inner, -1)))
    if to_q is not None:
        found = found + to_q
    return [swap_last(solve(r, swap_last(found)))]


qr = _matrix_region("qr", _qr_kernel, _qr_type, _qr_vjp)


def _svd_type(a: Node, complete: bool = False) -> tuple[Type, Type, Type]:
    *lead, m, n = a.shape
    k = min(m, n)
    u, vh = (m, m if complete else k), (n if complete else k, n)
    return Type((*lead, *u), a.dtype), Type((*lead, k), a.dtype), Type((*lead, *vh), a.dtype)


def _svd_kernel(a: Array, complete: bool = False) -> tuple[Array, ...]:
    found = _lapack(
        "svd", "no convergence: the matrix holds inf or NaN",
        lambda x: np.linalg.svd(x, full_matrices=complete), a,
    )  # fmt: skip
    return tuple(found)


def _svd_vjp(ct: Parts, out: Node, wanted: Wanted, args: Any, static: Params) -> list[Node | None]:
    """Source: Townsend, "Differentiating the singular value decomposition", 2016."""
    u, s, vh = results(out)
    to_u, to_s, to_vh = ct.items
    if to_u is None and to_s is None and to_vh is None:
        return [None]
    k = s.shape[-1]
    if (u.shape[-1], vh.shape[-2]) != (k, k):
        if to_u is not None or to_vh is not None:
            raise errors.grad(
                f"svd: the full U and Vh of {errors.describe(args[0])} have no derivative",
                hint="use full_matrices=False",
            )
        u, s, vh = results(svd(args[0], complete=False))
    inner = full(0, (*s.shape, k), s.dtype) if to_s is None else on_diagonal(to_s)
    gaps = None if to_u is to_vh is None else _gaps(s * s)
    found = None
    if to_u is not None and gaps is not None:
        across = ops.dot(swap_last(u), to_u)
        inner = inner + _over(across - swap_last(across), gaps) * columns(s, k)
        if u.shape[-2] > k:
            outside = to_u - ops.dot(u, across)
            found = ops.dot(_over(outside, columns(s, u.shape[-2])), vh)
    if to_vh is not None and gaps is not None:
        across = ops.dot(vh, swap_last(to_vh))
        inner = inner + rows(s, k) * _over(across - swap_last(across), gaps)
        if vh.shape[-1] > k:
            outside = to_vh - ops.dot(swap_last(across), vh)
            more = ops.dot(u, _over(outside, rows(s, vh.shape[-1])))
            found = more if found is None else found + more
    main = ops.dot(ops.dot(u, inner), vh)
    return [main if found is None else main + found]


svd = _matrix_region("svd", _svd_kernel, _svd_type, _svd_vjp)


def _eigh_kernel(a: Array, lower: bool = True) -> tuple[Array, ...]:
    found = _lapack(
        "eigh", "no convergence: the matrix holds inf or NaN",
        lambda x: np.linalg.eigh(x, "L" if lower else "U"), a,
    )  # fmt: skip
    return tuple(found)


def _eigh_vjp(ct: Parts, out: Node, wanted: Wanted, args: Any, static: Params) -> list[Node]:
    values, vectors = results(out)
    to_values, to_vectors = ct.items
    inner = zeros_like(vectors) if to_values is None else on_diagonal(to_values)
    if to_vectors is not None:
        across = ops.dot(swap_last(vectors), to_vectors)
        inner = inner + _over(_off_diagonal(across), _gaps(values))
    found = ops.dot(ops.dot(vectors, inner), swap_last(vectors))
    return [(found + swap_last(found)) * 0.5]


eigh = _matrix_region(
    "eigh",
    _eigh_kernel,
    lambda a, lower=True: (Type(a.shape[:-1], a.dtype), Type(a.shape, a.dtype)),
    _eigh_vjp,
)


# --- pseudo-inverse -------------------------------------------------------------------------------


def _pinv_type(a: Node, rtol: float) -> Type:
    return Type((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)


def _pinv_vjp(ct: Node, out: Node, wanted: Wanted, args: Any, static: Params) -> list[Node]:
    """Constant rank. Source: Golub and Pereyra, SIAM J. Numer. Anal. 10(2), 1973, theorem 4.3."""
    a, turned = args[0], swap_last(out)
    main = ops.dot(ops.dot(turned, ct), turned)
    back = swap_last(ct)
    left = ops.dot(ops.dot(back, out), turned)
    left = left - ops.dot(a, ops.dot(out, left))
    right = ops.dot(ops.dot(turned, out), back)
    right = right - ops.dot(ops.dot(right, out), a)
    return [left + right - main]


def _pinv_kernel(a: Array, rtol: float) -> Array:
    return _lapack(
        "pinv", "no convergence: the matrix holds inf or NaN",
        lambda x: np.linalg.pinv(x, rcond=rtol), a,
    ).astype(a.dtype, copy=False)  # fmt: skip


pinv = _matrix_region("pinv", _pinv_kernel, _pinv_type, _pinv_vjp)

"""Linear algebra on batches of matrices (..., M, N), float32 or float64: what ``adjoint.linalg``
holds. A matrix that has no answer raises an AdjointError that names the matrix of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adjoint import ops
from adjoint.base import errors
from adjoint.base.arguments import as_choice, as_number
from adjoint.base.dtype import finfo, float32, float64, int64
from adjoint.base.shape import as_size, broadcast_shapes
from adjoint.ir.node import Node
from adjoint.ops.movement import narrow, swap_last
from adjoint.ops.rows import full, zeros_like
from adjoint.ops.structure import results
from adjoint.tensors import creation, decompositions, norms
from adjoint.tensors.arithmetic import combine, mul, to_dtype
from adjoint.tensors.contraction import operands, product
from adjoint.tensors.decompositions import lower, rows
from adjoint.tensors.decompositions import upper as upper_part
from adjoint.tensors.handle import Handle, node_of, wrap
from adjoint.tensors.pointwise import select

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor


_ROWS = "A is (M, N), the right-hand side (M, K) or (M,)"


class QR(NamedTuple):
    """Orthonormal columns and an upper triangle."""

    Q: Tensor
    R: Tensor


class SVD(NamedTuple):
    """A = U diag(S) Vh."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class Eigh(NamedTuple):
    """A = V diag(w) V^T."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class SlogDet(NamedTuple):
    """det(A) = sign * exp(logabsdet)."""

    sign: Tensor
    logabsdet: Tensor


class LeastSquares(NamedTuple):
    """What ``lstsq`` returns."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def solve(A: Handle, B: Handle, *, left: bool = True) -> Tensor:
    """X with A X = B (left=False: X A = B): A (..., N, N), B (..., N, K), or (..., N) for vectors.
    Leading axes broadcast. Raises ArgumentError for a singular matrix."""
    a, b = operands("solve", A, B)
    _check("solve", a, square=True)
    return wrap(_solved("solve", a, b, left, decompositions.solve))


def solve_triangular(
    A: Handle, B: Handle, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with A X = B, reading one triangle of A (with ones on the diagonal if unitriangular)."""
    a, b = operands("solve_triangular", A, B)
    _check("solve_triangular", a, square=True)
    return wrap(_solved("solve_triangular", _triangle(a, upper, unitriangular), b, left,
                        decompositions.solve))  # fmt: skip


def inv(A: Handle) -> Tensor:
    """The inverse of square matrices. Raises ArgumentError for a singular one."""
    return wrap(decompositions.inverse(_matrix("inv", A, square=True)))


def det(A: Handle) -> Tensor:
    """The determinant; its gradient, the cofactors, also exists for singular matrices."""
    return wrap(decompositions.det(_matrix("det", A, square=True)))


def slogdet(A: Handle) -> SlogDet:
    """Sign and log |det(A)|: (0, -inf) for a singular matrix, which has no gradient."""
    sign, size = results(decompositions.slogdet(_matrix("slogdet", A, square=True)))
    return SlogDet(wrap(sign), wrap(size))


def logdet(A: Handle) -> Tensor:
    """log(det(A)): -inf for det 0, NaN for a negative one."""
    sign, size = results(decompositions.slogdet(_matrix("logdet", A, square=True)))
    negative = ops.lt(sign, zeros_like(sign))
    return wrap(select(negative, float("nan"), size))


def cholesky(A: Handle, *, upper: bool = False) -> Tensor:
    """L lower triangular with A = L L^T (upper=True: U with A = U^T U), reading the lower triangle
    of A. Raises ArgumentError when A is not positive definite."""
    found = decompositions.cholesky(_matrix("cholesky", A, square=True))
    return wrap(swap_last(found) if upper else found)


def cholesky_solve(B: Handle, L: Handle, upper: bool = False) -> Tensor:
    """X with L L^T X = B for a Cholesky factor L (upper=True: L^T L)."""
    b, factor = operands("cholesky_solve", B, L)
    _check("cholesky_solve", factor, square=True)
    factor = _triangle(factor, upper, False)
    first, second = (swap_last(factor), factor) if upper else (factor, swap_last(factor))
    half = _solved("cholesky_solve", first, b, True, decompositions.solve)
    return wrap(_solved("cholesky_solve", second, half, True, decompositions.solve))


def qr(A: Handle, mode: str = "reduced") -> QR:
    """A = Q R with orthonormal columns in Q and R upper triangular.

    mode: "reduced" (Q is (..., M, K), K = min(M, N)), "complete" (Q is (..., M, M)), or "r"
    (Q empty).
    """
    node = _matrix("qr", A)
    as_choice("qr mode", mode, ["reduced", "complete", "r"])
    m, n = node.shape[-2:]
    if m < n:  # the first M columns decide Q
        first = narrow(node, node.ndim - 1, 0, m)
        q, square = results(decompositions.qr(first, complete=False))
        rest = ops.dot(swap_last(q), narrow(node, node.ndim - 1, m, n - m))
        r = ops.concat(square, rest, axis=node.ndim - 1)
    else:
        q, r = results(decompositions.qr(node, complete=mode == "complete" and m > n))
    return QR(wrap(full(0, (0,), node.dtype) if mode == "r" else q), wrap(r))


def svd(A: Handle, full_matrices: bool = True) -> SVD:
    """A = U diag(S) Vh, S in descending order; full_matrices=False: K = min(M, N) columns of U and
    rows of Vh, which is what can be differentiated when A is not square."""
    node = _matrix("svd", A)
    complete = full_matrices and node.shape[-2] != node.shape[-1]
    return SVD(*(wrap(r) for r in results(decompositions.svd(node, complete=complete))))


def svdvals(A: Handle) -> Tensor:
    """The singular values in descending order."""
    return wrap(_singular_values(_matrix("svdvals", A)))


def eigh(A: Handle, UPLO: str = "L") -> Eigh:
    """Eigenvalues, ascending, and orthonormal eigenvectors (columns) of symmetric matrices of
    which one triangle is read. The gradient is that of a symmetric change of A."""
    node = _matrix("eigh", A, square=True)
    as_choice("eigh UPLO", UPLO, ["L", "U"])
    return Eigh(*(wrap(r) for r in results(decompositions.eigh(node, lower=UPLO == "L"))))


def eigvalsh(A: Handle, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices, ascending."""
    return eigh(A, UPLO).eigenvalues


def pinv(A: Handle, *, rtol: float | None = None) -> Tensor:
    """The Moore-Penrose inverse; singular values below rtol (max(M, N) * eps) times the largest
    count as 0. The gradient holds while the rank stays the same."""
    node = _matrix("pinv", A)
    return wrap(decompositions.pinv(node, rtol=_tolerance(node, rtol)))


def matrix_rank(A: Handle, *, atol: float | None = None, rtol: float | None = None) -> Tensor:
    """How many singular values are above max(atol, rtol * the largest), int64."""
    node = _matrix("matrix_rank", A)
    atol = None if atol is None else as_number("matrix_rank", "atol", atol)
    return wrap(_rank(_singular_values(node), atol, _tolerance(node, rtol if atol is None or rtol
                                                               else 0.0)))  # fmt: skip


def lstsq(A: Handle, B: Handle, *, rcond: float | None = None) -> LeastSquares:
    """X that minimises |A X - B|, the smallest of several; B (..., M, K), or (M,) for a vector.

    Also gives the residuals (sums of squares per column; empty unless M > N and the rank is N),
    the rank and the singular values of A.
    """
    a, b = operands("lstsq", A, B)
    _check("lstsq", a)
    if not b.ndim:
        raise errors.shape("lstsq", "the right-hand side needs the rows of A", a, b, hint=_ROWS)
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    if b.shape[-1 if vector else -2] != a.shape[-2]:
        raise errors.shape("lstsq", "the right-hand side needs the rows of A", a, b, hint=_ROWS)
    right = ops.reshape(b, shape=(*b.shape, 1)) if vector else b
    rtol = _tolerance(a, rcond)
    found = product("lstsq", decompositions.pinv(a, rtol=rtol), right)
    values = _singular_values(a)
    rank = _rank(values, None, rtol)
    m, n = a.shape[-2:]
    residuals = full(0, (0,), a.dtype)
    if m > n and not rank.is_abstract and bool((rank.array() == n).all()):
        apart = combine(ops.sub, product("lstsq", a, found), right)
        residuals = ops.reduce_sum(apart * apart, axes=(apart.ndim - 2,))
    solution = ops.reshape(found, shape=found.shape[:-1]) if vector else found
    return LeastSquares(wrap(solution), wrap(residuals), wrap(rank), wrap(values))


def cond(A: Handle, p: Any = None) -> Tensor:
    """The condition number |A| |A^-1| in the norm ``p``; by default and for 2 the ratio of the
    largest to the smallest singular value, for -2 its reciprocal."""
    ratio = p is None or (isinstance(p, (int, float)) and p in (2, -2))
    node = _matrix("cond", A, square=not ratio)
    if ratio:
        values = _singular_values(node)
        last = values.ndim - 1
        if not values.shape[-1]:
            return wrap(full(0, values.shape[:-1], values.dtype))
        ends = [narrow(values, last, at, 1) for at in (0, values.shape[-1] - 1)]
        large, small = (ops.reshape(e, shape=values.shape[:-1]) for e in ends)
        return wrap(ops.div(small, large) if p == -2 else ops.div(large, small))
    return mul(norms.matrix_norm(A, p), norms.matrix_norm(inv(A), p))


def matrix_power(A: Handle, n: int) -> Tensor:
    """A multiplied n times by itself: by repeated squaring; the inverse for negative n."""
    node = node_of(A, "matrix_power")
    times = as_size("matrix_power", n)
    if node.ndim < 2 or node.shape[-1] != node.shape[-2]:
        raise errors.shape(
            "matrix_power", "needs square matrices", node, hint="its last two sizes must be equal"
        )
    if times == 0:
        unit = creation.eye(node.shape[-1], dtype=node.dtype).node
        return wrap(ops.broadcast(unit, shape=node.shape))
    base = inv(A).node if times < 0 else node
    times, out = abs(times), None
    while times:
        if times % 2:
            out = base if out is None else ops.dot(out, base)
        times //= 2
        base = ops.dot(base, base) if times else base
    assert out is not None
    return wrap(ops.copy(out) if out is node else out)


def cholesky_inverse(L: Handle, upper: bool = False) -> Tensor:
    """(L L^T)^-1 from a Cholesky factor (upper=True: (L^T L)^-1)."""
    node = _matrix("cholesky_inverse", L, square=True)
    unit = creation.eye(node.shape[-1], dtype=node.dtype)
    return cholesky_solve(unit, L, upper)


def _matrix(op: str, A: Any, square: bool = False) -> Node:
    node = node_of(A, op)
    _check(op, node, square)
    return node


def _check(op: str, node: Node, square: bool = False) -> None:
    if node.dtype not in (float32, float64):
        hint = "x.float(), and back afterwards" if node.dtype.kind == "f" else "x.float()"
        raise errors.wrong_dtype(op, node.dtype, "float32 or float64", hint=hint)
    if node.ndim < 2:
        raise errors.shape(op, "needs matrices", node, hint="make one: x[:, None] is a column")
    if square and node.shape[-1] != node.shape[-2]:
        raise errors.shape(
            op, "needs square matrices", node,
            hint="for others use lstsq or pinv" if op in ("solve", "inv")
            else "its last two sizes must be equal",
        )  # fmt: skip


def _triangle(node: Node, upper: bool, unit: bool) -> Node:
    part = upper_part(node, int(unit)) if upper else lower(node, -int(unit))
    if not unit:
        return part
    eye = creation.eye(node.shape[-1], dtype=node.dtype).node
    return part + ops.broadcast(eye, shape=node.shape)


def _solved(op: str, a: Node, b: Node, left: bool, region: Any) -> Node:
    """Broadcast the batch, turn vectors into columns, and exchange the sides for left=False."""
    if not b.ndim:
        raise errors.shape(op, "the right-hand side needs the rows of A", a, b, hint=_ROWS)
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    right = ops.reshape(b, shape=(*b.shape, 1)) if vector else b
    if not left:
        if vector:
            raise errors.argument(
                op,
                "left=False needs a matrix on the right-hand side",
                hint="make a row: b[None, :]",
            )
        a, right = swap_last(a), swap_last(right)
    if right.shape[-2] != a.shape[-1]:
        raise errors.shape(op, "the right-hand side needs the rows of A", a, b, hint=_ROWS)
    batch = broadcast_shapes(op, a.shape[:-2], right.shape[:-2])
    found = region(
        ops.broadcast(a, shape=(*batch, *a.shape[-2:])),
        ops.broadcast(right, shape=(*batch, *right.shape[-2:])),
    )
    if not left:
        found = swap_last(found)
    return ops.reshape(found, shape=found.shape[:-1]) if vector else found


def _singular_values(node: Node) -> Node:
    return ops.pick(decompositions.svd(node, complete=False), index=1)


def _tolerance(node: Node, rtol: float | None) -> float:
    return (
        max(node.shape[-2:]) * finfo(node.dtype).eps
        if rtol is None
        else as_number("linalg", "rtol", rtol)
    )


def _rank(values: Node, atol: float | None, rtol: float) -> Node:
    k = values.shape[-1]
    if k == 0:
        return full(0, values.shape[:-1], int64)
    largest = ops.reshape(narrow(values, values.ndim - 1, 0, 1), shape=values.shape[:-1])
    limit = largest * rtol
    if atol is not None:
        limit = ops.maximum(limit, full(atol, limit.shape, limit.dtype))
    counted = to_dtype(ops.lt(rows(limit, k), values), int64)
    return ops.reduce_sum(counted, axes=(values.ndim - 1,))

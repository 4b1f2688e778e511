"""Linear algebra with gradients: ``adjoint.linalg``."""

from adjoint.tensors.contraction import cross, matmul, multi_dot, outer, tensordot, trace, vecdot
from adjoint.tensors.diagonals import diagonal
from adjoint.tensors.linalg import (
    cholesky,
    cholesky_inverse,
    cholesky_solve,
    cond,
    det,
    eigh,
    eigvalsh,
    inv,
    logdet,
    lstsq,
    matrix_power,
    matrix_rank,
    pinv,
    qr,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
)  # fmt: skip
from adjoint.tensors.movement import matrix_transpose
from adjoint.tensors.norms import linalg_norm as norm
from adjoint.tensors.norms import matrix_norm, vector_norm

__all__ = [
    "cholesky", "cholesky_inverse", "cholesky_solve", "cond", "cross", "det", "diagonal", "eigh",
    "eigvalsh", "inv", "logdet", "lstsq", "matmul", "matrix_norm", "matrix_power", "matrix_rank",
    "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve",
    "solve_triangular", "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip

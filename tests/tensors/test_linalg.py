"""Linear algebra: against PyTorch and NumPy, identities, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint import linalg
from adjoint.base.errors import AdjointError, ArgumentError, DTypeError, GradError, ShapeError
from adjoint.ir.node import constant
from tests.tensors.twins import agree, floats, maps, numbers, smooth

A = floats(2, 3, 3)
SPD = A @ A.swapaxes(-1, -2) + 2 * np.eye(3)
TALL, WIDE = floats(2, 5, 3, seed=1), floats(2, 3, 5, seed=2)
B = floats(2, 3, 2, seed=3)


def symmetric(x: Any) -> Any:
    """Makes gradients comparable: only symmetric changes of the matrix are asked for."""
    return (x + x.mT) / 2


# --- solve, inverse, determinants ----------------------------------------------------------------


@pytest.mark.feature("O35")
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (A, B), (A[0], B[0]), (A[0], floats(3)), (A, floats(2, 3)), (A, B[0]), (A[0], B),
        (A[:, None], floats(1, 4, 3, 2)), (np.zeros((0, 0)), np.zeros((0, 2))),
        (np.zeros((0, 3, 3)), np.zeros((0, 3, 2))),
    ],
    ids=lambda x: str(x.shape),
)  # fmt: skip
def test_solve(a: np.ndarray, b: np.ndarray) -> None:
    agree(linalg.solve, torch.linalg.solve, a, b)
    if a.size:
        smooth(linalg.solve, a, b)


def test_solve_from_the_right() -> None:
    c = B.swapaxes(-1, -2).copy()
    agree(
        lambda a, b: linalg.solve(a, b, left=False),
        lambda a, b: torch.linalg.solve(a, b, left=False), A, c,
    )  # fmt: skip
    with pytest.raises(ArgumentError, match="left=False"):
        linalg.solve(ad.tensor(A[0]), ad.ones(3).double(), left=False)


@pytest.mark.feature("O35")
@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("unit", [True, False])
def test_solve_triangular(upper: bool, unit: bool) -> None:
    a = A + 3 * np.eye(3)
    options = {"upper": upper, "unitriangular": unit}
    agree(
        lambda a, b: linalg.solve_triangular(a, b, **options),
        lambda a, b: torch.linalg.solve_triangular(a, b, **options), a, B,
    )  # fmt: skip
    smooth(lambda a, b: linalg.solve_triangular(a, b, **options), a, B)


@pytest.mark.feature("O35")
def test_inverse_and_determinants() -> None:
    for x in (A, A[0], np.zeros((0, 3, 3)), np.zeros((2, 0, 0))):
        agree(linalg.inv, torch.linalg.inv, x, single=1e-2)
        agree(linalg.det, torch.linalg.det, x)
        agree(linalg.slogdet, torch.linalg.slogdet, x, single=1e-2)
    agree(ad.logdet, torch.logdet, SPD)
    smooth(linalg.inv, A)
    smooth(linalg.det, A)
    smooth(lambda x: linalg.slogdet(x).logabsdet, A)
    np.testing.assert_array_equal(numbers(ad.logdet(ad.tensor(np.diag([1.0, -1.0])))), np.nan)
    x = ad.tensor(A)
    for name in ("inverse", "det", "logdet", "pinverse"):
        np.testing.assert_array_equal(numbers(getattr(x, name)()), numbers(getattr(ad, name)(x)))


@pytest.mark.feature("O35")
def test_the_gradient_of_det_exists_for_singular_matrices() -> None:
    rank2 = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    x = ad.tensor(rank2, requires_grad=True)
    linalg.det(x).backward()
    cofactors = [
        [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(rank2, i, 0), j, 1)) for j in range(3)]
        for i in range(3)
    ]
    assert x.grad is not None
    np.testing.assert_allclose(numbers(x.grad), cofactors, atol=1e-9)
    smooth(linalg.det, rank2, order=1)


def test_the_definition_of_the_cofactors_equals_their_fast_path() -> None:
    from adjoint.tensors.decompositions import cofactor

    assert cofactor.body is not None and cofactor.kernel is not None
    np.testing.assert_allclose(cofactor.body(constant(A))[0].array(), cofactor.kernel(A))


def test_slogdet_of_a_singular_matrix() -> None:
    sign, size = linalg.slogdet(ad.zeros(2, 2))
    assert sign.item() == 0 and size.item() == -inf


@pytest.mark.feature("O35")
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("inv", lambda x: linalg.inv(x)),
        ("solve", lambda x: linalg.solve(x, ad.ones(2, 2, 1))),
        ("cholesky", lambda x: linalg.cholesky(x)),
    ],
)
def test_no_answer_is_an_error_that_names_the_matrix(name: str, call: Callable[[Any], Any]) -> None:
    x = ad.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]]])
    with pytest.raises(AdjointError, match=rf"{name}: the matrix is .* \(matrix 1 of the batch\)"):
        call(x)
    with pytest.raises(AdjointError, match=r"test_linalg\.py"):
        call(x)


def test_nan_in_a_decomposition_is_an_error() -> None:
    bad = ad.full((2, 2), float("nan"))
    for call in (linalg.svd, linalg.svdvals, linalg.pinv):
        with pytest.raises(ArgumentError, match="no convergence"):
            call(bad)


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "cholesky", "qr", "svd", "eigh", "pinv"])
def test_shapes_and_dtypes_are_checked(name: str) -> None:
    function = getattr(linalg, name)
    with pytest.raises(DTypeError, match="float32 or float64"):
        function(ad.eye(2).half())
    with pytest.raises(DTypeError, match="float32 or float64"):
        function(ad.eye(2).bfloat16())
    with pytest.raises(DTypeError, match="float32 or float64"):
        function(ad.tensor([[1, 0], [0, 1]]))
    with pytest.raises(ShapeError, match="needs matrices"):
        function(ad.ones(3))
    if name not in ("qr", "svd", "pinv"):
        with pytest.raises(ShapeError, match="square"):
            function(ad.ones(2, 3))


def test_solve_checks_its_operands() -> None:
    with pytest.raises(DTypeError, match="different dtypes"):
        linalg.solve(ad.eye(2), ad.ones(2).double())
    with pytest.raises(ShapeError, match="rows of A"):
        linalg.solve(ad.eye(2), ad.ones(3, 2))
    with pytest.raises(ShapeError, match="broadcast"):
        linalg.solve(ad.eye(2).expand(2, 2, 2), ad.ones(3, 2, 1))


# --- factorisations ------------------------------------------------------------------------------


@pytest.mark.feature("O35")
def test_cholesky() -> None:
    for upper in (False, True):
        agree(
            lambda x: linalg.cholesky(symmetric(x), upper=upper),  # noqa: B023
            lambda x: torch.linalg.cholesky(symmetric(x), upper=upper), SPD,  # noqa: B023
        )  # fmt: skip
        agree(
            lambda b, x: ad.cholesky_solve(b, x.triu() if upper else x.tril(), upper),  # noqa: B023
            lambda b, x: torch.cholesky_solve(b, x.triu() if upper else x.tril(), upper), B, SPD,  # noqa: B023
        )  # fmt: skip
    smooth(lambda x: linalg.cholesky(symmetric(x)), SPD)
    factor = np.linalg.cholesky(SPD)
    np.testing.assert_allclose(
        numbers(ad.cholesky_inverse(ad.tensor(factor))), np.linalg.inv(SPD), rtol=1e-9
    )
    assert linalg.cholesky(ad.zeros(0, 3, 3)).shape == (0, 3, 3)


@pytest.mark.feature("O35")
@pytest.mark.parametrize("x", [A, TALL, WIDE, TALL[0], np.zeros((2, 0, 3)), np.zeros((2, 3, 0))])
def test_qr(x: np.ndarray) -> None:
    agree(linalg.qr, torch.linalg.qr, x)
    if x.size:
        smooth(linalg.qr, x)
    agree(lambda t: linalg.qr(t, "complete"), lambda t: torch.linalg.qr(t, "complete"), x,
          gradient=False)  # fmt: skip
    only = linalg.qr(ad.tensor(x), "r")
    np.testing.assert_array_equal(numbers(only.R), numbers(linalg.qr(ad.tensor(x)).R))
    assert only.Q.shape == (0,)


def test_complete_qr_has_no_derivative() -> None:
    x = ad.tensor(TALL, requires_grad=True)
    with pytest.raises(GradError, match="reduced"):
        linalg.qr(x, "complete").Q.sum().backward()
    square = ad.tensor(A, requires_grad=True)
    linalg.qr(square, "complete").Q.sum().backward()
    assert square.grad is not None
    with pytest.raises(ArgumentError, match="did you mean 'reduced'"):
        linalg.qr(x, "reduce")


@pytest.mark.feature("O35")
@pytest.mark.parametrize("x", [A, TALL, WIDE, WIDE[0]], ids=lambda x: str(x.shape))
def test_svd(x: np.ndarray) -> None:
    u, s, vh = linalg.svd(ad.tensor(x), full_matrices=False)
    np.testing.assert_allclose(numbers(u * s[..., None, :] @ vh), x, atol=1e-12)
    np.testing.assert_allclose(numbers(s), np.linalg.svd(x, compute_uv=False))
    agree(linalg.svdvals, torch.linalg.svdvals, x)
    full, twin = linalg.svd(ad.tensor(x)), torch.linalg.svd(torch.tensor(x))
    for got, want in zip(full, twin, strict=True):
        assert tuple(got.shape) == tuple(want.shape)
    smooth(linalg.svdvals, x)
    smooth(lambda t: linalg.svd(t).S, x)
    smooth(lambda t: _without_signs(linalg.svd(t, full_matrices=False)), x)
    agree(
        lambda t: _without_signs(linalg.svd(t, full_matrices=False)),
        lambda t: _without_signs(torch.linalg.svd(t, full_matrices=False)), x, single=1e-2,
    )  # fmt: skip


def _without_signs(found: Any) -> Any:
    """Sign of U and Vh are free together: their squares and their products are not."""
    u, s, vh = found
    return u**2, s, (vh**3 @ vh.mT) ** 2, u[..., :, :1] * vh[..., :1, :]


def test_full_svd_has_no_derivative() -> None:
    x = ad.tensor(TALL, requires_grad=True)
    with pytest.raises(GradError, match="full_matrices=False"):
        linalg.svd(x).U.sum().backward()
    square = ad.tensor(A, requires_grad=True)
    linalg.svd(square).U.sum().backward()
    assert square.grad is not None


def test_equal_singular_values() -> None:
    x = ad.tensor(np.eye(3), requires_grad=True)
    linalg.svdvals(x).sum().backward()  # the values have a derivative, the vectors have none
    assert x.grad is not None
    np.testing.assert_allclose(numbers(x.grad), np.eye(3), atol=1e-12)
    vectors = ad.tensor(np.eye(3), requires_grad=True)
    (linalg.svd(vectors).U * ad.tensor(floats(3, 3))).sum().backward()
    assert vectors.grad is not None and np.isnan(numbers(vectors.grad)).any()


@pytest.mark.feature("O35")
@pytest.mark.parametrize("uplo", ["L", "U"])
def test_eigh(uplo: str) -> None:
    x = A + A.swapaxes(-1, -2)
    agree(
        lambda t: _even(linalg.eigh(symmetric(t), uplo)),
        lambda t: _even(torch.linalg.eigh(symmetric(t), uplo)), x, single=1e-2,
    )  # fmt: skip
    agree(
        lambda t: linalg.eigvalsh(symmetric(t), uplo),
        lambda t: torch.linalg.eigvalsh(symmetric(t), uplo), x,
    )  # fmt: skip
    smooth(lambda t: _even(linalg.eigh(symmetric(t), uplo)), x)
    one_half = np.tril(x) if uplo == "L" else np.triu(x)
    np.testing.assert_allclose(
        numbers(linalg.eigvalsh(ad.tensor(one_half), uplo)), np.linalg.eigvalsh(x)
    )
    values, vectors = linalg.eigh(ad.tensor(x))
    np.testing.assert_allclose(numbers(vectors @ (values[..., None] * vectors.mT)), x, atol=1e-12)
    with pytest.raises(ArgumentError, match="UPLO"):
        linalg.eigh(ad.eye(2), "X")


def _even(found: Any) -> Any:
    values, vectors = found
    return values, vectors**2, vectors[..., :, :1] @ vectors[..., :, :1].mT


@pytest.mark.feature("O35")
def test_equal_eigenvalues() -> None:
    x = ad.tensor(np.eye(3), requires_grad=True)
    values = linalg.eigh(x).eigenvalues
    (values**3).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(numbers(x.grad), 3 * np.eye(3), atol=1e-12)
    vectors = ad.tensor(np.eye(3), requires_grad=True)
    (linalg.eigh(vectors).eigenvectors * ad.tensor(floats(3, 3))).sum().backward()
    assert vectors.grad is not None and np.isnan(numbers(vectors.grad)).any()


# --- pseudo-inverse, rank, least squares ---------------------------------------------------------


@pytest.mark.feature("O35")
@pytest.mark.parametrize("x", [A, TALL, WIDE, np.zeros((2, 0, 3))], ids=lambda x: str(x.shape))
def test_pinv(x: np.ndarray) -> None:
    agree(linalg.pinv, torch.linalg.pinv, x, single=1e-2)
    if x.size:
        smooth(linalg.pinv, x)
    np.testing.assert_array_equal(
        numbers(linalg.matrix_rank(ad.tensor(x))), np.linalg.matrix_rank(x) if x.size else [0, 0]
    )


def test_rank_tolerances() -> None:
    x = ad.tensor(np.diag([1.0, 1e-3, 1e-9, 0.0]))
    assert linalg.matrix_rank(x).item() == 3
    assert linalg.matrix_rank(x, rtol=1e-6).item() == 2
    assert linalg.matrix_rank(x, atol=1e-2).item() == 1
    assert linalg.matrix_rank(x, atol=1e-12, rtol=1e-2).item() == 1
    ones = np.ones((3, 2))
    np.testing.assert_allclose(numbers(linalg.pinv(ad.tensor(ones))), np.linalg.pinv(ones))


@pytest.mark.feature("O35")
@pytest.mark.parametrize(
    ("a", "b"), [(TALL, floats(2, 5, 2)), (TALL[0], floats(5)), (WIDE, floats(2, 3, 2)), (A, B)]
)
def test_lstsq(a: np.ndarray, b: np.ndarray) -> None:
    solution = lambda f: lambda x, y: f(x, y)[0]  # noqa: E731
    column = b if b.ndim == a.ndim else b[:, None]  # PyTorch takes matrices only
    theirs = lambda x, y: torch.linalg.lstsq(x, y, driver="gelsd")  # noqa: E731
    agree(solution(linalg.lstsq), solution(theirs), a, column, single=1e-2, gradient=False)
    smooth(solution(linalg.lstsq), a, b)
    found = linalg.lstsq(ad.tensor(a), ad.tensor(b))
    want = theirs(torch.tensor(a), torch.tensor(column))
    np.testing.assert_allclose(
        numbers(found.solution), want.solution.numpy().reshape(found.solution.shape)
    )
    np.testing.assert_allclose(
        numbers(found.residuals).ravel(), want.residuals.numpy().ravel(), atol=1e-12
    )
    np.testing.assert_array_equal(numbers(found.rank), want.rank)
    np.testing.assert_allclose(numbers(found.singular_values), want.singular_values)


@pytest.mark.parametrize("p", [None, 2, -2, "fro", "nuc", 1, -1, inf, -inf])
def test_cond(p: Any) -> None:
    agree(
        lambda x: linalg.cond(x, p), lambda x: torch.linalg.cond(x, p), A, single=1e-2,
        gradient=False,
    )  # fmt: skip
    smooth(lambda x: linalg.cond(x, p), A)
    if p is None:
        agree(linalg.cond, torch.linalg.cond, TALL, single=1e-2)


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 3, 7, 8])
def test_matrix_power(n: int) -> None:
    agree(
        lambda x: linalg.matrix_power(x, n), lambda x: torch.linalg.matrix_power(x, n), A,
        single=None, tolerance=1e-8, gradient=n != 0,
    )  # fmt: skip
    if n >= 0:
        integers = np.array([[1, 1], [1, 0]])
        np.testing.assert_array_equal(
            numbers(linalg.matrix_power(ad.tensor(integers), n)),
            np.linalg.matrix_power(integers, n),
        )


# --- everything together -------------------------------------------------------------------------


@pytest.mark.feature("O35")
@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (linalg.inv, (A,)), (linalg.solve, (A, B)), (linalg.det, (A,)), (linalg.qr, (TALL,)),
        (linalg.cholesky, (SPD,)), (linalg.eigvalsh, (SPD,)), (linalg.svdvals, (WIDE,)),
        (linalg.pinv, (TALL,)), (linalg.norm, (A,)), (lambda x: linalg.slogdet(x)[1], (A,)),
        (lambda x: linalg.eigh(x).eigenvectors ** 2, (SPD,)),
        (lambda x: linalg.svd(x, full_matrices=False).U ** 2, (TALL,)),
    ],
)  # fmt: skip
def test_batches(function: Callable[..., Any], arrays: tuple[np.ndarray, ...]) -> None:
    maps(function, *arrays)


@pytest.mark.feature("O35")
def test_newton_finds_the_minimum_of_a_quadratic_in_one_step() -> None:
    a, b = ad.tensor(SPD[0]), ad.tensor(floats(3))
    x = ad.zeros(3, dtype=ad.float64)

    def loss(t: Any) -> Any:
        return 0.5 * t @ a @ t - b @ t

    step = linalg.solve(ad.hessian(loss)(x), ad.grad(loss)(x))
    np.testing.assert_allclose(numbers(x - step), np.linalg.solve(SPD[0], floats(3)))


def test_the_log_density_of_a_gaussian() -> None:
    def density(x: Any, cov: Any, m: Any) -> Any:
        factor = m.cholesky((cov + cov.mT) / 2)
        half = m.solve_triangular(factor, x[:, None], upper=False)
        log_det = factor.diagonal(0, -2, -1).log().sum()
        return -0.5 * (half**2).sum() - log_det - 1.5 * np.log(2 * np.pi)

    agree(
        lambda x, c: density(x, c, linalg), lambda x, c: density(x, c, torch.linalg),
        floats(3), SPD[0],
    )  # fmt: skip
    want = torch.distributions.MultivariateNormal(torch.zeros(3).double(), torch.tensor(SPD[0]))
    got = density(ad.tensor(floats(3)), ad.tensor(SPD[0]), linalg).item()
    np.testing.assert_allclose(got, want.log_prob(torch.tensor(floats(3))).item())

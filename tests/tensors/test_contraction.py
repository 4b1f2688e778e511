"""Products of matrices: against PyTorch and NumPy, finite differences, and loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import adjoint as ad
from adjoint.base.errors import AdjointError, ArgumentError, DTypeError, ShapeError
from tests.tensors.twins import agree, floats, maps, numbers, smooth

MATMULS = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((4, 1, 2, 3), (5, 3, 2)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 2)),
]
EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ba", (2, 3)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iji->j", (2, 3, 2)),
    ("...ii->...i", (2, 3, 3)),
    ("ij->", (2, 3)),
    ("i,j->ij", (2,), (3,)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("bhd,bhd->bh", (2, 3, 4), (2, 3, 4)),
    ("b...i,b...i->b...", (2, 3, 4), (2, 3, 4)),
    ("...ij,...jk->...ik", (5, 2, 3), (4, 1, 3, 2)),
    ("i...,i...->...", (3, 2), (3, 2)),
    ("bthd,bshd->bhts", (2, 3, 2, 4), (2, 5, 2, 4)),
    ("ij,kj->", (2, 3), (4, 3)),
    (",->", (), ()),
    ("i,->i", (3,), ()),
    ("ab,cd,ef->fdb", (2, 3), (2, 2), (3, 2)),
    ("abc,cd,de,ea->be", (2, 3, 4), (4, 5), (5, 6), (6, 2)),
    ("bi,oij,bj->bo", (4, 2), (3, 2, 5), (4, 5)),
    ("ij,jk->ik", (2, 0), (0, 4)),
    ("ij,jk->ik", (0, 3), (3, 4)),
    ("ij,jk->ik", (2, 1), (1, 4)),
    ("Ab , bC -> CA", (2, 3), (3, 2)),
]  # fmt: skip


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [floats(*s, seed=i) for i, s in enumerate(shapes)]


@pytest.mark.feature("O2")
@pytest.mark.parametrize("shapes", MATMULS, ids=str)
def test_matmul(shapes: tuple[tuple[int, ...], ...]) -> None:
    agree(lambda a, b: a @ b, torch.matmul, *arrays(*shapes))
    smooth(ad.matmul, *arrays(*shapes))


@pytest.mark.parametrize(
    "shapes", [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0, 2, 3), (3, 4)), ((2, 3), (0, 3, 4))]
)
def test_matmul_of_nothing(shapes: tuple[tuple[int, ...], ...]) -> None:
    agree(ad.matmul, torch.matmul, *arrays(*shapes))


def test_matmul_reads_any_layout() -> None:
    a, b = floats(6, 8), floats(8, 6, seed=1)
    x, y = ad.from_numpy(a)[::-2, ::-1], ad.from_numpy(b).T[:, ::-1]
    np.testing.assert_allclose(numbers(x @ y.T), a[::-2, ::-1] @ b.T[:, ::-1].T)
    row = ad.ones(1, 8, dtype=ad.float64).expand(4, 8)
    np.testing.assert_allclose(numbers(row @ ad.from_numpy(b)), np.ones((4, 8)) @ b)


def test_matmul_with_an_array_on_the_left() -> None:
    x = ad.tensor(floats(3, 2))
    np.testing.assert_allclose(numbers(floats(4, 3) @ x), floats(4, 3) @ floats(3, 2))


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "float16", "bfloat16"])
def test_matmul_keeps_the_dtype(dtype: str) -> None:
    a, b = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    got = ad.tensor(a).to(dtype) @ ad.tensor(b).to(dtype)
    assert got.dtype.name == dtype
    np.testing.assert_array_equal(numbers(got.to(ad.float64)), a @ b)


def test_matmul_of_short_floats_accumulates_in_float32() -> None:
    ones = ad.ones(1, 4096, dtype=ad.float16)
    assert (ones @ ones.T).item() == 4096
    assert (ad.ones(1, 1000).bfloat16() @ ad.ones(1000, 1).bfloat16()).item() == 1000


def test_matmul_errors() -> None:
    x = ad.ones(2, 3)
    with pytest.raises(ShapeError, match=r"matmul: inner sizes differ: \(2, 3\) @ \(4, 3\).*"):
        x @ ad.ones(4, 3)
    with pytest.raises(ShapeError, match=r"did you mean w\.T"):
        x @ ad.ones(4, 3)
    with pytest.raises(ShapeError, match="inner sizes"):
        x @ ad.ones(2)
    with pytest.raises(DTypeError, match="different dtypes: float32"):
        x @ ad.ones(3, 2, dtype=ad.float64)
    with pytest.raises(DTypeError, match="different dtypes"):
        x @ np.ones((3, 2))
    with pytest.raises(ShapeError, match="at least 1 dimension"):
        x @ ad.tensor(2.0)
    with pytest.raises(ShapeError, match="broadcast"):
        ad.ones(2, 2, 3) @ ad.ones(4, 3, 2)
    with pytest.raises(ShapeError, match="3-D and 3-D"):
        ad.bmm(x, x)
    with pytest.raises(ShapeError, match="batch sizes"):
        ad.bmm(ad.ones(2, 2, 3), ad.ones(3, 3, 2))
    with pytest.raises(ShapeError, match="2-D and 1-D"):
        ad.mv(x, x)
    with pytest.raises(ShapeError, match="length"):
        ad.dot(ad.ones(2), ad.ones(3))


@pytest.mark.feature("O2", "T8")
def test_one_tensor_on_both_sides() -> None:
    agree(lambda x: x @ x, lambda x: x @ x, floats(3, 3))
    agree(lambda x: x @ x.T, lambda x: x @ x.T, floats(2, 3))
    smooth(lambda x: ((x @ x) @ x).sum(), floats(3, 3))
    smooth(lambda x: ad.einsum("ij,jk,kl->il", x, x, x), floats(2, 2))
    smooth(lambda x: ad.dot(x, x) * ad.outer(x, x), floats(3))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("mm", ((2, 3), (3, 4))), ("bmm", ((5, 2, 3), (5, 3, 4))), ("mv", ((2, 3), (3,))),
        ("dot", ((3,), (3,))), ("vdot", ((3,), (3,))), ("inner", ((2, 3), (4, 3))),
        ("inner", ((2, 5, 3), (3,))), ("outer", ((2,), (3,))), ("addmm", ((4,), (2, 3), (3, 4))),
        ("addmv", ((2,), (2, 3), (3,))), ("addr", ((2, 3), (2,), (3,))),
        ("baddbmm", ((1, 2, 4), (5, 2, 3), (5, 3, 4))), ("kron", ((2, 3), (4, 1, 2))),
        ("kron", ((2,), (3,))), ("trace", ((3, 3),)), ("cross", ((4, 3), (4, 3))),
        ("chain_matmul", ((2, 3), (3, 4), (4, 2))),
    ],
)  # fmt: skip
def test_named_products(name: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    mine = getattr(ad, name)

    def theirs(*tensors: torch.Tensor) -> torch.Tensor:
        if name == "chain_matmul":  # PyTorch warns about its own name
            return torch.linalg.multi_dot(tensors)
        return torch.cross(*tensors, dim=-1) if name == "cross" else getattr(torch, name)(*tensors)

    agree(mine, theirs, *arrays(*shapes))
    smooth(mine, *arrays(*shapes))
    if name != "chain_matmul":
        method = getattr(ad.Tensor, name)
        np.testing.assert_array_equal(
            numbers(method(*map(ad.tensor, arrays(*shapes)))),
            numbers(mine(*map(ad.tensor, arrays(*shapes)))),
        )


def test_addmm_scales() -> None:
    xs = arrays((2, 4), (2, 3), (3, 4))
    agree(
        lambda *t: ad.addmm(*t, beta=0.5, alpha=2),
        lambda *t: torch.addmm(*t, beta=0.5, alpha=2),
        *xs,
    )
    nan = np.full((2, 4), np.nan)
    got = ad.addmm(ad.tensor(nan), *map(ad.tensor, xs[1:]), beta=0)
    np.testing.assert_allclose(numbers(got), xs[1] @ xs[2])
    x = ad.tensor(xs[0])
    assert x.addmm_(ad.tensor(xs[1]), ad.tensor(xs[2])) is x
    np.testing.assert_allclose(numbers(x), xs[0] + xs[1] @ xs[2])
    with pytest.raises(ShapeError, match="broadcast"):
        ad.addmm(ad.ones(3), ad.ones(2, 3), ad.ones(3, 4))
    with pytest.raises(DTypeError, match="different dtypes"):
        ad.addmm(ad.ones(4).double(), ad.ones(2, 3), ad.ones(3, 4))


def test_vecdot() -> None:
    agree(ad.vecdot, torch.linalg.vecdot, *arrays((2, 3), (4, 1, 3)))
    agree(
        lambda a, b: ad.vecdot(a, b, dim=0), lambda a, b: torch.linalg.vecdot(a, b, dim=0),
        *arrays((3, 2), (3, 2)),
    )  # fmt: skip


def test_cross_along_other_axes() -> None:
    agree(
        lambda a, b: ad.cross(a, b, 0), lambda a, b: torch.linalg.cross(a, b, dim=0),
        *arrays((3, 4), (3, 1)),
    )  # fmt: skip
    with pytest.raises(ShapeError, match="size 3"):
        ad.cross(ad.ones(2), ad.ones(2))


@pytest.mark.parametrize(
    ("dims", "shapes"),
    [
        (2, ((2, 3, 4), (3, 4, 5))),
        (0, ((2,), (3,))),
        (1, ((2, 3), (3, 4))),
        (([0, 2], [1, 0]), ((2, 3, 4), (4, 2, 5))),
        (([-1], [0]), ((2, 3), (3,))),
    ],
)
def test_tensordot(dims: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    xs = arrays(*shapes)
    agree(lambda a, b: ad.tensordot(a, b, dims), lambda a, b: torch.tensordot(a, b, dims), *xs)
    np.testing.assert_allclose(
        numbers(ad.tensordot(*map(ad.tensor, xs), dims)), np.tensordot(*xs, dims)
    )


def test_tensordot_errors() -> None:
    a, b = ad.ones(2, 3), ad.ones(2, 3)
    with pytest.raises(ShapeError, match="differ in size"):
        ad.tensordot(a, b, 1)
    with pytest.raises(ArgumentError, match="dims=3"):
        ad.tensordot(a, b, 3)
    with pytest.raises(ArgumentError, match="2 axes against 1"):
        ad.tensordot(a, b, ([0, 1], [0]))


def test_multi_dot_takes_vectors_and_the_cheap_order() -> None:
    xs = arrays((5,), (5, 4), (4, 6), (6, 3), (3,))
    agree(lambda *t: ad.linalg.multi_dot(t), lambda *t: torch.linalg.multi_dot(t), *xs)
    x = ad.tensor(floats(1, 200), requires_grad=True)
    y = ad.linalg.multi_dot([x.T, x, x.T])  # 1 x 200 first: no 200 x 200 matrix
    assert y.grad_fn is not None and y.grad_fn.args[1].shape == (1, 1)
    with pytest.raises(ShapeError, match="operand 1 must be a matrix"):
        ad.linalg.multi_dot([x, ad.ones(3), x])
    with pytest.raises(ArgumentError, match="at least 2"):
        ad.linalg.multi_dot([x])


def test_bilinear() -> None:
    xs = arrays((4, 2), (4, 3), (5, 2, 3), (5,))
    agree(ad.bilinear, torch.nn.functional.bilinear, *xs)


@pytest.mark.parametrize("case", EQUATIONS, ids=lambda c: c[0])
def test_einsum(case: Any) -> None:
    equation, *shapes = case
    xs = arrays(*shapes)
    agree(lambda *t: ad.einsum(equation, *t), lambda *t: torch.einsum(equation, *t), *xs)
    np.testing.assert_allclose(
        numbers(ad.einsum(equation, *map(ad.tensor, xs))), np.einsum(equation, *xs), atol=1e-12
    )


@pytest.mark.parametrize("case", EQUATIONS[10:21:2], ids=lambda c: c[0])
def test_einsum_second_derivatives_and_batches(case: Any) -> None:
    equation, *shapes = case
    xs = arrays(*shapes)
    smooth(lambda *t: ad.einsum(equation, *t), *xs)
    maps(lambda *t: ad.einsum(equation, *t), *[np.stack([x, 2 - x]) for x in xs])


def test_einsum_broadcasts_sizes_of_one() -> None:
    xs = arrays((2, 1), (3, 4))
    agree(lambda *t: ad.einsum("ij,jk->ik", *t), lambda *t: torch.einsum("ij,jk->ik", *t), *xs)


def test_einsum_sums_the_ellipsis_when_the_result_has_none() -> None:
    agree(lambda x: ad.einsum("...i->i", x), lambda x: torch.einsum("...i->i", x), floats(2, 3, 4))


def test_einsum_of_integers_and_short_floats() -> None:
    a, b = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    got = ad.einsum("ij,jk->ki", ad.tensor(a), ad.tensor(b))
    assert got.dtype is ad.int64
    np.testing.assert_array_equal(numbers(got), np.einsum("ij,jk->ki", a, b))
    short = ad.einsum("ij,jk->ki", ad.tensor(a).half(), ad.tensor(b).half())
    assert short.dtype is ad.float16
    np.testing.assert_array_equal(numbers(short), np.einsum("ij,jk->ki", a, b))


def test_einsum_contracts_small_things_first() -> None:
    xs = [ad.ones(50, 50, requires_grad=True) for _ in range(3)]
    out = ad.einsum("ij,jk,kl,l->i", *xs, ad.ones(50))
    seen, stack = set(), [out.node]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.args or ())
    products = [n for n in seen if n.op is not None and n.op.name == "dot"]
    assert len(products) == 3
    assert all(n.shape[-1] == 1 or n.shape[-2] == 1 for n in products)  # matrix times vector only


@pytest.mark.parametrize(
    ("equation", "count", "message"),
    [
        ("ij,jk->ik", 1, "names 2 operands, 1 were given"),
        ("ij->ik", 1, "'k' of the result is in no operand"),
        ("ij->ii", 1, "'i' occurs twice in the result"),
        ("ijk->i", 1, "names 3 axes of an operand with 2"),
        ("i->i", 1, "add ... for the axes"),
        ("i.->i", 1, "'.' is neither a letter"),
        ("i1->i", 1, "'1' is neither a letter"),
        ("......->", 1, "... occurs twice"),
        ("ij->i->j", 1, "'-' is neither a letter"),
        (3, 1, "the first argument is the equation"),
    ],
)
def test_einsum_says_what_it_cannot_read(equation: Any, count: int, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        ad.einsum(equation, *[ad.ones(2, 2)] * count)
    assert message in str(caught.value)


def test_einsum_size_and_dtype_errors() -> None:
    with pytest.raises(ShapeError, match="'j' of 'ij,jk->ik' has sizes 3 and 4"):
        ad.einsum("ij,jk->ik", ad.ones(2, 3), ad.ones(4, 5))
    with pytest.raises(ShapeError, match="'i' of 'ii' has sizes 2 and 3"):
        ad.einsum("ii", ad.ones(2, 3))
    with pytest.raises(DTypeError, match="different dtypes"):
        ad.einsum("i,i", ad.ones(2), ad.ones(2).double())
    with pytest.raises(AdjointError):
        ad.einsum("i", [1.0, 2.0])


@pytest.mark.parametrize("shapes", MATMULS[3:8], ids=str)
@pytest.mark.parametrize("shared", [(), (0,), (1,)])
def test_matmul_in_vmap(shapes: Any, shared: tuple[int, ...]) -> None:
    xs = [x if i in shared else np.stack([x, 1 - x]) for i, x in enumerate(arrays(*shapes))]
    maps(ad.matmul, *xs, shared=shared)

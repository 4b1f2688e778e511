"""Rows at the edges: special floats, whole numbers at their limits, empty batches, wrong inputs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from adjoint import ops
from adjoint.base import errors
from adjoint.base.dtype import (
    DType,
    bool_,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
    uint32,
)  # fmt: skip
from adjoint.ir.graph import recording
from adjoint.ir.node import Node, Type, abstract, constant
from adjoint.ops import TABLE
from adjoint.transform.grad import Pullback
from adjoint.transform.vmap import vmap
from tests.ops.array_cases import philox
from tests.ops.op_cases import Case, gather_cases
from tests.ops.test_op_table import DIFFERENTIABLE


def remainders(x: Any, y: Any) -> Any:
    """Python's, NaN where it raises; torch has NaN for subnormal divisors and loses -0."""
    pairs = zip(x.tolist(), y.tolist(), strict=True)
    return torch.tensor(
        [a % b if b and np.isfinite(a) else np.nan for a, b in pairs], dtype=x.dtype
    )


SPECIAL = (0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 1e308, 5e-324, -1e-310, 800.0, 3.0)
UNARY = {
    "neg": torch.neg, "exp": torch.exp, "log": torch.log, "sin": torch.sin, "cos": torch.cos,
    "sqrt": torch.sqrt, "tanh": torch.tanh, "erf": torch.erf, "atan": torch.atan,
    "floor": torch.floor,
}  # fmt: skip
BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div,
    "rem": remainders, "maximum": torch.maximum, "minimum": torch.minimum, "eq": torch.eq,
    "lt": torch.lt,
}  # fmt: skip


@pytest.mark.feature("Z1")
@pytest.mark.parametrize("name", UNARY)
def test_special_floats_of_one_argument(name: str) -> None:
    x = np.array(SPECIAL)
    same_bits(TABLE[name](constant(x)).array(), UNARY[name](torch.tensor(x)).numpy())


@pytest.mark.feature("Z1")
@pytest.mark.parametrize("name", BINARY)
def test_special_floats_of_two_arguments(name: str) -> None:
    x, y = (a.reshape(-1) for a in np.meshgrid(SPECIAL, SPECIAL))
    mine = TABLE[name](constant(x.copy()), constant(y.copy())).array()
    same_bits(mine, BINARY[name](torch.tensor(x), torch.tensor(y)).numpy())


def same_bits(mine: Any, theirs: Any) -> None:
    """Equal values, NaN equal to NaN, and the same signs of zeros."""
    np.testing.assert_allclose(mine, theirs, 4e-16, 0)
    if mine.dtype.kind == "f":
        known = ~np.isnan(theirs)
        np.testing.assert_array_equal(np.signbit(mine)[known], np.signbit(theirs)[known])


@pytest.mark.parametrize("op", ["reduce_max", "reduce_sum", "cumsum", "maximum"])
def test_nan_is_never_lost(op: str) -> None:
    x = np.array([1.0, np.nan, 3.0])
    for dtype in (np.float64, np.float32, np.float16):
        node = constant(x.astype(dtype))
        if op == "cumsum":
            out = ops.cumsum(node, axis=0).array()[1:]
        elif op == "maximum":
            out = ops.maximum(node, constant(np.full(3, 9, dtype))).array()[1]
        else:
            out = TABLE[op](node, axes=(0,)).array()
        assert np.isnan(out).all()


def test_integers_wrap_and_division_by_zero_gives_zero() -> None:
    low, minus, zero = (constant(np.array(v, np.int8)) for v in (-128, -1, 0))
    assert ops.div(low, minus).array() == -128
    assert ops.neg(low).array() == -128
    assert ops.mul(low, low).array() == 0
    assert ops.div(minus, zero).array() == 0
    assert ops.rem(minus, zero).array() == 0
    assert ops.sub(*(constant(np.array(v, np.uint8)) for v in (3, 5))).array() == 254


@pytest.mark.parametrize("name", ["sum", "cumsum", "dot", "scatter"])
def test_sixteen_bits_accumulate_in_thirty_two(name: str) -> None:
    """4096 + 1 + 1 + ... stays at 4096 in float16; the sum must not."""
    x = np.concatenate([[4096.0], np.ones(1000)]).astype(np.float16)
    node, last = constant(x), constant(np.zeros(1001, np.int64))
    found = {
        "sum": lambda: ops.reduce_sum(node, axes=(0,)),
        "cumsum": lambda: ops.slice(
            ops.cumsum(node, axis=0), starts=(1000,), sizes=(1,), steps=(1,)
        ),
        "dot": lambda: ops.dot(constant(x[None]), constant(np.ones((1001, 1), np.float16))),
        "scatter": lambda: ops.scatter_add(constant(np.zeros(1, np.float16)), last, node, batch=0),
    }[name]()
    assert found.array().reshape(-1)[0] == np.float16(5096)


@pytest.mark.feature("T40")
def test_random_words_are_philox() -> None:
    """The known answers that come with Random123 hold for the test's Philox, and it for ours."""
    full = 0xFFFFFFFF
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    known = {
        ((0,) * 4, (0,) * 2): "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        ((full,) * 4, (full,) * 2): "408f276d 41c83b0e a20bc7c6 6d5451fd",
        (tuple(pi[0]), tuple(pi[1])): "d16cfe09 94fdcceb 5001e420 24126ea1",
    }
    for (counter, key), words in known.items():
        assert philox(counter, key) == [int(w, 16) for w in words.split()]
    key = constant(np.array([7, full], np.uint32))
    many = ops.random_bits(key, shape=(70_000,)).array()
    for i in (0, 1, 5, 65_535, 65_536, 69_999):
        assert many[i] == philox([i // 4, 0, 0, 0], [7, full])[i % 4]


@pytest.mark.parametrize("case", [c for c in gather_cases() if c.inputs], ids=str)
def test_vmap_over_no_examples(case: Case) -> None:
    """An empty batch gives empty results of the right shape and dtype."""
    dtype = float64 if float64 in case.dtypes else case.dtypes[0]
    arrays = case.draw(dtype)
    single = case.nodes_of(*(constant(a) for a in arrays))
    empty = [constant(np.zeros((0, *a.shape), a.dtype)) for a in arrays]
    found = vmap(lambda *n: case.nodes_of(*n), 0, empty, [0] * len(empty), lambda n: [0] * n)
    for out, one in zip(found, single, strict=True):
        assert out.array().shape == (0, *one.shape)
        assert out.dtype is one.dtype


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradient_keeps_a_shorter_dtype(case: Case) -> None:
    """A float32 (or 16-bit) argument gets a gradient of its own dtype and shape."""
    for dtype in case.dtypes:
        if dtype.kind != "f":
            continue
        nodes = [constant(a) for a in case.draw(dtype)]
        wanted = [n.dtype.kind == "f" for n in nodes]
        pull = Pullback(lambda *n: case.nodes_of(*n), nodes, wanted)
        seeds = [
            constant(np.ones(o.shape, o.dtype.numpy)) if o.dtype.kind == "f" else None
            for o in pull.outs
        ]
        for grad, node in zip(pull(seeds), nodes, strict=True):
            if grad is not None:
                assert (grad.shape, grad.dtype) == (node.shape, node.dtype)
                assert grad.array().shape == node.shape


def known(*shape: int, dtype: DType = float32) -> Node:
    return abstract(Type(shape, dtype))


CONV = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "inner": (1,), "groups": 1}
WRONG: list[tuple[str, Callable[[], list[Node]], dict[str, Any], str]] = [
    ("add", lambda: [known(2, 3), known(3)], {}, "one type: float32[2, 3] and float32[3]"),
    ("mul", lambda: [known(2), known(2, dtype=float64)], {}, "float32[2] and float64[2]"),
    ("lt", lambda: [known(2), known(3)], {}, "one type"),
    ("where", lambda: [known(2, dtype=bool_), known(2), known(3)], {}, "one type"),
    ("where", lambda: [known(2), known(2), known(2)], {}, "bool condition"),
    ("where", lambda: [known(3, dtype=bool_), known(2), known(2)], {}, "bool condition"),
    ("reshape", lambda: [known(2, 3)], {"shape": (4,)}, "cannot make (2, 3) into (4,)"),
    ("permute", lambda: [known(2, 3)], {"axes": (0, 0)}, "each axis once"),
    ("permute", lambda: [known(2, 3)], {"axes": (0,)}, "each axis once"),
    ("broadcast", lambda: [known(3)], {"shape": (4,)}, "do not broadcast: (3,) with (4,)"),
    ("broadcast", lambda: [known(2, 3)], {"shape": (3,)}, "do not broadcast"),
    (
        "slice", lambda: [known(4)], {"starts": (2,), "sizes": (3,), "steps": (1,)},
        "2:4 step 1 is outside: float32[4]",
    ),
    (
        "pad", lambda: [known(4)], {"low": (-1,), "high": (0,), "interior": (0,)},
        "cannot be negative",
    ),
    ("concat", lambda: [known(2, 3), known(2, 4)], {"axis": 0}, "but that of axis 0 must agree"),
    ("concat", lambda: [known(2), known(2, dtype=int32)], {"axis": 0}, "float32[2] and int32[2]"),
    ("gather", lambda: [known(4), known(2)], {"batch": 0}, "index does not fit"),
    ("gather", lambda: [known(4), known(2, dtype=int64)], {"batch": 1}, "1 batch axes"),
    (
        "scatter_add", lambda: [known(4), known(2, dtype=int64), known(3)], {"batch": 0},
        "updates do not fit",
    ),
    ("reduce_max", lambda: [known(0, 2)], {"axes": (0,)}, "maximum of no elements"),
    ("dot", lambda: [known(2, 3), known(2, 3)], {}, "did you mean w.T"),
    ("dot", lambda: [known(3), known(3, 2)], {}, "inner sizes differ"),
    ("conv", lambda: [known(1, 3, 4), known(2, 2, 2)], CONV, "groups=1"),
    ("conv", lambda: [known(1, 2, 4), known(2, 2, 2, dtype=float64)], CONV, "do not fit"),
    ("random_bits", lambda: [known(2)], {"shape": (3,)}, "two uint32 words"),
    ("random_bits", lambda: [known(3, dtype=uint32)], {"shape": (3,)}, "two uint32 words"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "args", "params", "message"), WRONG, ids=lambda v: "" if callable(v) else str(v)[:30]
)
def test_wrong_inputs_are_refused_while_recording(
    op: str, args: Callable[[], list[Node]], params: dict[str, Any], message: str
) -> None:
    with recording(), pytest.raises(errors.AdjointError, match=re.escape(message)):
        TABLE[op](*args(), **params)


def test_quiet_rows_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = constant(np.array([0.0, -1.0, np.inf, 1e308]))
        for name in UNARY:
            TABLE[name](x)
        for name in BINARY:
            TABLE[name](x, x)
        ops.cast(x, dtype=int8)
        ops.cast(x, dtype=uint8)
        ops.reduce_sum(x, axes=(0,))
        ops.cumsum(x, axis=0)
        ops.dot(constant(np.array([[np.inf]])), constant(np.array([[0.0]])))

"""The table of templates is right, and programs use them."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adjoint.base.dtype import float32, int64
from adjoint.compile.lower import TEMPLATES
from adjoint.compile.program import Program
from adjoint.compile.templates import MODULES
from adjoint.ir.graph import record
from adjoint.ir.node import Node, Type
from adjoint.ops.index import gather, scatter_add
from adjoint.ops.rows import full
from adjoint.ops.structure import results
from adjoint.tensors.functional.attention import attention

pytestmark = pytest.mark.feature("T30")


def test_every_module_enters_the_templates_it_is_said_to() -> None:
    for name, module in MODULES.items():
        import_module(f"adjoint.compile.templates.{module}")
        assert TEMPLATES[name].__module__ == f"adjoint.compile.templates.{module}"
    ours = {n for n, t in TEMPLATES.items() if ".templates." in t.__module__}
    assert ours == set(MODULES)


def test_the_gradient_of_an_embedding_is_one_fill_and_the_touched_rows() -> None:
    def step(table: Node, index: Node, ct: Node) -> list[Node]:
        grad = scatter_add(full(0, table.shape, float32), index, ct, batch=0)
        return [table - grad * 0.5, gather(table, index, batch=0)]

    types = [Type((5000, 64), float32), Type((32,), int64), Type((32, 64), float32)]
    program = Program(record(step, types))
    assert "numpy" not in str(program)
    (scatter,) = (k for w in program.scope.waves for k in w.steps if str(k) == "scatter_add")
    assert len(scatter.reads) == 2  # type: ignore[union-attr]
    rng = np.random.default_rng(0)
    table, ct = rng.random((5000, 64), np.float32), rng.random((32, 64), np.float32)
    index = rng.integers(0, 5000, 32)
    before = table[index]
    after, rows = program([table, index, ct])
    np.add.at(table, index, -0.5 * ct)
    assert_allclose(after, table, rtol=1e-6)
    assert_allclose(rows, before)


def test_attention_in_a_program() -> None:
    def step(q: Node, k: Node, v: Node) -> list[Node]:
        out, _ = results(attention(q, k, v, causal=True, scale=0.5))
        return [out * 2.0]

    program = Program(record(step, [Type((2, 2, 40, 16), float32)] * 3))
    assert "attention" in str(program)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 2, 40, 16), np.float32) for _ in range(3)]
    assert attention.kernel is not None
    want, _ = attention.kernel(*arrays, causal=True, scale=0.5)
    assert_allclose(program(arrays)[0], 2 * want, rtol=1e-4, atol=1e-5)

"""The kernels of a GPU compute what NumPy does: run thread by thread on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from adjoint.base.dtype import DType, bfloat16, float16
from adjoint.compile.backends.cuda import multiply_add, tensor_cores
from adjoint.compile.backends.cuda.contract import product_of
from adjoint.compile.backends.cuda.kernels import Launch
from adjoint.compile.backends.cuda.program import CudaProgram, run_on
from adjoint.compile.backends.cuda.target import SM80
from adjoint.compile.interpreted import Interpreted
from adjoint.compile.kernel import Host
from adjoint.compile.lower import buffer
from adjoint.compile.views import whole
from tests.compile.emulating import WHY_NOT, Emulated, launch
from tests.compile.gpu_cases import LOOPS, PRODUCTS, case, far, of
from tests.compile.graphs import random_graph

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "runs everywhere")
CASES = {**LOOPS, **{f"product: {name}": c for name, c in PRODUCTS.items()}}
LONG = ("sum in pieces",)


@pytest.mark.feature("X10")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in LONG else []) for n in CASES]
)
def test_a_gpu_computes_what_numpy_does(name: str) -> None:
    chosen = CASES[name]
    graph, arrays = chosen.graph(), chosen.arrays()
    device = Emulated(SM80)
    found = run_on(device, graph, arrays)
    for got, want in zip(found, Interpreted(graph)(arrays), strict=True):
        assert got.dtype == want.dtype
        assert far(got, want) <= chosen.near
    assert device.launches > 0
    assert not device.memory


@pytest.mark.parametrize(
    "seeds", [range(8), pytest.param(range(8, 120), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_random_graphs(seeds: range) -> None:
    for seed in seeds:
        graph, arrays = random_graph(seed)
        with np.errstate(all="ignore"):
            found = run_on(Emulated(SM80), graph, arrays)
            wanted = Interpreted(graph)(arrays)
        for got, want in zip(found, wanted, strict=True):
            assert got.dtype == want.dtype, seed
            if want.dtype.kind != "f":
                np.testing.assert_array_equal(got, want, err_msg=f"seed {seed}")
                continue
            size = max(1.0, float(np.max(np.abs(want[np.isfinite(want)]), initial=0)))
            np.testing.assert_allclose(
                got, want, rtol=2e-4, atol=1e-4 * size, equal_nan=True, err_msg=f"seed {seed}"
            )


def test_only_what_has_no_kernel_goes_to_numpy() -> None:
    hosts = {
        name: [str(s) for s in CudaProgram(c.graph(), Emulated(SM80)).steps if isinstance(s, Host)]
        for name, c in CASES.items()
    }
    assert {name: found for name, found in hosts.items() if found} == {
        "rows of a table": ["numpy gather"]
    }


def test_a_program_runs_again() -> None:
    chosen = LOOPS["a step"]
    program = CudaProgram(chosen.graph(), Emulated(SM80))
    arrays = chosen.arrays()
    first, again = program(arrays), program(arrays)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_long_rows_of_few_are_cut_in_pieces() -> None:
    program = CudaProgram(LOOPS["sum in pieces"].graph(), Emulated(SM80))
    first, second = program.steps
    assert isinstance(first, Launch) and isinstance(second, Launch)
    assert first.grid[0] > 16
    assert second.grid[0] == 1


def test_nothing_is_an_answer_too() -> None:
    empty = case(lambda x, y: [x + 1, x @ y], of(0, 4), of(4, 3))
    found = run_on(Emulated(SM80), empty.graph(), empty.arrays())
    assert [f.shape for f in found] == [(0, 4), (0, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [bfloat16, float16])
def test_large_tiles(kind: DType) -> None:
    """Those that only large products are cut into, on one that is just larger than a tile."""
    rng = np.random.default_rng(1)
    m, k, n = 136, 104, 136
    a, b = (rng.standard_normal(s).astype(kind.numpy) for s in ((m, k), (k, n)))
    out = np.zeros((m, n), kind.numpy)
    device = Emulated(SM80)
    words = [device.allocate(x.nbytes) for x in (a, b, out)]
    for to, x in zip(words, (a, b), strict=False):
        device.copy_in(to, x)
    nodes = [buffer(x.shape, kind) for x in (a, b, out)]
    product = product_of(whole(nodes[0]), whole(nodes[1]), nodes[2])
    recipe = tensor_cores.recipe(product, 0)
    assert (recipe.rows, recipe.columns) == (128, 128)
    grid = (product.tiles(recipe.rows, recipe.columns),)
    launch(recipe.write(SM80), grid, recipe.threads, words, recipe.shared)
    device.copy_out(out, words[2])
    assert far(out, a.astype(np.float64) @ b.astype(np.float64)) < 1e-2


def test_large_tiles_of_multiply_adds() -> None:
    rng = np.random.default_rng(2)
    m, k, n = 130, 20, 140
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (k, n)))
    out = np.zeros((m, n), np.float32)
    nodes = [buffer(x.shape, of(1).dtype) for x in (a, b, out)]
    product = product_of(whole(nodes[0]), whole(nodes[1]), nodes[2])
    recipe = multiply_add.recipe(product, 0)
    assert (recipe.rows, recipe.columns) == (128, 128)
    words = [x.ctypes.data for x in (a, b, out)]
    launch(recipe.write(SM80), (product.tiles(128, 128),), recipe.threads, words)
    assert far(out, a @ b) < 1e-5


def test_sums_are_the_same_every_time() -> None:
    """The order in which threads run is another one each time; sums are not."""
    chosen = LOOPS["column sums"]
    arrays = chosen.arrays()
    found = [run_on(Emulated(SM80), chosen.graph(), arrays)[0] for _ in range(2)]
    np.testing.assert_array_equal(found[0], found[1])

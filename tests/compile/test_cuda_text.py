"""PTX for GPUs that this machine does not have: what it contains, and what ptxas makes of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from adjoint.base.dtype import DType, bfloat16, bool_, float16, float32, float64, int32, uint8
from adjoint.compile.backends.cuda import multiply_add, tensor_cores, write_loops
from adjoint.compile.backends.cuda.contract import product_launch, product_of
from adjoint.compile.backends.cuda.kernels import Launch
from adjoint.compile.backends.cuda.link import ptx
from adjoint.compile.backends.cuda.program import CudaProgram
from adjoint.compile.backends.cuda.target import SM80, SM90, CudaTarget, generation
from adjoint.compile.loops import Item, Loops, Store
from adjoint.compile.lower import buffer
from adjoint.compile.mathematics import FUNCTIONS
from adjoint.compile.views import View, whole
from tests.compile.emulating import Emulated
from tests.compile.gpu_cases import LOOPS, PRODUCTS

TARGETS = {"sm_80": SM80, "sm_90": SM90}
PTXAS = shutil.which("ptxas")
ONE = [
    "neg", "floor", *FUNCTIONS, "abs", "sign", "signbit", "relu", "sigmoid", "silu", "gelu",
    "gelu_tanh", "rsqrt", "isnan", "isinf", "isfinite", "ceil", "trunc", "round", "expm1", "log1p",
    "exp2", "log2",
]  # fmt: skip
TWO = ["add", "sub", "mul", "div", "rem", "maximum", "minimum", "eq", "lt", "fmod", "floor_divide"]
BITS = ["bit_and", "bit_or", "bit_xor", "shift_left", "shift_right"]
TRUTHS = ("eq", "lt", "isnan", "isinf", "isfinite", "signbit")


def assembled(texts: list[str], target: CudaTarget, folder: Path) -> list[dict[str, int]]:
    """What ptxas says of each kernel: registers, and bytes of stack and of spills."""
    assert PTXAS is not None
    bodies = [t[t.index(".address_size 64") + 16 :] for t in texts]
    head = texts[0][: texts[0].index(".address_size 64") + 16]
    renamed = [
        re.sub(
            r"\b(kernel|slices|quarter_turns|two_over_pi)\b",
            rf"\1_{i}",
            re.sub(r"\bkernel_param", f"kernel_{i}_param", b),
        )
        for i, b in enumerate(bodies)
    ]
    source = folder / "all.ptx"
    source.write_text("\n".join([head, *renamed]))
    run = subprocess.run(
        [PTXAS, "-v", f"-arch={target.cpu}", str(source), "-o", str(folder / "all.cubin")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    pattern = (
        r"Compiling entry function 'kernel_(\d+)'[\s\S]*?(\d+) bytes stack frame, "
        r"(\d+) bytes spill stores, (\d+) bytes spill loads[\s\S]*?Used (\d+) registers"
    )
    names = ("stack", "stores", "loads", "registers")
    found = {int(m[0]): dict(zip(names, map(int, m[1:]), strict=True))
             for m in re.findall(pattern, run.stderr)}  # fmt: skip
    return [found[i] for i in range(len(texts))]  # ptxas has an order of its own


def check_text(text: str) -> None:
    """Nothing is called that is not there, nothing is on a stack."""
    assert ".visible .entry kernel(" in text
    assert not re.search(r"\.extern\s+\.func|__nv_", text)
    called = re.findall(r"^\s*call[\w.]* (?:\(\w+\), )?(\w+)", text, re.MULTILINE)
    assert set(called) <= {"quarter_turns"}, called  # of large angles: it is in the module
    assert ".local" not in text


def launches() -> dict[str, Launch]:
    """Every kernel of all cases."""
    found: dict[str, Launch] = {}
    for name, case in {**LOOPS, **{f"product {n}": c for n, c in PRODUCTS.items()}}.items():
        steps = CudaProgram(case.graph(), Emulated(SM80)).steps
        found.update({f"{name}: {s}": s for s in steps if isinstance(s, Launch)})
    return found


@pytest.mark.feature("X10")
@pytest.mark.parametrize("cpu", TARGETS)
def test_every_kernel_becomes_ptx(cpu: str, tmp_path: Path) -> None:
    target = TARGETS[cpu]
    kernels = launches()
    texts = [ptx(kernel.write(target), target) for kernel in kernels.values()]
    for text in texts:
        check_text(text)
        assert f".target {cpu}" in text
        assert not re.search(r"\b(ld|st)\.(b|u|s|f|v)\d", text)  # the kind of memory is known
    if PTXAS is None:
        pytest.skip("ptxas is not on the PATH: the PTX is not assembled")
    for name, facts in zip(kernels, assembled(texts, target, tmp_path), strict=True):
        # ptxas for sm_90 keeps one word of predicates on the stack in a maximum of bytes
        most = 8 if name.startswith("bytes") else 0
        assert max(facts["stack"], facts["stores"], facts["loads"]) <= most, name


def of_one_op(op: str, dtype: DType, count: int) -> Loops:
    """A loop that computes one op of the table."""
    out = bool_ if op in TRUTHS else dtype
    loads = tuple(Item("load", dtype, slot=i, strides=(1,)) for i in range(count))
    items = (*loads, Item(op, out, tuple(range(count))))
    store = Store(count, count, (1,))
    return Loops((1000,), 1, 0, items, (store,), (*[dtype] * count, out))


@pytest.mark.parametrize("dtype", [float32, float64, float16, bfloat16, int32, uint8], ids=str)
def test_every_pointwise_op_becomes_ptx(dtype: DType, tmp_path: Path) -> None:
    floats = dtype.kind == "f"
    ops = [(op, 1) for op in (ONE if floats else ["neg", "abs", "sign", "relu"])]
    ops += [(op, 2) for op in (TWO if floats else [*TWO, *BITS])]
    texts = [ptx(write_loops.write(of_one_op(op, dtype, n), SM80), SM80) for op, n in ops]
    for text in texts:
        check_text(text)
        assert not re.search(r"\b(add|mul|fma)\.(ftz|f32|f64)\b", text)  # each rounds as it says
    if PTXAS is None:
        pytest.skip("ptxas is not on the PATH: the PTX is not assembled")
    for (op, _), facts in zip(ops, assembled(texts, SM80, tmp_path), strict=True):
        assert facts["stores"] == facts["loads"] == 0, op


def product(dtype: DType, size: int, turned: bool = False) -> Launch:
    a, b, out = (buffer((size, size), dtype) for _ in range(3))
    steps = (1, size) if turned else (size, 1)
    views = [View(x, x.shape, steps) for x in (a, b)]
    return product_launch(views[0], views[1], out)


@pytest.mark.parametrize("turned", [False, True], ids=["as it lies", "turned"])
@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
@pytest.mark.parametrize("cpu", TARGETS)
def test_sixteen_bits_use_tensor_cores(
    cpu: str, dtype: DType, turned: bool, tmp_path: Path
) -> None:
    target = TARGETS[cpu]
    kernel = product(dtype, 4096, turned)
    text = ptx(kernel.write(target), target)
    check_text(text)
    name = "f16" if dtype is float16 else "bf16"
    loop = innermost(text, "mma.sync")
    # 2 steps of 16 along the inner axis, 4 x 4 squares of 16 x 8 of a warp
    multiply = f"mma.sync.aligned.m16n8k16.row.col.f32.{name}.{name}.f32"
    assert loop.count(multiply) == text.count(multiply) == 32
    assert loop.count("ldmatrix.sync.aligned.m8n8.x4") == 12
    assert loop.count(".x4.trans") == (8 if turned else 4)
    assert text.count("cp.async.cg.shared.global") >= 8
    assert loop.count("bar.sync") <= 1
    assert kernel.shared <= target.shared
    if PTXAS is None:
        pytest.skip("ptxas is not on the PATH: the PTX is not assembled")
    (facts,) = assembled([text], target, tmp_path)
    assert facts["stack"] == facts["stores"] == 0
    assert facts["registers"] <= 128  # two blocks of 256 threads fit


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_wide_floats_are_multiplied_exactly(dtype: DType, tmp_path: Path) -> None:
    text = ptx(product(dtype, 4096).write(SM80), SM80)
    check_text(text)
    assert "mma.sync" not in text
    count = {float32: 8 * 8 * 8, float64: 8 * 4 * 4}[dtype]
    assert text.count(f"fma.rn.f{dtype.bits}") == count
    if PTXAS is None:
        pytest.skip("ptxas is not on the PATH: the PTX is not assembled")
    (facts,) = assembled([text], SM80, tmp_path)
    assert facts["stack"] == facts["stores"] == 0


def innermost(text: str, word: str) -> str:
    """The blocks between the first label before ``word`` and the last line that has it."""
    lines = text.splitlines()
    found = [i for i, line in enumerate(lines) if word in line]
    label = max(i for i in range(found[0]) if lines[i].startswith("$L"))
    return "\n".join(lines[label : found[-1] + 1])


def test_a_matrix_for_many_is_one_tall_product() -> None:
    a, b, out = (buffer(s, float16) for s in ((3, 16, 24), (24, 16), (3, 16, 16)))
    spread = View(b, (3, 24, 16), (0, 16, 1))
    assert product_of(whole(a), spread, out).m == 48
    assert product_of(whole(a), spread, out).batch == ()


def test_few_tiles_are_small_ones() -> None:
    assert product(float16, 256).threads == 128
    assert product(float16, 4096).threads == 256
    assert multiply_add.DEPTH == 8
    assert tensor_cores.STAGES >= 2


def test_a_newer_device_gets_what_it_can_read() -> None:
    assert generation(8, 0) is SM80
    assert generation(8, 9) is SM80
    assert generation(9, 0) is SM90
    assert generation(12, 0) is SM90

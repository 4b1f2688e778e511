"""The micro-kernels keep their sums in registers, on CPUs that this machine is not."""

from __future__ import annotations

import re
from itertools import product

import pytest

from adjoint.base.dtype import bfloat16, float16, float32, float64
from adjoint.compile import gemm, narrow, spread
from adjoint.compile.backends.cpu import pool
from adjoint.compile.backends.cpu.link import assembly, compile_object
from adjoint.compile.backends.cpu.target import OTHERS, host

MULTIPLY = {
    "x86-64-v2": r"mulp[sd]",
    "x86-64-v3": r"vfmadd\d+p[sd]",
    "x86-64-v4": r"vfmadd\d+p[sd]",
    "aarch64": r"fmla",
}
STACK = re.compile(r"\[sp\b|%[re]sp\b")  # no frame pointer is kept: rbp is one register of many


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("cpu", OTHERS)
def test_no_sum_leaves_the_registers(cpu: str, bits: int) -> None:
    target = OTHERS[cpu]
    tile = gemm.tile_for(target, bits)
    dtype = {32: float32, 64: float64}[bits]
    text = assembly(gemm.module_text(target, dtype, dtype), target)
    for rows, vectors in product((tile.rows, tile.few), (tile.vectors, 1)):
        name = f"micro_{rows}_{vectors}"
        loops = [
            block
            for block in blocks(function(text, name))
            if any(re.search(rf"\b{MULTIPLY[cpu]}\b", line) for line in block)
        ]
        assert len(loops) == 1
        (loop,) = loops
        assert [line for line in loop if STACK.search(line)] == []
        found = sum(bool(re.search(rf"\b{MULTIPLY[cpu]}\b", line)) for line in loop)
        assert found == rows * vectors


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v4"])
def test_no_vector_is_on_the_stack_at_all(cpu: str) -> None:
    target = OTHERS[cpu]
    text = assembly(gemm.module_text(target, float32, float32), target)
    tile = gemm.tile_for(target, 32)
    for rows, vectors in product((tile.rows, tile.few), (tile.vectors, 1)):
        lines = function(text, f"micro_{rows}_{vectors}")
        assert [x for x in lines if STACK.search(x) and re.search(r"%[xyz]mm", x)] == []


def multiplying(text: str, cpu: str) -> list[list[str]]:
    """The innermost blocks that multiply and add."""
    found = blocks(function(text, "kernel"))
    return [b for b in found if any(re.search(rf"\b{MULTIPLY[cpu]}\b", line) for line in b)]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("cpu", OTHERS)
def test_few_rows_stay_in_the_registers(cpu: str, rows: int) -> None:
    target = OTHERS[cpu]
    writers = (narrow.Few, narrow.Inner) if target.bits >= 256 else (narrow.Few,)
    for writer in writers:
        text = assembly(writer(target, float32, rows).text(), target)
        loops = multiplying(text, cpu)
        assert len(loops) == 1
        spilled = [line for line in loops[0] if STACK.search(line)]
        assert [line for line in spilled if re.search(r"[xyz]mm|\bq\d", line)] == []


@pytest.mark.parametrize("cpu", OTHERS)
def test_sixteen_bits_need_no_library(cpu: str) -> None:
    target = OTHERS[cpu]
    for dtype in (float16, bfloat16):
        for out in (dtype, float32):
            text = assembly(gemm.module_text(target, dtype, out), target)
            assert not re.search(r"\b(call|callq|bl)\s+_", text)
        assert compile_object(spread.arrange_text(target, dtype), target)
        assert compile_object(spread.fold_text(target, dtype, float32), target)


def test_the_check_sees_a_spill() -> None:
    assert STACK.search("vmovups %zmm3, -64(%rsp)")
    assert STACK.search("ldr q1, [sp, #16]")
    assert not STACK.search("vmovups %zmm3, -64(%rsi)")


@pytest.mark.parametrize("cpu", OTHERS)
def test_the_thread_functions_compile(cpu: str) -> None:
    target = OTHERS[cpu]
    assert compile_object(pool.module_text(target), target)


def test_the_host_has_a_tile() -> None:
    tile = gemm.tile_for(host(), 32)
    assert tile.columns % tile.lanes == 0
    assert 0 < tile.few < tile.rows


def function(text: str, name: str) -> list[str]:
    """The lines of one function."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}:"))
    end = next(i for i in range(start, len(lines)) if lines[i].startswith(".Lfunc_end"))
    return lines[start + 1 : end]


def blocks(lines: list[str]) -> list[list[str]]:
    """Lines between labels."""
    found: list[list[str]] = [[]]
    for line in lines:
        if re.match(r"\.?\w+:", line):
            found.append([])
        else:
            found[-1].append(line)
    return found

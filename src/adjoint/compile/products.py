"""Eager matrix products by the compiled template, on the threads of the pool."""

from __future__ import annotations

from ctypes import addressof, create_string_buffer
from functools import cache
from struct import Struct
from typing import Any

import numpy as np

from adjoint.base.dtype import OF_NUMPY, DType
from adjoint.compile.backends.cpu import link, pool
from adjoint.compile.backends.cpu.target import Target, host
from adjoint.compile.blocks import Operand, Plan, key_of, plan_for, writer_of
from adjoint.compile.code import POINTER, WORD, Module
from adjoint.compile.gemm import RECORD
from adjoint.compile.kernel import Kernel
from adjoint.runtime.threads import get_num_threads

Array = np.ndarray[Any, np.dtype[Any]]

NARROWEST = 8  # rows and columns; below, NumPy needs less of Python
TASK = 8  # words in front of the record: what the threads share
PACK = Struct(f"{TASK + len(RECORD)}q").pack_into


def dot(a: Array, b: Array) -> Array:
    """a @ b, batch by batch, for operands of equal batch shape; NumPy's where it is the better."""
    is_ours = a.dtype == b.dtype and a.dtype.char in "fd"
    if not is_ours or min(a.shape[-2], b.shape[-1]) < NARROWEST or 0 in (*a.shape, *b.shape):
        return np.matmul(a, b)
    return product(a, b)


def product(a: Array, b: Array) -> Array:
    """a @ b of floats by the compiled template, whatever the size."""
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    dtype = OF_NUMPY[a.dtype]
    out = np.empty((*a.shape[:-1], n), a.dtype)
    if a.ndim > 5:
        a, b = a.reshape(-1, m, k), b.reshape(-1, k, n)
    a, b = countable(a), countable(b)
    sizes = (1, 1, 1, *a.shape[:-2])[-3:]
    batch = (sizes[0], sizes[1], sizes[2])
    c = Operand((sizes[1] * sizes[2] * m * n, sizes[2] * m * n, m * n), n, 1)
    plan = plan_for(dtype, dtype, batch, m, n, k, operand(a), operand(b), c, get_num_threads())
    run(plan, dtype, *(x.__array_interface__["data"][0] for x in (a, b, out)))
    return out


def run(plan: Plan, dtype: DType, *places: int) -> None:
    """Do what ``plan`` says with the operands at ``places``."""
    space = FREE.pop() if FREE else Workspace()  # one list step: safe between threads
    parts = min(plan.jobs, get_num_threads())
    memory = space.reserve(parts * plan.scratch)
    PACK(
        space.record, 0, compiled(dtype, dtype), space.address + 8 * TASK, plan.jobs, memory,
        plan.scratch, 0, 0, 0, *places, *plan.words,
    )  # fmt: skip
    pool.run(runner(), space.address, parts)
    FREE.append(space)


def countable(array: Array) -> Array:
    """The array itself, or a copy when its elements are not whole elements apart."""
    size = array.itemsize
    odd = array.__array_interface__["data"][0]
    for step in array.strides:
        odd |= step
    return array if odd & (size - 1) == 0 else np.ascontiguousarray(array)


def operand(array: Array) -> Operand:
    """How a batch of matrices lies in memory."""
    size = array.itemsize
    *batch, row, column = (step // size for step in array.strides)
    lead = (0, 0, 0, *batch)
    return Operand((lead[-3], lead[-2], lead[-1]), row, column)


class Workspace:
    """The record of one call, and memory for panels; taken for a call and kept for the next."""

    def __init__(self) -> None:
        self.record = create_string_buffer(8 * (TASK + len(RECORD)))
        self.address = addressof(self.record)
        self.memory = np.empty(0, np.uint8)
        self.start = 0

    def reserve(self, nbytes: int) -> int:
        """The address of ``nbytes`` at least, at the start of a page."""
        if self.memory.size < nbytes + 4096:
            self.memory = np.empty(nbytes + 4096, np.uint8)
            self.start = -(-self.memory.__array_interface__["data"][0] // 4096) * 4096
        return self.start


FREE: list[Workspace] = []


@cache
def compiled(dtype: DType, out: DType) -> int:
    """The address of the template for elements of ``dtype`` and results ``out``."""
    kernel = Kernel("product", key_of(dtype, out), writer_of(dtype, out), (), ())
    return link.addresses([kernel])[kernel.key]


@cache
def runner() -> int:
    """The address of a function that shares the jobs of one kernel between threads."""
    return link.address(runner_text(host()), "share")


def runner_text(target: Target) -> str:
    """LLVM IR with share(task, thread): take jobs from the task's counter until none is left."""
    module = Module(target)
    f = module.function("share", [POINTER, WORD])
    task, thread = f.arguments
    function, record, jobs, scratch, size = (
        f.load(kind, f.at(task, i, "i64"))
        for i, kind in enumerate((POINTER, POINTER, WORD, POINTER, WORD))
    )
    own = f.at(scratch, f.mul(thread, size), "i8")
    counter = f.at(task, 5, "i64")
    f.jump("again")
    f.begin("again")
    job = f.emit(WORD, f"atomicrmw add ptr {counter.text}, i64 1 monotonic")
    f.branch(f.compare("slt", job, jobs), "work", "done")
    f.begin("work")
    after = f.add(job, f.number(1))
    f.do(f"call void {function.text}({record.typed}, {job.typed}, {after.typed}, {own.typed})")
    f.jump("again")
    f.begin("done")
    f.end()
    return str(module)

"""Loads and stores: masked, apart from each other, backwards; never beyond what is asked for."""

from __future__ import annotations

import ctypes
import mmap
import re
from collections.abc import Callable

import numpy as np
import pytest

from adjoint.base.dtype import ALL, DType, bfloat16, float16, float32, float64, int8, uint32
from adjoint.compile import emit
from adjoint.compile.backends.cpu.link import address, assembly
from adjoint.compile.backends.cpu.target import OTHERS, Target, host
from adjoint.compile.code import POINTER, WORD, Function, Kind, Module
from adjoint.compile.elements import stored
from adjoint.compile.philox import run
from adjoint.ops.source import philox, random_bits
from tests.compile.emitting import Array, same, sample

Body = Callable[[Function], None]


def module(body: Body, target: Target) -> str:
    """kernel(pointer, pointer, n)"""
    made = Module(target)
    f = made.function("kernel", [POINTER, POINTER, WORD])
    body(f)
    f.end()
    return str(made)


def call(body: Body, source: int, result: int, count: int = 0) -> None:
    kinds = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    ctypes.CFUNCTYPE(None, *kinds)(address(module(body, host()), "kernel"))(source, result, count)


def masked(f: Function, lanes: int):  # type: ignore[no-untyped-def]
    """The first n lanes."""
    index = f.lanes(Kind("i64", lanes))
    return f.compare("slt", index, f.splat(f.arguments[2], lanes))


@pytest.mark.parametrize("stride", [-7, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize("lanes", [4, 16])
@pytest.mark.parametrize("dtype", [float32, float64, bfloat16, int8], ids=str)
def test_strided(dtype: DType, lanes: int, stride: int) -> None:
    def write(f: Function) -> None:
        value = emit.strided(f, dtype, f.arguments[0], stride, lanes)
        emit.store_strided(f, value, dtype, f.arguments[1], abs(stride) or 1)
        mask = masked(f, lanes)
        value = emit.strided(f, dtype, f.arguments[0], stride, lanes, mask)
        place = f.at(f.arguments[1], 40 * lanes, stored(dtype))
        emit.store_strided(f, value, dtype, place, abs(stride) or 1, mask)

    given = sample(dtype, 40 * lanes, 1)
    first = 20 * lanes
    for count in (lanes, lanes - 1, 1, 0):
        out = np.zeros(80 * lanes, dtype.numpy)
        call(write, given[first:].ctypes.data, out.ctypes.data, count)
        want = given[first + np.arange(lanes) * stride]
        step = abs(stride) or 1
        assert same(out[: lanes * step : step], want).all()
        far = out[40 * lanes :]
        assert same(far[: count * step : step], want[:count]).all()
        assert (far[count * step :] == 0).all()


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [float32, float64, float16], ids=str)
def test_no_byte_beyond_the_last_element_is_read(dtype: DType, stride: int) -> None:
    """The elements end where a page begins that nobody may touch."""
    lanes, page = 16, mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None)
    protect = [ctypes.c_void_p(start + page), ctypes.c_size_t(page)]
    assert libc.mprotect(*protect, 0) == 0
    try:
        count = (lanes - 1) * stride + 1
        values = np.arange(count).astype(dtype.numpy)
        first = start + page - values.nbytes
        ctypes.memmove(first, values.ctypes.data, values.nbytes)
        out = np.zeros(lanes, dtype.numpy)

        def write(f: Function) -> None:
            value = emit.strided(f, dtype, f.arguments[0], stride, lanes)
            emit.store(f, value, dtype, f.arguments[1])

        def write_some(f: Function) -> None:
            mask = masked(f, lanes)
            value = emit.strided(f, dtype, f.arguments[0], stride, lanes, mask)
            emit.store(f, value, dtype, f.arguments[1], mask)

        call(write, first, out.ctypes.data)
        assert (out == values[::stride]).all()
        late = first + 8 * stride * dtype.itemsize  # the mask keeps away from the last 8
        call(write_some, late, out.ctypes.data, 8)
        assert (out[:8] == values[::stride][8:]).all()
    finally:
        assert libc.mprotect(*protect, 3) == 0


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_scalars(dtype: DType) -> None:
    def write(f: Function) -> None:
        value = emit.strided(f, dtype, f.arguments[0], 3, 0)
        emit.store_strided(f, value, dtype, f.arguments[1], 3)

    for one in sample(dtype, 16, 3):
        given, out = np.array([one]), np.zeros(1, dtype.numpy)
        call(write, given.ctypes.data, out.ctypes.data)
        assert same(given, out).all()


@pytest.mark.parametrize("cpu", OTHERS)
def test_other_cpus_call_no_library(cpu: str) -> None:
    target = OTHERS[cpu]
    lanes = target.bits // 32
    for dtype in (float32, float16, bfloat16, int8):
        for stride in (1, 2, 3, 5):

            def write(f: Function, dtype: DType = dtype, stride: int = stride) -> None:
                mask = masked(f, lanes)
                value = emit.strided(f, dtype, f.arguments[0], stride, lanes)
                emit.store_strided(f, value, dtype, f.arguments[1], stride)
                value = emit.strided(f, dtype, f.arguments[0], stride, lanes, mask)
                emit.store_strided(f, value, dtype, f.arguments[1], stride, mask)

            text = assembly(module(write, target), target)
            assert not re.search(r"^\s+(callq?|bl)\s", text, re.MULTILINE)


@pytest.mark.parametrize("lanes", [0, 4, 16])
def test_random_words(lanes: int) -> None:
    """Any index, and runs of them, beyond 32 bits of counters too."""
    key = np.array([0x12345678, 0xF0000001], np.uint32)
    start = 4 * 37

    def write(f: Function) -> None:
        keys = [f.number(int(k), Kind("i32")) for k in key]
        index = f.add(f.splat(f.arguments[2], lanes), f.lanes(Kind("i64", lanes)))
        emit.store(f, emit.philox(f, index, *keys), uint32, f.arguments[1])
        if lanes:
            place = f.at(f.arguments[1], 32, "i32")
            emit.store(f, run(f, f.arguments[2], lanes, *keys), uint32, place)

    count = max(lanes, 1)
    want = random_bits.ref(key, shape=(start + 16,))[start : start + count]
    out = np.zeros(64, np.uint32)
    call(write, 0, out.ctypes.data, start)
    assert (out[:count] == want).all()
    assert not lanes or (out[32 : 32 + count] == want).all()
    far: Array = np.empty(16, np.uint32)
    philox(far, 2**33 + 5, int(key[0]), int(key[1]))
    call(write, 0, out.ctypes.data, 4 * (2**33 + 5))
    assert (out[:count] == far[:count]).all()

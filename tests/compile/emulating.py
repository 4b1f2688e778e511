"""A GPU made of coroutines: runs the very text that PTX is made from, block by block, on the CPU.

Each thread of a block has a stack of its own. Where it meets something that only a GPU has (an
index, a barrier, an exchange in a warp, a fragment of a matrix, an asynchronous copy), it switches
back to this module, which answers. Threads run one after the other in a shuffled order, so what
lacks a barrier is found; a barrier that not all threads reach, and a copy that nobody waits for,
are errors.
"""

from __future__ import annotations

import ctypes
import random
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from adjoint.compile.backends.cpu.target import host
from adjoint.compile.backends.cuda.kernels import Launch
from adjoint.compile.backends.cuda.target import CudaTarget
from adjoint.compile.backends.llvm import binding

Array = np.ndarray[Any, np.dtype[Any]]
Words = Any
WARP = 32
STACK, CONTEXT = 64 << 10, 8 << 10  # bytes
SPECIAL = re.compile(r"^declare (.+?) @llvm\.nvvm\.([\w.]+)\((.*)\)$", re.MULTILINE)
_ENGINES: list[Any] = []

WHY_NOT = "" if sys.platform == "linux" else "needs the coroutines of Linux's C library"


def launch(
    text: str, grid: tuple[int, ...], threads: int, words: Sequence[int], shared: int = 0
) -> None:
    """Run the kernel of a module on ``grid`` blocks; ``words`` are its arguments."""
    machine = _Machine(text, threads, words, shared)
    for z in range(grid[2] if len(grid) > 2 else 1):
        for y in range(grid[1] if len(grid) > 1 else 1):
            for x in range(grid[0]):
                machine.block({"x": x, "y": y, "z": z})


class Emulated:
    """A device whose memory is that of this process."""

    def __init__(self, target: CudaTarget) -> None:
        self.target = target
        self.memory: dict[int, Any] = {}
        self.launches = 0

    def allocate(self, nbytes: int) -> int:
        block = np.full(nbytes + 256, 0xA5, np.uint8)
        start = -(-block.ctypes.data // 256) * 256
        self.memory[start] = block
        return start

    def free(self, address: int) -> None:
        del self.memory[address]

    def copy_in(self, address: int, array: Array) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def copy_out(self, array: Array, address: int) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def launch(self, kernel: Launch, words: Sequence[int]) -> None:
        text = kernel.write(self.target)
        launch(text, kernel.grid, kernel.threads, words, kernel.shared)
        self.launches += 1


class _Thread:
    """One thread: its mailbox holds what it asks for, where the words are, and two contexts."""

    def __init__(self, number: int, main: Any) -> None:
        self.number = number
        self.stack = ctypes.create_string_buffer(STACK)
        self.context = ctypes.create_string_buffer(CONTEXT)
        self.mail = (ctypes.c_int64 * 4)(0, 0, _at(self.context), _at(main))
        self.copies: list[list[tuple[int, int, int]]] = [[]]

    @property
    def asks(self) -> str:
        return NAMES[self.mail[0]] if self.mail[0] >= 0 else "end"

    @property
    def words(self) -> Words:
        return (ctypes.c_uint64 * 32).from_address(self.mail[1])


class _Machine:
    """Runs blocks, one at a time."""

    def __init__(self, text: str, threads: int, words: Sequence[int], shared: int) -> None:
        lib = binding()
        library = ctypes.CDLL(None)
        self.switch, self.make, self.get = (
            getattr(library, name) for name in ("swapcontext", "makecontext", "getcontext")
        )
        code = on_cpu(text, shared, _address(self.switch), len(words))
        self.engine = lib.create_mcjit_compiler(lib.parse_assembly(code), host().machine())
        self.engine.finalize_object()
        _ENGINES.append(self.engine)
        self.main = ctypes.create_string_buffer(CONTEXT)
        self.now = ctypes.c_int64.from_address(self.engine.get_global_value_address("gpu_now"))
        given = self.engine.get_global_value_address("gpu_arguments")
        ctypes.memmove(given, (ctypes.c_int64 * len(words))(*words), 8 * len(words))
        self.threads = [_Thread(i, self.main) for i in range(threads)]
        self.order = random.Random()  # results must not depend on it

    def block(self, place: dict[str, int]) -> None:
        """Run all threads of a block to the end."""
        entry = ctypes.c_void_p(self.engine.get_function_address("gpu_entry"))
        for thread in self.threads:
            self.get(thread.context)
            head = ctypes.cast(thread.context, ctypes.POINTER(ctypes.c_uint64))
            head[1], head[2], head[4] = 0, _at(thread.stack), STACK
            self.make(thread.context, entry, 0)
            thread.copies = [[]]
        ready = list(self.threads)
        while ready:
            self.order.shuffle(ready)
            for thread in ready:
                self.run(thread, place)
            ready = self.released()
        for thread in self.threads:
            assert thread.asks == "end", f"thread {thread.number} waits forever: {thread.asks}"
            assert not any(thread.copies), "copies that nobody waits for"

    def run(self, thread: _Thread, place: dict[str, int]) -> None:
        """Let ``thread`` go on until it needs others."""
        while True:
            self.now.value = ctypes.addressof(thread.mail)
            self.switch(self.main, thread.context)
            asks = thread.asks
            if asks == "read.ptx.sreg.tid.x":
                thread.words[0] = thread.number
            elif asks.startswith("read.ptx.sreg.ctaid."):
                thread.words[0] = place[asks[-1]]
            elif asks in ALONE:
                ALONE[asks](thread)
            else:
                return

    def released(self) -> list[_Thread]:
        """The threads that need not wait any longer."""
        if all(t.asks == BARRIER for t in self.threads):
            return list(self.threads)
        found: list[_Thread] = []
        for start in range(0, len(self.threads), WARP):
            warp = self.threads[start : start + WARP]
            asks = {t.asks for t in warp}
            if len(asks) == 1 and (name := asks.pop()) in TOGETHER:
                TOGETHER[name](warp)
                found += warp
        return found


# --- the text ---------------------------------------------------------------------------------


def on_cpu(text: str, shared: int, switch: int, words: int) -> str:
    """The module for this machine, with switches in place of a GPU's own instructions."""
    text = re.sub(r'target triple = ".*"', f'target triple = "{host().triple}"', text)
    text = text.replace("ptx_kernel ", "")
    text = re.sub(r' "nvvm.\w+"="[\d,]+"', "", text)
    text = text.replace(
        "external addrspace(3) global [0 x i8]", f"internal global [{max(shared, 16)} x i8] undef"
    )
    text = re.sub(r"addrspacecast \(ptr addrspace\(\d\) (@\w+) to ptr\)", r"\1", text)
    text = re.sub(r"addrspacecast ptr (\S+) to ptr addrspace\(\d\)", r"bitcast ptr \1 to ptr", text)
    text = re.sub(r" addrspace\(\d\)", "", text)
    specials = [(m[1], m[2], m[3]) for m in SPECIAL.finditer(text)]
    text = SPECIAL.sub("", text)
    text += f"@gpu_now = global ptr null\n@gpu_arguments = global [{words} x i64] zeroinitializer\n"
    for result, name, arguments in specials:
        text += _wrapper(result, name, arguments.split(", ") if arguments else [], switch)
    text += _entry(text, switch)
    return text.replace("@llvm.nvvm.", "@gpu.")  # nobody may define what is LLVM's


def _ask(number: int, switch: int) -> list[str]:
    """Say in the mailbox what is asked for, and switch to who answers."""
    return [
        "  %mail = load ptr, ptr @gpu_now",
        f"  store i64 {number}, ptr %mail",
        "  %m1 = getelementptr i64, ptr %mail, i64 1",
        "  store ptr %words, ptr %m1",
        "  %m2 = getelementptr i64, ptr %mail, i64 2",
        "  %mine = load ptr, ptr %m2",
        "  %m3 = getelementptr i64, ptr %mail, i64 3",
        "  %main = load ptr, ptr %m3",
        f"  %switch = inttoptr i64 {switch} to ptr",
        "  %done = call i32 %switch(ptr %mine, ptr %main)",
    ]


def _entry(text: str, switch: int) -> str:
    """What a thread begins with: the kernel, then the end."""
    head = re.search(r"void @kernel\((.*?)\)", text)
    assert head is not None
    lines = ["define void @gpu_entry() {", "  %words = inttoptr i64 0 to ptr"]
    arguments: list[str] = []
    for i, argument in enumerate(head[1].split(", ")):
        kind = argument.split()[0]
        lines.append(f"  %p{i} = getelementptr i64, ptr @gpu_arguments, i64 {i}")
        lines.append(f"  %a{i} = load {kind}, ptr %p{i}")
        arguments.append(f"{kind} %a{i}")
    lines.append(f"  call void @kernel({', '.join(arguments)})")
    return "\n".join([*lines, *_ask(-1, switch), "  unreachable", "}"]) + "\n"


def _wrapper(result: str, name: str, arguments: list[str], switch: int) -> str:
    """A function that hands its arguments over in words, and takes its results from them."""
    inside = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(arguments))
    lines = [
        f"define internal {result} @llvm.nvvm.{name}({inside}) noinline {{",
        "  %words = alloca [32 x i64]",
    ]
    for i, kind in enumerate(arguments):
        lines.append(f"  %p{i} = getelementptr i64, ptr %words, i64 {i}")
        lines.append(f"  store {kind} %a{i}, ptr %p{i}")
    lines += _ask(NAMES.index(re.sub(r"\.p\d$", "", name)), switch)
    parts = result.strip("{} ").split(", ")
    if result == "void":
        lines.append("  ret void")
    elif len(parts) == 1:
        lines += [f"  %r = load {result}, ptr %words", f"  ret {result} %r"]
    else:
        last = "poison"
        for i, kind in enumerate(parts):
            lines.append(f"  %q{i} = getelementptr i64, ptr %words, i64 {i}")
            lines.append(f"  %r{i} = load {kind}, ptr %q{i}")
            lines.append(f"  %s{i} = insertvalue {result} {last}, {kind} %r{i}, {i}")
            last = f"%s{i}"
        lines.append(f"  ret {result} {last}")
    return "\n".join([*lines, "}"]) + "\n"


# --- what a GPU does --------------------------------------------------------------------------


def _exchange(warp: list[_Thread]) -> None:
    given = [t.words[1] & 0xFFFFFFFF for t in warp]
    for lane, thread in enumerate(warp):
        thread.words[0] = given[lane ^ thread.words[2] & 31]


def _numbers(warp: list[_Thread], first: int, count: int, dtype: Any) -> Array:
    """32-bit words of every thread as elements: (threads, words, elements of a word)."""
    rows = [[w & 0xFFFFFFFF for w in t.words[first : first + count]] for t in warp]
    return np.array(rows, np.uint32).view(dtype).reshape(len(warp), count, -1)


def _multiply(dtype: Any) -> Callable[[list[_Thread]], None]:
    """D = A B + C of m16n8k16: PTX's manual says which thread holds which elements."""

    def found(warp: list[_Thread]) -> None:
        a_parts, b_parts, c_parts = (
            _numbers(warp, *which).astype(np.float64)
            for which in ((0, 4, dtype), (4, 2, dtype), (6, 4, np.float32))
        )
        a, b, c = np.empty((16, 16)), np.empty((16, 8)), np.empty((16, 8))
        for t in range(WARP):
            group, part = divmod(t, 4)
            for i in range(4):
                r, k = group + 8 * (i % 2), part * 2 + 8 * (i // 2)
                a[r, k : k + 2] = a_parts[t, i]
                c[group + 8 * (i // 2), part * 2 + i % 2] = c_parts[t, i, 0]
            for i in range(2):
                k = part * 2 + 8 * i
                b[k : k + 2, group] = b_parts[t, i]
        d = (a @ b + c).astype(np.float32).view(np.uint32)
        for t, thread in enumerate(warp):
            group, part = divmod(t, 4)
            for i in range(4):
                thread.words[i] = int(d[group + 8 * (i // 2), part * 2 + i % 2])

    return found


def _fragments(transposed: bool) -> Callable[[list[_Thread]], None]:
    """ldmatrix: four squares of 8 by 8, whose rows the threads point at."""

    def found(warp: list[_Thread]) -> None:
        places = [int(t.words[0]) for t in warp]
        assert all(p % 16 == 0 for p in places)
        rows = np.array([list((ctypes.c_uint16 * 8).from_address(p)) for p in places], np.uint16)
        squares = rows.reshape(4, 8, 8)
        if transposed:
            squares = squares.transpose(0, 2, 1)
        pairs = np.ascontiguousarray(squares).view(np.uint32).reshape(4, WARP)
        for lane, thread in enumerate(warp):
            for i in range(4):
                thread.words[i] = int(pairs[i, lane])

    return found


def _copy(thread: _Thread) -> None:
    to, start, size = (int(w) for w in thread.words[:3])
    size &= 0xFFFFFFFF
    assert to % 16 == 0 and start % 16 == 0
    thread.copies[-1].append((to, start, size))
    ctypes.memset(to, 0x7F, 16)  # rubbish until somebody waits


def _commit(thread: _Thread) -> None:
    thread.copies.append([])


def _wait(thread: _Thread) -> None:
    """All groups are there but the latest ones."""
    left = int(thread.words[0]) & 0xFFFFFFFF
    done = max(len(thread.copies) - 1 - left, 0)
    for group in thread.copies[:done]:
        for to, start, size in group:
            ctypes.memset(to, 0, 16)
            ctypes.memmove(to, start, size)
    thread.copies = thread.copies[done:]


BARRIER = "barrier.cta.sync.aligned.all"
ALONE: dict[str, Callable[[_Thread], None]] = {
    "cp.async.cg.shared.global.16.s": _copy,
    "cp.async.commit.group": _commit,
    "cp.async.wait.group": _wait,
}
TOGETHER: dict[str, Callable[[list[_Thread]], None]] = {
    "shfl.sync.bfly.i32": _exchange,
    "mma.m16n8k16.row.col.bf16": _multiply(ml_dtypes.bfloat16),
    "mma.m16n8k16.row.col.f32.f32": _multiply(np.float16),
    "ldmatrix.sync.aligned.m8n8.x4.b16": _fragments(False),
    "ldmatrix.sync.aligned.m8n8.x4.trans.b16": _fragments(True),
}
NAMES = [
    "read.ptx.sreg.tid.x", *(f"read.ptx.sreg.ctaid.{axis}" for axis in "xyz"),
    BARRIER, *ALONE, *TOGETHER,
]  # fmt: skip


def _at(memory: Any) -> int:
    return ctypes.addressof(memory)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0

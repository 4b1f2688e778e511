"""What kernels of a GPU have beyond other functions: threads, barriers, shared memory.

All pointers are generic in the text. LLVM infers from where they come (arguments of the kernel,
``shared``) which memory they point into, and writes ld.global and ld.shared.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjoint.compile.backends.cuda.target import CudaTarget
from adjoint.compile.code import Function, Kind, Module, Value

INDEX = Kind("i32")
EVERYBODY = Value("-1", INDEX)  # all threads of a warp


class CudaModule(Module):
    """A module with one kernel, and memory that the threads of a block share."""

    def __init__(self, target: CudaTarget) -> None:
        super().__init__(target)
        self.globals: list[str] = []

    def kernel(self, arguments: Sequence[Kind], threads: int) -> Kernel:
        """The function ``kernel``, run by blocks of ``threads``."""
        made = Kernel(self, "kernel", arguments, None, False)
        made.threads = threads
        self.functions["kernel"] = made
        return made

    def shared(self, name: str, nbytes: int) -> Value:
        """The address of ``nbytes`` of shared memory, a multiple of 16."""
        self.globals.append(
            f"@{name} = internal addrspace(3) global [{nbytes} x i8] undef, align 16"
        )
        return _generic(name)

    def shared_at_launch(self, name: str) -> Value:
        """The address of the shared memory whose size whoever launches the kernel says."""
        self.globals.append(f"@{name} = external addrspace(3) global [0 x i8], align 16")
        return _generic(name)

    def __str__(self) -> str:
        head, rest = super().__str__().split("\n", 1)
        return "\n".join([head, *self.globals, rest])


class Kernel(Function):
    """A function that the driver launches."""

    threads = 1

    def __str__(self) -> str:
        start, rest = super().__str__().split("\n", 1)
        start = start.replace("define void", "define ptx_kernel void", 1)
        start = start.replace(" nounwind {", f' nounwind "nvvm.maxntid"="{self.threads}" {{')
        return f"{start}\n{rest}"


def _generic(name: str) -> Value:
    return Value(f"addrspacecast (ptr addrspace(3) @{name} to ptr)", Kind("ptr"))


def thread(f: Function) -> Value:
    """The number of this thread in its block."""
    return f.call("llvm.nvvm.read.ptx.sreg.tid.x", INDEX)


def block(f: Function, axis: str = "x") -> Value:
    """The number of this thread's block along an axis of the grid."""
    return f.call(f"llvm.nvvm.read.ptx.sreg.ctaid.{axis}", INDEX)


def barrier(f: Function) -> None:
    """Wait for all threads of the block; what they wrote to memory is seen afterwards."""
    f.run("llvm.nvvm.barrier.cta.sync.aligned.all", Value("0", INDEX))


def exchanged(f: Function, value: Value, distance: int) -> Value:
    """The value of the thread whose number in the warp differs in the bit ``distance``."""
    kind = value.kind
    if kind.bits < 32:
        name = f"i{kind.bits}"
        raw = f.cast("bitcast", value, name) if kind.is_float else value
        found = _exchanged(f, f.cast("zext", raw, "i32"), distance)
        found = f.cast("trunc", found, name)
        return f.cast("bitcast", found, kind.element) if kind.is_float else found
    if kind.bits == 32:
        raw = f.cast("bitcast", value, "i32") if kind.is_float else value
        found = _exchanged(f, raw, distance)
        return f.cast("bitcast", found, kind.element) if kind.is_float else found
    raw = f.cast("bitcast", value, "i64") if kind.is_float else value
    low = _exchanged(f, f.cast("trunc", raw, "i32"), distance)
    high = f.two("lshr", raw, f.number(32, raw.kind))
    high = _exchanged(f, f.cast("trunc", high, "i32"), distance)
    high = f.two("shl", f.cast("zext", high, "i64"), f.number(32, raw.kind))
    found = f.two("or", f.cast("zext", low, "i64"), high)
    return f.cast("bitcast", found, kind.element) if kind.is_float else found


def _exchanged(f: Function, word: Value, distance: int) -> Value:
    to, clamp = Value(str(distance), INDEX), Value("31", INDEX)
    return f.call("llvm.nvvm.shfl.sync.bfly.i32", INDEX, EVERYBODY, word, to, clamp)


def wide(f: Function, index: Value) -> Value:
    """A number that is not negative, as a word."""
    return index if index.kind.element == "i64" else f.cast("zext", index, "i64")

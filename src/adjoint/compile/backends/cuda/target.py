"""What a GPU offers a kernel, and LLVM's machine for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.backends.llvm import binding

TRIPLE = "nvptx64-nvidia-cuda"
WARP = 32  # threads that run in step
STATIC_SHARED = 48 << 10  # bytes of shared memory that a block gets without asking


@dataclass(frozen=True)
class CudaTarget(Target):
    """A generation of GPUs. ``bits`` are those of a thread's registers: nothing here is a vector.

    shared: bytes of shared memory that a block can ask for.
    """

    shared: int = STATIC_SHARED

    def machine(self) -> Any:
        """A new LLVM target machine, which writes PTX."""
        lib = binding()
        lib.initialize_all_targets()
        lib.initialize_all_asmprinters()
        found = lib.Target.from_triple(self.triple)
        return found.create_target_machine(cpu=self.cpu, features=self.features, opt=3)


def generation(major: int, minor: int) -> CudaTarget:
    """The target for a device of compute capability ``major.minor``, which is at least 8.0.

    PTX of an older generation runs on newer devices: the driver compiles it for what is there.
    """
    if (major, minor) >= (9, 0):
        return SM90
    return SM80


# Version 8.0 of PTX: drivers from 525 on read it.
SM80 = CudaTarget(TRIPLE, "sm_80", "+ptx80", 32, 255, True, 163 << 10)
SM90 = CudaTarget(TRIPLE, "sm_90", "+ptx80", 32, 255, True, 227 << 10)

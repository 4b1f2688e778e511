"""What a CPU offers a kernel, and LLVM's machine for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from adjoint.compile.backends.llvm import binding


@dataclass(frozen=True)
class Target:
    """A CPU as LLVM names it, and what the templates need to know of it.

    bits: the width of a vector; registers: how many vectors it holds; fma: whether it multiplies
    and adds in one instruction (else a call of the C library would stand in for it).
    """

    triple: str
    cpu: str
    features: str
    bits: int
    registers: int
    fma: bool

    def machine(self) -> Any:
        """A new LLVM target machine, which makes position-independent objects."""
        lib = binding()
        lib.initialize_all_targets()
        lib.initialize_all_asmprinters()
        found = lib.Target.from_triple(self.triple)
        return found.create_target_machine(
            cpu=self.cpu, features=self.features, opt=2, reloc="pic", codemodel="small", jit=False
        )


def widest(triple: str, cpu: str, features: str, has: frozenset[str]) -> Target:
    """The target with the widest vectors that a CPU with the features ``has`` works with."""
    if triple.startswith(("aarch64", "arm64")):
        return Target(triple, cpu, features, 128, 32, True)
    if "avx512f" in has:
        return Target(triple, cpu, features, 512, 32, True)
    if "avx2" in has and "fma" in has:
        return Target(triple, cpu, features, 256, 16, True)
    return Target(triple, cpu, features, 128, 16, False)


@cache
def host() -> Target:
    """This machine."""
    lib = binding()
    features = lib.get_host_cpu_features()
    has = frozenset(name for name, on in features.items() if on)
    return widest(lib.get_process_triple(), lib.get_host_cpu_name(), features.flatten(), has)


LINUX = "x86_64-unknown-linux-gnu"
OTHERS = {  # CPUs for which the tests read the assembly
    "x86-64-v2": widest(LINUX, "x86-64-v2", "", frozenset({"sse4.2"})),
    "x86-64-v3": widest(LINUX, "x86-64-v3", "", frozenset({"avx2", "fma"})),
    "x86-64-v4": widest(LINUX, "x86-64-v4", "", frozenset({"avx2", "fma", "avx512f"})),
    "aarch64": widest("aarch64-unknown-linux-gnu", "generic", "+neon", frozenset()),
}

"""Launch: a kernel of a GPU and the grid it runs on; loop kernels turned into launches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adjoint.base.dtype import DType
from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.backends.cuda import write_loops
from adjoint.compile.backends.cuda.layout import blocks_of, layout, needs_pieces
from adjoint.compile.backends.cuda.target import CudaTarget
from adjoint.compile.kernel import Kernel, Place
from adjoint.compile.loops import Loops
from adjoint.compile.lower import buffer
from adjoint.compile.pieces import cut_in_two

Grid = tuple[int, int, int]


@dataclass(eq=False)
class Launch(Kernel):
    """``kernel(addresses of reads, addresses of writes, words)`` on ``grid`` blocks of ``threads``.

    shared: bytes of shared memory that a block is given at its launch.
    """

    grid: Grid = (1, 1, 1)
    threads: int = 1
    shared: int = 0


def launches(kernel: Kernel) -> list[Launch]:
    """What a GPU does in place of a loop kernel: the same, or two where few long rows are summed
    in pieces."""
    loops = kernel.loops
    assert loops is not None, "only loop kernels are written anew"
    if not needs_pieces(loops):
        return [_launch(loops, kernel.reads, kernel.writes, kernel)]
    first, second, partial = cut_in_two(loops)
    middle = tuple(Place(buffer(shape, dtype)) for shape, dtype in partial)
    stores = list(zip(kernel.writes, loops.stores, strict=True))
    inner = tuple(w for w, s in stores if loops.is_inner_store(s))
    outer = tuple(w for w, s in stores if not loops.is_inner_store(s))
    return [
        _launch(first, kernel.reads, (*inner, *middle), kernel, False),
        _launch(second, (*kernel.reads, *middle), outer, kernel, False),
    ]


def _launch(
    loops: Loops, reads: Sequence[Place], writes: Sequence[Place], of: Kernel, whole: bool = True
) -> Launch:
    plan = layout(loops)
    points = of.words[0] if loops.free else None
    unit = plan.threads * plan.each
    return Launch(
        name=of.name,
        key=f"cuda {loops.key}",
        write=lambda target: write_loops.write(loops, gpu(target)),
        reads=tuple(reads),
        writes=tuple(writes),
        words=of.words,
        flops=of.flops,
        nbytes=of.nbytes,
        in_place=of.in_place if whole else (),
        nodes=of.nodes,
        loops=loops,
        grid=(blocks_of(loops, unit, points) if loops.free else plan.blocks, 1, 1),
        threads=plan.threads,
    )


def gpu(target: Target) -> CudaTarget:
    """``target``, which is one of a GPU."""
    assert isinstance(target, CudaTarget), "a kernel of a GPU is written for one"
    return target


def itemsize(dtype: DType) -> int:
    """Bytes of an element in memory."""
    return max(dtype.bits // 8, 1)

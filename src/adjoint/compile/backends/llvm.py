"""What all LLVM targets share: the library, loaded when first needed, and a writer of functions.

llvmlite has no type information, so everything that comes out of it is ``Any`` here.
Pointers are opaque (LLVM 22): every address is computed with ``at``, which names the type.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any


def ir() -> Any:
    """llvmlite's builder of IR."""
    return import_module("llvmlite.ir")


def binding() -> Any:
    """llvmlite's door to the LLVM library."""
    return import_module("llvmlite.binding")


class Loop:
    """A loop being written: its ``index``, and the ``values`` carried from turn to turn.

    Inside the loop, ``values`` are this turn's; set ``carry`` to the next turn's. After the loop
    they are the last ones.
    """

    def __init__(self, index: Any, values: Sequence[Any]) -> None:
        self.index = index
        self.values = list(values)
        self.carry: Sequence[Any] = ()


class Writer:
    """Writes one function of an LLVM module; all integers are 64 bits wide."""

    def __init__(
        self, module: Any, name: str, arguments: Sequence[Any], result: Any = None
    ) -> None:
        lib = self.lib = ir()
        self.word = lib.IntType(64)
        self.pointer = lib.PointerType()
        self.module = module
        kind = lib.FunctionType(lib.VoidType() if result is None else result, arguments)
        self.function = lib.Function(module, kind, name)
        self.function.attributes.add("nounwind")
        self.b = lib.IRBuilder(self.function.append_basic_block("entry"))
        self.arguments: Sequence[Any] = self.function.args

    def number(self, value: int) -> Any:
        return self.lib.Constant(self.word, value)

    def vector(self, element: Any, width: int) -> Any:
        return self.lib.VectorType(element, width)

    def at(self, pointer: Any, index: Any, element: Any) -> Any:
        """The address of ``pointer[index]`` in units of ``element``."""
        if isinstance(index, int):
            index = self.number(index)
        return self.b.gep(pointer, [index], source_etype=element)

    def load(self, kind: Any, pointer: Any, align: int) -> Any:
        return self.b.load(pointer, typ=kind, align=align)

    def store(self, value: Any, pointer: Any, align: int) -> None:
        self.b.store(value, pointer, align=align)

    def splat(self, scalar: Any, width: int) -> Any:
        """A vector with ``scalar`` in every lane."""
        lib = self.lib
        kind = self.vector(scalar.type, width)
        undefined = lib.Constant(kind, lib.Undefined)
        first = self.b.insert_element(undefined, scalar, lib.Constant(lib.IntType(32), 0))
        return self.shuffle(first, undefined, [0] * width)

    def shuffle(self, a: Any, b: Any, lanes: Sequence[int]) -> Any:
        lib = self.lib
        mask = lib.Constant(lib.VectorType(lib.IntType(32), len(lanes)), list(lanes))
        return self.b.shuffle_vector(a, b, mask)

    def intrinsic(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        """A call of an LLVM intrinsic by its full name."""
        found = self.module.globals.get(name)
        if found is None:
            kind = self.lib.FunctionType(result, [a.type for a in arguments])
            found = self.lib.Function(self.module, kind, name)
        return self.b.call(found, arguments)

    def less(self, a: Any, b: Any) -> Any:
        return self.b.icmp_signed("<", a, b)

    def minimum(self, a: Any, b: Any) -> Any:
        return self.b.select(self.less(a, b), a, b)

    def up(self, a: Any, b: Any) -> Any:
        """a / b rounded up, of positive numbers."""
        return self.b.udiv(self.b.add(a, self.b.sub(b, self.number(1))), b)

    def when(self, condition: Any) -> AbstractContextManager[Any]:
        return self.b.if_then(condition)

    def either(self, condition: Any) -> AbstractContextManager[Any]:
        return self.b.if_else(condition)

    @contextmanager
    def loop(
        self, start: Any, stop: Any, step: Any, carried: Sequence[Any] = ()
    ) -> Generator[Loop]:
        """for index in range(start, stop, step), with values carried along."""
        b, function = self.b, self.function
        before = b.block
        head, body, after = (function.append_basic_block(n) for n in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        index = b.phi(self.word)
        index.add_incoming(start, before)
        values = [b.phi(value.type) for value in carried]
        for phi, value in zip(values, carried, strict=True):
            phi.add_incoming(value, before)
        b.cbranch(self.less(index, stop), body, after)
        b.position_at_end(body)
        loop = Loop(index, values)
        yield loop
        index.add_incoming(b.add(index, step), b.block)
        for phi, value in zip(values, loop.carry, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(after)

    def end(self) -> None:
        self.b.ret_void()

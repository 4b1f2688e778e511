"""A look at Python objects from generated code: whether references are as they were left.

Asking Python costs a tenth of a microsecond for each weight of a step; this costs a hundredth. It
reads what CPython keeps in objects: the count of references at their start, pointers in their
slots. Where these are is found out by trying (``place_of``); if anything is not as expected,
nothing here is used.
"""

from __future__ import annotations

import sys
import sysconfig
import weakref
from collections.abc import Callable
from ctypes import PYFUNCTYPE, c_int64, c_ssize_t, c_uint32, c_void_p
from typing import Any, NamedTuple

from adjoint.compile.backends.cpu.link import address
from adjoint.compile.backends.cpu.target import Target, host
from adjoint.compile.code import POINTER, WORD, Function, Kind, Module, Value

WIDTH = 8  # words of an entry: reference, is_grad, node, serial, gradient, written
_DIGIT = 24  # where the first digit of an int lies
_HALF = Kind("i32")


class Layout(NamedTuple):
    """Where, in bytes, pointers lie: in a weak reference, a handle, a node."""

    referent: int
    node: int
    grad: int
    serial: int
    value: int


def checker(layout: Layout) -> Callable[[int, int], int]:
    """check(table, count): 1 if every entry is as it says: its reference leads to a handle with
    that node (or that gradient, with that node) of that serial number, and, where it is written,
    node, array and gradient have one reference each."""
    kind = PYFUNCTYPE(c_int64, c_void_p, c_int64)  # holds the interpreter lock
    return kind(address(module_text(host(), layout), "as_left"))


def place_of(holder: Any, held: Any) -> int | None:
    """Where in the object ``holder`` the only pointer to ``held`` lies; None if not to be found."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return None
    words = range(object.__basicsize__, type(holder).__basicsize__, 8)
    found = [i for i in words if c_ssize_t.from_address(id(holder) + i).value == id(held)]
    return found[0] if len(found) == 1 else None


def counts_lie_in_front() -> bool:
    """Whether objects begin with their count of references, and ints have their digits where this
    module looks for them."""
    thing, number = [object()], 123_456_789
    word = c_uint32.from_address(id(thing))
    before = word.value
    also = thing
    rises = word.value == before + 1
    del also
    digit = c_uint32.from_address(id(number) + _DIGIT).value
    return rises and word.value == before == sys.getrefcount(thing) - 1 and digit == number


def referent_place(target: Any) -> int | None:
    """Where a weak reference keeps the object it stands for."""
    return place_of(weakref.ref(target), target)


def module_text(target: Target, layout: Layout) -> str:
    """LLVM IR of the check."""
    module = Module(target)
    f = module.function("as_left", [POINTER, WORD], WORD)
    table, count = f.arguments
    index, following, holder = Value("%at", WORD), Value("%next", WORD), Value("%holder", POINTER)
    f.jump("head")
    f.begin("head")
    f.do(f"{index.text} = phi i64 [ 0, %entry ], [ {following.text}, %good ]")
    f.branch(f.compare("slt", index, count), "body", "yes")
    f.begin("body")
    entry = f.at(table, f.mul(index, f.number(WIDTH)), "i64")
    handle = _pointer(f, f.load(POINTER, entry), layout.referent)
    is_grad, node, serial, grad, written = (
        f.load(WORD, f.at(entry, i, "i64")) for i in range(1, 6)
    )
    writes = f.compare("ne", written, f.number(0))
    f.branch(f.compare("ne", is_grad, f.number(0)), "grad", "plain")
    f.begin("grad")
    tensor = _pointer(f, handle, layout.grad)
    f.branch(_is(f, tensor, grad), "counted", "no")
    f.begin("counted")
    fine = f.two("or", _once(f, tensor), f.two("xor", writes, f.number(1, writes.kind)))
    f.branch(fine, "look", "no")
    f.begin("plain")
    f.jump("look")
    f.begin("look")
    f.do(f"{holder.text} = phi ptr [ {tensor.text}, %counted ], [ {handle.text}, %plain ]")
    found = _pointer(f, holder, layout.node)
    f.branch(_is(f, found, node), "same", "no")
    f.begin("same")
    digit = f.load(_HALF, f.at(_pointer(f, found, layout.serial), _DIGIT, "i8"))
    wanted = f.cast("trunc", serial, "i32")
    f.branch(f.compare("eq", digit, wanted), "kept", "no")
    f.begin("kept")
    f.branch(writes, "alone", "good")
    f.begin("alone")
    array = _pointer(f, found, layout.value)
    f.branch(f.two("and", _once(f, found), _once(f, array)), "good", "no")
    f.begin("good")
    f.do(f"{following.text} = add i64 {index.text}, 1")
    f.jump("head")
    f.begin("yes")
    f.end(f.number(1))
    f.begin("no")
    f.end(f.number(0))
    return str(module)


def _pointer(f: Function, thing: Value, offset: int) -> Value:
    return f.load(POINTER, f.at(thing, offset, "i8"))


def _is(f: Function, thing: Value, wanted: Value) -> Value:
    return f.compare("eq", f.cast("ptrtoint", thing, "i64"), wanted)


def _once(f: Function, thing: Value) -> Value:
    """Whether there is one reference to ``thing``."""
    return f.compare("eq", f.load(_HALF, thing), f.number(1, _HALF))

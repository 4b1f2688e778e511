"""Writing LLVM IR as text: modules, functions, values.

Text and not llvmlite's builder, because a kernel is mostly written once per process and the
builder takes ten times as long (ADR 0016). Pointers are opaque; every address is an element type
and an index. Vectors have a fixed number of lanes; a kind with 0 lanes is a scalar.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from adjoint.compile.backends.cpu.target import Target


class Kind(NamedTuple):
    """The type of a value: LLVM's name of an element, and how many lanes (0: a scalar)."""

    element: str
    lanes: int = 0

    @property
    def text(self) -> str:
        return f"<{self.lanes} x {self.element}>" if self.lanes else self.element

    @property
    def is_float(self) -> bool:
        return self.element in FLOATS

    @property
    def bits(self) -> int:
        """The width of one element."""
        if self.element == "ptr":
            return 64
        return FLOATS[self.element] if self.is_float else int(self.element[1:])

    @property
    def suffix(self) -> str:
        """How intrinsics name the type: v16f32, i64."""
        letter = "f" if self.is_float else "i"
        return f"{f'v{self.lanes}' if self.lanes else ''}{letter}{self.bits}"

    def of(self, element: str) -> Kind:
        """As many lanes of another element."""
        return Kind(element, self.lanes)


FLOATS = {"half": 16, "float": 32, "double": 64}
WORD, POINTER, BIT = Kind("i64"), Kind("ptr"), Kind("i1")
F32, F64 = Kind("float"), Kind("double")


class Value(NamedTuple):
    """A value in the text of a function: its name or literal, and its kind."""

    text: str
    kind: Kind

    @property
    def typed(self) -> str:
        return f"{self.kind.text} {self.text}"


class Module:
    """The text of a module: functions, and what they call from elsewhere."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.functions: dict[str, Function] = {}
        self.declarations: dict[str, str] = {}

    def function(self, name: str, arguments: Sequence[Kind], result: Kind | None = None,
                 inline: bool = False) -> Function:  # fmt: skip
        """A new function to be written."""
        made = Function(self, name, arguments, result, inline)
        self.functions[name] = made
        return made

    def declare(self, name: str, arguments: Sequence[Kind], result: Kind | None) -> None:
        """Say what an intrinsic or a function of another module takes and gives."""
        if name not in self.declarations and name not in self.functions:
            inside = ", ".join(a.text for a in arguments)
            kind = result.text if result else "void"
            self.declarations[name] = f"declare {kind} @{name}({inside})"

    def __str__(self) -> str:
        head = [f'target triple = "{self.target.triple}"']
        parts = [str(f) for f in self.functions.values()]
        return "\n".join([*head, *self.declarations.values(), *parts]) + "\n"


class Loop:
    """A loop being written: its ``index``, and the ``values`` carried from turn to turn.

    Inside, ``values`` are this turn's; set ``carry`` to the next turn's. After the loop ``values``
    are the last ones.
    """

    def __init__(self, index: Value, values: list[Value]) -> None:
        self.index = index
        self.values = values
        self.carry: Sequence[Value] = ()


class Function:
    """One function being written, instruction after instruction."""

    def __init__(self, module: Module, name: str, arguments: Sequence[Kind],
                 result: Kind | None, inline: bool) -> None:  # fmt: skip
        self.module = module
        self.name = name
        self.result = result
        self.inline = inline
        self.arguments = [Value(f"%a{i}", kind) for i, kind in enumerate(arguments)]
        self.lines: list[str] = ["entry:"]
        self.block = "entry"
        self._count = 0

    @property
    def target(self) -> Target:
        return self.module.target

    def __str__(self) -> str:
        inside = ", ".join(a.typed for a in self.arguments)
        kind = self.result.text if self.result else "void"
        lead = "internal " if self.inline else ""
        # noalias is not claimed: results may be written over arguments that are read last here
        rest = " alwaysinline nounwind" if self.inline else " nounwind"
        return "\n".join([f"define {lead}{kind} @{self.name}({inside}){rest} {{", *self.lines, "}"])

    # --- values ---------------------------------------------------------------------------------

    def emit(self, kind: Kind, instruction: str) -> Value:
        """The result of an instruction."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {instruction}")
        return Value(name, kind)

    def do(self, instruction: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {instruction}")

    def number(self, value: float | int, kind: Kind = WORD) -> Value:
        """A constant of ``kind``: the same number in every lane."""
        text = literal(value, kind.element)
        return Value(f"splat ({kind.element} {text})" if kind.lanes else text, kind)

    def two(self, instruction: str, a: Value, b: Value) -> Value:
        """``instruction`` on two values of one kind."""
        return self.emit(a.kind, f"{instruction} {a.typed}, {b.text}")

    def add(self, a: Value, b: Value) -> Value:
        return self.two("fadd" if a.kind.is_float else "add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.two("fsub" if a.kind.is_float else "sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.two("fmul" if a.kind.is_float else "mul", a, b)

    def div(self, a: Value, b: Value) -> Value:
        """The quotient of floats; of integers that of signed ones, towards zero."""
        return self.two("fdiv" if a.kind.is_float else "sdiv", a, b)

    def neg(self, a: Value) -> Value:
        if a.kind.is_float:
            return self.emit(a.kind, f"fneg {a.typed}")
        return self.sub(self.number(0, a.kind), a)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c: rounded once where the machine can, never by a call of a C library."""
        return self.call(f"llvm.fmuladd.{a.kind.suffix}", a.kind, a, b, c)

    def compare(self, how: str, a: Value, b: Value) -> Value:
        """LLVM's predicate ``how``: olt, oeq, une ... for floats; slt, ult, eq ... for integers."""
        word = "fcmp" if a.kind.is_float else "icmp"
        return self.emit(a.kind.of("i1"), f"{word} {how} {a.typed}, {b.text}")

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        return self.emit(a.kind, f"select {condition.typed}, {a.typed}, {b.typed}")

    def cast(self, instruction: str, a: Value, element: str) -> Value:
        """fptrunc, fpext, sitofp, uitofp, fptosi, trunc, zext, sext, bitcast ... to ``element``."""
        kind = a.kind.of(element)
        if instruction == "bitcast" and kind == a.kind:
            return a
        return self.emit(kind, f"{instruction} {a.typed} to {kind.text}")

    def call(self, name: str, result: Kind, *arguments: Value) -> Value:
        """A call of an intrinsic or another function; declared when it is not in this module."""
        self.module.declare(name, [a.kind for a in arguments], result)
        inside = ", ".join(a.typed for a in arguments)
        return self.emit(result, f"call {result.text} @{name}({inside})")

    def run(self, name: str, *arguments: Value) -> None:
        """A call without a result."""
        self.module.declare(name, [a.kind for a in arguments], None)
        self.do(f"call void @{name}({', '.join(a.typed for a in arguments)})")

    def splat(self, scalar: Value, lanes: int) -> Value:
        """``scalar`` in every lane."""
        if scalar.kind.lanes or not lanes:
            return scalar
        kind = Kind(scalar.kind.element, lanes)
        if not scalar.text.startswith("%"):
            return Value(f"splat ({scalar.kind.element} {scalar.text})", kind)
        first = self.emit(kind, f"insertelement {kind.text} poison, {scalar.typed}, i32 0")
        return self.shuffle(first, first, [0] * lanes)

    def shuffle(self, a: Value, b: Value, lanes: Sequence[int]) -> Value:
        """The elements ``lanes`` of ``a`` followed by ``b``."""
        kind = Kind(a.kind.element, len(lanes))
        order = ", ".join(f"i32 {i}" for i in lanes)
        return self.emit(
            kind, f"shufflevector {a.typed}, {b.typed}, <{len(lanes)} x i32> <{order}>"
        )

    def extract(self, a: Value, lane: int) -> Value:
        return self.emit(Kind(a.kind.element), f"extractelement {a.typed}, i32 {lane}")

    def lanes(self, kind: Kind) -> Value:
        """0, 1, 2, ... in the lanes of an integer kind; 0 for a scalar."""
        if not kind.lanes:
            return self.number(0, kind)
        inside = ", ".join(f"{kind.element} {i}" for i in range(kind.lanes))
        return Value(f"<{inside}>", kind)

    # --- memory ---------------------------------------------------------------------------------

    def at(self, pointer: Value, index: Value | int, element: str) -> Value:
        """The address of ``pointer[index]`` in units of ``element`` (i1 counts as a byte)."""
        unit = "i8" if element == "i1" else element
        text = f"i64 {index}" if isinstance(index, int) else index.typed
        if text == "i64 0":
            return pointer
        return self.emit(POINTER, f"getelementptr {unit}, ptr {pointer.text}, {text}")

    def load(self, kind: Kind, pointer: Value, align: int | None = None) -> Value:
        align = align or -(-kind.bits // 8)
        return self.emit(kind, f"load {kind.text}, ptr {pointer.text}, align {align}")

    def store(self, value: Value, pointer: Value, align: int | None = None) -> None:
        align = align or -(-value.kind.bits // 8)
        self.do(f"store {value.typed}, ptr {pointer.text}, align {align}")

    def load_masked(self, kind: Kind, pointer: Value, mask: Value) -> Value:
        """The lanes where ``mask`` holds; zero elsewhere, where memory is not touched."""
        zero = "zeroinitializer"
        self._declare_masked("load", kind)
        inside = f"ptr align {-(-kind.bits // 8)} {pointer.text}, {mask.typed}, {kind.text} {zero}"
        return self.emit(kind, f"call {kind.text} @llvm.masked.load.{kind.suffix}.p0({inside})")

    def store_masked(self, value: Value, pointer: Value, mask: Value) -> None:
        kind = value.kind
        self._declare_masked("store", kind)
        inside = f"{value.typed}, ptr align {-(-kind.bits // 8)} {pointer.text}, {mask.typed}"
        self.do(f"call void @llvm.masked.store.{kind.suffix}.p0({inside})")

    def _declare_masked(self, what: str, kind: Kind) -> None:
        name = f"llvm.masked.{what}.{kind.suffix}.p0"
        bits = f"<{kind.lanes} x i1>"
        if what == "load":
            text = f"declare {kind.text} @{name}(ptr, {bits}, {kind.text})"
        else:
            text = f"declare void @{name}({kind.text}, ptr, {bits})"
        self.module.declarations.setdefault(name, text)

    # --- control --------------------------------------------------------------------------------

    def label(self, hint: str) -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def begin(self, label: str) -> None:
        """Instructions from here on belong to the block ``label``."""
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        self.do(f"br label %{label}")

    def branch(self, condition: Value, then: str, otherwise: str) -> None:
        self.do(f"br i1 {condition.text}, label %{then}, label %{otherwise}")

    def end(self, value: Value | None = None) -> None:
        self.do(f"ret {value.typed}" if value else "ret void")

    @contextmanager
    def loop(
        self, start: Value | int, stop: Value | int, step: Value | int = 1,
        carried: Sequence[Value] = (),
    ) -> Generator[Loop]:  # fmt: skip
        """for index in range(start, stop, step), with values carried along; tested before."""
        first, last, stride = (
            self.number(x) if isinstance(x, int) else x for x in (start, stop, step)
        )
        head, body, after = self.label("head"), self.label("body"), self.label("after")
        before = self.block
        self.jump(head)
        self.begin(head)
        index = Value(f"%i{self._count}", WORD)
        values = [Value(f"{index.text}c{i}", v.kind) for i, v in enumerate(carried)]
        place = len(self.lines)
        self.lines.extend([""] * (1 + len(values)))  # the phis, known at the end
        self.branch(self.compare("slt", index, last), body, after)
        self.begin(body)
        loop = Loop(index, values)
        yield loop
        following = self.add(index, stride)
        assert len(loop.carry) == len(values), "a loop carries what it was given"
        for i, (phi, old, new) in enumerate(
            zip([index, *values], [first, *carried], [following, *loop.carry], strict=True)
        ):
            incoming = f"[ {old.text}, %{before} ], [ {new.text}, %{self.block} ]"
            self.lines[place + i] = f"  {phi.text} = phi {phi.kind.text} {incoming}"
        self.jump(head)
        self.begin(after)

    @contextmanager
    def when(self, condition: Value) -> Generator[None]:
        """The block runs only if ``condition`` (a scalar bit) holds; it leaves no values behind."""
        then, after = self.label("then"), self.label("after")
        self.branch(condition, then, after)
        self.begin(then)
        yield
        self.jump(after)
        self.begin(after)


def literal(value: float | int, element: str) -> str:
    """``value`` as LLVM writes constants: floats by the bits of the double they equal."""
    if element == "i1":
        return "true" if value else "false"
    if element not in FLOATS:
        return str(int(value))
    if element == "float":
        value = struct.unpack("f", struct.pack("f", _in_range(value, 3.4028235677973366e38)))[0]
    elif element == "half":
        value = struct.unpack("e", struct.pack("e", _in_range(value, 65520.0)))[0]
        return f"0xH{struct.unpack('H', struct.pack('e', value))[0]:04X}"
    return f"0x{struct.unpack('Q', struct.pack('d', value))[0]:016X}"


def _in_range(value: float, limit: float) -> float:
    """Infinite where a narrower float would be."""
    if abs(value) < limit or value != value:
        return value
    return float("inf") if value > 0 else float("-inf")

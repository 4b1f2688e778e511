"""The functions around kernels: workers that wait for tasks, and the interpreter of programs.

A program is a table of instructions of ``SIZE`` words, each a kind and its operands:

    STOP
    SERIAL    entries, count                      the entries one after another, on this thread
    PARALLEL  entries, count, parts, context      their jobs on up to ``parts`` threads
    REPEAT    length, -, patches, count, end      starts a loop; ``end``: what follows it
    AGAIN     start                               ends a turn of the loop that ``start`` began

An entry is a kernel and its record: function, record, extent, grain, and the counter that threads
take jobs from. A patch is a pointer that every turn of a loop moves: target, start, step, other,
kind; of kind ADVANCE it goes on by ``step`` bytes, of kind ALTERNATE it is ``start`` and ``other``
in turn, of kind FOLLOW it goes from ``start`` to ``other`` and on from there by ``step`` bytes.
A context has what an instance of a program works with: its threads' scratch memory and the state
of the pool; the interpreter leaves there at which instruction it ended. All are words of 8 bytes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from adjoint.compile.backends.cpu.target import Target
from adjoint.compile.code import POINTER, WORD, Function, Kind, Module, Value

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

SIZE = 8  # words of an instruction, and of an entry: a cache line
STOP, SERIAL, PARALLEL, REPEAT, AGAIN = range(5)
ADVANCE, ALTERNATE, FOLLOW = range(3)
PATCH = 5  # words of a patch
# Places in a context.
STATE, HELPERS, SCRATCH, STRIDE, ENDED = range(5)
# Places in the state of a pool, in words; what different threads write is on different cache lines.
TICKETS, PENDING, FUNCTION, RECORD, YIELD, ACTIVE, WORDS = 0, 16, 32, 33, 34, 48, 64

PATIENCE = 4_000  # looks at a place in memory before others may have the core
LOOKS = 200  # looks between two such offers


def module_text(target: Target) -> str:
    """LLVM IR of all of them."""
    module = Module(target)
    _offer(module.function("offer", [POINTER], inline=True))
    _post(module.function("post", [POINTER, POINTER, POINTER, WORD]))
    _serve(module.function("serve", [POINTER, WORD]))
    _join(module.function("join", [POINTER], WORD))
    _serially(module.function("serially", [POINTER, WORD, POINTER], inline=True))
    _work(module.function("work", [POINTER, WORD]))
    _together(module.function("together", [POINTER, POINTER, WORD]))
    _begin_loop(module.function("begin_loop", [POINTER, WORD], inline=True))
    _next_turn(module.function("next_turn", [POINTER, WORD], inline=True))
    _execute(module.function("execute", [POINTER, POINTER]))
    return str(module)


# --- the pool -----------------------------------------------------------------------------------


def _post(f: Function) -> None:
    """post(state, kernel, record, tickets)"""
    state, kernel, record, tickets = f.arguments
    f.store(kernel, f.at(state, FUNCTION, "i64"))
    f.store(record, f.at(state, RECORD, "i64"))
    f.store(tickets, f.at(state, PENDING, "i64"))
    _exchange(f, f.at(state, TICKETS, "i64"), tickets, "release")
    f.end()


def _serve(f: Function) -> None:
    """serve(state, spins): work on what is posted, until ``spins`` looks found nothing.

    While a program is active nobody leaves: its next task follows soon.
    """
    state, spins = f.arguments
    tickets, one = f.at(state, TICKETS, "i64"), f.number(1)
    left, fewer, again = (Value(f"%{name}", WORD) for name in ("left", "fewer", "again"))
    f.jump("look")
    f.begin("look")
    f.do(
        f"{left.text} = phi i64 [ {spins.text}, %entry ], [ {spins.text}, %work ], "
        f"[ {fewer.text}, %rest ], [ {again.text}, %stay ]"
    )
    seen = _look(f, tickets, "monotonic")
    f.branch(f.compare("sgt", seen, f.number(0)), "grab", "rest")
    f.begin("grab")
    taken = f.sub(seen, one)
    swapped = f.emit(
        WORD, f"cmpxchg ptr {tickets.text}, {seen.typed}, {taken.typed} acq_rel monotonic"
    )
    won = f.emit(WORD, f"extractvalue {{ i64, i1 }} {swapped.text}, 1")
    f.branch(won, "work", "rest")
    f.begin("work")
    kernel = f.load(POINTER, f.at(state, FUNCTION, "i64"))
    record = f.load(POINTER, f.at(state, RECORD, "i64"))
    f.do(f"call void {kernel.text}({record.typed}, {seen.typed})")
    _add(f, f.at(state, PENDING, "i64"), f.number(-1), "release")
    f.jump("look")
    f.begin("rest")
    _pause(f)
    f.do(f"{fewer.text} = add i64 {left.text}, -1")
    f.branch(f.compare("sgt", fewer, f.number(0)), "look", "tired")
    f.begin("tired")
    active = _look(f, f.at(state, ACTIVE, "i64"), "monotonic")
    f.branch(f.compare("sgt", active, f.number(0)), "stay", "done")
    f.begin("stay")
    f.run("offer", state)
    f.do(f"{again.text} = add i64 0, {LOOKS}")
    f.jump("look")
    f.begin("done")
    f.end()


def _join(f: Function) -> None:
    """join(state): how many workers are not back yet, after some time of waiting."""
    (state,) = f.arguments
    missing = _wait(f, state, f.number(PATIENCE))
    f.end(missing)


def _wait(f: Function, state: Value, looks: Value) -> Value:
    """Take back the tickets that nobody took, and look at most ``looks`` times whether the others
    are done; how many are not."""
    back = _exchange(f, f.at(state, TICKETS, "i64"), f.number(0), "monotonic")
    pending = f.at(state, PENDING, "i64")
    _add(f, pending, f.sub(f.number(0), back), "monotonic")
    return _watch(f, pending, looks)


def _watch(f: Function, pending: Value, looks: Value) -> Value:
    before, look, rest, done = f.block, f.label("look"), f.label("rest"), f.label("done")
    left, fewer = Value(f"%{look}.left", WORD), Value(f"%{look}.fewer", WORD)
    f.jump(look)
    f.begin(look)
    f.do(f"{left.text} = phi i64 [ {looks.text}, %{before} ], [ {fewer.text}, %{rest} ]")
    missing = _look(f, pending, "acquire")
    waits = f.compare("sgt", missing, f.number(0))
    more = f.compare("sgt", left, f.number(0))
    f.branch(f.two("and", waits, more), rest, done)
    f.begin(rest)
    _pause(f)
    f.do(f"{fewer.text} = add i64 {left.text}, -1")
    f.jump(look)
    f.begin(done)
    return missing


def _offer(f: Function) -> None:
    """offer(state): let another thread have this core, where the system has a call for it."""
    (state,) = f.arguments
    give = f.load(POINTER, f.at(state, YIELD, "i64"))
    with f.when(f.emit(WORD, f"icmp ne ptr {give.text}, null")):
        f.do(f"call i32 {give.text}()")
    f.end()


# --- programs -----------------------------------------------------------------------------------


def _serially(f: Function) -> None:
    """serially(entries, count, scratch): every job of every entry, in order."""
    entries, count, scratch = f.arguments
    with f.loop(0, count) as each:
        entry = f.at(entries, f.mul(each.index, f.number(SIZE)), "i64")
        function, record, extent, grain = _fields(f, entry)
        with f.loop(0, extent, grain) as job:
            _call(f, function, record, job.index, extent, grain, scratch)
    f.end()


def _work(f: Function) -> None:
    """work(instruction, part): jobs of a PARALLEL instruction, until none is left.

    The entries are gone through in the same order by everybody; a counter for each says which job
    is next. ``part`` numbers the threads, for their scratch memory.
    """
    instruction, part = f.arguments
    entries, count, context = (
        f.load(kind, f.at(instruction, at, "i64"))
        for kind, at in ((POINTER, 1), (WORD, 2), (POINTER, 4))
    )
    stride = f.load(WORD, f.at(context, STRIDE, "i64"))
    scratch = f.at(f.load(POINTER, f.at(context, SCRATCH, "i64")), f.mul(part, stride), "i8")
    with f.loop(0, count) as each:
        entry = f.at(entries, f.mul(each.index, f.number(SIZE)), "i64")
        function, record, extent, grain = _fields(f, entry)
        counter = f.at(entry, 4, "i64")
        take, job, after = f.label("take"), f.label("job"), f.label("gone")
        f.jump(take)
        f.begin(take)
        begin = _add(f, counter, grain, "monotonic")
        f.branch(f.compare("slt", begin, extent), job, after)
        f.begin(job)
        _call(f, function, record, begin, extent, grain, scratch)
        f.jump(take)
        f.begin(after)
    f.end()


def _together(f: Function) -> None:
    """together(context, instruction, helpers): a PARALLEL instruction on this thread and up to
    ``helpers`` workers; returns when all its jobs are done."""
    context, instruction, helpers = f.arguments
    state = f.load(POINTER, f.at(context, STATE, "i64"))
    entries = f.load(POINTER, f.at(instruction, 1, "i64"))
    with f.loop(0, f.load(WORD, f.at(instruction, 2, "i64"))) as each:
        at = f.add(f.mul(each.index, f.number(SIZE)), f.number(4))
        f.store(f.number(0), f.at(entries, at, "i64"))
    work = Value("@work", POINTER)
    f.run("post", state, work, instruction, helpers)
    f.run("work", instruction, f.number(0))
    missing = _wait(f, state, f.number(LOOKS))
    before, late, again, done = f.block, f.label("late"), f.label("again"), f.label("back")
    left = Value(f"%{late}.left", WORD)
    f.jump(late)
    f.begin(late)
    place = len(f.lines)
    f.lines.append("")
    f.branch(f.compare("sgt", left, f.number(0)), again, done)
    f.begin(again)
    f.run("offer", state)
    still = _watch(f, f.at(state, PENDING, "i64"), f.number(LOOKS))
    incoming = f"[ {missing.text}, %{before} ], [ {still.text}, %{f.block} ]"
    f.lines[place] = f"  {left.text} = phi i64 {incoming}"
    f.jump(late)
    f.begin(done)
    f.end()


def _begin_loop(f: Function) -> None:
    """begin_loop(patches, count): every pointer at its start."""
    patches, count = f.arguments
    with f.loop(0, count) as each:
        patch = f.at(patches, f.mul(each.index, f.number(PATCH)), "i64")
        target = f.load(POINTER, patch)
        f.store(f.load(WORD, f.at(patch, 1, "i64")), target)
    f.end()


def _next_turn(f: Function) -> None:
    """next_turn(patches, count): every pointer moved."""
    patches, count = f.arguments
    with f.loop(0, count) as each:
        patch = f.at(patches, f.mul(each.index, f.number(PATCH)), "i64")
        target = f.load(POINTER, patch)
        start, step, other, kind = (f.load(WORD, f.at(patch, i, "i64")) for i in range(1, 5))
        now = f.load(WORD, target)
        turned = f.sub(f.add(start, other), now)
        follows = f.compare("eq", kind, f.number(FOLLOW))
        leaves = f.two("and", follows, f.compare("eq", now, start))
        onward = f.select(leaves, other, f.add(now, step))
        alternates = f.compare("eq", kind, f.number(ALTERNATE))
        f.store(f.select(alternates, turned, onward), target)
    f.end()


def _execute(f: Function) -> None:
    """execute(context, code): run instructions from ``code`` on until STOP."""
    context, code = f.arguments
    state = f.load(POINTER, f.at(context, STATE, "i64"))
    helpers = f.load(WORD, f.at(context, HELPERS, "i64"))
    scratch = f.load(POINTER, f.at(context, SCRATCH, "i64"))
    none = f.compare("sle", helpers, f.number(0))
    with _active(f, state, none):
        _interpret(f, context, code, helpers, scratch)
    f.end()


def _interpret(f: Function, context: Value, code: Value, helpers: Value, scratch: Value) -> None:
    names = {SERIAL: "serial", PARALLEL: "parallel", REPEAT: "repeat", AGAIN: "again"}
    before = f.block
    at = Value("%at", POINTER)
    following = Value("%following", POINTER)
    coming = [f"[ {code.text}, %{before} ]", f"[ {following.text}, %step ]"]
    f.jump("fetch")
    f.begin("fetch")
    place = len(f.lines)
    f.lines.append("")
    kind = f.load(WORD, at)
    cases = " ".join(f"i64 {number}, label %{name}" for number, name in names.items())
    f.do(f"switch i64 {kind.text}, label %stop [ {cases} ]")
    f.begin("step")
    f.do(f"{following.text} = getelementptr i64, ptr {at.text}, i64 {SIZE}")
    f.jump("fetch")

    f.begin("serial")
    f.run("serially", *_operands(f, at, POINTER, WORD), scratch)
    f.jump("step")

    f.begin("parallel")
    entries, count, parts = _operands(f, at, POINTER, WORD, WORD)
    most = f.sub(parts, f.number(1))
    wanted = f.select(f.compare("slt", helpers, most), helpers, most)
    f.branch(f.compare("sgt", wanted, f.number(0)), "shared", "alone")
    f.begin("shared")
    f.run("together", context, at, wanted)
    f.jump("step")
    f.begin("alone")
    f.run("serially", entries, count, scratch)
    f.jump("step")

    coming.extend(_loops(f, at))
    f.lines[place] = f"  {at.text} = phi ptr {', '.join(coming)}"
    f.begin("stop")
    f.store(at, f.at(context, ENDED, "i64"))


def _loops(f: Function, at: Value) -> list[str]:
    """REPEAT and AGAIN; from where else they come to the next instruction."""
    f.begin("repeat")
    length, _, patches, number, end = _operands(f, at, WORD, WORD, POINTER, WORD, POINTER)
    ended = f"[ {end.text}, %repeat ]"
    f.store(f.number(0), f.at(at, 2, "i64"))
    f.branch(f.compare("sgt", length, f.number(0)), "enter", "fetch")
    f.begin("enter")
    f.run("begin_loop", patches, number)
    f.jump("step")

    f.begin("again")
    (start,) = _operands(f, at, POINTER)
    length, turns, patches, number = _operands(f, start, WORD, WORD, POINTER, WORD)
    turns = f.add(turns, f.number(1))
    f.store(turns, f.at(start, 2, "i64"))
    f.branch(f.compare("slt", turns, length), "turn", "step")
    f.begin("turn")
    f.run("next_turn", patches, number)
    inside = f.at(start, SIZE, "i64")
    turned = f"[ {inside.text}, %{f.block} ]"
    f.jump("fetch")
    return [ended, turned]


@contextmanager
def _active(f: Function, state: Value, alone: Value) -> Generator[None]:
    """Inside, the workers stay awake, unless the program runs ``alone``."""
    for value, after in ((1, "started"), (0, "ended")):
        mark = f.label("mark")
        f.branch(alone, after, mark)
        f.begin(mark)
        _exchange(f, f.at(state, ACTIVE, "i64"), f.number(value), "monotonic")
        f.jump(after)
        f.begin(after)
        if value:
            yield


def _operands(f: Function, instruction: Value, *kinds: Kind) -> list[Value]:
    return [f.load(kind, f.at(instruction, i + 1, "i64")) for i, kind in enumerate(kinds)]


def _fields(f: Function, entry: Value) -> Sequence[Value]:
    """function, record, extent and grain of an entry"""
    kinds = (POINTER, POINTER, WORD, WORD)
    return [f.load(kind, f.at(entry, i, "i64")) for i, kind in enumerate(kinds)]


def _call(f: Function, function: Value, record: Value, begin: Value, extent: Value, grain: Value,
          scratch: Value) -> None:  # fmt: skip
    """One job: from ``begin`` on, at most ``grain`` units."""
    most = f.add(begin, grain)
    end = f.select(f.compare("slt", most, extent), most, extent)
    f.do(f"call void {function.text}({record.typed}, {begin.typed}, {end.typed}, {scratch.typed})")


# --- atomics ------------------------------------------------------------------------------------


def _exchange(f: Function, place: Value, value: Value, order: str) -> Value:
    return f.emit(WORD, f"atomicrmw xchg ptr {place.text}, {value.typed} {order}")


def _add(f: Function, place: Value, value: Value, order: str) -> Value:
    """What was there before ``value`` was added."""
    return f.emit(WORD, f"atomicrmw add ptr {place.text}, {value.typed} {order}")


def _look(f: Function, place: Value, order: str) -> Value:
    return f.emit(WORD, f"load atomic i64, ptr {place.text} {order}, align 8")


def _pause(f: Function) -> None:
    """Tells the core that this is a waiting loop."""
    if f.target.triple.startswith("x86_64"):
        f.run("llvm.x86.sse2.pause")
    else:  # the hint "yield"
        f.run("llvm.aarch64.hint", f.number(1, WORD._replace(element="i32")))

"""Replay: a compiled recording, run on the arrays that handles hold.

Values never change, and yet weights are updated where they lie: an array is written over only if
nobody but its handle can see it. Python counts references, so this can be asked: of the node, of
its array, and for a gradient of the tensor, too. Otherwise the program works on a copy, which the
handle gets, and whoever held the old value keeps it. If every handle still has the node that the
last run left there, and nobody else holds it, nothing is to be done.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np

from adjoint.base import errors
from adjoint.compile.backends.cpu.objects import (
    WIDTH,
    Layout,
    checker,
    counts_lie_in_front,
    place_of,
    referent_place,
)
from adjoint.compile.execute import Instance
from adjoint.compile.interpreted import Interpreted
from adjoint.compile.program import Program
from adjoint.ir.node import Array, Node, Type, constant
from adjoint.runtime.memory import address_of
from adjoint.tensors.handle import Handle, wrap
from adjoint.tensors.recording import Stale

Reference = Callable[[], Any]  # a weak reference to a handle, which may be gone


class Slot(NamedTuple):
    """A value of a handle that a program reads or overwrites: ``place`` is node or grad."""

    handle: weakref.ref[Handle]
    place: str
    number: int  # of the program's input
    read: bool
    written: bool
    needs_grad: bool = False


class Source(NamedTuple):
    """An input that is asked for at every run."""

    number: int
    read: Callable[[], Any]
    of: Type


class Bound:
    """An instance, the nodes it is bound to (by their serial numbers), and the sources' arrays."""

    def __init__(self, program: Program, sources: Sequence[Source]) -> None:
        self.instance: Instance = program.instance()
        self.serials: list[int] = []
        self.look: tuple[int, int] | None = None  # what ``check`` is to compare, if it can
        self.table: Array = np.empty(0, np.int64)
        self.sources: list[tuple[Array, Callable[[], Any]]] = []
        for source in sources:
            array = np.empty(source.of.shape, source.of.dtype.numpy)
            self.instance.bind(source.number, array)
            self.sources.append((array, source.read))


Put = tuple[Handle, str, Array]


class Replay:
    """``replay(arrays)`` runs the program on those of the arguments; gives the results.

    slots: in any order. fixed: arrays of inputs that never change. cleared: handles whose gradient
    is None after a run.
    """

    def __init__(
        self, program: Program, slots: Sequence[Slot], fixed: Sequence[tuple[int, Array]],
        sources: Sequence[Source], cleared: Sequence[Reference],
    ) -> None:  # fmt: skip
        order = {("node", False): 0, ("node", True): 1, ("grad", True): 2, ("grad", False): 3}
        self.program = program
        self.slots = sorted(slots, key=lambda s: order[s.place, s.written])
        kinds = [order[s.place, s.written] for s in self.slots]
        self._first, self._last = kinds.count(0), len(kinds) - kinds.count(3)
        self._written_grads = kinds.count(2)
        self._nodes = [s.handle for s in self.slots if s.place == "node"]
        self._grads = [s.handle for s in self.slots if s.place == "grad"]
        written = self._last - self._first
        self._alone = [ALONE.node] * written + [ALONE.array] * written
        self._alone_grads = [ALONE.grad] * self._written_grads
        self._fixed = fixed
        self._sources = sources
        self._cleared = cleared
        self._free: list[Bound] = []

    def __call__(self, arguments: list[Array]) -> list[Array]:
        bound = self._take()
        instance = bound.instance
        arrays = instance.arrays
        try:
            # first, so that an argument that shares memory with a state is seen to hold it
            for number, array in enumerate(arguments):
                if array is not arrays[number]:
                    instance.take(number, array)
            puts = self._rebind(bound) if self.slots and not self._as_left(bound) else None
            for array, read in bound.sources:
                array[...] = read()
            results = instance.make_results()
            if puts:
                self._run_and_put(bound, puts)
            else:
                instance.run()
            for handle in self._cleared:
                _alive(handle).grad = None
            instance.forget_results()
        finally:
            self._free.append(bound)
        return results

    def arrays(self) -> list[Array]:
        """What all inputs are now, those of the last call among them; for timing."""
        bound = self._take()
        self._free.append(bound)
        found: list[Array | None] = list(bound.instance.arrays)
        for slot in self.slots:
            holder = _holder(slot)
            found[slot.number] = None if holder is None else holder.node.array("profile")
        types = self.program.inputs
        return [
            np.zeros(of.shape, of.dtype.numpy) if array is None else array
            for array, of in zip(found, types, strict=True)
        ]

    def states(self) -> list[tuple[Slot, Array]]:
        """What the handles hold that the program reads."""
        held = [(slot, _holder(slot)) for slot in self.slots if slot.read]
        return [(slot, holder.node.array("jit")) for slot, holder in held if holder is not None]

    def _take(self) -> Bound:
        """One that no other thread is using."""
        try:
            return self._free.pop()
        except IndexError:
            bound = Bound(self.program, self._sources)
            for number, array in self._fixed:
                bound.instance.bind(number, array)
            return bound

    def _as_left(self, bound: Bound) -> bool:
        """Whether handles are as the last run left them, and what is written is theirs alone."""
        if bound.look is not None and CHECK is not None:
            return CHECK(*bound.look) == 1
        try:
            nodes = [handle().node for handle in self._nodes]  # type: ignore[union-attr]
            if self._grads:
                grads = [handle().grad for handle in self._grads]  # type: ignore[union-attr]
                if counts_of(grads[: self._written_grads]) != self._alone_grads:
                    return False
                nodes += [grad.node for grad in grads]  # type: ignore[union-attr]
                del grads
        except AttributeError:  # a handle or a gradient is gone
            return False
        if [node.serial for node in nodes] != bound.serials:
            return False
        written = nodes[self._first : self._last]
        alone: list[int] = self._alone
        return not alone or counts(written) == alone

    def _rebind(self, bound: Bound) -> list[Put]:
        """Point the program to the arrays of all handles, or to copies that are theirs alone.

        Gives what handles get after the run: arrays that have no content before.
        """
        bound.serials, bound.look = [], None
        for slot in self.slots:
            if slot.read:
                self._check(slot)
        holders = [_holder(slot) for slot in self.slots]
        alone = self._are_alone(holders)
        puts: list[Put] = []
        copied = False
        for slot, holder, is_alone in zip(self.slots, holders, alone, strict=True):
            node = _content(slot) if slot.read else None if holder is None else holder.node
            if (
                node is not None
                and is_alone
                and slot.written
                and _fits(node, self.program.inputs[slot.number])
            ):
                bound.instance.point(slot.number, node.value)
            elif slot.written:
                self._renew(bound, slot, node, puts)
            else:
                assert node is not None
                array = bound.instance.bind(slot.number, node.array("jit"))
                if array is node.value:  # the handle keeps it, and must be the only one
                    bound.instance.arrays[slot.number] = None
                else:
                    copied = True  # to be copied at every run
        del holders
        if not puts and not copied:
            self._note(bound)
        return puts

    def _check(self, slot: Slot) -> None:
        """Raise Stale unless the program was recorded for values like this one."""
        node, of = _content(slot), self.program.inputs[slot.number]
        if (node.shape, node.dtype, node.needs_grad) != (of.shape, of.dtype, slot.needs_grad):
            raise Stale

    def _renew(self, bound: Bound, slot: Slot, node: Node | None, puts: list[Put]) -> None:
        """New memory for a value that is overwritten; the handle gets it now if it is read first,
        else after the run."""
        of = self.program.inputs[slot.number]
        array = np.empty(of.shape, of.dtype.numpy)
        handle = _alive(slot.handle)
        bound.instance.point(slot.number, array)
        if slot.read:
            assert node is not None
            array[...] = node.array("jit")
            _put(handle, slot.place, array)
        else:
            puts.append((handle, slot.place, array))

    def _run_and_put(self, bound: Bound, puts: list[Put]) -> None:
        """Run, and give handles what was computed, also when Ctrl-C is pressed meanwhile."""
        pressed: KeyboardInterrupt | None = None
        try:
            bound.instance.run()
        except KeyboardInterrupt as problem:
            if not bound.instance.has_updated:
                raise
            pressed = problem
        while puts:
            try:
                _put(*puts[-1])
                puts.pop()
            except KeyboardInterrupt as problem:
                pressed = problem
        if pressed is not None:
            raise pressed
        self._note(bound)

    def _note(self, bound: Bound) -> None:
        """Note how handles are left; nothing when one is not to be found."""
        holders = [_holder(slot) for slot in self.slots]
        nodes = [h.node for h in holders if h is not None]
        if len(nodes) < len(holders):
            return
        bound.serials = [n.serial for n in nodes]
        if CHECK is not None:
            table = np.zeros((len(nodes), WIDTH), np.int64)
            for row, slot, holder, node in zip(table, self.slots, holders, nodes, strict=True):
                is_grad = slot.place == "grad"
                digit = node.serial % (1 << 30)
                row[:6] = id(slot.handle), is_grad, id(node), digit, id(holder), slot.written
            bound.table, bound.look = table, (address_of(table), len(table))

    def _are_alone(self, holders: list[Any]) -> list[bool]:
        """Whether a slot's value can be seen by nobody else, as ``_as_left`` asks it."""
        nodes = [h.node for h in holders if h is not None]
        some = nodes[:]
        found = counts(some)
        size = len(nodes)
        pairs = zip(found[:size], found[size:], strict=True)
        good = iter([pair == (ALONE.node, ALONE.array) for pair in pairs])
        return [
            h is not None and next(good) and (slot.place == "node" or count == ALONE.grad)
            for h, slot, count in zip(holders, self.slots, counts_of(holders[:]), strict=True)
        ]


class Rerun:
    """The same for a program that is run node by node: every result is a new array."""

    def __init__(
        self, program: Interpreted, slots: Sequence[Slot], fixed: Sequence[tuple[int, Array]],
        sources: Sequence[Source], cleared: Sequence[Reference],
    ) -> None:  # fmt: skip
        self.program = program
        self._slots = {s.number: s for s in slots}
        self._fixed = fixed
        self._sources = sources
        self._cleared = cleared

    def __call__(self, arguments: list[Array]) -> list[Array]:
        graph = self.program.graph
        arrays: list[Any] = [*arguments, *[None] * (len(graph.inputs) - len(arguments))]
        for number, array in self._fixed:
            arrays[number] = array
        for source in self._sources:
            arrays[source.number] = np.array(source.read(), source.of.dtype.numpy)
        for slot in self._slots.values():
            if slot.read:
                arrays[slot.number] = _content(slot).array("jit")
        found = self.program(arrays)
        for number, at in graph.updates:
            slot = self._slots[number]
            _put(_alive(slot.handle), slot.place, found[at])
        for handle in self._cleared:
            _alive(handle).grad = None
        return found[: len(found) - len(graph.updates)]


class Counts(NamedTuple):
    """References to a node, its array, and a gradient that one handle holds, as counted here."""

    node: int
    array: int
    grad: int


def counts(nodes: list[Node]) -> list[int]:
    """How many references there are to each of ``nodes``, then to each of their arrays."""
    return [*map(getrefcount, nodes), *map(getrefcount, [node.value for node in nodes])]


def counts_of(grads: list[Any]) -> list[int]:
    """How many references there are to each of ``grads``."""
    return [*map(getrefcount, grads)]


def _counts_alone() -> Counts:
    """What is counted for values that only one handle holds, in lists like those above."""
    handle = wrap(constant(np.zeros(1)))
    handle.grad = wrap(constant(np.zeros(1)))
    holders = [handle]
    grads = [h.grad for h in holders]
    nodes = [h.node for h in holders]
    some = nodes[0:1]
    node, array = counts(some)
    (grad,) = counts_of(grads[0:1])
    return Counts(node, array, grad)


ALONE = _counts_alone()


def _native_check() -> Callable[[int, int], int] | None:
    """``_as_left`` in machine code, where Python's objects are as it expects; else None."""
    handle = wrap(constant(np.zeros(1)))
    handle.grad = wrap(constant(np.zeros(1)))
    node = handle.node
    node.serial += 1 << 40  # an int that nothing else is
    pairs = [
        (handle, node), (handle, handle.grad), (node, node.serial), (node, node.value)
    ]  # fmt: skip
    places = [referent_place(handle), *(place_of(holder, held) for holder, held in pairs)]
    if None in places or not counts_lie_in_front():
        return None
    return checker(Layout(*(p for p in places if p is not None)))


CHECK = _native_check()


def _holder(slot: Slot) -> Any:
    """The tensor whose node is the value: the handle, or its gradient, which may be None."""
    handle = _alive(slot.handle)
    return handle if slot.place == "node" else handle.grad


def _content(slot: Slot) -> Node:
    """The node whose value a program reads."""
    holder = _holder(slot)
    if holder is None:
        raise errors.argument(
            "jit", "a gradient that the recorded step adds to is gone",
            hint="call zero_grad() inside the step, or never",
        )  # fmt: skip
    return holder.node


def _fits(node: Node, of: Type) -> bool:
    """Whether a value of type ``of`` can be written over the array of ``node``, as far as the
    array itself says."""
    flags = node.value.flags
    good = flags.c_contiguous and flags.aligned and flags.writeable and flags.owndata
    same = node.shape == of.shape and node.dtype is of.dtype
    return good and same and (not node.needs_grad or node.leaf is not None)


def _put(handle: Handle, place: str, array: Array) -> None:
    if place == "grad":
        handle.grad = wrap(constant(array))
    else:
        handle._replace(constant(array), "jit")  # type: ignore[attr-defined]


def _alive(reference: Reference) -> Handle:
    handle = reference()
    if handle is None:
        raise errors.argument(
            "jit", "a tensor that the recorded step uses no longer exists",
            hint="keep the model and the optimiser alive as long as the step",
        )  # fmt: skip
    return handle

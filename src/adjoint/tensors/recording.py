"""One recording of a function: its program, where inputs come from, where results go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from adjoint.base import errors
from adjoint.base.tree import Rebuild, flatten
from adjoint.ir.capture import Capture, capturing
from adjoint.ir.graph import Graph
from adjoint.ir.node import Node, Type, abstract, constant
from adjoint.tensors.frozen import host_randomness
from adjoint.tensors.handle import Handle, wrap

if TYPE_CHECKING:
    from adjoint.tensors.replay import Replay, Rerun

Before = tuple[Handle, Node, Any]  # a handle, with its node and its gradient before the recording


class Place(NamedTuple):
    """One value of a handle: its ``node``, or its ``grad``."""

    handle: weakref.ref[Handle]
    name: str

    @property
    def key(self) -> tuple[int, str]:
        return id(self.handle()), self.name


class Stale(Exception):
    """A value has another shape or dtype than when it was recorded, or needs a gradient now."""


class Captured:
    """One recording: the program, what it was recorded under, and how its results are handed out.

    ``runs``: how often it ran. ``writes_arguments``: whether it changes tensors it is given.
    """

    def __init__(
        self, function: Callable[..., Any], leaves: Sequence[Any], rebuild: Rebuild,
        memory_budget: float | None = None,
    ) -> None:  # fmt: skip
        handles = _all_handles()
        before: list[Before] = [(h, h.node, h.grad) for h in handles]
        first = _first_places(leaves)
        with capturing() as capture:
            stand_ins = [
                (i, abstract(Type(leaves[i].shape, leaves[i].dtype)))
                for i in first.values() if not leaves[i].requires_grad
            ]  # fmt: skip
            for number, (_, node) in enumerate(stand_ins):
                node.site = f"tensor argument {number} of jit"
            given = {i: wrap(node) for i, node in stand_ins}
            try:
                args, kwargs = rebuild([given.get(first.get(id(x), -1), x) for x in leaves])
                with host_randomness(getattr(function, "__name__", "the function")):
                    out = function(*args, **kwargs)
                before += [(h, node, None) for node, h in capture.adopted.items()]
                changed = _changes(before)
            finally:
                for handle, node, grad in before:
                    handle.node, handle.grad = node, grad
        self.arguments = [i for i, _ in stand_ins]
        self._guard(before, capture)
        out_leaves, self._rebuild = flatten(out)
        self._is_tensor = [isinstance(x, Handle) for x in out_leaves]
        self._plain = [None if t else x for x, t in zip(out_leaves, self._is_tensor, strict=True)]
        self._is_single = isinstance(out, Handle)
        returned = [capture.lift(x.node) for x in out_leaves if isinstance(x, Handle)]
        assigned = [(i, given[i].node) for i, node in stand_ins if given[i].node is not node]
        self._returned = len(returned)
        self._assigned = [i for i, _ in assigned]
        returned += [capture.lift(node) for _, node in assigned]
        name = getattr(function, "__name__", "captured")
        wiring = Wiring(capture, before, changed, [node for _, node in stand_ins], returned, name)
        mine = [*given.values(), *(x for x in out_leaves if isinstance(x, Handle))]
        del out, out_leaves, given, args, kwargs, changed, returned, assigned
        _refuse_leaks(capture, [*handles, *capture.adopted.values(), *mine])
        self.replay: Replay | Rerun = wiring.replay(memory_budget)
        self.runs = 0

    @property
    def graph(self) -> Graph:
        """The program as it was simplified."""
        return self.replay.program.graph

    @property
    def writes_arguments(self) -> bool:
        return bool(self._assigned)

    def holds(self) -> bool:
        """Whether the facts read while recording are still so."""
        if not self._reads:
            return True
        found = [read() for read in self._reads]
        return found == self._facts and list(map(type, found)) == self._kinds

    def compare(self, other: Captured) -> None:
        """Raise unless the two recordings are the same program."""
        if self.graph.key != other.graph.key:
            raise errors.build(
                errors.RecordingError,
                "jit: recording the same call twice gave two programs",
                hint="a Python value it uses changed: pass it as an argument, or make it a tensor",
            )

    def run(self, leaves: Sequence[Any]) -> Any:
        """Run the program on the arguments; changes what the function changed."""
        arrays: list[Any] = []
        for i in self.arguments:
            node = leaves[i].node
            arrays.append(node.array("jit") if node.value is None else node.value)
        node = None  # what a run overwrites must not be held here
        found = self.replay(arrays)
        self.runs += 1
        if self._assigned:
            for i, array in zip(self._assigned, found[self._returned :], strict=True):
                leaves[i]._replace(constant(array), "jit")
        if self._is_single:
            return wrap(constant(found[0]))
        made = iter(found)
        pairs = zip(self._plain, self._is_tensor, strict=True)
        return self._rebuild([wrap(constant(next(made))) if t else x for x, t in pairs])

    def run_compared(self, leaves: Sequence[Any]) -> Any:
        """``run``, then the same node by node; raises RecordingError where results differ."""
        from adjoint.compile.differences import first_difference
        from adjoint.tensors.replay import Replay

        replay = self.replay
        if not isinstance(replay, Replay):
            return self.run(leaves)
        before = {s.number: a.copy() for s, a in replay.states()}
        found = self.run(leaves)
        arrays = [before.get(i, a) for i, a in enumerate(replay.arrays())]
        difference = first_difference(self.graph, arrays)
        if difference is not None:
            raise errors.build(
                errors.RecordingError,
                f"jit: compiled and node by node, the results differ\n{difference}",
                hint="this is a bug of the compiler: please report it with the program",
            )
        return found

    def _guard(self, before: Sequence[Before], capture: Capture) -> None:
        """Keep the facts that this recording is right for."""
        guards = [
            *capture.guards, *_gradient_guards(before, capture), *_sharing_guards(before, capture)
        ]  # fmt: skip
        self._reads = [read for read, _ in guards]
        self._facts = [fact for _, fact in guards]
        self._kinds = list(map(type, self._facts))


class Wiring:
    """Which input of the program is read from where, which output is written where."""

    def __init__(
        self, capture: Capture, before: Sequence[Before], changed: Sequence[tuple[Place, Any]],
        arguments: list[Node], returned: list[Node], name: str,
    ) -> None:  # fmt: skip
        self.capture = capture
        self.cleared = [place.handle for place, new in changed if new is None]
        self.written = [(place, capture.lift(new)) for place, new in changed if new is not None]
        places = _places(before)
        inputs = list(dict.fromkeys(
            [*arguments, *capture.lifted.values(), *(node for node, _ in capture.sources)]
        ))  # fmt: skip
        self.number = {node: i for i, node in enumerate(inputs)}
        self.read = {
            places[old].key: (places[old], self.number[new])
            for old, new in capture.lifted.items() if old in places
        }  # fmt: skip
        self.fixed = [
            (self.number[new], old.array("jit"))
            for old, new in capture.lifted.items() if old not in places
        ]  # fmt: skip
        updates: list[tuple[int, int]] = []
        self.targets: dict[tuple[int, str], int] = {}
        for at, (place, node) in enumerate(self.written, len(returned)):
            if place.key in self.read:
                target = self.read[place.key][1]
            else:
                target = len(inputs)
                inputs.append(abstract(Type(node.shape, node.dtype)))
            self.targets[place.key] = target
            updates.append((target, at))
        outputs = [*returned, *(node for _, node in self.written)]
        self.graph = Graph(inputs, outputs, updates, name, start=capture.start)

    def replay(self, memory_budget: float | None) -> Replay | Rerun:
        """The program, bound to the handles; within ``memory_budget`` when there is one."""
        from adjoint.compile.program import Program, program_of  # loads LLVM
        from adjoint.tensors.replay import Replay, Rerun, Slot, Source

        inputs = self.graph.inputs
        slots = [
            Slot(
                place.handle,
                place.name,
                number,
                True,
                key in self.targets,
                inputs[number].needs_grad,
            )
            for key, (place, number) in self.read.items()
        ]
        slots += [
            Slot(place.handle, place.name, self.targets[place.key], False, True)
            for place, _ in self.written if place.key not in self.read
        ]  # fmt: skip
        sources = [
            Source(self.number[node], read, Type(node.shape, node.dtype))
            for node, read in self.capture.sources
        ]
        graph = self.graph
        if memory_budget is not None:
            from adjoint.compile.remat import rematerialize

            graph = rematerialize(graph, memory_budget)
        program = program_of(graph)
        if isinstance(program, Program):
            return Replay(program, slots, self.fixed, sources, self.cleared)
        return Rerun(program, slots, self.fixed, sources, self.cleared)


Guard = tuple[Callable[[], Any], Any]


def _first_places(leaves: Sequence[Any]) -> dict[int, int]:
    """By the id of each tensor among the arguments: where it first stands."""
    found: dict[int, int] = {}
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Handle):
            found.setdefault(id(leaf), i)
    return found


def _gradient_guards(before: Sequence[Before], capture: Capture) -> list[Guard]:
    """Whether there was a gradient to add to, for every handle that got one and was not cleared."""
    found: list[Guard] = []
    for handle, _, grad in before:
        if id(handle) in capture.grown:
            who = weakref.ref(handle)
            found.append((lambda who=who: getattr(who(), "grad", None) is None, grad is None))
    return found


def _sharing_guards(before: Sequence[Before], capture: Capture) -> list[Guard]:
    """That places of one value still have it in common: the program has one input for them."""
    found: list[Guard] = []
    for node, places in _holders(before).items():
        if node in capture.lifted:
            first = places[0]
            found += [(lambda a=first, b=other: _still_shared(a, b), True) for other in places[1:]]
    return found


def _still_shared(a: Place, b: Place) -> bool:
    """Whether two places hold one node; a handle that is gone shares nothing that matters."""
    first, second = a.handle(), b.handle()
    return first is None or second is None or _node_at(first, a) is _node_at(second, b)


def _node_at(handle: Handle, place: Place) -> Node | None:
    if place.name == "node":
        return handle.node
    return None if handle.grad is None else handle.grad.node


def _all_handles() -> list[Handle]:
    """Every tensor alive. Referrers of the classes are found much faster than by looking at all
    objects; ``type`` and not ``isinstance``, which would wake lazy objects."""
    kinds = _kinds(Handle)
    return [o for o in gc.get_referrers(*kinds) if type(o) in kinds]


def _kinds(kind: type[Handle]) -> set[type[Handle]]:
    found = {kind}
    for further in kind.__subclasses__():
        found |= _kinds(further)
    return found


def _holders(before: Sequence[Before]) -> dict[Node, list[Place]]:
    """All places of each node: handles, then gradients of handles (which are handles too)."""
    gradients = {id(grad) for _, _, grad in before if grad is not None}
    found: dict[Node, list[Place]] = {}
    for handle, node, _ in before:
        if id(handle) not in gradients:
            found.setdefault(node, []).append(Place(weakref.ref(handle), "node"))
    for handle, _, grad in before:
        if grad is not None:
            found.setdefault(grad.node, []).append(Place(weakref.ref(handle), "grad"))
    return found


def _places(before: Sequence[Before]) -> dict[Node, Place]:
    """Where each node outside is read: in a handle, else as the gradient of one."""
    return {node: places[0] for node, places in _holders(before).items()}


def _changes(before: Sequence[Before]) -> list[tuple[Place, Node | None]]:
    """Handles from before whose value or gradient is another one now."""
    found: list[tuple[Place, Node | None]] = []
    for handle, node, grad in before:
        if handle.node is not node:
            found.append((Place(weakref.ref(handle), "node"), handle.node))
        if handle.grad is not grad:
            new = None if handle.grad is None else handle.grad.node
            found.append((Place(weakref.ref(handle), "grad"), new))
    # in the order they were computed, so that equal recordings have equal outputs
    return sorted(found, key=lambda change: -1 if change[1] is None else change[1].serial)


def _refuse_leaks(capture: Capture, before: Sequence[Handle]) -> None:
    """Raise when a tensor made inside is still held by somebody outside."""
    known = {id(h) for h in before}
    if not _left_over(capture, known):
        return
    gc.collect()  # what only a cycle of references holds is not held by anybody
    left = _left_over(capture, known)
    if left:
        raise errors.leaked("jit", left[0], left[0].site)


def _left_over(capture: Capture, known: set[int]) -> list[Node]:
    nodes = [h.node for h in _all_handles() if id(h) not in known]
    return [
        n for n in nodes if n.serial >= capture.start and n.value is None and n.device.holds_values
    ]

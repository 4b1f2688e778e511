"""jit: record a whole imperative step once, then run the recording.

The function is executed once per signature, with tensors that have no value; everything it does is
recorded, whatever it finds outside (weights, optimiser state) becoming an input bound to the
handle it was found in, and every handle it assigns an output written back to that handle.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.tree import Rebuild, flatten
from adjoint.compile.program import Program
from adjoint.ir.capture import Capture, capturing
from adjoint.ir.graph import Graph
from adjoint.ir.node import Array, Node, Type, abstract, constant, state
from adjoint.tensors.handle import Handle, wrap

Place = tuple["weakref.ref[Handle]", str]  # a handle, and which of its values: node or grad


class jit:
    """``function`` captured whole: forward, loss, ``backward()`` and ``optimizer.step()``.

    The first call with new shapes, dtypes, plain arguments or modes records; later ones run the
    recording. check: record again at the second call and raise if the two recordings differ,
    which shows a plain Python value that changed. Reading a value (``item()``, ``if x > 0``)
    inside raises RecordingError with the line, and so does storing a tensor that outlives the call.

    Calls from inside another recording, with gradients flowing through arguments, or with
    ``with no_jit():`` around them run the plain function.
    """

    def __init__(self, function: Callable[..., Any] | None = None, *, check: bool = False) -> None:
        self._function = function
        self._check = check
        self._programs: dict[Any, list[Captured]] = {}
        self._last: Captured | None = None
        if function is not None:
            update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._function is None:  # used as @jit(check=True)
            return jit(args[0], check=self._check)
        leaves, rebuild = flatten((args, kwargs))
        if state.recording or _Switch.off or any(_has_graph(x) for x in leaves):
            return self._function(*args, **kwargs)
        key = (_signature(leaves), repr(rebuild([None] * len(leaves))), state.grad)
        known = self._programs.setdefault(key, [])
        for captured in known:
            if captured.holds():
                break
        else:
            captured = Captured(self._function, leaves, rebuild)
            known.append(captured)
        if self._check and captured.runs == 1:
            captured.compare(Captured(self._function, leaves, rebuild))
        self._last = captured
        return captured.run(leaves)

    @property
    def graph(self) -> Graph:
        """The simplified recording of the last call."""
        if self._last is None:
            raise errors.argument("jit", "nothing is recorded yet", hint="call the function first")
        return self._last.program.graph

    @property
    def recordings(self) -> int:
        """How often the function has been recorded."""
        return sum(len(v) for v in self._programs.values())


class no_jit:
    """Inside, captured functions run as plain Python: every value can be looked at."""

    def __enter__(self) -> None:
        _Switch.off += 1

    def __exit__(self, *_: object) -> None:
        _Switch.off -= 1


class _Switch:
    off = 0


class Captured:
    """One recording: the program, where its inputs come from, where its outputs go."""

    def __init__(
        self, function: Callable[..., Any], leaves: Sequence[Any], rebuild: Rebuild
    ) -> None:
        handles = _all_handles()
        before = [(h, h.node, h.grad) for h in handles]
        tensors = [x for x in leaves if isinstance(x, Handle)]
        with capturing() as capture:
            stand_ins = {
                id(t): abstract(Type(t.shape, t.dtype)) for t in tensors if not t.requires_grad
            }
            for i, node in enumerate(stand_ins.values()):
                node.site = f"tensor argument {i} of jit"
            given = [wrap(stand_ins[id(x)]) if id(x) in stand_ins else x for x in leaves]
            try:
                args, kwargs = rebuild(given)
                out = function(*args, **kwargs)
                before += [(h, node, None) for node, h in capture.adopted.items()]
                changed = _changes(before)
            finally:
                for handle, node, grad in before:
                    handle.node, handle.grad = node, grad
        self._guards = [*capture.guards, *_gradient_guards(before, capture)]
        self._sources = [read for _, read in capture.sources]
        self._arguments = [i for i, x in enumerate(leaves) if id(x) in stand_ins]
        places = _places(before)
        self._states = [_place_of(places, n) for n in capture.lifted]
        out_leaves, self._rebuild = flatten(out)
        self._is_tensor = [isinstance(x, Handle) for x in out_leaves]
        self._plain = [None if t else x for x, t in zip(out_leaves, self._is_tensor, strict=True)]
        self._changed = [(place, new is None) for place, new in changed]
        returned = [capture.lift(x.node) for x in out_leaves if isinstance(x, Handle)]
        written = [capture.lift(new) for _, new in changed if new is not None]
        inputs = [
            *(stand_ins[id(leaves[i])] for i in self._arguments),
            *capture.lifted.values(),
            *(node for node, _ in capture.sources),
        ]
        name = getattr(function, "__name__", "captured")
        graph = Graph(_once(inputs), [*returned, *written], name=name)
        mine = [x for x in out_leaves if isinstance(x, Handle)]
        del out, out_leaves, given, args, kwargs, changed
        _refuse_leaks(capture, [*handles, *capture.adopted.values(), *mine])
        self.program = Program(graph)
        self.runs = 0
        self._returned = len(returned)

    def holds(self) -> bool:
        """Whether the facts read while recording are still so."""
        return all(_same(read(), value) for read, value in self._guards)

    def compare(self, other: Captured) -> None:
        """Raise unless the two recordings are the same program."""
        if self.program.graph.key != other.program.graph.key:
            raise errors.build(
                errors.RecordingError,
                "jit: recording the same call twice gave two programs",
                hint="a Python value it uses changed: pass it as an argument, or make it a tensor",
            )

    def run(self, leaves: Sequence[Any]) -> Any:
        """Gather the inputs, run the program, write back what changed."""
        values = [leaves[i].node.array("jit") for i in self._arguments]
        values += [_read(place) for place in self._states]
        values += [read() for read in self._sources]
        found = self.program(values)
        self.runs += 1
        fresh = iter(found[self._returned :])
        for place, is_none in self._changed:
            _write(place, None if is_none else next(fresh))
        made = iter(found[: self._returned])
        pairs = zip(self._plain, self._is_tensor, strict=True)
        return self._rebuild([wrap(constant(next(made))) if t else x for x, t in pairs])


def _gradient_guards(
    before: Sequence[tuple[Handle, Node, Any]], capture: Capture
) -> list[tuple[Callable[[], Any], Any]]:
    """Whether there was a gradient to add to, for every handle that got one and was not cleared."""
    found: list[tuple[Callable[[], Any], Any]] = []
    for handle, _, grad in before:
        if id(handle) in capture.grown:
            who = weakref.ref(handle)
            found.append((lambda who=who: getattr(who(), "grad", None) is None, grad is None))
    return found


def _once(inputs: list[Node]) -> list[Node]:
    return list(dict.fromkeys(inputs))


def _has_graph(leaf: Any) -> bool:
    """Whether a gradient would have to flow back out through this argument."""
    return isinstance(leaf, Handle) and leaf.requires_grad and leaf.node.leaf is None


def _signature(leaves: Sequence[Any]) -> tuple[Any, ...]:
    found: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Handle):
            who = id(leaf) if leaf.requires_grad else None
            found.append((leaf.shape, leaf.dtype, str(leaf.device), who))
            continue
        try:
            hash(leaf)
        except TypeError:
            raise errors.not_a_tensor(
                "jit", leaf, hint="arguments must be tensors, or plain values that can be hashed"
            ) from None
        found.append((type(leaf), leaf))
    return tuple(found)


def _all_handles() -> list[Handle]:
    """Every tensor alive. ``type`` and not ``isinstance``, which would wake lazy objects."""
    return [o for o in gc.get_objects() if issubclass(type(o), Handle)]


def _places(before: Sequence[tuple[Handle, Node, Any]]) -> dict[Node, Place]:
    """Where each node outside was found: as the gradient of a handle, else in a handle itself."""
    places: dict[Node, Place] = {}
    for handle, node, _ in before:
        places.setdefault(node, (weakref.ref(handle), "node"))
    for handle, _, grad in before:
        if grad is not None:
            places[grad.node] = (weakref.ref(handle), "grad")
    return places


def _place_of(places: dict[Node, Place], node: Node) -> Place | Array:
    """The place to read ``node`` from at every run; a value nobody holds stays as it is."""
    return places[node] if node in places else node.array("jit")


def _read(place: Place | Array) -> Array:
    if isinstance(place, np.ndarray):
        return place
    handle = _alive(place)
    source = handle if place[1] == "node" else handle.grad
    if source is None:
        raise errors.argument(
            "jit", "a gradient that the recorded step adds to is gone",
            hint="call zero_grad() inside the step, or never",
        )  # fmt: skip
    return source.node.array("jit")


def _write(place: Place, value: Array | None) -> None:
    handle = _alive(place)
    if place[1] == "grad":
        handle.grad = None if value is None else wrap(constant(value))
    else:
        handle._replace(constant(value), "jit")  # type: ignore[arg-type]


def _alive(place: Place) -> Handle:
    handle = place[0]()
    if handle is None:
        raise errors.argument(
            "jit", "a tensor that the recorded step uses no longer exists",
            hint="keep the model and the optimiser alive as long as the step",
        )  # fmt: skip
    return handle


def _changes(before: Sequence[tuple[Handle, Node, Any]]) -> list[tuple[Place, Node | None]]:
    """Handles from before whose value or gradient is another one now."""
    found: list[tuple[Place, Node | None]] = []
    for handle, node, grad in before:
        if handle.node is not node:
            found.append(((weakref.ref(handle), "node"), handle.node))
        if handle.grad is not grad:
            new = None if handle.grad is None else handle.grad.node
            found.append(((weakref.ref(handle), "grad"), new))
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


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)

"""jit: record a whole imperative step once, then run the recording.

The function is executed once per signature, with tensors that have no value; everything it does is
recorded, whatever it finds outside (weights, optimiser state) becoming an input bound to the
handle it was found in, and every handle it assigns an output written back to that handle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from adjoint.base import errors
from adjoint.base.tree import flatten
from adjoint.ir.graph import Graph
from adjoint.ir.node import state
from adjoint.tensors.compiles import Compiles
from adjoint.tensors.handle import Handle
from adjoint.tensors.recording import Captured, Stale

if TYPE_CHECKING:
    from adjoint.compile.profile import Memory, Profile
    from adjoint.compile.program import Program


QUICK = 4  # kinds of calls that are found at once


class jit:
    """``function`` captured whole: forward, loss, ``backward()`` and ``optimizer.step()``.

    The first call with new shapes, dtypes, plain arguments or modes records; later ones run the
    recording. check: record again at the second call and raise if the two recordings differ,
    which shows a plain Python value that changed. compare: after the first run of a recording, do
    the same node by node and raise if results differ. memory_budget: bytes for what lies between
    inputs and results, or a share of what it would be; values are then computed twice instead of
    kept (raises ArgumentError when that is not enough). Reading a value (``item()``, ``if x > 0``)
    inside raises RecordingError with the line, and so does storing a tensor that outlives the call.

    Calls from inside another recording, with gradients flowing through arguments, or with
    ``with no_jit():`` around them run the plain function.
    """

    def __init__(
        self, function: Callable[..., Any] | None = None, *, check: bool = False,
        compare: bool = False, memory_budget: float | None = None,
    ) -> None:  # fmt: skip
        self._function = function
        self._check = check
        self._compare = compare
        self._memory_budget = memory_budget
        self._programs: dict[Any, list[Captured]] = {}
        self._last: Captured | None = None
        self._quick: list[Quick] = []
        self._compiles = Compiles(getattr(function, "__name__", "the function"))
        if function is not None:
            update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            for quick in self._quick:
                if quick.fits(args):
                    self._last = quick.captured
                    try:
                        return quick.captured.run(args)
                    except Stale:
                        break
        if self._function is None:  # used as @jit(check=True)
            options = {"check": self._check, "compare": self._compare}
            return jit(args[0], **options, memory_budget=self._memory_budget)
        return self._look_up(args, kwargs)

    def _look_up(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the recording for these arguments, or make one."""
        function: Any = self._function
        leaves, rebuild = flatten((args, kwargs))
        if state.recording or _Switch.off or any(_has_graph(x) for x in leaves):
            return function(*args, **kwargs)
        key = (_signature(leaves), repr(rebuild([None] * len(leaves))), state.grad)
        known = self._programs.setdefault(key, [])
        for captured in known:
            if captured.holds():
                if self._check and captured.runs == 1:
                    captured.compare(Captured(function, leaves, rebuild, self._memory_budget))
                try:
                    return self._finish(captured, captured.run(leaves), args, kwargs)
                except Stale:
                    continue
        self._compiles.note(leaves, state.grad)
        captured = Captured(function, leaves, rebuild, self._memory_budget)
        known.append(captured)
        run = captured.run_compared if self._compare else captured.run
        return self._finish(captured, run(leaves), args, kwargs)

    def _finish(self, captured: Captured, found: Any, args: Any, kwargs: Any) -> Any:
        """Remember the call, so that the next like it is found at once."""
        self._last = captured
        to_check = self._check and captured.runs == 1
        if not to_check and _is_plain(args, kwargs, captured):
            self._quick = [Quick(captured, args), *self._quick[: QUICK - 1]]
        return found

    @property
    def graph(self) -> Graph:
        """The simplified recording of the last call; ``graph.save(path)`` writes it to a file."""
        from adjoint.tensors.graphs import graph_of_step

        return graph_of_step(self._recorded())

    @property
    def kernels(self) -> str:
        """A table of the kernels of the last call."""
        return self._program().kernels

    def profile(self, rounds: int = 5) -> Profile:
        """The time of each kernel of the last call; runs on copies of all values."""
        from adjoint.tensors.replay import Replay

        replay = self._recorded().replay
        assert isinstance(replay, Replay)
        return self._program().profile(replay.arrays(), rounds)

    def memory(self) -> Memory:
        """The memory that the last call needed, and where its buffers lie."""
        return self._program().memory()

    @property
    def recordings(self) -> int:
        """How often the function has been recorded."""
        return sum(len(v) for v in self._programs.values())

    def explain(self) -> str:
        """Each recording, and the argument and axis, or the other change, that caused it."""
        return str(self._compiles)

    def _recorded(self) -> Captured:
        if self._last is None:
            raise errors.argument("jit", "nothing is recorded yet", hint="call the function first")
        return self._last

    def _program(self) -> Program:
        from adjoint.compile.program import Program

        program = self._recorded().replay.program
        if not isinstance(program, Program):
            raise errors.argument(
                "jit", "this recording is run node by node, it has no kernels",
                hint="tensors on the meta device cannot be compiled",
            )  # fmt: skip
        return program


class no_jit:
    """Inside, captured functions run as plain Python: every value can be looked at."""

    def __enter__(self) -> None:
        _Switch.off += 1

    def __exit__(self, *_: object) -> None:
        _Switch.off -= 1


class _Switch:
    off = 0


class Quick:
    """What the last call was like, to be compared with the next: plain positional arguments."""

    __slots__ = ("_count", "_grad", "_others", "_tensors", "captured")

    def __init__(self, captured: Captured, args: tuple[Any, ...]) -> None:
        self.captured = captured
        self._grad = state.grad
        self._count = len(args)
        self._tensors = [
            (i, type(a), a.node.shape, a.node.dtype, a.node.device)
            for i, a in enumerate(args) if isinstance(a, Handle)
        ]  # fmt: skip
        self._others = [(i, a, type(a)) for i, a in enumerate(args) if not isinstance(a, Handle)]

    def fits(self, args: tuple[Any, ...]) -> bool:
        """Whether a call with ``args`` means the same program, and it still holds."""
        if len(args) != self._count or state.grad is not self._grad:
            return False
        if state.recording or _Switch.off:
            return False
        for i, kind, shape, dtype, device in self._tensors:
            arg = args[i]
            if type(arg) is not kind:
                return False
            node = arg.node
            if node.shape != shape or node.dtype is not dtype or node.needs_grad:
                return False
            if node.device is not device:
                return False
        for i, value, kind in self._others:
            if type(args[i]) is not kind or args[i] != value:
                return False
        return self.captured.holds()


def _is_plain(args: tuple[Any, ...], kwargs: dict[str, Any], captured: Captured) -> bool:
    """Whether calls like this can be told apart by a look at each argument."""
    tensors = [a for a in args if isinstance(a, Handle)]
    others = all(isinstance(a, Handle) or type(a) in (int, float, bool, str) for a in args)
    given = len(captured.arguments) == len(tensors)  # none stands twice, none is a parameter
    return not kwargs and others and given and not captured.writes_arguments


def _has_graph(leaf: Any) -> bool:
    """Whether a gradient would have to flow back out through this argument."""
    return isinstance(leaf, Handle) and leaf.requires_grad and leaf.node.leaf is None


def _signature(leaves: Sequence[Any]) -> tuple[Any, ...]:
    found: list[Any] = []
    first: dict[int, int] = {}
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Handle):
            who = id(leaf) if leaf.requires_grad else None
            same = first.setdefault(id(leaf), i)
            found.append((leaf.shape, leaf.dtype, str(leaf.device), who, same))
            continue
        try:
            hash(leaf)
        except TypeError:
            raise errors.not_a_tensor(
                "jit", leaf, hint="arguments must be tensors, or plain values that can be hashed"
            ) from None
        found.append((type(leaf), leaf))
    return tuple(found)

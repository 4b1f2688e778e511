"""Declared graphs: record a function without data, then run parts of it, or save it to a file.

The third style beside eager code and ``jit``: the program is declared first and is a thing of its
own, which a process without the source of the model can load and run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adjoint.base import errors
from adjoint.base.arguments import as_function
from adjoint.base.dtype import uint32
from adjoint.base.tree import flatten
from adjoint.ir import graph as ir
from adjoint.ir.capture import capturing
from adjoint.ir.node import Array, Node, Type, abstract, apply, constant, grad_mode, state
from adjoint.tensors.handle import Handle, wrap
from adjoint.tensors.recording import Wiring, _all_handles, _changes

if TYPE_CHECKING:
    from adjoint.tensors.recording import Captured
    from adjoint.tensors.tensor import Tensor

FEED, STATE, VALUE, KEY = "feed", "state", "value", "key"


class Input(NamedTuple):
    """What an input of a Graph is.

    kind: ``feed`` is given at every run; ``state`` is kept by the graph, and updates write to it;
    ``value`` is a number that Python computes for every step (a learning rate that may change), so
    that it has to be fed too; ``key`` is a new random key.
    read: the array of a state or value when the graph was made.
    """

    name: str
    kind: str
    read: Callable[[], Any] | None = None


class Graph(ir.Graph):
    """A declared program: ``graph(*feeds)``, or ``graph.run(fetches, feeds)``.

    inputs are known by name, and so is what ``label`` marked. Printing shows every node with the
    name (``n12``) under which it can be fetched. state: tensors that the function closed over.
    structure: what is returned, a tree of numbers of outputs (see ``structure_of``).
    """

    def __init__(
        self, program: ir.Graph, kinds: Sequence[Input], structure: Any,
        names: Mapping[str, Node] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(program.inputs, program.outputs, program.updates, program.name)
        self.kinds = list(kinds)
        self.structure = structure
        self.labels = dict(names or {})
        self._state: dict[str, Array] = {}
        self._parts: dict[Any, _Part] = {}
        last = [at for _, at in program.updates]
        self._computed = max([_count(structure), *(at + 1 for at in last)])  # labels come after

    def __call__(self, *feeds: Any) -> Any:
        """All results for the feeds in their order; states are updated."""
        wanted = [k.name for k in self.kinds if k.kind == FEED]
        if len(feeds) != len(wanted):
            raise errors.argument(
                self.name, f"takes {len(wanted)} tensors, {len(feeds)} were given",
                hint=f"in this order: {', '.join(wanted)}",
            )  # fmt: skip
        return self.run(feeds=dict(zip(wanted, feeds, strict=True)))

    def run(self, fetches: Any = None, feeds: Mapping[str, Any] | None = None) -> Any:
        """The values of ``fetches``: a name, or a tree of names; only what they need is computed.

        Without fetches: what the function returned, and states are updated. feeds: tensors by the
        name of an input, or of any other node, which is then not computed. Raises ArgumentError
        for an unknown name or a missing feed, ShapeError for a wrong shape.
        """
        given = {name: self._fed(name, value) for name, value in (feeds or {}).items()}
        if fetches is None:
            outs = self._compute(self.outputs[: self._computed], given)
            for number, at in self.updates:
                self._state[self.kinds[number].name] = outs[at]
            return _rebuilt(self.structure, [wrap(constant(o)) for o in outs])
        leaves, rebuild = flatten(fetches)
        outs = self._compute([self._node(f) for f in leaves], given)
        return rebuild([wrap(constant(o)) for o in outs])

    def part(self, fetches: Any, feeds: Sequence[str] = ()) -> ir.Graph:
        """The program that ``run(fetches, feeds)`` runs: nothing but ancestors of the fetches."""
        nodes = [self._node(f) for f in flatten(fetches)[0]]
        return _Part(self, nodes, [self._node(name) for name in feeds]).graph

    @property
    def state(self) -> dict[str, Tensor]:
        """The states as they are now, by name."""
        kinds = [k for k in self.kinds if k.kind == STATE]
        return {k.name: wrap(constant(self._array(k))) for k in kinds}

    @property
    def values(self) -> dict[str, Tensor]:
        """The numbers that Python computes for every step, as they were at first, by name."""
        kinds = [k for k in self.kinds if k.kind == VALUE]
        return {k.name: wrap(constant(self._array(k))) for k in kinds}

    @property
    def feeds(self) -> dict[str, Type]:
        """Shape and dtype of every input that is to be fed."""
        pairs = zip(self.kinds, self.inputs, strict=True)
        return {k.name: Type(n.shape, n.dtype) for k, n in pairs if k.kind == FEED}

    def save(self, path: Any) -> None:
        """Write program and states to one ``.safetensors`` file; ``load_graph`` reads it."""
        from adjoint.tensors.graph_files import save_graph

        save_graph(self, path)

    def __str__(self) -> str:
        lines = [super().__str__()]
        for kind, node in zip(self.kinds, self.inputs, strict=True):
            lines.append(f"  {self._printed[node]} is {kind.kind} {kind.name!r}")
        lines += [f"  {self._printed[n]} is {name!r}" for name, n in self.labels.items()]
        return "\n".join(lines)

    @cached_property
    def _printed(self) -> dict[Node, str]:
        groups = (("x", self.inputs), ("c", self.constants), ("n", self.nodes))
        return {node: f"{letter}{i}" for letter, nodes in groups for i, node in enumerate(nodes)}

    @cached_property
    def _known(self) -> dict[str, Node]:
        found = {name: node for node, name in self._printed.items()}
        found.update((k.name, n) for k, n in zip(self.kinds, self.inputs, strict=True))
        found.update(self.labels)
        return found

    @cached_property
    def _kind_of(self) -> dict[Node, Input]:
        return dict(zip(self.inputs, self.kinds, strict=True))

    def _node(self, fetch: Any) -> Node:
        if isinstance(fetch, str) and fetch in self._known:
            return self._known[fetch]
        named = [*(k.name for k in self.kinds), *self.labels]
        raise errors.unknown_name(f"{self.name}.run", fetch, named)

    def _fed(self, name: str, value: Any) -> Array:
        node = self._node(name)
        array = value.node.array("run") if isinstance(value, Handle) else np.asarray(value)
        if array.shape != node.shape:
            raise errors.shape(
                f"{self.name}.run", f"the feed {name!r} has another shape than declared",
                Type(array.shape, node.dtype), node,
                hint=f"feed a tensor of shape {errors.dims(node.shape)}",
            )  # fmt: skip
        if array.dtype != node.dtype.numpy:
            if isinstance(value, (Handle, np.ndarray)):
                raise errors.wrong_dtype(
                    f"{self.name}.run: feed {name!r}", array.dtype, node.dtype.name,
                    hint=f"convert it first: {name}.to(adjoint.{node.dtype.name})",
                )  # fmt: skip
            array = array.astype(node.dtype.numpy)
        return array

    def _compute(self, nodes: Sequence[Node], given: dict[str, Array]) -> list[Array]:
        fed = [self._node(name) for name in given]
        key = (tuple(id(n) for n in nodes), tuple(id(n) for n in fed))
        if key not in self._parts:
            self._parts[key] = _Part(self, nodes, fed)
        values = dict(zip(fed, given.values(), strict=True))
        return self._parts[key](lambda node: values[node] if node in values else self._read(node))

    def _read(self, node: Node) -> Array:
        kind = self._kind_of[node]
        if kind.kind == FEED:
            raise errors.argument(
                f"{self.name}.run", f"{kind.name!r} is needed and was not fed",
                hint=f"run(fetches, {{{kind.name!r}: tensor}})",
            )  # fmt: skip
        if kind.kind == VALUE:
            raise errors.argument(
                f"{self.name}.run",
                f"{kind.name!r} is a number that Python computes for every step, such as a "
                f"learning rate: feed it (it was {self._array(kind)} at first)",
                hint="run(feeds={**graph.values, ...}) takes those from when it was recorded",
            )  # fmt: skip
        if kind.kind == KEY:
            from adjoint.tensors.generator import default_generator

            return default_generator.next_key().array()
        return self._array(kind)

    def _array(self, kind: Input) -> Array:
        if kind.name not in self._state:
            assert kind.read is not None
            self._state[kind.name] = np.array(kind.read())
        return self._state[kind.name]


class _Part:
    """What some nodes need, compiled: the inputs (or other nodes that are fed) and a program."""

    def __init__(self, graph: ir.Graph, wanted: Sequence[Node], fed: Sequence[Node]) -> None:
        found = _upstream(wanted, set(fed) | set(graph.inputs))
        self.sources = [n for n in found if n in graph.inputs or n in fed]
        new: dict[Node, Node] = {}
        with ir.recording(), grad_mode(False):
            for node in self.sources:
                new[node] = abstract(Type(node.shape, node.dtype))
            for node in found:
                if node not in new and node.op is not None and node.is_abstract:
                    assert node.args is not None
                    new[node] = apply(node.op, tuple(new.get(a, a) for a in node.args), node.params)
        outputs = [new.get(n, n) for n in wanted]
        self.graph = ir.Graph([new[n] for n in self.sources], outputs, name=graph.name)
        self._program: Any = None

    def __call__(self, read: Callable[[Node], Array]) -> list[Array]:
        from adjoint.compile.program import program_of  # loads LLVM

        if self._program is None:
            self._program = program_of(self.graph)
        arrays = [np.asarray(read(n), n.dtype.numpy) for n in self.sources]
        return self._program(arrays)


def record(function: Callable[..., Any], *specs: Any) -> Graph:
    """The Graph of ``function(*specs)``; nothing is computed.

    specs: tensors of which only shape and dtype matter (``ad.empty(32, 784, device="meta")`` has no
    data at all), trees of them, or plain values, which become part of the program. What
    ``function`` closes over (weights) is the state of the graph; assignments to it are updates.
    Raises RecordingError where the function looks at a value.
    """
    as_function("record", function)
    handles = _all_handles()
    before = [(h, h.node, h.grad) for h in handles]
    leaves, rebuild = flatten(list(specs))
    with capturing() as capture:
        given = [
            wrap(abstract(Type(x.shape, x.dtype))) if isinstance(x, Handle) else x for x in leaves
        ]
        feeds = [x.node for x in given if isinstance(x, Handle)]
        try:
            out = function(*rebuild(given))
            before += [(h, node, None) for node, h in capture.adopted.items()]
            changed = _changes(before)
        finally:
            for handle, node, grad in before:
                handle.node, handle.grad = node, grad
        structure, tensors = structure_of(out)
        returned = [capture.lift(t.node) for t in tensors]
        name = getattr(function, "__name__", type(function).__name__)
        wiring = Wiring(capture, before, changed, feeds, returned, name)
        labels = {name: capture.lift(node) for name, node in capture.labels.items()}
    known = _names_of(function)
    kinds = _kinds(wiring, _feed_names(function, specs), known)
    # what is labelled may be no ancestor of a result
    program = ir.Graph(
        wiring.graph.inputs, [*wiring.graph.outputs, *labels.values()], wiring.graph.updates, name
    )
    return Graph(program, kinds, structure, labels)


def label(x: Any, name: str) -> Any:
    """``x`` itself; while a graph is recorded, it can be fetched from there by ``name``."""
    if not isinstance(x, Handle):
        raise errors.not_a_tensor("label", x)
    if not isinstance(name, str):
        raise errors.bad_argument("label", "name", name, "text")
    if state.capture is not None:
        state.capture.labels[name] = x.node
    return x


def graph_of_step(captured: Captured) -> Graph:
    """The program of a captured step, with what its handles hold as states."""
    from adjoint.tensors.replay import Replay, Slot, _content

    replay, program = captured.replay, captured.graph
    slots: Iterable[Slot] = replay.slots if isinstance(replay, Replay) else replay._slots.values()
    kinds = [Input(f"argument{i}", FEED) for i in range(len(program.inputs))]
    for at, slot in enumerate(slots):
        name = slot.place + str(at)
        of = program.inputs[slot.number]
        if slot.read:
            kinds[slot.number] = Input(name, STATE, lambda s=slot: _content(s).array("save"))
        else:
            kinds[slot.number] = Input(name, STATE, lambda t=of: np.zeros(t.shape, t.dtype.numpy))
    for number, array in replay._fixed:
        kinds[number] = Input(f"fixed{number}", STATE, lambda a=array: a)
    for source in replay._sources:
        kinds[source.number] = _source(source.number, source.of, source.read)
    tensors = [{"tensor": i} for i in range(captured._returned)]
    return Graph(program, kinds, tensors[0] if captured._is_single else {"tuple": tensors})


def _source(number: int, of: Type, read: Callable[[], Any]) -> Input:
    """Two uint32 words that are asked for at every run are a random key."""
    if of.dtype is uint32 and of.shape == (2,):
        return Input(f"key{number}", KEY)
    return Input(f"value{number}", VALUE, lambda: np.asarray(read(), of.dtype.numpy))


def _kinds(wiring: Wiring, feeds: list[str], known: dict[int, str]) -> list[Input]:
    graph = wiring.graph
    found = [Input(name, FEED) for name in feeds]
    found += [Input("", FEED)] * (len(graph.inputs) - len(feeds))
    taken = set(feeds)
    for old, new in wiring.capture.lifted.items():
        number = wiring.number[new]
        name = known.get(old.serial, f"state{number}")
        name = name if name not in taken else f"{name}.{number}"
        taken.add(name)
        found[number] = Input(name, STATE, lambda node=old: node.array("record"))
    for node, read in wiring.capture.sources:
        number = wiring.number[node]
        found[number] = _source(number, Type(node.shape, node.dtype), read)
    for number in wiring.targets.values():  # gradients that a step leaves behind
        if not found[number].name:
            of = graph.inputs[number]
            zero = lambda t=of: np.zeros(t.shape, t.dtype.numpy)  # noqa: E731
            found[number] = Input(f"gradient{number}", STATE, zero)
    return found


def _names_of(function: Any) -> dict[int, str]:
    """Names for tensors of the modules that ``function`` is, is a method of, or closes over, by
    the serial numbers of their nodes."""
    owners: dict[str, Any] = {"": function, "self": getattr(function, "__self__", None)}
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is not None and cells:
        for name, cell in zip(code.co_freevars, cells, strict=True):
            owners[name] = cell.cell_contents
    found: dict[int, str] = {}
    for owner, module in owners.items():
        if isinstance(module, Handle):
            found.setdefault(module.node.serial, owner)
        for kind in ("named_parameters", "named_buffers"):
            listed = getattr(module, kind, None)
            if listed is not None and not isinstance(module, type):
                pairs: Iterable[tuple[str, Any]] = listed()
                for name, tensor in pairs:
                    full = name if owner in ("", "self") else f"{owner}.{name}"
                    found.setdefault(tensor.node.serial, full)
    return found


def _feed_names(function: Any, specs: Sequence[Any]) -> list[str]:
    """A name for every tensor among ``specs``: of its argument, with a number inside a tree."""
    target = getattr(function, "forward", function)
    try:
        found = inspect.signature(target).parameters.values()
        arguments = [p.name for p in found if p.kind is not p.VAR_POSITIONAL]
    except (TypeError, ValueError):  # a function of another language has no signature
        arguments = []
    names: list[str] = []
    for i, spec in enumerate(specs):
        own = arguments[i] if i < len(arguments) else f"input{i}"
        count = sum(isinstance(x, Handle) for x in flatten(spec)[0])
        names += [own] if isinstance(spec, Handle) else [f"{own}.{j}" for j in range(count)]
    return names


def structure_of(out: Any) -> tuple[Any, list[Handle]]:
    """What is returned as plain JSON, and the tensors in it: ``{"tensor": number}``,
    ``{"tuple": [...]}``, ``{"list": [...]}``, ``{"dict": {...}}`` or ``{"value": plain}``."""
    tensors: list[Handle] = []

    def walk(value: Any) -> Any:
        if isinstance(value, Handle):
            tensors.append(value)
            return {"tensor": len(tensors) - 1}
        if isinstance(value, (tuple, list)):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [walk(v) for v in value]}
        if isinstance(value, dict) and all(isinstance(k, str) for k in value):
            return {"dict": {k: walk(v) for k, v in value.items()}}
        if value is None or isinstance(value, (bool, int, float, str)):
            return {"value": value}
        raise errors.argument(
            "record", f"a {type(value).__name__} among the results cannot be part of a graph",
            hint="return tensors and plain values in tuples, lists and dicts",
        )  # fmt: skip

    return walk(out), tensors


def _count(structure: Any) -> int:
    """How many tensors are in a structure."""
    ((kind, content),) = structure.items()
    if kind in ("tensor", "value"):
        return int(kind == "tensor")
    return sum(map(_count, content.values() if kind == "dict" else content))


def _rebuilt(structure: Any, tensors: Sequence[Any]) -> Any:
    ((kind, content),) = structure.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {k: _rebuilt(v, tensors) for k, v in content.items()}
    if kind == "value":
        return content
    made = [_rebuilt(v, tensors) for v in content]
    return made if kind == "list" else tuple(made)


def _upstream(wanted: Sequence[Node], ends: set[Node]) -> list[Node]:
    """``wanted`` and what they are computed from, oldest first; nothing beyond ``ends``."""
    seen: set[Node] = set()
    stack = list(wanted)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            if node not in ends:
                stack.extend(node.args or ())
    return sorted(seen, key=lambda n: n.serial)

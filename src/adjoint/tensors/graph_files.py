"""Declared graphs in files: numbers as safetensors, structure as JSON in their metadata.

A file holds data, never code: ops and regions are named, and loading looks the names up in the
tables of this library and checks every type again. What is not known there is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adjoint.base import errors
from adjoint.base.dtype import DType, as_dtype
from adjoint.base.files import replace_file
from adjoint.ir import graph as ir
from adjoint.ir.node import Array, Node, Params, Type, abstract, apply, constant, grad_mode
from adjoint.ops.rows import TABLE
from adjoint.ops.structure import Again, Region
from adjoint.tensors.graphs import FEED, KEY, STATE, VALUE, Graph, Input
from adjoint.tensors.regions import REGIONS

ENTRY, VERSION = "adjoint.graph", 1
SUFFIX = ".safetensors"


def save_graph(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write ``graph`` to one file, in one step.

    Regions that a program defines itself are written as what they consist of. Raises ArgumentError
    for something that only exists as Python code.
    """
    target = _checked_path("save_graph", path)
    from safetensors.numpy import save_file

    from adjoint.compile.expand import expand

    names = list(graph.labels)
    marked = [*graph.outputs, *(graph.labels[n] for n in names)]
    plain = expand(ir.Graph(graph.inputs, marked, graph.updates, graph.name), _is_known)
    writer = _Writer()
    table = writer.graph(plain)
    table["outputs"], labels = table["outputs"][: len(graph.outputs)], table["outputs"]
    inputs: list[dict[str, Any]] = []
    for kind, entry in zip(graph.kinds, table["inputs"], strict=True):
        inputs.append({"name": kind.name, "kind": kind.kind, **entry})
        if kind.kind in (STATE, VALUE):
            writer.arrays[f"input.{kind.name}"] = np.array(graph._array(kind), order="C")
    document = {
        "version": VERSION, **table, "inputs": inputs, "structure": graph.structure,
        "labels": dict(zip(names, labels[len(graph.outputs) :], strict=True)),
    }  # fmt: skip
    text = {ENTRY: json.dumps(document, allow_nan=False)}
    replace_file(target, lambda temporary: save_file(writer.arrays, temporary, text))


def load_graph(path: str | os.PathLike[str]) -> Graph:
    """The Graph that ``Graph.save`` wrote to ``path``; the model's source is not needed.

    Raises ArgumentError when the file is damaged, or names an op or a region that this version
    does not know.
    """
    from adjoint.tensors import functional as functional  # whose regions a graph may name

    source = _checked_path("load_graph", path)
    arrays, document = _read(source)
    try:
        return _Reader(arrays).whole(document)
    except _Unknown as problem:
        raise errors.argument(
            "load_graph", f"{source} needs {problem}, which is not known here",
            hint="load it with the version that saved it, or a later one",
        ) from None  # fmt: skip
    except (
        KeyError, TypeError, ValueError, IndexError, AssertionError, AttributeError,
        errors.AdjointError, RecursionError,
    ) as problem:  # fmt: skip
        reason = getattr(problem, "brief", str(problem)).split("\n")[0]
        raise _damaged(source, f"{type(problem).__name__}: {reason}") from None


class _Unknown(Exception):
    """An op or region that is not in the tables."""


def _is_known(node: Node) -> bool:
    region: Region = node.params["region"]
    return REGIONS.get(region.name) is region


def _checked_path(op: str, path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise errors.bad_argument(op, "path", path, "the name of a file")
    found = Path(path)
    if found.suffix != SUFFIX:
        raise errors.argument(
            op, f"{str(found)!r} does not end in {SUFFIX}",
            hint=f"graphs are safetensors files: {str(found.with_suffix(SUFFIX))!r}",
        )  # fmt: skip
    return found


def _damaged(path: Path, what: str) -> Exception:
    return errors.argument(
        "load_graph", f"{path} does not hold a whole graph: {what}",
        hint="was it cut off or changed? Graph.save writes such files",
    )  # fmt: skip


def _read(path: Path) -> tuple[dict[str, bytes], Any]:
    from safetensors import SafetensorError, deserialize

    content = path.read_bytes()
    try:
        entries = deserialize(content)
    except SafetensorError as problem:
        raise _damaged(path, str(problem).removeprefix("Error while deserializing: ")) from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text = (header.get("__metadata__") or {}).get(ENTRY)
    if text is None:
        raise errors.argument(
            "load_graph", f"{path} holds tensors, but no graph", hint="ad.load(path) reads weights"
        )
    try:
        document = json.loads(text)
    except ValueError as problem:
        raise _damaged(path, str(problem)) from None
    return {name: bytes(entry["data"]) for name, entry in entries}, document


class _Writer:
    """Graphs as JSON; ``arrays`` collects what is written as numbers."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._marks: list[Again] = []

    def graph(self, graph: ir.Graph) -> dict[str, Any]:
        """Nodes are known by their number: inputs first, then constants, then what is computed."""
        everything = [*graph.inputs, *graph.constants, *graph.nodes]
        number = {node: i for i, node in enumerate(everything)}
        nodes: list[dict[str, Any]] = []
        for node in graph.nodes:
            assert node.op is not None and node.args is not None
            nodes.append({
                "op": node.op.name, "args": [number[a] for a in node.args],
                "params": {k: self.value(v) for k, v in node.params.items()},
                "types": [_type(t) for t in node.parts or (node,)],
            })  # fmt: skip
        return {
            "name": graph.name,
            "inputs": [{"type": _type(n)} for n in graph.inputs],
            "constants": [self.constant(n) for n in graph.constants],
            "nodes": nodes,
            "outputs": [number[o] for o in graph.outputs],
            "updates": [list(pair) for pair in graph.updates],
        }

    def constant(self, node: Node) -> dict[str, Any]:
        """One that repeats a smaller array is written as this, whose shape is ``of``."""
        value = node.array("save")
        once = value[tuple(slice(None) if s else slice(0, 1) for s in value.strides)]
        if once.size == value.size:
            return {"type": _type(node), "array": self.array(value)}
        return {"type": _type(node), "array": self.array(once), "of": list(once.shape)}

    def array(self, array: Array) -> str:
        name = f"constant.{len(self.arrays)}"
        self.arrays[name] = np.array(array, order="C")
        return name

    def value(self, value: Any) -> Any:
        """A parameter: plain values as they are, all else as a dict with one ``$`` key."""
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (int, np.integer)):
            return int(value)
        if isinstance(value, (float, np.floating)):
            return {"$float": float(value).hex()}
        if isinstance(value, (tuple, list)):
            return {"$tuple": [self.value(v) for v in value]}
        if isinstance(value, DType):
            return {"$dtype": value.name}
        if isinstance(value, Region):
            return {"$region": value.name}
        if isinstance(value, ir.Graph):
            return {"$graph": self.graph(value)}
        if isinstance(value, Again):
            if value not in self._marks:
                self._marks.append(value)
            return {"$again": self._marks.index(value)}
        if isinstance(value, np.ndarray):
            return {"$array": self.array(value), "type": [list(value.shape), value.dtype.name]}
        raise errors.argument(
            "save_graph", f"a {type(value).__name__} in the program only exists as Python code",
            hint="a graph with user-written rules cannot be saved; use compositions of functions",
        )  # fmt: skip


class _Reader:
    """The way back; every check is that of recording."""

    def __init__(self, arrays: Mapping[str, bytes]) -> None:
        self.arrays = arrays
        self._marks: dict[int, Again] = {}

    def whole(self, document: Any) -> Graph:
        if document["version"] != VERSION:
            raise _Unknown(f"version {document['version']!r} of the format")
        program, everything = self.graph(document)
        kinds = [self.kind(entry) for entry in document["inputs"]]
        assert len({k.name for k in kinds}) == len(kinds), "two inputs of one name"
        labels = {str(k): everything[_place(n)] for k, n in document["labels"].items()}
        return Graph(program, kinds, _checked(document["structure"], len(program.outputs)), labels)

    def kind(self, entry: Any) -> Input:
        name, kind = str(entry["name"]), entry["kind"]
        if kind in (FEED, KEY):
            return Input(name, kind)
        assert kind in (STATE, VALUE), f"an input of kind {kind!r}"
        value = self.numbers(f"input.{name}", _typed(entry["type"]))
        return Input(name, kind, lambda: value)

    def graph(self, table: Any) -> tuple[ir.Graph, list[Node]]:
        with ir.recording(), grad_mode(False):
            inputs = [abstract(_typed(entry["type"])) for entry in table["inputs"]]
            for entry, node in zip(table["inputs"], inputs, strict=True):
                node.site = f"input {entry.get('name')!r} of a graph that was loaded"
            everything = [*inputs, *(self.constant(entry) for entry in table["constants"])]
            for entry in table["nodes"]:
                everything.append(self.node(entry, everything))
        outputs = [everything[_place(o)] for o in table["outputs"]]
        updates = [(_place(i), _place(j)) for i, j in table["updates"]]
        program = ir.Graph(inputs, outputs, updates, str(table["name"]))
        program.verify()
        return program, everything

    def constant(self, entry: Any) -> Node:
        of = _typed(entry["type"])
        if "of" not in entry:
            return constant(self.numbers(entry["array"], of))
        once = Type(tuple(_place(n) for n in entry["of"]), of.dtype)
        small = constant(self.numbers(entry["array"], once))
        return apply(TABLE["broadcast"], (small,), {"shape": of.shape})

    def node(self, entry: Any, known: Sequence[Node]) -> Node:
        if entry["op"] not in TABLE:
            raise _Unknown(f"the op {entry['op']!r}")
        params: Params = {str(k): self.value(v) for k, v in entry["params"].items()}
        args = tuple(known[_place(a)] for a in entry["args"])
        if not args or all(a.value is not None for a in args):
            made = _late(TABLE[entry["op"]], args, params)
        else:
            made = apply(TABLE[entry["op"]], args, params)
        found = [Type(t.shape, t.dtype) for t in made.parts or (made,)]
        wanted = [_typed(t) for t in entry["types"]]
        assert found == wanted, f"{entry['op']} gives {found}, the file says {wanted}"
        made.site = "a node of a graph that was loaded"
        return made

    def numbers(self, name: Any, of: Type) -> Array:
        data = self.arrays[name]
        return np.frombuffer(data, of.dtype.numpy).reshape(of.shape)

    def value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            assert value is None or isinstance(value, (bool, int, str)), f"a parameter {value!r}"
            return value
        rules: dict[str, Callable[[Any], Any]] = {
            "$float": float.fromhex, "$dtype": as_dtype, "$region": self.region,
            "$tuple": lambda items: tuple(self.value(v) for v in items),
            "$graph": lambda table: self.graph(table)[0],
            "$again": lambda number: self._marks.setdefault(_place(number), Again()),
            "$array": lambda name: self.numbers(name, _typed(value["type"])),
        }  # fmt: skip
        assert value, "a parameter that is empty"
        name = next(iter(value))
        return rules[name](value[name])

    def region(self, name: Any) -> Region:
        if name not in REGIONS:
            raise _Unknown(f"the region {name!r}")
        return REGIONS[name]


def _late(op: Any, args: tuple[Node, ...], params: Params) -> Node:
    """A node of the program though all its arguments are known: it is computed when it is run."""
    from adjoint.ir.node import record_op

    return record_op(op, args, params)


def _type(of: Any) -> list[Any]:
    return [list(of.shape), of.dtype.name]


def _typed(entry: Any) -> Type:
    shape, dtype = entry
    return Type(tuple(_place(n) for n in shape), as_dtype(dtype))


def _place(number: Any) -> int:
    """A number that counts from 0, as lists would also take -1 or True."""
    assert type(number) is int and number >= 0, f"{number!r} is no number of a node or a size"
    return number


def _checked(structure: Any, count: int) -> Any:
    """A structure all of whose tensors are there."""
    ((kind, content),) = structure.items()
    if kind == "tensor":
        assert _place(content) < count, f"result {content} of {count}"
    elif kind == "dict":
        return {kind: {str(k): _checked(v, count) for k, v in content.items()}}
    elif kind in ("list", "tuple"):
        return {kind: [_checked(v, count) for v in content]}
    else:
        assert kind == "value", f"a result of kind {kind!r}"
    return structure

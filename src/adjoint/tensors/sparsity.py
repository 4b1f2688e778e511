"""Sparse Jacobians: which result depends on which argument, and columns computed together.

The pattern follows from the recorded program, op by op: the set of inputs behind every element.
Columns that share no row get one colour, and one push-forward gives all columns of a colour.
Source: Curtis, Powell and Reid, "On the estimation of sparse Jacobian matrices", 1974.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adjoint.base import errors
from adjoint.base.arguments import as_function
from adjoint.base.shape import numel
from adjoint.compile.expand import expand
from adjoint.ir.graph import record
from adjoint.ir.node import Array, Node, Type
from adjoint.tensors.creation import tensor
from adjoint.tensors.handle import Handle, wrap
from adjoint.tensors.transforms import linearize

if TYPE_CHECKING:
    from adjoint.tensors.tensor import Tensor

LARGEST = 50_000_000  # entries of a pattern on the way
Pattern = Array  # (elements, width): the inputs behind each element in order, then -1


class SparseMatrix(NamedTuple):
    """The entries ``values`` at (``rows``, ``columns``) of a matrix of ``shape``, sorted by row;
    zero elsewhere. ``passes``: how many products with the Jacobian it took."""

    rows: Array
    columns: Array
    values: Tensor
    shape: tuple[int, int]
    passes: int

    @property
    def nnz(self) -> int:
        """The number of entries."""
        return len(self.rows)

    def to_dense(self) -> Tensor:
        """The whole matrix."""
        values = self.values.detach().numpy()
        dense = np.zeros(self.shape, values.dtype)
        dense[self.rows, self.columns] = values
        return tensor(dense)


def sparse_jacobian(function: Callable[[Tensor], Tensor], x: Handle) -> SparseMatrix:
    """d function(x)_i / d x_j, where the program says that it can differ from zero; elements of
    ``x`` and of the result are counted through. A band of width b takes about b passes, whatever
    the size.

    Operations that mix everything (products of matrices, sorting, loops) count as dense. Raises
    ArgumentError when what they give is too large to be kept.
    """
    if not isinstance(x, Handle):
        raise errors.not_a_tensor("sparse_jacobian", x)
    as_function("sparse_jacobian", function)
    if x.dtype.kind != "f":
        raise errors.wrong_dtype(
            "sparse_jacobian", x.dtype, "a float dtype", hint="convert first: x.float()"
        )
    rows, columns = jacobian_sparsity(function, x)
    colours = _colours(rows, columns, numel(x.shape))
    passes = int(colours.max(initial=-1)) + 1
    out, push = linearize(function, x)
    values = np.zeros(len(rows), x.dtype.numpy)
    for colour in range(passes):
        seed = tensor((colours == colour).reshape(x.shape), dtype=x.dtype)
        found = push(seed).numpy().reshape(-1)
        mine = colours[columns] == colour
        values[mine] = found[rows[mine]]
    shape = (numel(out.shape), numel(x.shape))
    return SparseMatrix(rows, columns, tensor(values), shape, passes)


def jacobian_sparsity(function: Callable[[Tensor], Tensor], x: Handle) -> tuple[Array, Array]:
    """Rows and columns of the entries of the Jacobian at any point that can differ from zero."""

    def run(node: Node) -> list[Node]:
        out = function(wrap(node))
        if not isinstance(out, Handle):
            raise errors.not_a_tensor("sparse_jacobian", out)
        return [out.node]

    graph = expand(record(run, [Type(x.shape, x.dtype)]), lambda node: False)
    behind: dict[Node, Pattern] = {graph.inputs[0]: np.arange(numel(x.shape))[:, None]}
    for node in graph.nodes:
        found = _behind(node, behind)
        if found is not None:
            behind[node] = found
    out = graph.outputs[0]
    pattern = behind.get(out, np.full((numel(out.shape), 0), -1))
    rows, places = np.nonzero(pattern >= 0)
    return rows, pattern[rows, places]


def _behind(node: Node, behind: dict[Node, Pattern]) -> Pattern | None:
    """The pattern of ``node``; None when it depends on no input."""
    assert node.op is not None and node.args is not None
    known = [behind[a] for a in node.args if a in behind]
    if not known or node.dtype.kind != "f":
        return None
    if node.op.kind == "pointwise" or node.op.name == "copy":
        return _tight(known)
    if node.op.kind == "view" or node.op.name == "gather":
        return _moved(node, behind)
    if node.op.name in ("reduce_sum", "reduce_max") and node.args[0].shape:
        axes = node.params["axes"]
        kept = [i for i in range(len(node.args[0].shape)) if i not in axes]
        places = np.arange(len(known[0])).reshape(node.args[0].shape)
        groups = places.transpose(*kept, *axes).reshape(numel(node.shape), -1)
        _check(groups.size * known[0].shape[1])
        return _tight([known[0][groups].reshape(len(groups), -1)])
    every = np.unique(np.concatenate([k[k >= 0] for k in known]))
    _check(numel(node.shape) * len(every))
    return np.broadcast_to(every, (numel(node.shape), len(every)))


def _moved(node: Node, behind: dict[Node, Pattern]) -> Pattern:
    """The pattern of an op that only moves elements: run on numbers that say where each is from."""
    assert node.op is not None and node.args is not None
    numbers: list[Array] = []
    tables: list[Pattern] = []
    start = 1  # 0 is what depends on nothing, such as padding
    for arg in node.args:
        if arg in behind:
            numbers.append(np.arange(start, start + numel(arg.shape)).reshape(arg.shape))
            tables.append(behind[arg])
            start += numel(arg.shape)
        elif arg.dtype.kind == "f":
            numbers.append(np.zeros(arg.shape, np.int64))
        else:
            numbers.append(arg.array("sparse_jacobian"))
    width = max(t.shape[1] for t in tables)
    table = np.full((start, width), -1)
    for at, part in zip(np.cumsum([1, *map(len, tables[:-1])]), tables, strict=True):
        table[at : at + len(part), : part.shape[1]] = part
    places = np.asarray(node.op.ref(*numbers, **node.params)).reshape(-1)
    _check(len(places) * width)
    return table[places]


def _tight(patterns: list[Pattern]) -> Pattern:
    """The union of patterns: sorted, each input once, as narrow as can be."""
    if len(patterns) == 1 and patterns[0].shape[1] < 2:
        return patterns[0]
    _check(sum(p.size for p in patterns))
    joined = np.sort(np.concatenate(patterns, 1), 1)[:, ::-1]
    again = joined[:, 1:] == joined[:, :-1]
    joined[:, 1:][again] = -1
    joined = np.sort(joined, 1)[:, ::-1]
    return joined[:, : int((joined >= 0).sum(1).max(initial=0))]


def _colours(rows: Array, columns: Array, count: int) -> Array:
    """A colour for each column, such that columns of one colour share no row: the first that is
    free, from left to right."""
    order = np.argsort(columns, kind="stable")
    starts = np.searchsorted(columns[order], np.arange(count + 1))
    taken: list[set[int]] = [set() for _ in range(int(rows.max(initial=-1)) + 1)]
    colours = np.zeros(count, np.int64)
    for column in range(count):
        mine = rows[order[starts[column] : starts[column + 1]]].tolist()
        used = set().union(*(taken[r] for r in mine)) if mine else set()
        colour = next(c for c in range(len(used) + 1) if c not in used)
        colours[column] = colour
        for row in mine:
            taken[row].add(colour)
    return colours


def _check(size: int) -> None:
    if size > LARGEST:
        raise errors.argument(
            "sparse_jacobian", "the Jacobian is not sparse: each result depends on most arguments",
            hint="jacrev(f)(x) gives the dense one; jvp and vjp give products with it",
        )  # fmt: skip

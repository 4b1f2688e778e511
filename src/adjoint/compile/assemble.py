"""From a group of nodes to a loop kernel: axes ordered and merged, reads turned into strides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

from adjoint.base.dtype import DType
from adjoint.base.shape import Shape
from adjoint.compile import write_loops
from adjoint.compile.backends.cpu.target import Target, host
from adjoint.compile.group import Group
from adjoint.compile.kernel import Kernel, Place, Step
from adjoint.compile.listing import listing
from adjoint.compile.loops import WIDTH, Item, Loops, Store
from adjoint.compile.lower import buffer
from adjoint.compile.pieces import cut_in_two, in_pieces
from adjoint.compile.views import Axis, Map, View, contiguous, leaves, whole
from adjoint.ir.node import Array, Node

JOB = 1 << 15  # points and ops that a job should have at least
MOST_JOBS = 64
Read = Callable[[Node, int], View]
Landing = dict[Node, View]


class Assembly:
    """The members of a group as items over the axes of its index space."""

    def __init__(
        self, group: Group, read: Read, wanted: Callable[[Node], bool], landing: Landing
    ) -> None:
        self.group = group
        self.landing = landing
        self.read = read
        self.axes = group.domain
        self.items: list[Item] = []
        self.number: dict[Any, int] = {}
        self.loads: list[tuple[int, View]] = []
        self.starts: dict[int, int] = {}
        members = list(reversed(group.members))
        for node in members:
            self.number[node] = self.add(node)
        self.stores = [(self.number[n], n) for n in members if n in group.stored and wanted(n)]

    def target(self, node: Node) -> View:
        """Where a stored member goes: its own buffer, or a part of another."""
        return self.landing.get(node) or whole(node)

    def add(self, node: Node) -> int:
        """The item of a member, after those of what it reads."""
        assert node.op is not None and node.args is not None
        args = tuple(self.argument(node, i) for i in range(len(node.args)))
        name = node.params["region"].name if node.op.name == "call" else node.op.name
        if name == "copy":
            return args[0]
        skip = (
            ("region", "axes") if node.op.kind == "reduce" or name == node.op.name else ("region",)
        )
        params = tuple(sorted((k, v) for k, v in node.params.items() if k not in skip))
        return self.enter(Item(name, node.dtype, args, params=params))

    def enter(self, item: Item) -> int:
        """The number of ``item``; equal ones are one."""
        found = self.number.get(item)
        if found is None:
            found = self.number[item] = len(self.items)
            self.items.append(item)
        return found

    def argument(self, node: Node, slot: int) -> int:
        group = self.group
        view = self.read(node, slot)
        if view.node in group.maps:
            return self.number[view.node]
        value = uniform(view.node)
        if value is not None:
            return self.enter(Item("number", view.node.dtype, params=(("value", value),)))
        places = group.inner.get(node) or group.maps[node]
        strides = along(places, view, self.axes)
        if view.node.op is not None and view.node.op.name == "iota":
            params = (("start", view.offset),)
            return self.enter(Item("iota", view.node.dtype, strides=strides, params=params))
        key = ("load", view.node, view.offset, strides)
        if key not in self.number:
            self.number[key] = len(self.items)
            self.loads.append((len(self.items), view))
            self.items.append(Item("load", view.node.dtype, strides=strides))
        return self.number[key]


def along(places: Map, view: View, axes: list[Axis]) -> Shape:
    """The stride of ``view`` along each of ``axes``, of which its own are made by ``places``."""
    found = dict.fromkeys(axes, 0)
    for part, stride, size in zip(places, view.strides, view.shape, strict=True):
        step = stride
        if size == 1:
            continue
        for axis in reversed(leaves(part)):
            found[axis] += step
            step *= axis.size
    return tuple(found[a] for a in axes)


def uniform(node: Node) -> float | int | None:
    """The number that every element of a constant is; None for other nodes."""
    while node.value is None and node.op is not None and node.op.lazy and node.args:
        node = node.args[0]
    value: Array | None = node.value
    if value is None or value.size == 0:
        return None
    first: Any = value[(0,) * value.ndim]
    if any(value.strides) and value.size > 1:
        same: Array = value == first
        if value.size > 4096 or not bool(same.all()):
            return None
    return float(first) if node.dtype.kind == "f" else int(first)


def kernels_of(
    group: Group, read: Read, wanted: Callable[[Node], bool], columns: int = 0,
    instead: dict[Node, Node] | None = None, landing: Landing | None = None,
) -> list[Kernel] | None:  # fmt: skip
    """The kernel of a group, or two where few long rows are summed in pieces. With ``columns`` one
    that finishes tiles of a matrix of as many columns, or None when its index space has no such
    axis. ``instead``: other buffers to use. landing: members that are stored elsewhere."""
    assembly = Assembly(group, read, wanted, landing or {})
    matrix = next(iter(instead)) if columns and instead else None
    merged = _ordered(assembly, columns, matrix)
    sizes = tuple(prod(a.size for a in part) for part in merged)
    rows = sum(not part[0].reduced for part in merged)
    if columns and (not sizes or sizes[rows - 1] != columns or rows != len(sizes)):
        return None
    position = {axis: i for i, axis in enumerate(assembly.axes)}
    last = [position[part[-1]] for part in merged]
    if not sizes:
        sizes, rows = (1,), 1

    def cut(strides: Shape) -> Shape:
        return tuple(strides[i] for i in last) or (0,)

    items = [i._replace(strides=cut(i.strides)) if i.strides or i.op in ("load", "iota") else i
             for i in assembly.items]  # fmt: skip
    slots: dict[Place, int] = {}
    swap = instead or {}
    for number, view in assembly.loads:
        place = Place(
            swap.get(view.node, view.node), view.offset * (view.node.dtype.bits // 8 or 1)
        )
        slot = slots.setdefault(place, len(slots))
        items[number] = items[number]._replace(slot=slot)
    reads = tuple(slots)
    dtypes: list[DType] = [p.node.dtype for p in reads]
    stores: list[Store] = []
    writes: list[Place] = []
    for item, node in assembly.stores:
        view = assembly.target(node)
        strides = cut(along(group.maps[node], view, assembly.axes))
        stores.append(Store(item, len(reads) + len(writes), strides))
        writes.append(Place(view.node, view.offset * max(node.dtype.bits // 8, 1)))
        dtypes.append(node.dtype)
    vector = rows - 1 if columns else _vector_axis(sizes, rows, items, stores)
    loops = Loops(sizes, rows, vector, tuple(items), tuple(stores), tuple(dtypes))
    members = tuple(group.members)
    turned = loops if columns else _turned(loops)
    if columns == 0 and in_pieces(turned, write_loops.units(turned, host())):
        first, second, partial = cut_in_two(turned)
        between = [buffer(shape, dtype) for shape, dtype in partial]
        inner = [w for w, s in zip(writes, stores, strict=True) if loops.is_inner_store(s)]
        outer = [w for w, s in zip(writes, stores, strict=True) if not loops.is_inner_store(s)]
        middle = [Place(b) for b in between]
        return [
            finished(first, reads, (*inner, *middle), members),
            finished(second, (*reads, *middle), tuple(outer), members),
        ]
    return [finished(loops, reads, tuple(writes), members, columns > 0)]


def finished(
    loops: Loops, reads: tuple[Place, ...], writes: tuple[Place, ...], members: tuple[Node, ...],
    rectangle: bool = False,
) -> Kernel:  # fmt: skip
    """The kernel of ``loops``, whose vector axis may still stand anywhere."""
    loops = loops if loops.ragged else _turned(loops)
    if len(loops.sizes) == 1 and loops.rows == 1 and not rectangle and not loops.has_sums:
        loops = replace(loops, free=True)
    elif rectangle:
        loops = _of_any_width(loops)
    return _kernel(loops, reads, writes, host(), rectangle, members)


def _of_any_width(loops: Loops) -> Loops:
    """Rows and columns that everybody walks alike, or not at all: the code fits any size."""
    if len(loops.sizes) != 2:
        return loops
    width = loops.sizes[1]
    strides = [i.strides for i in loops.items if i.strides] + [s.strides for s in loops.stores]
    if any(s not in ((width, 1), (0, 1), (1, 0), (0, 0)) for s in strides) or width == 1:
        return loops

    def turn(strides: Shape) -> Shape:
        return (WIDTH, 1) if strides == (width, 1) else strides

    items = tuple(i._replace(strides=turn(i.strides)) for i in loops.items)
    stores = tuple(s._replace(strides=turn(s.strides)) for s in loops.stores)
    return replace(loops, items=items, stores=stores, free=True)


def pad_kernels(node: Node, view: View) -> list[Step]:
    """Zeros everywhere, then the elements at their places."""
    steps = contiguous(node.shape)
    low, interior = node.params["low"], node.params["interior"]
    zero = Item("number", node.dtype, params=(("value", 0),))
    store = Store(0, 0, (1,))
    fill = Loops((prod(node.shape),), 1, 0, (zero,), (store,), (node.dtype,))
    kernels: list[Step] = []
    if prod(view.shape) != prod(node.shape):
        kernels.append(finished(fill, (), (Place(node),), (node,)))
    if 0 in view.shape:
        return kernels
    offset = sum(b * s for b, s in zip(low, steps, strict=True))
    strides = tuple(s * (k + 1) for s, k in zip(steps, interior, strict=True))
    return [*kernels, _copy_into(view, node, strides, offset)]


def concat_kernels(node: Node, views: list[View], landing: Landing) -> list[Step]:
    """Each argument copied to its place, but for those that land there by themselves."""
    found: list[Step] = []
    for view, place in zip(views, parts_of(node), strict=True):
        if 0 not in view.shape and view.node not in landing:
            found.append(_copy_into(view, node, place.strides, place.offset))
    return found


def parts_of(node: Node) -> list[View]:
    """Where the arguments of a concat lie in its buffer."""
    assert node.args is not None
    steps, start = contiguous(node.shape), 0
    axis: int = node.params["axis"]
    found: list[View] = []
    for arg in node.args:
        found.append(View(node, arg.shape, steps, start * steps[axis]))
        start += arg.shape[axis]
    return found


def _copy_into(view: View, node: Node, strides: Shape, offset: int) -> Kernel:
    """What ``view`` shows, to places ``strides`` apart in the buffer of ``node``."""
    dtype = node.dtype
    size = max(dtype.bits // 8, 1)
    axes: list[tuple[int, int, int]] = []
    for n, source, target in zip(view.shape, view.strides, strides, strict=True):
        if n == 1:
            continue
        if axes and axes[-1][1:] == (source * n, target * n):
            axes[-1] = (axes[-1][0] * n, source, target)
        else:
            axes.append((n, source, target))
    axes = axes or [(1, 0, 0)]
    sizes, sources, targets = (tuple(x) for x in zip(*axes, strict=True))
    if (value := uniform(view.node)) is not None:
        items, reads = [Item("number", dtype, params=(("value", value),))], ()
    else:
        items = [Item("load", dtype, strides=sources)]
        reads = (Place(view.node, view.offset * size),)
    stores = [Store(0, len(reads), targets)]
    vector = _vector_axis(sizes, len(sizes), items, stores)
    dtypes = (dtype,) * (len(reads) + 1)
    loops = Loops(sizes, len(sizes), vector, tuple(items), tuple(stores), dtypes)
    return finished(loops, reads, (Place(node, offset * size),), (node,))


def _turned(loops: Loops) -> Loops:
    """The vector axis last among the rows, or last of all."""
    place = loops.rows - 1 if loops.vector < loops.rows else len(loops.sizes) - 1
    if loops.vector == place:
        return loops
    order = [i for i in range(len(loops.sizes)) if i != loops.vector]
    order.insert(place, loops.vector)
    assert loops.ragged is None

    def turn(values: Shape) -> Shape:
        return tuple(values[i] for i in order) if values else values

    items = tuple(i._replace(strides=turn(i.strides)) for i in loops.items)
    stores = tuple(s._replace(strides=turn(s.strides)) for s in loops.stores)
    return Loops(turn(loops.sizes), loops.rows, place, items, stores, loops.dtypes)


def _ordered(assembly: Assembly, columns: int, matrix: Node | None) -> list[list[Axis]]:
    """Axes from the outermost in, by how far apart their elements are in memory; neighbours that
    every access walks as one are merged. With ``columns``: as ``matrix`` lies in memory, the last
    ones merged to so many at most."""
    axes = assembly.axes
    accesses = [i.strides for i in assembly.items if i.op in ("load", "iota") and any(i.strides)]
    for _, node in assembly.stores:
        accesses.insert(0, along(assembly.group.maps[node], assembly.target(node), axes))
    for item, view in assembly.loads:
        if view.node is matrix:
            accesses.insert(0, assembly.items[item].strides)

    def far(i: int) -> tuple[int, ...]:
        steps = [abs(s[i]) for s in accesses if s[i]]
        return (-(steps[0] if steps else 0), i)

    numbers = [i for i, a in enumerate(axes) if a.size != 1]
    outer = [i for i in numbers if not axes[i].reduced]
    inner = [i for i in numbers if axes[i].reduced]
    outer.sort(key=far)
    inner.sort(key=far)
    merged: list[list[int]] = []
    for i in reversed([*outer, *inner]):
        if merged and axes[merged[0][0]].reduced == axes[i].reduced:
            j = merged[0][0]
            apart = len(merged) == 1 and prod(axes[k].size for k in merged[0]) == columns
            size = axes[j].size
            if not apart and all(s[i] == s[j] * size for s in accesses):
                merged[0].insert(0, i)
                continue
        merged.insert(0, [i])
    return [[axes[i] for i in part] for part in merged]


def _vector_axis(sizes: Shape, rows: int, items: list[Item], stores: list[Store]) -> int:
    """The axis along which most memory is read and written element after element."""
    best, most = rows - 1 if rows else len(sizes) - 1, -1.0
    accesses = [i.strides for i in items if i.op == "load"] + [s.strides for s in stores]
    for axis, size in enumerate(sizes):
        score = 0.0
        for strides in accesses:
            points = prod(n for n, s in zip(sizes, strides, strict=True) if s)
            if strides[axis] == 1:
                score += points
            elif strides[axis] == 0:
                score += points / 64
        score *= min(size, 16) / 16
        if axis >= rows and axis != len(sizes) - 1 and sizes[-1] > 16:
            score /= 2
        if score >= most:
            best, most = axis, score
    return best


def _kernel(
    loops: Loops, reads: tuple[Place, ...], writes: tuple[Place, ...], target: Target,
    rectangle: bool, members: tuple[Node, ...],
) -> Kernel:  # fmt: skip
    work = sum(_cost(i) for i in loops.items) + 1
    each = work * loops.row * (write_loops.unit(loops, target) if loops.is_flat else 1)
    extent = write_loops.units(loops, target)
    grain = max(1, JOB // max(each, 1), -(-extent // MOST_JOBS))
    key = loops.key + (" rectangle" if rectangle else "")
    nbytes = sum(prod(p.node.shape) * max(p.node.dtype.bits // 8, 1) for p in (*reads, *writes))
    return Kernel(
        name=_name(loops),
        key=key,
        write=lambda t: write_loops.write(loops, t, rectangle),
        reads=reads,
        writes=writes,
        words=(loops.sizes[-1],) if loops.free else (),
        extent=extent,
        grain=grain,
        scratch=write_loops.scratch(loops, target),
        flops=work * loops.points,
        nbytes=nbytes,
        in_place=_in_place(loops, reads, writes),
        nodes=members,
        listing=lambda: listing(loops),
        loops=loops,
    )


def _cost(item: Item) -> int:
    return 0 if item.op in ("load", "number", "iota") else 1


def _in_place(
    loops: Loops, reads: tuple[Place, ...], writes: tuple[Place, ...]
) -> tuple[tuple[int, int], ...]:
    """Which results may be written over which arguments: where every element is read at the point
    where it is replaced, and not in a later pass."""
    found: list[tuple[int, int]] = []
    for store in loops.stores:
        number = store.slot - len(reads)
        for slot, place in enumerate(reads):
            same = [i for i in loops.items if i.op == "load" and i.slot == slot]
            others = [p for j, p in enumerate(reads) if j != slot and p.node is place.node]
            fits = (
                not others
                and place.offset == 0
                and place.node.dtype.bits == writes[number].node.dtype.bits
                and all(i.strides == store.strides for i in same)
                and prod(place.node.shape) == prod(writes[number].node.shape)
            )
            if fits and (loops.count <= 1 or loops.store_pass(store) >= loops.count - 1):
                found.append((number, slot))
    return tuple(found)


def _name(loops: Loops) -> str:
    """row_exp_sum_f32_64x10"""
    ops: list[str] = []
    for item in loops.items:
        if item.op not in ("load", "number", "iota", "cast", *ops):
            ops.append(item.op)
    kind = "loop" if loops.row == 1 else "column" if loops.is_flat else "row"
    if len(ops) > 4:
        ops = [*ops[:2], "...", ops[-1]]
    dtype = loops.dtypes[-1].name if loops.dtypes else ""
    sizes = "x".join(map(str, loops.sizes)) + (" in pieces" if loops.ragged else "")
    return f"{kind} {' '.join(ops)} {dtype} {sizes}"

"""Loop kernels as text that reads like the loops one would write by hand."""

from __future__ import annotations

from adjoint.base.shape import Shape
from adjoint.compile.loops import WIDTH, Item, Loops, Store

SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "eq": "==", "bit_and": "&",
    "bit_or": "|", "bit_xor": "^",
}  # fmt: skip


def listing(loops: Loops) -> str:
    """The kernel as nested loops; ``v`` marks the axis that the lanes are along."""
    return "\n".join(_Lister(loops).lines())


class _Lister:
    def __init__(self, loops: Loops) -> None:
        self.loops = loops
        self.reads = len(loops.dtypes) - len(loops.stores)

    def lines(self) -> list[str]:
        loops = self.loops
        rows = [self.axis(i) for i in range(loops.rows)]
        found = [f"for {', '.join(rows)}:"] if rows else []
        lead = "    " if rows else ""
        found += [f"{lead}{line}" for line in self.values(self.outer(0))]
        for number in range(loops.count):
            inner = [self.axis(i) for i in range(loops.rows, len(loops.sizes))]
            found.append(f"{lead}for {', '.join(inner)}:")
            needed = sorted(loops.needed(number, loops.kept))
            found += [f"{lead}    {line}" for line in self.inner(needed, number)]
            found += [f"{lead}{line}" for line in self.values(self.outer(number + 1))]
        for store in loops.stores:
            if not loops.is_inner_store(store):
                found.append(lead + self.put(store))
        return found

    def outer(self, number: int) -> list[int]:
        loops = self.loops
        return [
            i for i, item in enumerate(loops.items)
            if loops.passes[i] == number and not loops.is_inner(i)
            and not item.op.startswith("reduce_")
        ]  # fmt: skip

    def values(self, items: list[int]) -> list[str]:
        return [f"t{i} = {self.value(self.loops.items[i])}" for i in items]

    def inner(self, items: list[int], number: int) -> list[str]:
        """The lines of one pass: values, stores, sums."""
        loops = self.loops
        found: list[str] = []
        for i in items:
            if loops.kept.get(i, number) < number:
                where = "saved" if i in loops.saved else "stored"
                found.append(f"t{i} = {where}")
            elif not loops.items[i].op.startswith("reduce_"):
                found.append(f"t{i} = {self.value(loops.items[i])}")
        for store in loops.stores:
            if loops.is_inner_store(store) and loops.store_pass(store) == number:
                found.append(self.put(store))
        for i, item in enumerate(loops.items):
            if item.op.startswith("reduce_") and loops.passes[i] == number:
                word = "sum" if item.op == "reduce_sum" else "largest"
                found.append(f"t{i} = {word} of t{item.args[0]}")
        return found

    def axis(self, number: int) -> str:
        size = str(self.loops.sizes[number])
        if self.loops.free:
            size = "n" if number == self.loops.vector else "m"
        mark = "v" if number == self.loops.vector else ""
        return f"i{number}{mark} < {size}"

    def place(self, slot: int, strides: Shape) -> str:
        name = f"x{slot}" if slot < self.reads else f"out{slot - self.reads}"
        steps = [_step(a, s) for a, s in enumerate(strides) if s]
        return f"{name}[{' + '.join(steps) or '0'}]"

    def value(self, item: Item) -> str:
        params = dict(item.params)
        args = [f"t{a}" for a in item.args]
        if item.op == "load":
            return self.place(item.slot, item.strides)
        if item.op == "number":
            return str(params["value"])
        if item.op == "iota":
            steps = [f"{s}*i{a}" for a, s in enumerate(item.strides) if s]
            return " + ".join([str(params["start"]), *steps])
        if item.op in SIGNS:
            return f"{args[0]} {SIGNS[item.op]} {args[1]}"
        if item.op == "cast":
            return f"{item.dtype.name}({args[0]})"
        return f"{item.op}({', '.join(args)})"

    def put(self, store: Store) -> str:
        return f"{self.place(store.slot, store.strides)} = t{store.item}"


def _step(axis: int, stride: int) -> str:
    if stride == 1:
        return f"i{axis}"
    return f"{'n' if stride == WIDTH else stride}*i{axis}"

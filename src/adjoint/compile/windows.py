"""The template for convolutions: a product whose second operand is read through two tables.

    c[i, j] = sum_k a[i, k] * x[rows[k] + columns[j]]

``rows`` has the offset of every channel and place in the kernel, ``columns`` that of every place
of the output. Windows are never copied into a matrix: they are read while panels are packed.
"""

from __future__ import annotations

from typing import Any

from adjoint.compile.backends.llvm import Writer
from adjoint.compile.gemm import Template, turned


class Windows(Template):
    """In the record, b_row and b_column are addresses of tables: as many offsets as the product
    has rows or columns of b, then for each the length of the run of neighbours that starts there.
    """

    def write_pack_b(self) -> Any:
        """One panel: vectors where neighbours in the panel are neighbours in x, else elements."""
        width, lanes = self.tile.columns, self.tile.lanes
        w = self.begin("pack_b", 6, 2)
        _, _, rows, row_runs, columns, column_runs, count, k = w.arguments
        zero, one = w.number(0), w.number(1)
        straight = w.b.and_(
            w.b.icmp_signed("==", count, w.number(width)),
            w.b.icmp_signed(">=", w.load(w.word, column_runs, 8), w.number(width)),
        )
        with w.when(straight):
            shift = w.load(w.word, columns, 8)
            with w.loop(zero, k, one) as loop:
                self.copy_row(w, loop.index, shift)
            w.end()
        with w.loop(zero, k, w.number(lanes)) as loop:
            at = loop.index
            left = w.minimum(w.number(lanes), w.b.sub(k, at))
            run = w.load(w.word, w.at(row_runs, at, w.word), 8)
            with w.either(w.less(run, w.number(lanes))) as (then, otherwise):
                with then, w.loop(zero, left, one) as i:
                    self.copy_elements(w, w.b.add(at, i.index))
                with otherwise, w.loop(zero, count, w.number(lanes)) as j:
                    self.turn_square(w, at, j.index, w.load(w.word, w.at(rows, at, w.word), 8))
        w.end()
        return w.function

    def copy_row(self, w: Writer, at: Any, shift: Any) -> None:
        """A row of the panel, which lies in x as one piece."""
        x, panel, rows = w.arguments[:3]
        width, size = self.tile.columns, self.tile.nbytes
        kind = w.vector(self.element, width)
        offset = w.b.add(w.load(w.word, w.at(rows, at, w.word), 8), shift)
        value = w.load(kind, w.at(x, offset, self.element), size)
        w.store(value, w.at(panel, w.b.mul(at, w.number(width)), self.element), size)

    def copy_elements(self, w: Writer, at: Any) -> None:
        """A row of the panel, one by one."""
        x, panel, rows, _, columns, _, count, _ = w.arguments
        size = self.tile.nbytes
        start = w.at(x, w.load(w.word, w.at(rows, at, w.word), 8), self.element)
        to = w.at(panel, w.b.mul(at, w.number(self.tile.columns)), self.element)
        with w.loop(w.number(0), count, w.number(1)) as j:
            offset = w.load(w.word, w.at(columns, j.index, w.word), 8)
            value = w.load(self.element, w.at(start, offset, self.element), size)
            w.store(value, w.at(to, j.index, self.element), size)

    def turn_square(self, w: Writer, at: Any, column: Any, offset: Any) -> None:
        """``lanes`` rows by ``lanes`` columns, of which each column is one piece of x."""
        x, panel, _, _, columns, _, count, _ = w.arguments
        lanes, size, width = self.tile.lanes, self.tile.nbytes, self.tile.columns
        vector = w.vector(self.element, lanes)
        start = w.at(x, offset, self.element)
        last = w.b.sub(count, w.number(1))
        lines: list[Any] = []
        for i in range(lanes):
            index = w.minimum(w.b.add(column, w.number(i)), last)
            shift = w.load(w.word, w.at(columns, index, w.word), 8)
            lines.append(w.load(vector, w.at(start, shift, self.element), size))
        place = w.b.add(w.b.mul(at, w.number(width)), column)
        to = w.at(panel, place, self.element)
        for i, line in enumerate(turned(w, lines)):
            w.store(line, w.at(to, i * width, self.element), size)

    def panels_of_b(
        self, w: Writer, field: dict[str, Any], batch: Any, deep: Any, left: Any, columns: Any,
        k: Any, panels: Any,
    ) -> None:  # fmt: skip
        x = w.at(field["b"], w.b.mul(batch, field["b_batch"]), self.element)
        row_table = w.b.inttoptr(field["b_row"], self.pointer)
        column_table = w.b.inttoptr(field["b_column"], self.pointer)
        rows = w.at(row_table, deep, w.word)
        row_runs = w.at(rows, field["k"], w.word)
        width = w.number(self.tile.columns)
        with w.loop(w.number(0), columns, width) as loop:
            count = w.minimum(width, w.b.sub(columns, loop.index))
            places = w.at(column_table, w.b.add(left, loop.index), w.word)
            runs = w.at(places, field["n"], w.word)
            panel = w.at(panels, w.b.mul(loop.index, k), self.element)
            w.b.call(self.pack_b, [x, panel, rows, row_runs, places, runs, count, k])

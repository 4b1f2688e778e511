"""In which order groups run: after what they read, before what they read is overwritten."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjoint.compile.group import Group
from adjoint.ir.node import Node

Reads = Callable[[Node], Sequence[Node]]


class Unit:
    """Groups that become one kernel: a contraction with what finishes its result, or one group."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        self.needs: set[Unit] = set()
        self.nodes = [n for g in self.groups for n in g.members]
        # where it runs: as soon as its first node could, with all that was put to it (an update
        # put to a gradient would keep what the gradient is computed from until the end)
        self.serial = min(n.serial for n in self.groups[0].members)


def ordered(units: Sequence[Unit], reads: Reads, updates: dict[Node, Node]) -> list[Unit]:
    """The units in the order to run them. reads: the computed nodes and inputs that a node reads.
    updates: results that are to be written over inputs; who reads such an input comes first,
    unless it needs the result itself."""
    home = {node: unit for unit in units for node in unit.nodes}
    readers: dict[Node, list[Unit]] = {}
    for unit in units:
        for node in unit.nodes:
            for source in reads(node):
                found = home.get(source)
                if found is None:
                    readers.setdefault(source, []).append(unit)
                elif found is not unit:
                    unit.needs.add(found)
    for result, old in updates.items():
        writer = home.get(result)
        for reader in readers.get(old, []):
            if writer is not None and reader is not writer and not _leads(reader, writer):
                writer.needs.add(reader)
    for unit in _sorted(units):
        unit.serial = max([unit.serial, *(other.serial for other in unit.needs)])
    return _sorted(units)


def _leads(unit: Unit, other: Unit) -> bool:
    """Whether ``unit`` needs ``other``, directly or not."""
    seen: set[Unit] = set()
    stack = [unit]
    while stack:
        current = stack.pop()
        if current is other:
            return True
        if current not in seen:
            seen.add(current)
            stack.extend(current.needs)
    return False


def _sorted(units: Sequence[Unit]) -> list[Unit]:
    done: set[Unit] = set()
    found: list[Unit] = []
    for first in sorted(units, key=lambda u: u.serial):
        if first in done:
            continue
        done.add(first)
        stack = [(first, iter(sorted(first.needs, key=lambda u: u.serial)))]
        while stack:
            current, rest = stack[-1]
            for unit in rest:
                if unit not in done:
                    done.add(unit)
                    stack.append((unit, iter(sorted(unit.needs, key=lambda u: u.serial))))
                    break
            else:
                stack.pop()
                found.append(current)
    return found

"""Tables in Markdown from a result file: ``python bench/report.py [FILE]``.

A ratio is the time of the best peer over ours, above 1 where we are faster. The floor is the time
that multiply-adds at the machine's peak and optimiser state at its copy bandwidth would take.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

ACCEPTED = Path(__file__).parent / "results" / "accepted.json"
OURS = "adjoint"
COLUMNS = ("adjoint", "adjoint eager", "torch", "torch.compile", "jax.jit", "numpy")
SLOWER = 0.9  # of the accepted ratio: below that it is a regression
Record = dict[str, Any]


def text(record: Record) -> str:
    """The whole report."""
    parts = [heading(record)]
    for mode, title in (("train", "Training step, ms"), ("infer", "Inference, ms")):
        rows = {name: w[mode] | {"title": w["title"]} for name, w in record["workloads"].items()}
        if rows:
            parts.append(f"### {title}\n\n{workloads(rows, record['limits'])}")
    if record["workloads"]:
        parts.append(f"### Peak memory of a training process, MB\n\n{memory(record['workloads'])}")
    if record["operations"]:
        parts.append(f"### Operations\n\n{operations(record['operations'], record['limits'])}")
    for name, make in (("startup", first_steps), ("replay", replays), ("eager", eager),
                       ("footprint", footprint)):  # fmt: skip
        if name in record:
            parts.append(make(record[name]))
    return "\n\n".join(parts)


def heading(record: Record) -> str:
    """Where and with what it was measured."""
    machine, limits = record["machine"], record["limits"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    small = "**Small sizes: these figures mean nothing.** " if record["settings"]["small"] else ""
    return (
        f"{small}{machine['date']}, {machine['cpu']}, {machine['threads']} threads, "
        f"{machine['precision']}; {versions}, Python {machine['python']}. Limits: "
        f"{limits['gflops']:.0f} GFLOP/s, {limits['gbytes']:.1f} GB/s of copying"
        + (f" ({limits['reason']})" if "reason" in limits else "")
        + f". Medians of {record['settings']['rounds']} alternating rounds."
    )


def workloads(rows: Record, limits: Record) -> str:
    """One line a network: milliseconds, ratio with its spread, share of the floor."""
    names = [n for n in COLUMNS if any(n in row["ms"] or n in row["reasons"]
                                       for row in rows.values())]  # fmt: skip
    lines = []
    for row in rows.values():
        cells = [milliseconds(row, name) for name in names]
        lines.append([row["title"], *cells, ratio(row), share(row, limits)])
    body = table(["", *names, "best peer / ours", "of the floor"], lines)
    return "\n\n".join([body, totals(rows), *reasons(rows)])


def operations(rows: Record, limits: Record) -> str:
    """One line an operation: what everybody reaches, ratio, share of the machine's limit."""
    names = [n for n in COLUMNS if any(n in row["ms"] or n in row["reasons"]
                                       for row in rows.values())]  # fmt: skip
    lines = []
    for title, row in rows.items():
        cells = [reached(row, name) for name in names]
        limit = limits["gflops"] if row["unit"] == "GFLOP/s" else limits["gbytes"]
        mine = rate(row, OURS)
        part = f"{mine / limit:.0%}" if mine and limit else "-"
        lines.append([f"{title}, {row['unit']}", *cells, ratio(row), part])
    body = table(["", *names, "best peer / ours", "of the limit"], lines)
    by_group = [
        f"{group}: {totals({k: r for k, r in rows.items() if r['group'] == group})}"
        for group in dict.fromkeys(row["group"] for row in rows.values())
    ]
    return "\n\n".join([body, *by_group, *reasons(rows)])


def memory(rows: Record) -> str:
    """The most each process held, and what came after the import."""
    found = {w["title"]: w["train"]["memory"] for w in rows.values()}
    names = [n for n in COLUMNS if any(n in figures for figures in found.values())]
    lines = []
    for title, figures in found.items():
        cells = [
            f"{figures[n]['peak']:.0f} ({figures[n]['added']:.0f})" if n in figures else "-"
            for n in names
        ]
        both = OURS in figures and "torch" in figures
        part = f"{figures[OURS]['peak'] / figures['torch']['peak']:.2f}" if both else "-"
        lines.append([title, *cells, part])
    note = "In brackets: without what the process held after importing the library."
    return table(["", *names, "ours / torch"], lines) + f"\n\n{note}"


def first_steps(rows: Record) -> str:
    """The first step in a fresh process, with empty caches and with filled ones."""
    lines = []
    for name, row in rows.items():
        for kind, figures in (("first step", row["step"]), ("whole process", row["process"])):
            for library, states in figures.items():
                cold, warm = (states[s]["median"] for s in ("cold", "warm"))
                lines.append([name, library, kind, f"{cold:.3f}", f"{warm:.3f}"])
    body = table(["", "library", "", "cold, s", "warm, s"], lines)
    return "\n\n".join(["### First step", body, *reasons(rows)])


def replays(rows: Record) -> str:
    """Microseconds a call."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [
        [case, *(f"{row[n]:.2f}" if n in row else "-" for n in names)] for case, row in rows.items()
    ]
    return f"### Call of a compiled function, us\n\n{table(['', *names], lines)}"


def eager(rows: list[Record]) -> str:
    """Microseconds of small operations."""
    lines = [
        [row["case"], "on" if row["grad"] else "off",
         *(f"{row[n]:.2f}" if n in row else "-" for n in ("numpy", "adjoint", "torch"))]
        for row in rows
    ]  # fmt: skip
    head = ["", "gradients", "numpy", "adjoint", "torch"]
    return f"### Small eager operations, us\n\n{table(head, lines)}"


def footprint(rows: list[Record]) -> str:
    """Megabytes and seconds."""
    lines = [
        [row["library"], f"{row['megabytes']:.0f}", str(row["packages"]),
         f"{row['import_seconds']:.2f}", f"{row['first_array_seconds']:.2f}"]
        for row in rows
    ]  # fmt: skip
    head = ["", "MB on disk", "packages", "import, s", "first array, s"]
    return f"### Footprint\n\n{table(head, lines)}"


def table(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table that is also readable as text."""
    rows = [head, *lines]
    wide = [max(len(row[i]) for row in rows) for i in range(len(head))]

    def shown(row: list[str]) -> str:
        cells = [c.ljust(w) if i == 0 else c.rjust(w)
                 for i, (c, w) in enumerate(zip(row, wide, strict=True))]  # fmt: skip
        return f"| {' | '.join(cells)} |"

    rule = "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(wide))
    return "\n".join([shown(head), f"|{rule}|", *map(shown, lines)])


def milliseconds(row: Record, name: str) -> str:
    if name not in row["ms"]:
        return "-"
    return f"{row['ms'][name]['median']:.3g}"


def rate(row: Record, name: str) -> float:
    """Billions of operations or bytes a second, of the median time; 0 where there is none."""
    return row["work"] / row["ms"][name]["median"] / 1e6 if name in row["ms"] else 0.0


def reached(row: Record, name: str) -> str:
    found = rate(row, name)
    return f"{found:.3g}" if found else "-"


def ratio(row: Record) -> str:
    if "ratio" not in row:
        return "-"
    r = row["ratio"]
    return f"**{r['median']:.2f}** ({r['least']:.2f}-{r['most']:.2f}, {row['best_peer']})"


def floor(row: Record, limits: Record) -> float:
    """Milliseconds; 0 where the machine's limits are not known."""
    if not limits["gflops"] or not limits["gbytes"]:
        return 0.0
    return row["flops"] / limits["gflops"] / 1e6 + row["bytes"] / limits["gbytes"] / 1e6


def share(row: Record, limits: Record) -> str:
    least = floor(row, limits)
    if OURS not in row["ms"] or not least:
        return "-"
    return f"{least / row['ms'][OURS]['median']:.0%} of {least:.3g}"


def totals(rows: Record) -> str:
    """Geometric mean and least of the ratios, and over how many of the rows."""
    found = {name: row["ratio"]["median"] for name, row in rows.items() if "ratio" in row}
    if not found:
        return "No ratios: nothing was measured on both sides."
    mean = math.exp(sum(math.log(r) for r in found.values()) / len(found))
    worst = min(found, key=lambda name: found[name])
    without = [name for name in rows if name not in found]
    return (
        f"Geometric mean {mean:.2f}, least {found[worst]:.2f} ({worst}), over {len(found)} of "
        f"{len(rows)}" + (f"; without {', '.join(without)}" if without else "") + "."
    )


def reasons(rows: Record) -> list[str]:
    """Why a cell is empty."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for name, row in rows.items():
        for library, reason in row["reasons"].items():
            by_reason.setdefault((library, reason), []).append(name)
    return [
        f"{library} cannot run {', '.join(names) if len(names) < len(rows) else 'any'}: {reason}"
        for (library, reason), names in by_reason.items()
    ]


def line(row: Record) -> str:
    """One result in one line, while the run goes on."""
    times = ", ".join(f"{name} {row['ms'][name]['median']:.3g}" for name in row["ms"])
    missing = "".join(f"; {name} cannot run: {why}" for name, why in row["reasons"].items())
    return f"{times or 'nothing'} ms; {ratio(row)}{missing}"


def wrong(record: Record) -> list[str]:
    """Where somebody computed something else than the others."""
    found = [
        f"{name} {mode}: {who}"
        for name, row in record["workloads"].items()
        for mode in ("train", "infer")
        for who in row[mode]["wrong"]
    ]
    return found + [f"{name}: {w}" for name, row in record["operations"].items()
                    for w in row["wrong"]]  # fmt: skip


def changes(record: Record, accepted: Record) -> str:
    """Ratios that are clearly lower than the accepted ones of the same machine and threads."""
    for key in ("cpu", "threads"):
        if record["machine"][key] != accepted["machine"][key]:
            return f"The accepted result is of another machine ({key}): not compared."
    if record["settings"]["small"] != accepted["settings"]["small"]:
        return "The accepted result is of other sizes: not compared."
    before, now = ratios(accepted), ratios(record)
    lost = [
        f"{name}: {now[name]:.2f}, accepted {before[name]:.2f}"
        for name in now
        if name in before and now[name] < SLOWER * before[name]
    ]
    gone = [f"{name}: no ratio, accepted {before[name]:.2f}" for name in measured(record)
            if name in before and name not in now]  # fmt: skip
    if not lost and not gone:
        return f"No ratio is below {SLOWER:.0%} of the accepted one."
    return "\n".join(["Lower than accepted:", *lost, *gone])


def ratios(record: Record) -> dict[str, float]:
    """The median ratio of each measurement that has one."""
    return {name: row["ratio"]["median"] for name, row in measured(record).items()
            if "ratio" in row}  # fmt: skip


def measured(record: Record) -> Record:
    """Every measurement with peers, by name."""
    found = {f"{name} {mode}": row[mode] for name, row in record["workloads"].items()
             for mode in ("train", "infer")}  # fmt: skip
    return {**found, **record["operations"]}


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ACCEPTED
    if not path.exists():
        sys.exit(f"no result file {path}: run bench/run.py first")
    print(text(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()

"""Every benchmark, or some of them: ``python bench/run.py [NAME ...]``.

    python bench/run.py                  everything
    python bench/run.py mlp gemm         one network and one group of operations
    python bench/run.py train            the training and inference of all networks

Names: networks (--list shows them), ``train`` for all of them; groups of operations (gemm, conv,
attention, memory), ``operations`` for all; ``startup``, ``replay``, ``eager``, ``footprint``,
``finite_differences``. A result file of plain numbers is written as the run goes on; ``report.py``
makes tables of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:  # started as a script
    sys.path.insert(0, str(ROOT))

from bench import comparisons, libraries, machine, operations, replay, report, startup  # noqa: E402
from bench.workloads import WORKLOADS  # noqa: E402

RESULTS = ROOT / "bench" / "results"
ACCEPTED = RESULTS / "accepted.json"
GROUPS = ("gemm", "conv", "attention", "memory")
PARTS = ("startup", "replay", "eager", "footprint", "finite_differences")
ALL = {"train": tuple(WORKLOADS), "operations": GROUPS}
Record = dict[str, Any]


def main() -> int:
    options = arguments()
    if options.list:
        print("\n".join(f"{name:18}{row.title}" for name, row in WORKLOADS.items()))
        print("\n".join([*GROUPS, *PARTS]))
        return 0
    chosen = selected(options.names)
    settings = comparisons.Settings(
        options.threads, 1 if options.small else options.rounds,
        0.02 if options.small else options.seconds, options.small,
        tuple(n for n in libraries.LIBRARIES if n not in options.without), options.loud,
    )  # fmt: skip
    record: Record = {
        "machine": machine.description(settings.threads), "settings": asdict(settings),
        "limits": machine.limits(settings.threads), "workloads": {}, "operations": {},
    }  # fmt: skip
    path = Path(options.json) if options.json else default_path(record, options.small)
    path.parent.mkdir(parents=True, exist_ok=True)
    measure(record, chosen, settings, path)
    again = machine.limits(settings.threads)  # a shared machine may have been busy the first time
    for name in ("gflops", "gbytes"):
        record["limits"][name] = max(record["limits"][name], again[name])
    save(record, path)
    print("\n" + report.text(record))
    print(f"\nwritten to {path}")
    if ACCEPTED.exists():
        print(report.changes(record, json.loads(ACCEPTED.read_text(encoding="utf-8"))))
    if options.accept:
        save(record, ACCEPTED)
        print(f"accepted: {ACCEPTED}")
    return 1 if report.wrong(record) else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="what to run; everything if none is given")
    parser.add_argument("--list", action="store_true", help="show the names and stop")
    parser.add_argument("--threads", type=int, default=min(2, len(machine.cores())))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one library in one round")
    parser.add_argument("--small", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument(
        "--without", action="append", default=[], choices=libraries.LIBRARIES,
        help="leave a library out, for example torch.compile, which compiles for long",
    )  # fmt: skip
    parser.add_argument("--json", default="", help="the result file")
    parser.add_argument("--accept", action="store_true", help="keep the result to compare with")
    parser.add_argument("--loud", action="store_true", help="show what failing libraries print")
    return parser.parse_args()


def selected(names: list[str]) -> list[str]:
    """The names of everything asked for, in the order of the tables."""
    known = [*WORKLOADS, *GROUPS, *PARTS]
    asked = {one for name in names for one in ALL.get(name, (name,))}
    unknown = asked - set(known)
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; --list shows all names")
    return [name for name in known if not names or name in asked]


def measure(record: Record, chosen: list[str], settings: comparisons.Settings, path: Path) -> None:
    """Run what is chosen and fill the record, saving it after each piece."""
    for name in chosen:
        if name in WORKLOADS:
            say(name)
            found = comparisons.workload(name, settings)
            record["workloads"][name] = {"title": WORKLOADS[name].title, **found}
            for mode in ("train", "infer"):
                say(f"  {mode}: {report.line(found[mode])}")
        elif name in GROUPS:
            table = operations.table(settings.small)
            rows = {title: row for title, row in table.items() if row.group == name}
            for title, found in comparisons.operations(rows, settings):
                record["operations"][title] = found
                say(f"{title}: {report.line(found)}")
                save(record, path)
        else:
            say(name)
            record[name] = PIECES[name](settings)
        save(record, path)


def first_steps(settings: comparisons.Settings) -> Record:
    found: Record = {}
    for name in startup.WORKLOADS[: 1 if settings.small else None]:
        found[name] = startup.first_steps(name, settings)
        say(f"  {name}: {found[name]['reasons'] or 'done'}")
    return found


def replays(settings: comparisons.Settings) -> Record:
    return replay.measured(settings.threads)


def script(name: str) -> Callable[[comparisons.Settings], Any]:
    """A benchmark that is a program of its own and writes a JSON file."""

    def run(settings: comparisons.Settings) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "found.json")
            environment = {**os.environ, **libraries.environment(settings.threads)}
            command = [sys.executable, str(ROOT / "bench" / f"{name}.py"), "--json", file]
            subprocess.run(command, check=True, env=environment)
            with open(file, encoding="utf-8") as found:
                return json.load(found)["rows"]

    return run


def differences(settings: comparisons.Settings) -> str:
    few = ["--size", "1000", "--sample", "10"] if settings.small else []
    command = [sys.executable, str(ROOT / "bench" / "finite_differences.py"), *few]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    say(text)
    return text


PIECES: dict[str, Callable[[comparisons.Settings], Any]] = {
    "startup": first_steps, "replay": replays, "eager": script("eager"),
    "footprint": script("footprint"), "finite_differences": differences,
}  # fmt: skip


def default_path(record: Record, small: bool) -> Path:
    where = re.sub(r"[^a-z0-9]+", "-", f"{record['machine']['cpu']} {platform.node()}".lower())
    threads = record["machine"]["threads"]
    name = f"{record['machine']['date']}-{where.strip('-')}-{threads}-threads"
    return RESULTS / f"{name}{'-small' if small else ''}.json"


def save(record: Record, path: Path) -> None:
    """Numbers to four digits: nothing here is more exact, and the file stays small."""
    text = json.dumps(rounded(record), indent=1)
    # short lists and dicts on one line
    text = re.sub(r"[\[{][^\[\]{}]{0,140}[\]}]", lambda m: re.sub(r"\s+", " ", m[0]), text)
    path.write_text(text + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

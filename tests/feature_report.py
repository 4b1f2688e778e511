"""Print which tests show which row of the feature table: `make features`.

Tests name their rows with `@pytest.mark.feature("T7")`. Rows listed in feature_rows.txt that no
test names are printed at the end.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROWS_FILE = Path(__file__).with_name("feature_rows.txt")


class Collector:
    """A pytest plugin that notes the feature markers of every collected test."""

    def __init__(self) -> None:
        self.tests: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.failures: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            name = item.nodeid.partition("[")[0]
            rows = {row for marker in item.iter_markers("feature") for row in marker.args}
            for row in rows:
                self.tests[row][name] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failures.append(f"{report.nodeid}\n{report.longreprtext}")


def main() -> int:
    """Collect all tests, print the table, and return a shell exit status."""
    collector = Collector()
    options = ["--collect-only", "-p", "no:terminal", "-p", "no:randomly"]
    status = pytest.main(options, plugins=[collector])
    if status != pytest.ExitCode.OK:
        for failure in collector.failures:
            print(f"could not collect {failure}", file=sys.stderr)
        return int(status)
    for row in sorted(collector.tests, key=_row_order):
        print(row)
        for name, count in sorted(collector.tests[row].items()):
            print(f"    {name}" + (f"  ({count} cases)" if count > 1 else ""))
    wanted = _read_rows(ROWS_FILE) if ROWS_FILE.exists() else []
    missing = [row for row in wanted if row not in collector.tests]
    shown = len(wanted) - len(missing)
    print(f"\n{len(collector.tests)} rows are shown; {shown} of the {len(wanted)} wanted now.")
    if missing:
        print(f"Wanted, and without a test: {' '.join(missing)}")
    return 0


def _read_rows(path: Path) -> list[str]:
    """Read ids and ranges such as `O22-O31`; `#` begins a comment."""
    rows: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        for word in line.partition("#")[0].split():
            match = re.fullmatch(r"([A-Z])(\d+)(?:-\1(\d+))?", word)
            if match is None:
                raise ValueError(f"{path}: not a row or a range of rows: {word!r}")
            group, first, last = match.groups()
            rows += [f"{group}{number}" for number in range(int(first), int(last or first) + 1)]
    return rows


def _row_order(row: str) -> tuple[str, int]:
    return row[0], int(row[1:])


if __name__ == "__main__":
    sys.exit(main())

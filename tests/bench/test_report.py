"""The tables of the benchmarks: ratios, floors, what is missing, and what became slower."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from bench import report, run


def spread(value: float) -> dict[str, float]:
    return {"median": value, "least": value * 0.9, "most": value * 1.1}


def measured(ours: float, peer: float, **more: Any) -> dict[str, Any]:
    return {
        "ms": {"adjoint": spread(ours), "torch": spread(peer)}, "best_peer": "torch",
        "ratio": spread(peer / ours), "reasons": {}, "wrong": [], **more,
    }  # fmt: skip


def record() -> dict[str, Any]:
    memory = {"adjoint": {"peak": 60.0, "added": 20.0}, "torch": {"peak": 240.0, "added": 50.0}}
    networks = {
        "mlp": {
            "title": "an MLP",
            "train": measured(2.0, 8.0, flops=1e9, bytes=0.0, memory=memory),
            "infer": measured(1.0, 1.5, flops=5e8, bytes=0.0),
        },
        "conv": {
            "title": "a conv net",
            "train": measured(4.0, 4.0, flops=1e9, bytes=1e6, memory=memory),
            "infer": {"ms": {"torch": spread(1.0)}, "reasons": {"adjoint": "no such layer"},
                      "flops": 5e8, "bytes": 0.0, "wrong": ["adjoint"]},
        },
    }  # fmt: skip
    return {
        "machine": {"cpu": "a processor", "threads": 2, "precision": "float32", "python": "3.11",
                    "date": "2026-01-01", "versions": {"torch": "2"}},
        "limits": {"gflops": 500.0, "gbytes": 40.0},
        "settings": {"rounds": 5, "small": False},
        "workloads": networks,
        "operations": {"gemm 8x8x8": measured(1.0, 2.0, work=250e6, unit="GFLOP/s", group="gemm")},
    }  # fmt: skip


def test_the_floor_is_arithmetic_and_memory() -> None:
    row = {"flops": 1e9, "bytes": 4e7}
    assert report.floor(row, {"gflops": 500.0, "gbytes": 40.0}) == pytest.approx(2.0 + 1.0)
    assert report.floor(row, {"gflops": 0.0, "gbytes": 40.0}) == 0.0


def test_ratios_are_summed_up_and_what_is_missing_is_named() -> None:
    rows = {name: row["train"] for name, row in record()["workloads"].items()}
    assert report.totals(rows) == "Geometric mean 2.00, least 1.00 (conv), over 2 of 2."
    rows = {name: row["infer"] for name, row in record()["workloads"].items()}
    assert report.totals(rows).endswith("over 1 of 2; without conv.")
    assert report.totals({}) == "No ratios: nothing was measured on both sides."


def test_the_report_shows_everything() -> None:
    found = report.text(record())
    assert "| an MLP     |       2 |     8 | **4.00** (3.60-4.40, torch) |    100% of 2 |" in found
    assert "adjoint cannot run conv: no such layer" in found
    assert "| gemm 8x8x8, GFLOP/s |     250 |" in found
    assert "60 (20)" in found and "0.25" in found
    assert report.wrong(record()) == ["conv infer: adjoint"]


def test_what_became_slower_is_found() -> None:
    before, now = record(), record()
    assert report.changes(now, before) == "No ratio is below 90% of the accepted one."
    now["workloads"]["mlp"]["train"]["ratio"] = spread(3.0)
    del now["operations"]["gemm 8x8x8"]["ratio"]
    found = report.changes(now, before).splitlines()
    assert found[1:] == ["mlp train: 3.00, accepted 4.00", "gemm 8x8x8: no ratio, accepted 2.00"]
    now["machine"]["threads"] = 1
    assert "another machine (threads)" in report.changes(now, before)


def test_other_parts_have_tables() -> None:
    parts = {
        "startup": {"mlp": {
            "step": {"adjoint": {"cold": spread(0.5), "warm": spread(0.1)}},
            "process": {"adjoint": {"cold": spread(0.9), "warm": spread(0.4)}},
            "reasons": {"torch.compile": "no compiler"},
        }},
        "replay": {"one tensor": {"adjoint": 3.0, "plain Python": 0.05}},
        "eager": [{"case": "add", "grad": True, "numpy": 0.3, "adjoint": 2.0}],
        "footprint": [{"library": "adjoint", "megabytes": 240.0, "packages": 6,
                       "import_seconds": 0.01, "first_array_seconds": 0.2}],
    }  # fmt: skip
    found = report.text({**record(), **parts})
    assert "torch.compile cannot run any: no compiler" in found
    for text in ("0.500", "one tensor", "| add | ", "240"):
        assert text in found


def test_names_choose_what_is_run() -> None:
    assert run.selected(["gemm", "mlp"]) == ["mlp", "gemm"]
    assert run.selected([]) == [*run.WORKLOADS, *run.GROUPS, *run.PARTS]
    assert run.selected(["operations"]) == list(run.GROUPS)
    with pytest.raises(SystemExit, match="unknown: nothing"):
        run.selected(["nothing"])


def test_numbers_are_saved_short() -> None:
    value = {"a": [1.23456789, 12345.678], "b": True, "c": 7}
    assert run.rounded(copy.deepcopy(value)) == {"a": [1.235, 12350.0], "b": True, "c": 7}

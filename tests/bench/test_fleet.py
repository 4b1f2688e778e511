"""The processes of a comparison: rounds, agreement, and what becomes of those that fail."""

from __future__ import annotations

import pytest

from bench import comparisons, libraries
from bench.fleet import Crew, Failure, Fleet, rotated


@pytest.mark.slow
def test_a_workload_is_compared() -> None:
    settings = comparisons.Settings(1, 2, 0.01, True, (libraries.OURS, libraries.TORCH))
    found = comparisons.workload("mlp-small", settings)
    for mode in ("train", "infer"):
        row = found[mode]
        assert set(row["ms"]) == {"adjoint", "torch"}, row["reasons"]
        assert row["best_peer"] == "torch"
        assert row["ratio"]["least"] <= row["ratio"]["median"] <= row["ratio"]["most"]
        assert row["wrong"] == []
    # two products of two layers forward, the input of the first needs no gradient
    assert found["train"]["flops"] == 2 * 32 * (64 * 32 * 2 + 32 * 10 * 3)
    assert found["train"]["memory"]["adjoint"]["peak"] > 20


def test_a_failure_is_a_reason_and_the_others_go_on() -> None:
    with Fleet(["adjoint", "adjoint eager"], threads=1) as fleet:
        assert set(fleet.ask("load")) == {"adjoint", "adjoint eager"}
        with pytest.raises(Failure, match="KeyError"):
            fleet.crews["adjoint"].ask("operation", name="no such", small=True)
        fleet.crews["adjoint"].process.kill()
        found = fleet.ask("operation", name="gemm 16x12x20", small=True)
        assert set(found) == {"adjoint eager"}
        assert fleet.reasons["adjoint"].startswith("operation: the process ended with -9")
        assert set(fleet.rounds(2, 0.001)) == {"adjoint eager"}
        fleet.gather()
        assert fleet.reasons == {}
        assert set(fleet.ask("load")) == {"adjoint", "adjoint eager"}


def test_a_library_with_other_figures_is_left_out() -> None:
    with Fleet(["adjoint", "numpy"], threads=1) as fleet:
        answers = {"adjoint": {"losses": [1.0, 2.0]}, "numpy": {"losses": [1.0, 2.1]}}
        assert comparisons.disagreeing(fleet, answers, "losses", 1e-4) == ["adjoint"]
        assert "losses differ by more than 0.0001 from numpy" in fleet.reasons["adjoint"]
        assert list(fleet.crews) == ["numpy"]


def test_what_is_not_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(libraries.PACKAGES, "jax.jit", "no_such_package")
    monkeypatch.setattr(libraries, "compiler", lambda: None)
    with Fleet(["jax.jit", "torch.compile"], threads=1) as fleet:
        assert fleet.reasons["jax.jit"] == "no_such_package is not installed"
        assert "no C++ compiler" in fleet.reasons["torch.compile"]
        assert fleet.ask("load") == {}


def test_a_process_ends_when_it_is_closed() -> None:
    crew = Crew("numpy", 1)
    assert crew.ask("load")["megabytes"] > 0
    crew.close()
    assert crew.process.returncode == 0


def test_turns_change() -> None:
    assert [rotated(["a", "b", "c"], i)[0] for i in range(4)] == ["a", "b", "c", "a"]
    assert rotated([], 3) == []

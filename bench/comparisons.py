"""Workloads and operations measured: prepared, checked for agreement, timed in rounds.

Every result is a plain dict that goes into the JSON file as it is: ``ms`` by library with median
and spread, ``ratio`` of the best peer to ours by round, ``reasons`` of who could not take part.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench import libraries
from bench.fleet import ROOT, Fleet
from bench.operations import Operation
from bench.workloads import WORKLOADS

LOSSES = 1e-4  # the first losses may differ by so much of their size
SCORES = 1e-3  # and the mean size of results
REFERENCES = (libraries.TORCH, libraries.JAX, libraries.TORCH_COMPILE, libraries.NUMPY)


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    threads: int
    rounds: int
    seconds: float
    small: bool
    names: tuple[str, ...]
    loud: bool = False


def summary(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": statistics.median(values), "least": min(values), "most": max(values),
    }  # fmt: skip


def workload(name: str, settings: Settings) -> dict[str, dict[str, Any]]:
    """A network's training step and its forward pass."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "weights.npz")
        counts = prepare(name, file, settings)
        with Fleet(list(settings.names), settings.threads, settings.loud) as fleet:
            imported = fleet.ask("load")
            order = {"workload": name, "file": file, "small": settings.small}
            opened = fleet.ask("train", **order, agreeing=True)
            wrong_losses = disagreeing(fleet, opened, "losses", LOSSES)
            memory = fleet.ask("memory")
            # before anything is timed: from then on the numbers of steps differ
            wrong_scores = disagreeing(fleet, fleet.ask("infer"), "scores", SCORES)
            if WORKLOADS[name].agree:
                opened |= fleet.ask("train", **order, agreeing=False)
            else:
                fleet.ask("resume")
            trained = {
                **_timed(fleet, settings),
                "losses": {n: a["losses"] for n, a in opened.items()},
                "first_step": {n: a["first_step"] for n, a in opened.items()},
                "memory": memory,
                "import": imported,
                "flops": counts["train"],
                # weights and two moments read and written, gradients read
                "bytes": 28 * counts["parameters"],
                "wrong": wrong_losses,
            }
            fleet.ask("infer")
            used = {**_timed(fleet, settings), "flops": counts["infer"], "bytes": 0.0}
            used["wrong"] = wrong_scores
    return {"train": trained, "infer": used}


def operations(
    rows: dict[str, Operation], settings: Settings
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Operations that the same libraries take part in, one after the other."""
    able = {name for row in rows.values() for name in row.libraries}
    names = [n for n in (*settings.names, libraries.NUMPY) if n in able]
    with Fleet(names, settings.threads, settings.loud) as fleet:
        for name, row in rows.items():
            fleet.gather()
            answers = fleet.ask("operation", name=name, small=settings.small)
            # which elements dropout keeps is everybody's own, and so is the mean
            same = not name.startswith("dropout")
            wrong = disagreeing(fleet, answers, "result", SCORES) if same else []
            found = _timed(fleet, settings)
            about = {"work": row.work, "unit": row.unit, "group": row.group, "wrong": wrong}
            yield name, found | about


def prepare(name: str, file: str, settings: Settings) -> dict[str, float]:
    """Write the weights that everybody starts from; the counts of ``prepare.py``."""
    command = [sys.executable, "-m", "bench.prepare", name, file]
    run = subprocess.run(
        [*command, *(["--small"] if settings.small else [])], cwd=ROOT, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    if run.returncode:
        raise RuntimeError(f"cannot prepare {name}: {run.stderr.strip()[-500:]}")
    return json.loads(run.stdout.splitlines()[-1])


def disagreeing(
    fleet: Fleet, answers: dict[str, dict[str, Any]], key: str, tolerance: float
) -> list[str]:
    """Who has other figures than the first peer that answered; they are left out from then on."""
    reference = next((name for name in REFERENCES if name in answers), None)
    if reference is None:
        return []
    right = _figures(answers[reference][key])
    wrong: list[str] = []
    for name, answer in answers.items():
        mine = _figures(answer[key])
        if not all(math.isclose(a, b, rel_tol=tolerance) for a, b in zip(mine, right, strict=True)):
            wrong.append(name)
            fleet.drop(
                name, f"{key} differ by more than {tolerance} from {reference}: {mine}, {right}"
            )
    return wrong


def _figures(value: Any) -> list[float]:
    return value if isinstance(value, list) else [value]


def _timed(fleet: Fleet, settings: Settings) -> dict[str, Any]:
    rounds = fleet.rounds(settings.rounds, settings.seconds)
    found: dict[str, Any] = {
        "ms": {name: summary([turn["ms"] for turn in turns]) for name, turns in rounds.items()},
        "least_ms": {name: min(t["least"] for t in turns) for name, turns in rounds.items()},
        "reasons": dict(fleet.reasons),
    }
    ours = rounds.get(libraries.OURS)
    peers = {name: rounds[name] for name in libraries.PEERS if name in rounds}
    if ours and peers:
        # one peer for all rounds, the best by its median: not the luckiest of each round
        best = min(peers, key=lambda name: found["ms"][name]["median"])
        pairs = zip(peers[best], ours, strict=True)
        found["best_peer"] = best
        found["ratio"] = summary([peer["ms"] / mine["ms"] for peer, mine in pairs])
    return found

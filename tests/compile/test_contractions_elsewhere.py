"""Contractions as other processors of this family would run them, here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adjoint.compile.backends.cpu.target import OTHERS, host

PROGRAM = """
import dataclasses, sys
from adjoint.compile.backends.cpu import target
found = dataclasses.replace(target.OTHERS[sys.argv[1]], triple=target.host().triple)
target.host = lambda: found  # before anybody imports it from there
from tests.compile.test_contractions import CASES, FLOATS, check_dot, compare, random
for dtype in FLOATS:
    for m, n, k in ((1, 40, 300), (7, 33, 20), (50, 70, 401)):
        a, b = random((2, k, m), dtype), random((2, k, n), dtype, 1)
        check_dot((a, a.transpose(0, 2, 1)), (b, b))
    for case in CASES[:5] + CASES[9:12]:
        if dtype.bits != 16 or case is CASES[0]:
            compare(case, dtype)
print("all agree")
"""


@pytest.mark.slow
@pytest.mark.skipif(not host().triple.startswith("x86_64"), reason="other machine code")
@pytest.mark.parametrize("cpu", ["x86-64-v2", "x86-64-v3"])
def test_narrower_vectors(cpu: str, tmp_path: Path) -> None:
    if OTHERS[cpu].bits > host().bits:
        pytest.skip("this processor has narrower vectors itself")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, cpu],
        env={**os.environ, "ADJOINT_CACHE": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert run.stdout == "all agree\n", run.stderr

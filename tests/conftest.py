"""What all tests share: the feature marker, the data folder and the Hypothesis profiles."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import settings

# Every op checks its promises and every graph is verified; read when adjoint is first imported.
os.environ.setdefault("ADJOINT_VERIFY", "1")

ADJOINT_DATA = os.environ.get("ADJOINT_DATA", "")
"""The folder with the real data sets (one sub-folder each), or an empty string."""

ROW_ID = re.compile(r"[A-Z][1-9][0-9]*")

# `ci` runs the same examples every time; HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse feature markers that could not be found again in the feature table."""
    for item in items:
        for marker in item.iter_markers("feature"):
            wrong = [row for row in marker.args if not ROW_ID.fullmatch(str(row))]
            if wrong or not marker.args:
                raise pytest.UsageError(f"{item.nodeid}: not a feature row: {wrong or 'nothing'}")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that ADJOINT_DATA names; without the variable, the test is skipped."""
    if not ADJOINT_DATA:
        pytest.skip("needs real data: set ADJOINT_DATA to a folder that holds mnist/ and others")
    root = Path(ADJOINT_DATA)
    if not root.is_dir():
        pytest.fail(f"ADJOINT_DATA={ADJOINT_DATA} is not a folder")
    return root


@pytest.fixture(scope="session")
def mnist_dir(data_root: Path) -> Path:
    """The folder with the four MNIST files."""
    folder = data_root / "mnist"
    if not folder.is_dir():
        pytest.skip(f"needs MNIST: {folder} is not there")
    return folder

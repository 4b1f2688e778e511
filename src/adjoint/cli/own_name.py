"""What the user types to run this program again."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def own_name() -> str:
    """``adjoint`` where the shell would find this very one, else the path or the module form."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return f"{_shown(sys.executable)} -m adjoint"
    if script.stem != "adjoint":
        return "adjoint"
    found = shutil.which("adjoint")
    return "adjoint" if found and os.path.samefile(found, script) else _shown(str(script))


def _shown(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative

"""Write tests/golden/errors.txt anew; read the difference before you commit it."""

from __future__ import annotations

from pathlib import Path

from tests.errors.snippets import golden_text

GOLDEN = Path(__file__).parent.parent / "golden" / "errors.txt"

if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(golden_text(), encoding="utf-8")

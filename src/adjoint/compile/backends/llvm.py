"""What all LLVM targets share: the library, loaded when first needed.

llvmlite has no type information, so everything that comes out of it is ``Any`` here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def binding() -> Any:
    """llvmlite's door to the LLVM library."""
    return import_module("llvmlite.binding")

"""`python -m adjoint` is the same as the command `adjoint`."""

from __future__ import annotations

import sys

from adjoint.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

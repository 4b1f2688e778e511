"""Entry point of the command line: runs a command, shows errors, gives the exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from adjoint.base import errors

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``adjoint`` with ``arguments`` (default: those of the process); returns the status.

    0: done. 1: an error, shown without a traceback unless ``--debug`` is given. 2: the command
    line makes no sense. 130: stopped by Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _run(words)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except (errors.AdjointError, OSError) as problem:
        if debug:
            raise
        print(f"error: {_text(problem)}", file=sys.stderr)
        return FAILED


def _run(words: list[str]) -> int:
    try:
        from cyclopts import CycloptsError

        from adjoint.cli.app import build
    except ImportError as problem:
        if (problem.name or "").partition(".")[0] != "cyclopts":
            raise
        if words[:1] == ["doctor"]:  # says what is missing, so it must work without
            from adjoint.cli.doctor import doctor

            return doctor()
        raise errors.missing_extra("cyclopts", "cli", "the command line") from None
    app = build(_version)
    try:
        status = app(words or ["--help"], exit_on_error=False, result_action="return_value")
    except CycloptsError:  # it has printed what is wrong, with the nearest name
        return MISUSED
    return OK if status is None else int(status)


def _text(problem: BaseException) -> str:
    if isinstance(problem, errors.AdjointError):
        return problem.brief
    return f"{type(problem).__name__}: {problem}"


def _version() -> str:
    try:
        return version("adjoint")
    except PackageNotFoundError:
        return "unknown (not installed)"

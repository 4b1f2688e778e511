"""The processes of one comparison, and the rounds in which they take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from bench import libraries

ROOT = Path(__file__).parent.parent
LIMIT = 600.0  # seconds that one order may take


class Failure(Exception):
    """A library could not do something; the text says why."""


class Crew:
    """One library in one process. Orders go in, answers come out; see ``worker.py``."""

    def __init__(self, library: str, threads: int, extra: dict[str, str] | None = None) -> None:
        variables = {**os.environ, **libraries.environment(threads), **(extra or {})}
        self.log: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", library, str(threads)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=variables,
        )  # fmt: skip

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """The answer to an order. Raises Failure when there is none, with the reason."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failure(self.last_words()) from None
        alarm = threading.Timer(LIMIT, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        alarm.cancel()
        if not line:
            raise Failure(self.last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise Failure(answer["error"])
        return answer

    def last_words(self) -> str:
        """Why the process is gone."""
        code = self.process.wait()
        lines = self.printed().strip().splitlines()
        return f"the process ended with {code}: {lines[-1][:200] if lines else 'no message'}"

    def printed(self) -> str:
        """All that the process wrote beside its answers."""
        self.log.seek(0)
        return self.log.read()

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()


class Fleet:
    """Libraries side by side. One that fails is left out from then on, with the reason kept."""

    def __init__(self, names: list[str], threads: int, loud: bool = False) -> None:
        self.names, self.threads, self.loud = names, threads, loud
        self.crews: dict[str, Crew] = {}
        self.reasons: dict[str, str] = {}
        self.gather()

    def gather(self) -> None:
        """Start the libraries that do not run: all at first, later those that failed."""
        self.reasons = {name: why for name in self.names if (why := libraries.absent(name))}
        missing = [n for n in self.names if n not in self.crews and n not in self.reasons]
        for name in missing:
            self.crews[name] = Crew(name, self.threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for crew in self.crews.values():
            crew.close()

    def ask(self, do: str, **order: Any) -> dict[str, dict[str, Any]]:
        """Everybody's answer, one after the other."""
        found: dict[str, dict[str, Any]] = {}
        for name in list(self.crews):
            try:
                found[name] = self.crews[name].ask(do, **order)
            except Failure as failure:
                self.drop(name, f"{do}: {failure}")
        return found

    def drop(self, name: str, reason: str) -> None:
        """Leave a library out of the rest."""
        self.reasons[name] = reason
        crew = self.crews.pop(name)
        if self.loud:
            print(crew.printed(), file=sys.stderr)
        crew.close()

    def rounds(self, count: int, seconds: float) -> dict[str, list[dict[str, float]]]:
        """``count`` rounds of timing; in each everybody has a turn, in changing order."""
        found: dict[str, list[dict[str, float]]] = {name: [] for name in self.crews}
        for turn in range(count):
            for name in rotated(list(self.crews), turn):
                try:
                    found[name].append(self.crews[name].ask("time", seconds=seconds))
                except Failure as failure:
                    self.drop(name, f"time: {failure}")
        return {name: times for name, times in found.items() if name in self.crews}


def rotated(names: list[str], by: int) -> list[str]:
    by %= max(len(names), 1)
    return names[by:] + names[:by]

"""What a report of a problem should hold: versions, machine, what is installed."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from adjoint.base.config import FLAGS

# Where the name to import is not the name to install.
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL"}
OWN_EXTRAS = ("plot", "cli", "data", "vision")


def doctor() -> int:
    """Print versions, the machine, and which extras are installed (with the command if not).

    The exit status is 1 when something that Adjoint cannot do without is missing or broken.
    """
    print(f"adjoint      {_version('adjoint') or 'not installed'}  ({_package_folder()})")
    print(f"python       {platform.python_version()}  ({sys.executable})")
    print(f"system       {platform.platform()}")
    print(f"cpu          {_cpu()}")
    print(f"threads      {_threads()}")
    print(f"memory       {_memory()}")
    print("gpu          not used in this version")
    print(f"cache        {FLAGS.cache}")
    missing = list(_print_requirements())
    problem = None if missing else _engine_problem()
    if missing:
        print(f"broken: pip install {' '.join(missing)}")
    elif problem:
        print(f"broken: {problem}")
    else:
        print("the engine works: d(x*x)/dx at 3 is 6")
    return 1 if missing or problem else 0


def _package_folder() -> Path:
    return Path(__file__).resolve().parent.parent


def _print_requirements() -> Iterator[str]:
    """One line per requirement; yields those of the core that are missing."""
    for extra, names in _requirements().items():
        absent = []
        for name in names:
            found = _version(name) if _importable(name) else None
            label = f"[{extra}]" if extra else "core"
            print(f"{label:12} {name} {found or 'missing'}")
            if found is None:
                absent.append(name)
        if absent and extra:
            print(f"{'':12} to add it: pip install 'adjoint[{extra}]'")
        elif absent:
            yield from absent


def _requirements() -> dict[str, list[str]]:
    """Names of the required packages, by extra; '' for those always needed."""
    try:
        lines = requires("adjoint") or []
    except PackageNotFoundError:
        return {"": ["numpy"]}
    found: dict[str, list[str]] = {extra: [] for extra in ("", *OWN_EXTRAS)}
    for line in lines:
        name = re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        key = extra.group(1) if extra else ""
        if key in found and name != "adjoint":
            found[key].append(name)
    return found


def _importable(name: str) -> bool:
    return importlib.util.find_spec(MODULES.get(name, name.replace("-", "_"))) is not None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    model, flags = platform.processor() or platform.machine(), ""
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        text = facts.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            if key.strip() == "flags":
                flags = " ".join(f for f in ("avx2", "fma", "avx512f") if f in value.split())
    return f"{model}  {flags}".rstrip()


def _threads() -> str:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    return f"{usable} usable of {total}"


def _memory() -> str:
    facts = Path("/proc/meminfo")
    if facts.is_file():
        sizes = dict(line.split(":", 1) for line in facts.read_text().splitlines())
        total, free = (_gib(sizes[key]) for key in ("MemTotal", "MemAvailable"))
        return f"{total:.1f} GiB, {free:.1f} GiB of it free"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        return f"{pages * size / 2**30:.1f} GiB"
    return "unknown"


def _gib(text: str) -> float:
    return int(text.split()[0]) / 2**20


def _engine_problem() -> str | None:
    """What goes wrong when the engine differentiates x * x, or None."""
    try:
        from adjoint.tensors.creation import tensor

        x = tensor(3.0, requires_grad=True)
        (x * x).backward()
        return None if x.grad is not None and x.grad.item() == 6 else f"gradient is {x.grad}"
    except Exception as problem:  # whatever it is, it belongs into the report
        return f"{type(problem).__name__}: {problem}"

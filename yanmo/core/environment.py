"""What a run was made with: command, versions, commit, hardware, seed (`environment.json`)."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

from yanmo.core import files
from yanmo.core.package import HOME, VERSION


def write_once(path: Path, content: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        files.write_text(path, content)


def write_environment(directory: Path, seed: int) -> None:
    """Written when the run is new or the machine, the versions or the command have changed."""
    packages = ("torch", "numpy", "tokenizers", "pyarrow", "safetensors", "scikit-learn", "pydantic")
    versions = {"python": platform.python_version(), "yanmo": VERSION}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    record = {
        "command": shlex.join(["yanmo", *sys.argv[1:]]), "versions": versions, "commit": commit(),
        "hardware": {"system": platform.platform(), "machine": platform.machine(), "processor": processor(),
                     "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                     "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")},
        "seed": seed,
    }  # fmt: skip
    path = directory / "environment.json"
    old = files.read_json(path) if path.is_file() else {}
    if {**old, "command": None} != {**record, "command": None}:
        files.write_json(path, record)


def commit() -> str | None:
    """The commit of the checkout that this code runs from, or None (an installed wheel)."""
    root = HOME.parent / ".git"
    with contextlib.suppress(OSError):
        head = (root / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        ref = head.removeprefix("ref: ")
        if (root / ref).is_file():
            return (root / ref).read_text().strip()
        for line in (root / "packed-refs").read_text().splitlines():
            if line.endswith(ref):
                return line.split()[0]
    return None


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()

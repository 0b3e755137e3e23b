"""May we ship the samples, and are they what SOURCE says? Part of `make check`: python tools/check_licences.py [FOLDER]

Every folder of `yanmo/samples/` must hold a LICENSE and a SOURCE that names the package, its version and hash (of work of
our own the tool that makes it), the author, the licence, the changes, and every data file with its hash; and all of them
together stay under 15 MB. Exit status 1 and one line a problem otherwise.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

SAMPLES = Path(__file__).resolve().parent.parent / "yanmo" / "samples"
PACKAGE, OURS = ["package", "registry", "version", "sha256"], ["made_by"]
KEYS = ["title", "author", "licence", "language", "changes", "rows", "bytes", "files"]
LICENCES = {"MIT", "Apache-2.0", "PDDL-1.0", "CC0-1.0"}  # those that allow redistribution on terms that we meet
MOST_BYTES = 15_000_000


def problems(root: Path) -> Iterator[str]:
    """What is wrong, a line each."""
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and entry.name != "__pycache__")
    if not folders:
        yield f"{root}: no samples"
    for folder in folders:
        yield from problems_of(folder)
    total = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    if total >= MOST_BYTES:
        yield f"{root}: expected under {MOST_BYTES:,} bytes, got {total:,}"


def problems_of(folder: Path) -> Iterator[str]:
    licence, source = folder / "LICENSE", folder / "SOURCE"
    if not licence.is_file() or licence.stat().st_size < 500:
        yield f"{licence}: expected the full text of the licence"
    if not source.is_file():
        yield f"{source}: missing"
        return
    about = yaml.safe_load(source.read_text(encoding="utf-8"))
    missing = [key for key in [*(OURS if "made_by" in about else PACKAGE), *KEYS] if not about.get(key)]
    if missing:
        yield f"{source}: missing {', '.join(missing)}"
        return
    if "made_by" in about and not (SAMPLES.parent.parent / about["made_by"]).is_file():
        yield f"{source}: made_by: no such file: {about['made_by']}"
    unknown = set(about["licence"].split(" AND ")) - LICENCES
    if unknown:
        yield f"{source}: expected a licence out of {', '.join(sorted(LICENCES))}, got {', '.join(sorted(unknown))}"
    listed, there = set(about["files"]), {file.name for file in folder.iterdir()} - {"LICENSE", "SOURCE"}
    for name in sorted(listed ^ there):
        yield f"{folder / name}: {'listed in SOURCE but missing' if name in listed else 'not listed in SOURCE'}"
    for name in sorted(listed & there):
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != about["files"][name]["sha256"]:
            yield f"{folder / name}: expected sha256 {about['files'][name]['sha256']}, got {found}"


def main(arguments: list[str]) -> int:
    found = list(problems(Path(arguments[0]) if arguments else SAMPLES))
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

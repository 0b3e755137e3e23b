"""Which files are training, validation and test data: `path` as recipes give it, a path or a path for each split.

A folder with files named after splits (`train.jsonl`, `dev.jsonl`, `test.zh`) is such a mapping already.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from yanmo.core.paths import expand
from yanmo.tasks.classify import SPLITS, STEMS


def split_files(path: str | dict[str, str], endings: Iterable[str]) -> dict[str, list[Path]]:
    """Split → its files, in the order train, validation, test. One path is 'train', unless the files are named after splits."""
    if isinstance(path, dict):
        return {split: expand(path[split], endings) for split in SPLITS if split in path}
    found: dict[str, list[Path]] = {}
    for file in expand(path, endings):
        found.setdefault(STEMS.get(file.name.split(".")[0].lower(), ""), []).append(file)
    if "train" in found and len(found) > 1 and "" not in found:
        return {split: found[split] for split in SPLITS if split in found}
    return {"train": sorted(file for group in found.values() for file in group)}

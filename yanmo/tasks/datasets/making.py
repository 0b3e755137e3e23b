"""From a data set's archives to its folder: rows without repetitions, divided by content, and a record of all of it.

    data/NAME/train.jsonl  validation.jsonl  test.jsonl  SOURCE.json

The folder appears whole or not at all. Which side of the split a row falls on depends on its group's hash alone, so a row
more or less moves no other. Rows stand in the order of those hashes: the head of a file is a fair sample of it.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.data import content_id
from yanmo.core.errors import RequestError, WorkError
from yanmo.core.messages import text
from yanmo.tasks.datasets import archives
from yanmo.tasks.datasets.dataset import SPLITS, Item, LabelledSet, Members

SOURCE = "SOURCE.json"
LATER = {None: 0, "train": 1, "validation": 2, "test": 3}  # of equal rows that stand in several splits the test's is kept


def state(data: LabelledSet, folder: Path) -> bool:
    """Whether the folder already holds the data set, unchanged; RequestError where it holds something else."""
    if not folder.exists():
        return False
    other = text("remove it, or name another folder with '--to'")
    if not (folder / SOURCE).is_file():
        raise RequestError(str(folder), text("a folder that is not there yet"), text("one without {name}", name=SOURCE), other)
    known = files.read_json(folder / SOURCE)
    if {key: known.get(key) for key in origin(data)} != origin(data):
        raise RequestError(str(folder), text("the data set in its pinned version"), text("another version of it"), other)
    for name, digest in known["files"].items():
        if not (folder / name).is_file() or files.sha256(folder / name) != digest:
            raise RequestError(str(folder / name), text("the file as it was made"), text("another, or none"), other)
    return True


def origin(data: LabelledSet) -> dict[str, Any]:
    """What the rows follow from: the archives and the converter."""
    return {
        "archives": [{key: value for key, value in asdict(archive).items() if key != "members"} for archive in data.archives],
        "converter": f"{type(data).__module__}:{type(data).__qualname__}",
        "version": data.version,
    }  # fmt: skip


def make(name: str, data: LabelledSet, paths: Iterable[Path], folder: Path) -> dict[str, Any]:
    """Writes the data set of the verified archives at `paths` (in the order of `data.archives`); what SOURCE.json says."""
    held: dict[str, bytes] = {}
    for archive, path in zip(data.archives, paths, strict=True):
        held |= archives.read(path, archive.members)
    found, counts = _rows(data, data.items(Members(held)))
    empty = [split for split in SPLITS if not found[split]]
    if empty:
        raise WorkError(name, text("rows in the part {split}", split=empty[0]), text("none"))
    with files.atomic(folder) as temporary:
        temporary.mkdir()
        for split in SPLITS:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found[split])
            (temporary / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
        source = {
            "name": name,
            "title": (type(data).__doc__ or "").strip().splitlines()[0],
            **origin(data),
            "licence": data.licence, "author": data.author, "task": data.task, "languages": list(data.languages),
            "changes": [*data.changes, *_said(data)],
            "counts": counts | {split: len(found[split]) for split in SPLITS},
            "files": {f"{split}.jsonl": files.sha256(temporary / f"{split}.jsonl") for split in SPLITS},
        }  # fmt: skip
        files.write_json(temporary / SOURCE, source)
    return source


def _said(data: LabelledSet) -> list[str]:
    fields = " and ".join(data.inputs)
    rest = "rows that disagree about the same one left out" if data.agree else "the first of several kept"
    return [f"rows with the same {fields} counted once, {rest}", "split by the hash of the content, whole groups to one side"]


def _rows(data: LabelledSet, items: Iterable[Item]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """split → rows, and how many were read, repeated and contradictory."""
    kept: dict[str, Item] = {}
    disagree: set[str] = set()
    read = 0
    for item in items:
        read += 1
        key = identity(item.row, data.inputs)
        other = kept.get(key)
        if other is None:
            kept[key] = item
            continue
        if data.agree and _rest(item, data) != _rest(other, data):
            disagree.add(key)
        if LATER[item.split] > LATER[other.split]:
            kept[key] = item
    placed = {split: [] for split in SPLITS}  # type: dict[str, list[tuple[str, int, dict[str, Any]]]]
    for number, (key, item) in enumerate(kept.items()):
        if key not in disagree:
            group = content_id(f"split\t{item.group if item.group is not None else key}")
            placed[item.split or side(group, data.validation, data.test)].append((group, number, item.row))
    counts = {"read": read, "repeated": read - len(kept), "contradictory": len(disagree)}
    return {split: [row for _, _, row in sorted(rows, key=lambda r: r[:2])] for split, rows in placed.items()}, counts


def identity(row: dict[str, Any], inputs: Iterable[str]) -> str:
    """The same for rows whose inputs differ in nothing but spaces around and between, and in how a letter is composed."""
    values = [row[name] for name in inputs]
    shown = [" ".join(unicodedata.normalize("NFC", v).split()) if isinstance(v, str) else v for v in values]
    return content_id(json.dumps(shown, ensure_ascii=False))


def side(group: str, validation: float, test: float) -> str:
    """The part that a group (a content id) belongs to."""
    place = int(group, 16) / (1 << 128)
    return "test" if place < test else "validation" if place < test + validation else "train"


def _rest(item: Item, data: LabelledSet) -> Any:
    return {name: value for name, value in item.row.items() if name not in data.inputs}

"""Which test items stand in what a model was trained on, and what it scores on those and on the others.

The model's lineage is followed through the manifests: its stage's corpus, the stage that it was trained further from, and that
one's corpus. An item is dirty where a training document shares a gram with it (13 words of English, 26 characters of Chinese;
`corpus/copies`), clean otherwise; one below eight words is not looked for, and counted as `short`: nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.data import Example
from yanmo.core.manifest import MANIFEST
from yanmo.corpus.copies.contamination import Length, Table
from yanmo.corpus.copies.evaluation_set import Item

LENGTH = Length(words=13, characters=26, shortest=8)
SHOWN = 20  # dirty items that are told with their texts; the others by their names
LETTERS = 160  # of a text that is told
PLAIN = {"id", "label", "group", "language", "source"}  # fields of an item that are no text of it


@dataclass
class Found:
    """Of a set of items: the dirty ones with the first training document that has them, what the two have in common, and those
    not looked for."""

    dirty: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    short: set[str] = field(default_factory=set)


def corpora(folder: Path) -> list[Path]:
    """The corpora that the model in `folder` (a stage's, or a model directory in one) was trained on, by its lineage; empty where
    no stage of ours made it."""
    found: list[Path] = []
    seen: set[Path] = set()

    def follow(place: Path) -> None:
        stage = next((p for p in (place, place.parent) if (p / MANIFEST).is_file()), None)
        if stage is None or stage.resolve() in seen:
            return
        seen.add(stage.resolve())
        for link in files.read_json(stage / MANIFEST).get("inputs") or []:
            beside = stage.parent / link["from"]
            other = beside if beside.exists() else Path(link["from"])
            if link["role"] == "corpus" and other.exists():
                found.append(other)
            elif link["role"] in ("model", "models"):
                follow(other)

    follow(Path(folder))
    return list(dict.fromkeys(found))


def passages(example: Example) -> list[str]:
    """The texts of an item: of a question also its passage and choices."""
    found: list[str] = []
    for name, value in example.fields.items():
        several = value if isinstance(value, list) else [value]
        found += [item for item in several if isinstance(item, str)] if name not in PLAIN else []
    return [passage for passage in found if passage.strip()]


def search(examples: Sequence[Example], training: Iterable[tuple[str, str]]) -> Found:
    """The items that stand in `training`, (id, text) of each document."""
    table = Table((Item("test", example.id, tuple(passages(example))) for example in examples), LENGTH)
    found = Found(short=set(table.coverage["test"].too_short) if "test" in table.coverage else set())
    for name, content in training:
        for hit in table.hits(content):
            item = examples[hit.item].id
            if item not in found.dirty:
                found.dirty[item], found.shared[item] = name, excerpt(content[hit.start : hit.end])
    alike = {content_of(example): example.id for example in examples if example.id in found.dirty}
    for example in examples:  # grams that several items share are noted for the first alone
        if example.id not in found.dirty and content_of(example) in alike:
            other = alike[content_of(example)]
            found.dirty[example.id], found.shared[example.id] = found.dirty[other], found.shared[other]
    return found


def content_of(example: Example) -> tuple[str, ...]:
    return tuple(passages(example))


def documents(places: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """(id, text) of every training document of the corpora."""
    from yanmo.corpus.documents import iterate

    for place in places:
        for row in iterate(place, "train", columns=("id", "text")):
            yield row["id"], row["text"]


def excerpt(content: str) -> str:
    """A text on one line, its end left out where it is long."""
    shown = " ".join(content.split())
    return shown if len(shown) <= LETTERS else shown[: LETTERS - 1] + "…"


def told(found: Found, examples: Sequence[Example], places: Sequence[Path]) -> dict[str, Any]:
    """{documents: {item: document} of all dirty items; items: of the first of them also line, text, what is shared, and the file
    that the document was read from}."""
    from yanmo.corpus.documents import origins

    dirty = [example for example in examples if example.id in found.dirty]
    shown = dirty[:SHOWN]
    wanted = [found.dirty[example.id] for example in shown]
    files = {row["id"]: row["file"] for place in reversed(places) for row in reversed(origins(place, wanted))}
    items = [{"id": example.id, "where": example.where, "text": excerpt(" · ".join(passages(example))),
              "document": found.dirty[example.id], "file": files.get(found.dirty[example.id]),
              "shared": found.shared[example.id]} for example in shown]  # fmt: skip
    return {"documents": {example.id: found.dirty[example.id] for example in dirty}, "items": items}


def groups(found: Found, lines: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """clean, dirty, short → the places of those lines."""
    parts: dict[str, list[int]] = {"clean": [], "dirty": [], "short": []}
    for index, line in enumerate(lines):
        parts["dirty" if line["id"] in found.dirty else "short" if line["id"] in found.short else "clean"].append(index)
    return parts


def table(found: Found, lines: Sequence[dict[str, Any]], head: Any, task: Any) -> dict[str, Any]:
    """{clean, dirty, short: how many items; figures: {metric: {clean, dirty, overall}}, each with value and interval}."""
    from yanmo.evaluate.measure import rounded, scored

    parts = {**groups(found, lines), "overall": list(range(len(lines)))}
    figures: dict[str, dict[str, Any]] = {}
    whole = head.figures(task, lines)
    for kind in ("clean", "dirty", "overall"):
        for metric, (value, bounds) in (scored(whole, parts[kind]) if parts[kind] else {}).items():
            low, high = bounds or (float("nan"), float("nan"))
            figures.setdefault(metric, {})[kind] = {"value": rounded(value), "low": rounded(low), "high": rounded(high)}
    return {kind: len(parts[kind]) for kind in ("clean", "dirty", "short")} | {"figures": figures}

"""Smart-home commands in English and Chinese, labelled with what they ask for; no way of saying it stands on both sides.

The split is by template, never by sentence. A training sentence with the wording of a held-out one, slots apart, is
dropped (`signature`), and a sentence or wording that two labels share is no evidence for either.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

from yanmo.tasks.datasets.dataset import Archive, Item, LabelledSet, Members
from yanmo.tasks.datasets.templates import LANGUAGES, Drawn, digest, sentences, signature, wording

PARTS = {"test": 40, "validation": 24, "train": 150}  # rows at most, for a label and language
FEWEST = {"test": 8, "validation": 4, "train": 24}  # fewer than this and the label is left out, in both languages

Row = dict[str, str]
Orders = Callable[[list[Drawn]], Iterator[list[str]]]


class HomeAssistantIntents(LabelledSet):
    """Commands to a smart home in English and Chinese: what is asked for. Templates are held out, not sentences alone."""

    archives = (
        Archive("pypi", "home-assistant-intents", "2026.10.27",
                "256eb1e4fc6e6f4943d0ba4e089c9639d74d0e9d62ccddeb7148bc168de55e40",
                tuple(f"home_assistant_intents/data/{name}.json" for name in LANGUAGES.values())),
    )  # fmt: skip
    licence = "Apache-2.0"
    author = "the Home Assistant intents contributors (Open Home Foundation)"
    task = "classify"
    languages = ("en", "zh")
    changes = (
        "sentences drawn from the templates, their slots filled from word lists of our own; unnatural sentences, and "
        "wordings that two intents share, left out",
        "split by template within each intent and language, by hash: a quarter to test, a sixth to validation; no template, no "
        "text and no wording (slots apart) stands in two parts; one in five words of each list occurs in the test part only",
        "at most 300, 40 and 60 rows for an intent and language in train, validation and test, templates taken in turn; intents "
        "left out where a part would have fewer than 24, 4 or 8",
    )

    def items(self, members: Members) -> Iterator[Item]:
        data = {ours: json.loads(members.text(f"*/data/{theirs}.json")) for ours, theirs in LANGUAGES.items()}
        for part, rows in intents(data, by_hash, {"test": 60, "validation": 40, "train": 300}).items():
            for row in rows:
                yield Item(row, split=part)  # type: ignore[arg-type]


def by_hash(drawn: list[Drawn]) -> Iterator[list[str]]:
    """The templates in an order that knows nothing of them; where a part comes out too small, in another."""
    templates = {d.template for d in drawn}
    for deal in range(len(templates)):
        yield sorted(templates, key=lambda t: digest(str(deal), t))


def least_alike(drawn: list[Drawn]) -> Iterator[list[str]]:
    """The templates of one label and language, in the orders in which they may be dealt to test, validation and train.

    The template least like the others comes first and those most like it follow, so that the test part asks for a way
    of saying things that training has not shown. The second order starts from the second least alike, and so on.
    """
    pieces: dict[str, set[str]] = defaultdict(set)
    for d in drawn:
        said = signature(d.skeleton)
        pieces[d.template] |= {said[i : i + 4] for i in range(len(said))}
    alike = {(t, u): len(pieces[t] & pieces[u]) / len(pieces[t] | pieces[u]) for t in pieces for u in pieces}
    for start in sorted(pieces, key=lambda t: (sum(alike[t, u] for u in pieces), digest(t))):
        yield sorted(pieces, key=lambda t: (t != start, -alike[start, t], digest(t)))


def split(drawn: list[Drawn], order: list[str], most: dict[str, int]) -> dict[str, list[Row]]:
    """part -> rows: the first quarter of the templates to test, the next sixth to validation."""
    test, validation = max(1, round(len(order) / 4)), max(1, round(len(order) / 6))
    parts = {t: "test" if i < test else "validation" if i < test + validation else "train" for i, t in enumerate(order)}
    taken: dict[str, str] = {}  # signature -> the first part that has it
    texts: set[str] = set()
    rows: dict[str, list[Row]] = {}
    for part, limit in most.items():
        queues: dict[str, list[Drawn]] = {template: [] for template in sorted(parts)}
        for d in drawn:
            if parts[d.template] != part or d.text in texts or (d.held_out and part != "test"):
                continue
            if taken.setdefault(signature(d.skeleton), part) == part:
                texts.add(d.text)
                queues[d.template].append(d)
        # One of each template in turn, so that no template dominates.
        turns = zip_longest(*queues.values())
        picked = [d for turn in turns for d in turn if d][:limit]
        rows[part] = [{f: getattr(d, f) for f in ("text", "label", "language", "template")} for d in picked]
    return rows


def enough(rows: dict[str, list[Row]]) -> bool:
    return all(len(rows.get(part, [])) >= FEWEST[part] for part in PARTS)


def rows_of(language: str, data: dict[str, Any], orders: Orders, most: dict[str, int]) -> dict[str, dict[str, list[Row]]]:
    """label -> part -> rows, in one language. A sentence or wording that two labels share is no evidence for either."""
    drawn = sorted(set(sentences(language, data)), key=lambda d: digest(*map(str, d)))
    labels: dict[str, set[str]] = defaultdict(set)
    for d in drawn:
        labels[d.text].add(d.label)
        labels[wording(d.skeleton)].add(d.label)
    by_label: dict[str, list[Drawn]] = defaultdict(list)
    for d in drawn:
        if len(labels[d.text]) == len(labels[wording(d.skeleton)]) == 1:
            by_label[d.label].append(d)
    # Where a part comes out too small, the templates are dealt again, in the next order.
    table = {}
    for label, found in sorted(by_label.items()):
        deals = (split(found, order, most) for order in orders(found))
        table[label] = next((rows for rows in deals if enough(rows)), {})
    return table


def intents(data: dict[str, dict[str, Any]], orders: Orders, most: dict[str, int] = PARTS) -> dict[str, list[Row]]:
    """Part -> rows of both languages, in a shuffled order that never changes. `data`: language -> its templates; `most`: part ->
    rows of a label and language."""
    tables = {language: rows_of(language, data[language], orders, most) for language in LANGUAGES}
    kept = [label for label in sorted(tables["en"]) if all(enough(table.get(label, {})) for table in tables.values())]
    return {
        part: sorted(
            (row for table in tables.values() for label in kept for row in table[label][part]),
            key=lambda row: digest(row["text"], row["label"]),
        )
        for part in ("train", "validation", "test")
    }

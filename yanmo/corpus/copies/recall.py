"""How much of what it should find a `decontaminate` step does find: known items planted into real documents.

Items are planted as they are, and with the small changes that copies go through: another case, no punctuation, other
blanks, one word changed, a part left out. Every document that the step finds something in before anything was planted is
left out, so that a find is a find of the planted item.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from yanmo.corpus.step import Step
from yanmo.corpus.steps.decontaminate import Decontaminate
from yanmo.corpus.words.grams import words

PUNCTUATION = re.compile(r"[^\w\s]|_")
BLANKS = re.compile(r"[^\S\n]+")
HOSTS = 500  # documents that items are planted into
EVERY = 20  # characters between the line ends put into a text without blanks


def measured(steps: Sequence[Step], corpus: Path) -> list[dict[str, Any]]:
    """`recall` of each `decontaminate` step, in the first documents of the finished corpus; none where none wants it."""
    chosen = [step for step in steps if isinstance(step, Decontaminate) and step.inject]
    if not chosen:
        return []
    from yanmo.corpus import documents

    texts = [row["text"] for row in islice(documents.iterate(corpus, columns=("text",)), HOSTS)]
    return [{"against": [part.title for part in step.against], **recall(step, texts, step.inject)} for step in chosen]


def recall(step: Decontaminate, texts: Iterable[str], items: int = 200, seed: int = 0) -> dict[str, Any]:
    """{"coverage": {set: how many items are looked for}, "innocent": share of `texts` in which nothing is found,
    "planted": {form: {"grams" | "whole": {"planted": n, "found": n, "recall": share}}}}.

    Up to `items` items that are covered, chosen by `seed`, are planted into as many of `texts`, in turn."""
    rng, table = random.Random(seed), step.table()
    hosts, seen = list[str](), 0
    for body in texts:
        seen += 1
        if not table.hits(body):
            hosts.append(body)
    chosen = list[tuple[str, str]]()  # how it is looked for, passage
    for item in step.items():
        for passage in item.passages:
            hits = table.hits(passage)
            if hits:
                chosen.append(("grams" if _long(step, passage) else "whole", passage))
                break
    if len(chosen) > items:
        chosen = rng.sample(chosen, items)
    planted: dict[str, dict[str, dict[str, Any]]] = {form: {} for form in FORMS}
    for number, (way, passage) in enumerate(chosen if hosts else []):
        host = hosts[number % len(hosts)]
        for form, change in FORMS.items():
            counts = planted[form].setdefault(way, {"planted": 0, "found": 0})
            counts["planted"] += 1
            counts["found"] += bool(table.hits(plant(host, change(passage, host, rng), rng)))
    for found in planted.values():
        for counts in found.values():
            counts["recall"] = round(counts["found"] / counts["planted"], 4)
    return {"coverage": {name: asdict(about) for name, about in table.coverage.items()},
            "innocent": round(len(hosts) / seen, 4) if seen else 1.0, "planted": planted}  # fmt: skip


def _long(step: Decontaminate, passage: str) -> bool:
    found = words(passage)
    weight = int(found.unspaced.sum()) * step.words + int((~found.unspaced).sum()) * step.characters
    return weight >= step.length.gram


def plant(host: str, passage: str, rng: random.Random) -> str:
    """`passage` as a paragraph of its own, or in the running text, at a border between tokens of `host`."""
    found = words(host)
    at = int(found.starts[rng.randrange(len(found))]) if len(found) else 0
    around = rng.choice(["\n\n", " ", "\n"])
    return host[:at] + around + passage + around + host[at:]


def verbatim(passage: str, host: str, rng: random.Random) -> str:
    return passage


def case(passage: str, host: str, rng: random.Random) -> str:
    return passage.swapcase()


def punctuation(passage: str, host: str, rng: random.Random) -> str:
    return PUNCTUATION.sub("", passage)


def blanks(passage: str, host: str, rng: random.Random) -> str:
    """Wrapped anew: a line end for each blank, and some where there are none."""
    if BLANKS.search(passage):
        return BLANKS.sub(lambda _: rng.choice([" ", "  ", "\n", "\n    "]), passage)
    return "\n".join(passage[start : start + EVERY] for start in range(0, len(passage), EVERY))


def word(passage: str, host: str, rng: random.Random) -> str:
    """Its middle word (or character) replaced by another."""
    found = words(passage)
    middle = len(found) // 2
    other = "另" if found.unspaced[middle] else "otherwise"
    return passage[: found.starts[middle]] + other + passage[found.ends[middle] :]


def half(passage: str, host: str, rng: random.Random) -> str:
    """Its first half alone."""
    found = words(passage)
    return passage[: found.ends[(len(found) - 1) // 2]]


FORMS: dict[str, Callable[[str, str, random.Random], str]] = {
    "verbatim": verbatim, "case": case, "punctuation": punctuation, "blanks": blanks, "one_word": word, "half": half,
}  # fmt: skip

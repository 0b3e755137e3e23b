"""The account of a corpus: every document that came in is kept, dropped or quarantined, and the sum is asserted."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from math import floor
from typing import Any

from yanmo.core.data import Document
from yanmo.corpus.source import QUARANTINE, Source
from yanmo.corpus.split import place
from yanmo.corpus.step import Step

EXAMPLES = 4  # of each source that was kept from, and of each reason
DUPLICATES = ("duplicate", "near_duplicate")  # reasons whose value is the id of the document that stays


def unbroken(docs: Iterator[Document]) -> Iterator[Document]:
    """The documents, each asserted to follow the one before: nothing was lost, doubled or moved on the way."""
    last = -1
    for doc in docs:
        assert doc.order == last + 1 or (doc.order > last and doc.order & 0xFFFFFFFF == 0), f"{last} is followed by {doc.order}"
        last = doc.order
        yield doc


class Account:
    """What the corpus amounts to, for the whole, each source and each split; and a few documents of every fate."""

    def __init__(self, sources: list[Source], about: dict[str, dict[str, Any]], steps: Sequence[Step] = ()):
        self.sources, self.about, self.steps, self.seen = sources, about, steps, 0
        self.dropped: dict[str, Counter[str]] = {source.name: Counter() for source in sources}
        self.quarantined: dict[str, Counter[str]] = {source.name: Counter() for source in sources}
        self.documents: Counter[tuple[str, str]] = Counter()  # (source, split)
        self.bytes: Counter[tuple[str, str]] = Counter()
        self.languages: Counter[str] = Counter()
        self.lengths: Counter[int] = Counter()  # by the power of two below
        self.scores: dict[str, Counter[float]] = {}  # by the tenth below
        self.pii: Counter[str] = Counter()
        self.clusters: Counter[str] = Counter()  # id of the document that stays → how many were dropped for it
        self.shown: dict[tuple[str, str], list[tuple[int, int, dict[str, Any]]]] = {}

    def keep(self, doc: Document, split: str, size: int, language: str | None, scores: dict[str, float]) -> None:
        self.documents[doc.source, split] += 1
        self.bytes[doc.source, split] += size
        self.languages[language or "?"] += 1
        self.lengths[1 << (len(doc.text).bit_length() - 1)] += 1
        for name, score in scores.items():
            self.scores.setdefault(name, Counter())[floor(10 * score) / 10] += 1
        if found := doc.meta.get("pii"):
            self.pii.update(found)
        self._show(("kept", doc.source), doc, language, split)

    def reject(self, doc: Document, language: str | None) -> None:
        assert doc.rejection is not None
        if doc.rejection.step == QUARANTINE:
            self.quarantined[doc.source][doc.rejection.reason] += 1
            self._show(("quarantined", doc.rejection.reason), doc, language)
        else:
            name = f"{doc.rejection.step}.{doc.rejection.reason}"
            self.dropped[doc.source][name] += 1
            if doc.rejection.reason in DUPLICATES:
                self.clusters[str(doc.rejection.value)] += 1
            self._show(("dropped", name), doc, language)

    def _show(self, fate: tuple[str, str], doc: Document, language: str | None, split: str = "") -> None:
        """Keeps the few documents with the smallest hashes: a sample that no order can change."""
        held = self.shown.setdefault(fate, [])
        rank = (-place(doc.id), -doc.order)
        if len(held) < EXAMPLES or rank > held[0][:2]:
            example = {"text": doc.text[:600], "source": doc.source, "language": language,
                       "file": doc.origin.file, "start": doc.origin.start, "end": doc.origin.end, "split": split,
                       "line": doc.meta.get("line") if fate[0] == "quarantined" else None,
                       "value": doc.rejection.value if doc.rejection else None,
                       "similarity": doc.meta.get("similarity") if fate[0] == "dropped" else None}  # fmt: skip
            (heapq.heappushpop if len(held) == EXAMPLES else heapq.heappush)(held, (*rank, example))

    def examples(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        return {fate: [example for _, _, example in sorted(held, key=lambda h: h[:2], reverse=True)]
                for fate, held in sorted(self.shown.items())}  # fmt: skip

    def stats(self) -> dict[str, Any]:
        splits = [name for name in ("train", "validation", "test") if any(split == name for _, split in self.documents)]
        kept = self.documents.total()
        dropped = sum(self.dropped.values(), Counter())
        quarantined = sum(self.quarantined.values(), Counter())
        sources = [self._source(source, splits) for source in self.sources]
        sizes = Counter(count + 1 for count in self.clusters.values())
        largest = sorted(self.clusters.items(), key=lambda cluster: (-cluster[1], cluster[0]))
        assert self.seen == kept + dropped.total() + quarantined.total() == sum(source["in"] for source in sources)
        return {
            "in": self.seen, "kept": kept,
            "dropped": dict(sorted(dropped.items())), "quarantined": dict(sorted(quarantined.items())),
            "splits": {name: self._amount(lambda source, split, name=name: split == name) for name in splits},
            "sources": sources, "steps": list(dict.fromkeys(step.type for step in self.steps)),
            "reports": [{"step": step.type, **report} for step in self.steps if (report := step.report())],
            "languages": dict(sorted(self.languages.items(), key=lambda item: (-item[1], item[0]))),
            "lengths": {str(low): count for low, count in sorted(self.lengths.items())},
            "scores": {name: {str(low): count for low, count in sorted(found.items())}
                       for name, found in sorted(self.scores.items())},
            "pii": dict(sorted(self.pii.items())),
            "duplicates": {"sizes": {str(size): count for size, count in sorted(sizes.items())},
                           "largest": [[id_, count + 1] for id_, count in largest[:10]]},
        }  # fmt: skip

    def _source(self, source: Source, splits: list[str]) -> dict[str, Any]:
        name, about = source.name, self.about[source.name]
        amount = self._amount(lambda own, split: own == name)
        return {
            "name": name, "type": source.type, "path": source.path, "title": about["title"], "language": about["language"],
            "licence": about["licence"], "weight": source.weight,
            "in": amount["documents"] + self.dropped[name].total() + self.quarantined[name].total(),
            "kept": amount["documents"], "bytes": amount["bytes"],
            "dropped": dict(sorted(self.dropped[name].items())), "quarantined": dict(sorted(self.quarantined[name].items())),
            "splits": {split: self._amount(lambda own, where, split=split: own == name and where == split) for split in splits},
        }  # fmt: skip

    def _amount(self, chosen: Any) -> dict[str, int]:
        keys = [key for key in self.documents if chosen(*key)]
        return {"documents": sum(self.documents[key] for key in keys), "bytes": sum(self.bytes[key] for key in keys)}

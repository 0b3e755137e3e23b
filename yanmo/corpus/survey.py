"""A look at a sample of a corpus before the work: what is in it, what the steps would do to it, what it will cost.

A few hundred documents are read from shards spread over each source and taken through the recipe's steps, for real. What
depends on the whole is scaled by bytes and is an estimate; duplicates are those within the sample, so that there are more.
"""

from __future__ import annotations

import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from yanmo.core.console import Console
from yanmo.core.data import Document, content_id
from yanmo.core.paths import written
from yanmo.corpus.engines.local import LocalEngine
from yanmo.corpus.source import QUARANTINE, Shard, Source
from yanmo.corpus.step import Step, apply
from yanmo.corpus.steps.minhash_dedup import MinhashDedup
from yanmo.text.language import language as script_language

DOCUMENTS = 400  # looked at in each source
SHARDS = 24
CHARACTERS = 3 << 19  # of a source's sample, at most


class Sampled(Source):
    """A source's first documents in each of a few of its shards, spread evenly."""

    type: str = "sampled"
    inner: Any = None
    each: int = 0

    def shards(self) -> list[Shard]:
        return spread(self.inner.shards(), SHARDS)

    def documents(self, shard: Shard) -> Iterator[Document]:
        left = CHARACTERS // SHARDS
        for doc in islice(self.inner.documents(shard), self.each):
            yield doc
            left -= len(doc.text)
            if left <= 0:
                return

    def files(self) -> list[Path]:
        return self.inner.files()


def spread(items: list[Any], count: int) -> list[Any]:
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else items


def survey(sources: Sequence[Source], steps: Sequence[Step], workers: int) -> dict[str, Any]:
    """{"sources": [what each holds], "kept", "dropped", "seconds", "disk_bytes", "documents", "text_bytes", "texts", "splits"}.

    `kept` and `dropped` are shares of the sample after the steps; `seconds` the work of reading and of the steps for the
    whole with `workers` processes; `texts` the kept sample and `splits` its texts' splits where the recipe assigns them (not for
    showing: estimates of what follows need them)."""
    found, sampled = list[dict[str, Any]](), []
    looked_at = 0
    for source in sources:
        shards = source.shards()
        each = -(-DOCUMENTS // max(len(spread(shards, SHARDS)), 1))
        sample = Sampled(path=source.path, name=source.name, language=source.language, inner=source, each=each)
        docs = [doc for shard in sample.shards() for doc in sample.documents(shard)]
        looked_at += sum(len(doc.text.encode()) for doc in docs if doc.rejection is None)
        found.append(_about(source, docs, sum(shard.size for shard in shards)))
        sampled.append(sample)
    assigned = {(source.name, written(file)): split
                for source in sources for split, file in source.located() if split is not None}  # fmt: skip
    seconds, fates, kept, splits = _through(sampled, list(steps), assigned)
    read = sum(about["sampled"] for about in found) or 1
    scale = {about["name"]: about["documents"] / max(about["sampled"], 1) for about in found}
    texts = [body for bodies in kept.values() for body in bodies]
    size = {name: sum(len(body.encode()) for body in bodies) * scale[name] for name, bodies in kept.items()}
    whole = "".join(texts)
    packed = len(pa.compress(whole.encode(), "zstd", asbytes=True)) / len(whole) if whole else 0.0
    characters = {name: sum(map(len, bodies)) * scale[name] for name, bodies in kept.items()}
    return {
        "sources": found, "kept": round(len(texts) / read, 4),
        "dropped": {name: round(count / read, 4) for name, count in fates.most_common()},
        "documents": round(sum(len(bodies) * scale[name] for name, bodies in kept.items())),
        "text_bytes": round(sum(size.values())),
        "seconds": round(seconds * sum(about["text_bytes"] for about in found) / max(looked_at, 1) / workers, 3),
        "disk_bytes": round(2 * packed * sum(characters.values())), "texts": texts, "splits": splits,
    }  # fmt: skip


def _about(source: Source, docs: list[Document], size: int) -> dict[str, Any]:
    good = [doc for doc in docs if doc.rejection is None]
    broken = Counter(doc.rejection.reason for doc in docs if doc.rejection and doc.rejection.step == QUARANTINE)
    fields: dict[str, Counter[str]] = {}
    for doc in good:
        for name, value in {"text": doc.text, **doc.meta}.items():
            fields.setdefault(str(name), Counter())[type(value).__name__] += 1
    said = source.about()["language"]
    languages = Counter(str(doc.meta.get("language") or said or script_language(doc.text)) for doc in good)
    encodings = Counter(str(doc.meta.get("encoding", "utf-8")) for doc in good)
    ids = [content_id(doc.text) for doc in good]
    texts = sum(len(doc.text.encode()) for doc in good)
    consumed = _consumed(docs, texts)
    share = min(max(consumed / size, 1e-9), 1.0) if size and consumed else 1.0
    total = len(good) or 1
    return {
        "name": source.name, "type": source.type, "bytes": size, "sampled": len(docs),
        "fields": {name: "|".join(sorted(kinds)) for name, kinds in fields.items()},
        "encodings": _shares(encodings, total), "languages": _shares(languages, total), "quarantined": dict(broken),
        "exact_duplicates": round(1 - len(set(ids)) / total, 4), "near_duplicates": _near(good),
        "documents": round(len(docs) / share), "text_bytes": round(texts / share),
        "mean_characters": round(sum(len(doc.text) for doc in good) / total),
    }  # fmt: skip


def _consumed(docs: list[Document], texts: int) -> float:
    """How many bytes of the files the sample takes up, about."""
    spans = sum(doc.origin.end - doc.origin.start for doc in docs)
    if spans < texts / 4:  # row numbers of a columnar file: what the texts take when they are packed
        return len(zlib.compress("".join(doc.text for doc in docs).encode("utf-8", "replace")))
    if any(doc.origin.member for doc in docs):
        raw = "".join(doc.text for doc in docs).encode("utf-8", "replace")
        return spans * len(zlib.compress(raw)) / max(len(raw), 1)
    return spans


def _near(docs: list[Document]) -> float:
    """The share of documents that MinHash would drop from the sample alone."""
    step, seen, dropped = MinhashDedup(), set[tuple[int, bytes]](), 0
    for doc in docs:
        signature = step.signature(doc.text)
        if signature is not None:
            bands = {(band, row.tobytes()) for band, row in enumerate(signature.reshape(step.bands, step.rows))}
            dropped += bool(bands & seen)
            seen |= bands
    return round(dropped / (len(docs) or 1), 4)


def _shares(counts: Counter[str], total: int) -> dict[str, float]:
    return {name: round(count / total, 4) for name, count in counts.most_common(8)}


def _through(samples: Sequence[Source], steps: list[Step], assigned: dict[tuple[str, str], str]
             ) -> tuple[float, Counter[str], dict[str, list[str]], dict[str, str]]:  # fmt: skip
    """(seconds, how many each reason dropped, kept texts by source, their splits by (source, file) where `assigned`) of the
    samples through the steps, in this process."""
    fates: Counter[str] = Counter()
    splits: dict[str, str] = {}
    texts: dict[str, list[str]] = {sample.name: [] for sample in samples}
    with (
        tempfile.TemporaryDirectory(prefix="yanmo-") as folder,
        LocalEngine(workers=1).session(Path(folder), Console(quiet=True)) as session,
    ):
        started = time.monotonic()
        for doc in apply(steps, session.read(samples)).collect():
            if doc.rejection is None:
                texts[doc.source].append(doc.text)
                if (doc.source, doc.origin.file) in assigned:
                    splits[doc.text] = assigned[doc.source, doc.origin.file]
            else:
                fates[f"{doc.rejection.step}.{doc.rejection.reason}"] += 1
        return time.monotonic() - started, fates, texts, splits

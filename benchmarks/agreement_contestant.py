"""One contestant of benchmarks/agreement.py: what its filters say of each document, as one JSON object on stdout.

    python agreement_contestant.py yanmo|datatrove FOLDER en|zh

FOLDER holds documents.jsonl, copies.jsonl, addresses.jsonl and the lists, as agreement.py wrote them. The answer is {filter:
[[kept, reason, digest of the text that is left], …]}, one for each document, with `minhash` and `copies` beside. Both have the
thresholds of the language: the published ones for English, FineWeb-2's for Chinese.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from benchmarks.agreement_documents import LISTS
from benchmarks.corpus_thresholds import settings

Verdict = list[Any]  # kept or null where it failed, reason, digest of the text
SCORE = 0.65  # what both ask of the identified language


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def pairs(keys: list[Iterable[Any]]) -> list[list[int]]:
    """The documents that share a key."""
    held: dict[Any, list[int]] = defaultdict(list)
    for number, own in enumerate(keys):
        for key in own:
            held[key].append(number)
    return sorted([a, b] for a, b in {(a, b) for group in held.values() for a in group for b in group if a < b})


# ------------------------------------------------------------------------------------------------ ours


class Yanmo:
    def __init__(self, folder: Path, language: str):
        from yanmo.core.registry import create

        same = {"language": language}
        plain = {"type": "c4_quality", **same}
        bare = {"terminal_punctuation": False, "min_words_per_line": None, "max_word_length": None}
        self.steps: dict[str, Any] = {name: create("step", settings) for name, settings in {
            "gopher_quality": {"type": "gopher_quality", **same}, "gopher_repetition": {"type": "gopher_repetition", **same},
            "fineweb_quality": {"type": "fineweb_quality", **same},
            "c4_quality": plain, "c4_quality, any line": {**plain, "terminal_punctuation": False},
            "c4_quality, sentences": {**plain, "split_paragraph": False}, "c4_quality, no words": {**plain, **bare},
            "c4_quality, English rules": {**plain, "language": "en"},
            "c4_paragraphs": {"type": "c4_paragraphs"}, "language": {"type": "language", "min_score": SCORE, "corrected": False},
            "language, corrected": {"type": "language", "min_score": SCORE},
            "word_filter": {"type": "word_filter", "words": str(folder / f"listed.{language}.txt")},
        }.items()}  # fmt: skip
        self.addresses = create("step", {"type": "url_filter", **{name: str(folder / f"{name}.txt")
                                         for name in ("domains", "urls", "words", "soft_words")}})  # fmt: skip
        self.minhash = create("step", {"type": "minhash_dedup"})

    def verdict(self, step: Any, text: str, **meta: Any) -> Verdict:
        from yanmo.core.data import Document, Origin, content_id

        doc = Document(content_id(text), text, Origin("a", None, 0, 1), meta=meta)
        for _ in step.rows(iter([doc])):
            pass
        reason = doc.rejection and [doc.rejection.reason, doc.rejection.value]
        return [doc.rejection is None, reason, digest(doc.text)]

    def verdicts(self, text: str) -> dict[str, Verdict]:
        return {name: self.verdict(step, text) for name, step in self.steps.items()}

    def address(self, url: str) -> Verdict:
        return self.verdict(self.addresses, "x", url=url)

    def bands(self, text: str) -> list[Any]:
        found = self.minhash.signature(text)
        return [] if found is None else [(i, band.tobytes()) for i, band in enumerate(found.reshape(14, 8))]

    def shingles(self, text: str) -> set[int]:
        from yanmo.corpus.words.shingles import shingles

        return set(shingles([text], 5)[0].tolist())


# ------------------------------------------------------------------------------------------------ datatrove


class Datatrove:
    def __init__(self, folder: Path, language: str):
        import datatrove.pipeline.filters.c4_filters as c4
        import datatrove.utils.lid as lid
        import datatrove.utils.text as text
        from datatrove.pipeline.dedup import MinhashDedupSignature
        from datatrove.pipeline.filters import (
            C4BadWordsFilter,
            C4ParagraphFilter,
            C4QualityFilter,
            FineWebQualityFilter,
            GopherQualityFilter,
            GopherRepetitionFilter,
            LanguageFilter,
            URLFilter,
        )
        from tldextract import TLDExtract

        model = next(
            path for entry in os.environ["LANGUAGE_MODEL"].split(os.pathsep) for path in Path(entry).rglob("lid.176.ftz")
        )
        lid.cached_asset_path_or_download = lambda *_, **__: str(model)  # the model that we use too, and no network
        c4.cached_asset_path_or_download = lambda *_, **__: str(folder / f"listed.{language}.txt")
        self.parts = text.split_into_parts
        remembered: dict[Any, list[str]] = {}

        def split_into_parts(*given: Any, **named: Any) -> list[str]:  # each text is cut once for all filters
            key = (*given, *sorted(named.items()))
            if key not in remembered:
                if len(remembered) > 20_000:
                    remembered.clear()
                remembered[key] = self.parts.__wrapped__(*given, **named)
            return remembered[key]

        text.split_into_parts = split_into_parts
        tongue = {"language": "cmn_Hani" if language == "zh" else "eng_Latn"}
        own = settings(language)
        self.filters: dict[str, Any] = {
            "gopher_quality": GopherQualityFilter(**own["gopher_quality"]),
            "gopher_repetition": GopherRepetitionFilter(**own["gopher_repetition"]),
            "fineweb_quality": FineWebQualityFilter(**own["fineweb_quality"]),
            "c4_quality": C4QualityFilter(**tongue),
            "c4_quality, any line": C4QualityFilter(filter_no_terminal_punct=False, **tongue),
            "c4_quality, sentences": C4QualityFilter(split_paragraph=False, **tongue),
            "c4_quality, no words": C4QualityFilter(filter_no_terminal_punct=False, min_words_per_line=-1, max_word_length=-1,
                                                    **tongue),
            "c4_quality, English rules": C4QualityFilter(language="eng_Latn"), "c4_paragraphs": C4ParagraphFilter(),
            "language": LanguageFilter(languages=["en", "zh"], language_threshold=SCORE),
            "language, corrected": LanguageFilter(languages=["en", "zh"], language_threshold=SCORE),
            "word_filter": C4BadWordsFilter(default_language=language),
        }  # fmt: skip
        self.addresses = URLFilter(extra_domains=LISTS["domains"], extra_urls=LISTS["urls"], banned_words=LISTS["words"],
                                   soft_banned_words=LISTS["soft_words"], use_integrated_lists=False)  # fmt: skip
        self.addresses.tldextractor = TLDExtract(suffix_list_urls=())  # the list in its wheel, and no network
        self.minhash = MinhashDedupSignature(output_folder=str(folder / "signatures"), **tongue)

    def verdict(self, block: Any, text: str, **meta: Any) -> Verdict:
        from datatrove.data import Document

        doc = Document(text=text, id="0", metadata=dict(meta))
        try:
            result = block.filter(doc)
        except (ZeroDivisionError, ValueError, AttributeError, IndexError) as error:
            return [None, type(error).__name__, None]
        kept, reason = result if isinstance(result, tuple) else (result, None)
        return [bool(kept), reason or (None if kept else "dropped"), digest(doc.text)]

    def verdicts(self, text: str) -> dict[str, Verdict]:
        return {name: self.verdict(block, text) for name, block in self.filters.items()}

    def address(self, url: str) -> Verdict:
        return self.verdict(self.addresses, "x", url=url)

    def bands(self, text: str) -> list[Any]:
        found = self.minhash.get_shingles(text)
        return [(i, tuple(band)) for i, band in enumerate(self.minhash.get_signature(found))] if found.size else []

    def shingles(self, text: str) -> set[int]:
        return set(self.minhash.get_shingles(text).ravel().tolist())


# ------------------------------------------------------------------------------------------------


def answer(contestant: Any, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = defaultdict(list)
    for _, text in rows(folder / "documents.jsonl"):
        for name, verdict in contestant.verdicts(text).items():
            found[name].append(verdict)
    for _, url in rows(folder / "addresses.jsonl"):
        found["url_filter"].append(contestant.address(url))
    alike = []
    for one, two in (twins := rows(folder / "copies.jsonl")):
        a, b = contestant.shingles(one), contestant.shingles(two)
        alike.append(len(a & b) / (len(a | b) or 1))
    bands: Callable[[str], list[Any]] = contestant.bands
    return {**found, "copies": alike, "minhash": pairs([bands(text) for twin in twins for text in twin])}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a peer prints is not an answer
    contestant: Any = {"yanmo": Yanmo, "datatrove": Datatrove}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
    print(json.dumps(answer(contestant, Path(sys.argv[2]))), file=answers, flush=True)


if __name__ == "__main__":
    main()

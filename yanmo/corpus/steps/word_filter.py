"""Drops documents that hold too many of the words of the user's lists.

A word of a script with spaces counts where it stands by itself: `class` does not hold `ass`, `naïve` no `ve`. One of
Chinese, Japanese, Thai and the other scripts without spaces counts wherever it stands. Upper and lower case are the same;
a blank in an entry stands for any blank space. An entry of `allow` is a word that does not count, or a longer one within
which a listed word does not count (`鸡肉` beside a listed `鸡`).

All words are one pattern that is looked for in one linear pass (RE2); neighbours are looked at only where it is found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from yanmo.core.config import describe
from yanmo.core.data import Document, Rejection
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.corpus.step import Filter
from yanmo.corpus.words import lists
from yanmo.corpus.words.shingles import UNSPACED

UNSPACED_LETTERS = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
UNSPACED_LETTER = re.compile(f"[{UNSPACED_LETTERS}]")
UNSPACED_RUN = re.compile(f"[{UNSPACED_LETTERS}]+")
SPACED_WORD = re.compile(rf"[^\W{UNSPACED_LETTERS}]+")
MEMORY = 256 << 20  # that RE2 may take for a pattern of very many words; it takes what it needs
NOTHING, BLANK = r"[^\x00-\x{10FFFF}]", r"[\s\x{a0}\x{3000}]+"  # as RE2 writes them
ALLOWED, LISTED = 1, 2  # groups of the pattern


class WordFilter(Filter):
    """Drops documents with too many listed words: toxicity by list.

    `words` and `allow`: a list (a file, one word a line, `#` comments, .gz allowed), several, or one for each language:
    `{en: path, zh: path}`; then a document whose language is known is held against its own
    alone, and against none where it has none. Dropped is what has
    more than `max_count` of them (0 where neither limit is given) or more than `max_fraction` of its words; of scripts
    without spaces, of its characters. The fraction stays in `scores` under `name`."""

    type: str = "word_filter"
    words: str | list[str] | dict[str, str | list[str]]
    allow: str | list[str] | dict[str, str | list[str]] | None = None
    max_count: int | None = Field(default=None, ge=0)
    max_fraction: float | None = Field(default=None, ge=0, le=1)
    name: str = Field(default="listed_words", min_length=1)

    @field_validator("words", "allow")
    @classmethod
    def _some(cls, value: Any) -> Any:
        if value is not None and not (value and (not isinstance(value, dict) or all(value.values()))):
            raise ValueError(str(text("a list of words")))
        return value

    @model_validator(mode="after")
    def _known(self) -> Self:
        if isinstance(self.allow, dict) and isinstance(self.words, dict) and not set(self.allow) <= set(self.words):
            extra = sorted(set(self.allow) - set(self.words))[0]
            raise ValueError(str(text("allow lists for languages that have words, not {given}", given=describe(extra))))
        return self

    def files(self) -> list[Path]:
        return [file for value in (self.words, self.allow) for paths in _each(value) for file in lists.files(paths)]

    def check(self) -> None:
        needed("re2", "corpus", self.type)
        self.patterns()

    def patterns(self) -> dict[str | None, Pattern]:
        """The pattern of each language that has words of its own, and under None that of all of them, for documents whose
        language is not known."""
        words = self.words if isinstance(self.words, dict) else {}
        found: dict[str | None, Pattern] = {}
        for language in (None, *words):
            chosen = words[language] if language else self.words
            allowed = self.allow.get(language) if language and isinstance(self.allow, dict) else self.allow
            found[language] = pattern(_stamp(chosen), _stamp(allowed))
        return found

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        found = self.patterns()
        for doc in docs:
            if doc.rejection is None:
                doc.rejection = self._verdict(doc, found)
            yield doc

    def reject(self, doc: Document) -> Rejection | None:
        return self._verdict(doc, self.patterns())

    def _verdict(self, doc: Document, found: dict[str | None, Pattern]) -> Rejection | None:
        chosen: Pattern | None = found[None]
        if len(found) > 1 and (tag := doc.meta.get("language")):
            chosen = found.get(tag) or found.get(str(tag).partition("-")[0])
        count, first = chosen.count(doc.text) if chosen else (0, None)
        fraction = round(min(count / length(doc.text), 1.0), 6) if count else 0.0
        doc.meta = {**doc.meta, "scores": {**doc.meta.get("scores", {}), self.name: fraction}}
        most = 0 if self.max_count is None and self.max_fraction is None else self.max_count
        if most is not None and count > most:
            return Rejection(self.type, "words", first if most == 0 else count)
        if self.max_fraction is not None and fraction > self.max_fraction:
            return Rejection(self.type, "word_fraction", fraction)
        return None


@dataclass(frozen=True, eq=False)
class Pattern:
    """Words to count: RE2 over UTF-8, with a group of allowed and a group of listed ones."""

    expression: Any

    def count(self, body: str) -> tuple[int, str | None]:
        """How many listed words `body` has, and the first of them in lower case."""
        data = body.encode("utf-8", "replace")
        total, first, place = 0, None, 0
        while match := self.expression.search(data, place):
            start, end = match.span()
            group = LISTED if match.span(LISTED)[0] >= 0 else ALLOWED
            if not by_itself(data, start, end):
                place = start + 1
                while place < len(data) and data[place] & 0xC0 == 0x80:  # on to the next whole character
                    place += 1
                continue
            if group == LISTED:
                total += 1
                first = first or " ".join(data[start:end].decode("utf-8").lower().split())
            place = end
        return total, first


@lru_cache(maxsize=32)
def pattern(words: lists.Stamp, allow: lists.Stamp) -> Pattern:
    """The pattern of two lists. Longer words come first: of those that begin at one place the longest is taken."""
    re2 = needed("re2", "corpus", "word_filter")
    listed = {" ".join(word.lower().split()) for word in lists.entries(words)}
    allowed = {" ".join(word.lower().split()) for word in lists.entries(allow)}
    options = re2.Options()
    options.max_mem = MEMORY
    options.case_sensitive = False
    options.log_errors = False
    groups = []
    for chosen in (allowed, listed - allowed):
        ordered = sorted(chosen, key=lambda word: (-len(word), word))
        groups.append("(" + ("|".join(map(_escaped, ordered)) or NOTHING) + ")")
    return Pattern(re2.compile("|".join(groups).encode(), options))


def _escaped(word: str) -> str:
    """RE2's \\b knows ASCII alone: it spares most vain finds, and `by_itself` decides."""
    inner = BLANK.join(map(re.escape, word.split()))
    first, last = word[0], word[-1]
    return (r"\b" if first.isascii() and first.isalnum() else "") + inner + (r"\b" if last.isascii() and last.isalnum() else "")


def by_itself(data: bytes, start: int, end: int) -> bool:
    """Whether neither end of data[start:end] (UTF-8) stands within a word of a script with spaces."""
    inside = data[start:end].decode("utf-8")
    before = data[max(start - 4, 0) : start].decode("utf-8", "ignore")[-1:]
    behind = data[end : end + 4].decode("utf-8", "ignore")[:1]
    return not (spaced_letter(before) and spaced_letter(inside[0])) and not (
        (spaced_letter(behind) or mark(behind)) and spaced_letter(inside[-1])
    )


def spaced_letter(character: str) -> bool:
    return bool(character) and (character.isalnum() or mark(character)) and not UNSPACED_LETTER.match(character)


def mark(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] == "M"


def unspaced(word: str) -> bool:
    """Whether a word holds a letter of a script that writes no spaces."""
    return UNSPACED_LETTER.search(word) is not None


def length(body: str) -> int:
    """Words of scripts with spaces, and characters of those without; at least 1."""
    if body.isascii():
        return max(len(SPACED_WORD.findall(body)), 1)
    return max(len(SPACED_WORD.findall(body)) + sum(map(len, UNSPACED_RUN.findall(body))), 1)


def _each(value: Any) -> list[lists.Paths | None]:
    return list(value.values()) if isinstance(value, dict) else [value]


def _stamp(value: Any) -> lists.Stamp:
    return tuple(item for paths in _each(value) for item in lists.stamp(paths))

"""Drops documents by the address they come from: the user's lists of domains, of addresses, and of words in them.

A domain stands for itself and everything below it (`example.com` for `www.example.com`, not for `badexample.com`),
matched label by label from the right, so that no list of public suffixes is needed. Addresses are compared without
scheme, fragment and final slash, the host in lower case and in its ASCII form (例子.cn is xn--fsqu00a.cn). One of `words`
drops a document; of `soft_words` it takes `soft_count` different ones (FineWeb's lists take 2). A word is what stands
between characters that are neither letters nor digits; one of Chinese, Japanese or Thai, which write no spaces, is looked
for anywhere. What `allow` names is kept whatever the other lists say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from pydantic import Field, model_validator

from yanmo.core.data import Document, Rejection
from yanmo.core.messages import text
from yanmo.corpus.step import Filter
from yanmo.corpus.steps.word_filter import unspaced
from yanmo.corpus.words import lists

URL = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*://|//)?(?:[^/?#@\s]*@)?(\[[^\]]*\]|[^:/?#\s]*)(?::\d*)?([^#\s]*)")
WORDS = re.compile(r"[^\W_]+")


class UrlFilter(Filter):
    """Drops documents by their address: lists of domains, addresses and words.

    Each list is a file (one entry a line, `#` comments, .gz allowed), a folder, or several of them. `field`: where in
    `meta` a document has its address. One without is kept, or dropped as 'no_url' with `required: true`."""

    type: str = "url_filter"
    domains: str | list[str] | None = None
    urls: str | list[str] | None = None
    words: str | list[str] | None = None
    soft_words: str | list[str] | None = None
    soft_count: int = Field(default=2, ge=1)
    allow: str | list[str] | None = None
    field: str = "url"
    required: bool = False

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any((self.domains, self.urls, self.words, self.soft_words, self.required)):
            raise ValueError(str(text("at least one of the lists domains, urls, words, soft_words")))
        return self

    def files(self) -> list[Path]:
        return [file for paths in self._paths() for file in lists.files(paths)]

    def check(self) -> None:
        self.rules()

    def rules(self) -> Rules:
        return rules(*map(lists.stamp, self._paths()), self.soft_count)

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        found = self.rules()
        for doc in docs:
            if doc.rejection is None:
                doc.rejection = self._verdict(doc, found)
            yield doc

    def reject(self, doc: Document) -> Rejection | None:
        return self._verdict(doc, self.rules())

    def _verdict(self, doc: Document, found: Rules) -> Rejection | None:
        url = doc.meta.get(self.field)
        if not isinstance(url, str) or not url.strip():
            return Rejection(self.type, "no_url", None) if self.required else None
        verdict = found.verdict(url)
        return Rejection(self.type, *verdict) if verdict else None

    def _paths(self) -> list[lists.Paths | None]:
        return [self.domains, self.urls, self.words, self.soft_words, self.allow]


@dataclass(frozen=True)
class Words:
    """Words in lower case: those that stand by themselves, and those of scripts that write no spaces."""

    spaced: frozenset[str]
    unspaced: tuple[str, ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> Words:
        lower = {word.lower() for word in words}
        return cls(frozenset(word for word in lower if not unspaced(word)), tuple(sorted(filter(unspaced, lower))))

    def within(self, address: str, said: set[str]) -> list[str]:
        return sorted(said & self.spaced) + [word for word in self.unspaced if word in address]


@dataclass(frozen=True)
class Rules:
    """The lists of a filter, read."""

    domains: frozenset[str]
    urls: frozenset[str]
    words: Words
    soft_words: Words
    soft_count: int
    allowed_domains: frozenset[str]
    allowed_urls: frozenset[str]

    def verdict(self, url: str) -> tuple[str, str] | None:
        """(reason, what decided) for an address that the lists drop: 'domain', 'url', 'word' or 'soft_words'."""
        host, rest = parts(url)
        above = parents(host)
        if not self.allowed_domains.isdisjoint(above) or host + rest in self.allowed_urls:
            return None
        if not self.domains.isdisjoint(above):
            return "domain", next(name for name in above if name in self.domains)
        if host + rest in self.urls:
            return "url", host + rest
        address = unquote(url).lower()
        said = set(WORDS.findall(address))
        if hard := self.words.within(address, said):
            return "word", hard[0]
        soft = self.soft_words.within(address, said)
        return ("soft_words", " ".join(soft)) if len(soft) >= self.soft_count else None


@lru_cache(maxsize=8)
def rules(domains: lists.Stamp, urls: lists.Stamp, words: lists.Stamp, soft_words: lists.Stamp, allow: lists.Stamp,
          soft_count: int) -> Rules:  # fmt: skip
    allowed = lists.entries(allow)
    whole = {entry for entry in allowed if parts(entry)[1]}  # with a path: an address, not a domain
    return Rules(
        frozenset(map(domain, lists.entries(domains))), frozenset("".join(parts(entry)) for entry in lists.entries(urls)),
        Words.of(lists.entries(words)), Words.of(lists.entries(soft_words)), soft_count,
        frozenset(domain(entry) for entry in allowed if entry not in whole), frozenset("".join(parts(e)) for e in whole),
    )  # fmt: skip


def parts(url: str) -> tuple[str, str]:
    """(host in lower case and ASCII, path and query without a final slash) of an address with or without a scheme."""
    match = URL.match(url)
    assert match is not None, "every group of the pattern may be empty"
    return _ascii(match[1]), match[2].rstrip("/")


def domain(entry: str) -> str:
    """A list's domain, also written as `*.example.com`, `.example.com` or `https://example.com/`."""
    return _ascii(parts(entry)[0].removeprefix("*").lstrip("."))


def parents(host: str) -> list[str]:
    """The host and every domain above it, the longest first."""
    labels = host.split(".")
    return [".".join(labels[i:]) for i in range(len(labels))]


def _ascii(host: str) -> str:
    host = host.rstrip(".").lower()
    if not host.isascii():
        try:
            return host.encode("idna").decode("ascii")
        except UnicodeError:
            pass  # no host that a name server knows: compared as it is
    return host

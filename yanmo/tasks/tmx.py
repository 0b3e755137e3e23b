"""Translation memories in TMX (LISA 1.4b): units with a text in several languages, read as a stream in bounded memory.

    <tu><tuv xml:lang="en-US"><seg>Open the <bpt i="1">&lt;b></bpt>file<ept i="1">&lt;/b></ept>.</seg></tuv> … </tu>

Of a segment its text counts; what stands inside bpt, ept, it, ph, ut and sub is another program's markup and is left
out, a hi's text is kept. A language is found by its beginning: `en` takes en, en-US and EN-gb. A file that declares
entities is refused (a few bytes of those can stand for gigabytes), nothing outside the file is ever read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
from yanmo.core.paths import written

MARKUP = frozenset(("bpt", "ept", "it", "ph", "ut", "sub"))
CHUNK = 1 << 16
LONGEST = 1 << 20  # characters of a segment
DEEPEST = 64  # elements in elements

Unit = tuple[str, Any, Any]  # file:line, the text, its translation; None where a language is missing


def units(file: Path, source: str, target: str) -> Iterator[Unit]:
    """The units of a file. DataError for what is not well-formed, declares entities, or is no TMX."""
    reader = _Reader(file, source.lower(), target.lower())
    with open(file, "rb") as handle:
        while chunk := handle.read(CHUNK):
            reader.feed(chunk)
            yield from reader.done()
        reader.feed(b"", last=True)
        yield from reader.done()


class _Reader:
    def __init__(self, file: Path, source: str, target: str):
        self.file, self.languages = file, (source, target)
        self.found: list[Unit] = []
        self.open: list[str] = []
        self.texts: dict[str, str] = {}
        self.language = self.where = ""
        self.piece: list[str] = []
        self.length = self.skipping = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.begins
        self.parser.EndElementHandler = self.ends
        self.parser.CharacterDataHandler = self.reads
        self.parser.EntityDeclHandler = lambda *_: self.refuse(text("a file without entities of its own"), text("a declaration"))
        self.parser.SkippedEntityHandler = lambda name, _: self.refuse(text("a known entity"), f"&{name};")

    def refuse(self, expected: Text, given: str | Text) -> NoReturn:
        raise DataError(f"{written(self.file)}:{self.parser.CurrentLineNumber}", expected, given)

    def feed(self, chunk: bytes, last: bool = False) -> None:
        try:
            self.parser.Parse(chunk, last)
        except expat.ExpatError as error:
            where = f"{written(self.file)}:{error.lineno}"
            raise DataError(where, text("well-formed XML"), expat.ErrorString(error.code)) from None

    def done(self) -> list[Unit]:
        found, self.found = self.found, []
        return found

    def begins(self, name: str, attributes: dict[str, str]) -> None:
        if not self.open and name != "tmx":
            self.refuse(text("a translation memory: <tmx>"), f"<{name[:40]}>")
        if len(self.open) >= DEEPEST:
            self.refuse(text("at most {count} elements in one another", count=DEEPEST), text("more"))
        self.open.append(name)
        if name == "tu":
            self.texts, self.where = {}, f"{written(self.file)}:{self.parser.CurrentLineNumber}"
        elif name == "tuv":
            self.language = (attributes.get("xml:lang") or attributes.get("lang") or "").lower().replace("_", "-")
        elif name == "seg":
            self.piece, self.length, self.skipping = [], 0, 0
        elif name in MARKUP and "seg" in self.open:
            self.skipping += 1

    def reads(self, data: str) -> None:
        if "seg" in self.open and not self.skipping:
            self.length += len(data)
            if self.length > LONGEST:
                self.refuse(text("at most {count} characters in a segment", count=LONGEST), text("more"))
            self.piece.append(data)

    def ends(self, name: str) -> None:
        self.open.pop()
        if name in MARKUP and "seg" in self.open:
            self.skipping -= 1
        elif name == "seg":
            for wanted in self.languages:
                if self.language == wanted or self.language.startswith(f"{wanted}-"):
                    self.texts.setdefault(wanted, " ".join("".join(self.piece).split()))
        elif name == "tu":
            own, other = self.languages
            self.found.append((self.where, self.texts.get(own), self.texts.get(other)))

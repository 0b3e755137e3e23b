"""Mends text that was broken on its way: decoded wrongly, escaped once too often, or full of marks of what was lost.

    mojibake          â€™ → ’, ÖÐÎÄ → 中文, 涓枃 → 中文 (`corpus/mojibake.py`); full-width punctuation and curly quotes stay
    HTML entities     &gt; → >, &amp;amp; → &; not in a line that has a `<` of its own, which may be code about HTML
    what was lost     U+FFFD, 锟斤拷 (U+FFFD as UTF-8 read as GBK), 烫烫烫 and 屯屯屯 (memory that was never written), NUL: out;
                      a document of which they are more than `max_lost` is dropped as 'garbled', with their share
    terminal colours  ESC [ … m: out

ASCII costs three searches for a byte. Other control characters, line ends and Unicode forms are `normalize`'s.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from pydantic import Field

from yanmo.core.data import Document, Rejection
from yanmo.core.extras import installed
from yanmo.corpus.step import Edit
from yanmo.corpus.words.mojibake import restored

PASSES = 5  # what one mistake left may be the work of another

AMPERSAND = re.compile("&(?:(?:amp|AMP|#0{0,6}38|#[xX]0{0,6}26);)+")
ENTITY = re.compile("&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,8}|#[xX][0-9A-Fa-f]{1,7});")
TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LOST = ("\ufffd", "锟斤拷", "烫烫烫", "屯屯屯")
LOST_RUN = re.compile("( ?)([\ufffd锟斤拷烫屯]+)(?=( ?))")
LOST_PIECE = re.compile("\ufffd+|(?:锟斤拷)+(?:锟斤?(?=\ufffd|$))?|烫{3,}|屯{3,}")


class Repair(Edit):
    """Mends mojibake, HTML entities and the marks of lost characters; drops documents that are mostly those.

    `max_lost`: the share of a text's characters that may have been lost. `entities: false` leaves HTML entities."""

    type: str = "repair"
    max_lost: float = Field(default=0.1, ge=0, le=1)
    entities: bool = True

    def check(self) -> None:
        installed("ftfy", "corpus", self.type)

    def rows(self, docs: Iterator[Document]) -> Iterator[Document]:
        for doc in docs:
            if doc.rejection is None:
                edited, lost = self.repaired(doc.text)
                share = lost / len(doc.text)
                if share > self.max_lost:
                    doc.rejection = Rejection(self.type, "garbled", round(share, 4))
                elif edited and not edited.isspace():
                    doc.text = edited
                else:
                    doc.rejection = Rejection(self.type, "empty", None)
            yield doc

    def edit(self, text: str) -> str:
        return self.repaired(text)[0]

    def repaired(self, text: str) -> tuple[str, int]:
        """The text, and how many characters of it were no more than marks of lost ones."""
        lost = 0
        for _ in range(PASSES):
            before = text
            if self.entities and "&" in text:
                text = unescaped(text)
            if "\x1b" in text:
                text = TERMINAL.sub("", text)
            if "\0" in text:
                text, lost = text.replace("\0", ""), lost + text.count("\0")
            if not text.isascii():
                text = restored(text)
                if any(mark in text for mark in LOST):
                    text, some = without_lost(text)
                    lost += some
            if text == before:
                break
        return text, lost


def unescaped(text: str) -> str:
    """HTML's named and numbered characters as themselves, line by line."""
    if not ENTITY.search(text):
        return text
    return "\n".join(line if "<" in line or "&" not in line else ENTITY.sub(_character, AMPERSAND.sub("&", line))
                     for line in text.split("\n"))  # fmt: skip


def _character(match: re.Match[str]) -> str:
    found = html.unescape(match[0])
    return match[0] if ";" in found and found != ";" else found  # only a part of it was a name


def without_lost(text: str) -> tuple[str, int]:
    """The text without marks of lost characters, and without one of two spaces that would meet; and their number."""
    lost = 0

    def run(match: re.Match[str]) -> str:
        nonlocal lost
        kept = match[2]
        for _ in range(PASSES):
            kept = LOST_PIECE.sub("", kept)
        lost += len(match[2]) - len(kept)
        return kept if not kept and match[1] and match[3] else match[1] + kept

    return LOST_RUN.sub(run, text), lost

"""A token a line with its tag, a blank line behind each sentence: CoNLL, in BIO, BIOES, BMES or BILOU, by words or characters.

    EU       B-ORG              江 B-PER
    rejects  O                  泽 I-PER
    German   B-MISC             民 I-PER

The first column is the token, the last its tag, between them anything; tabs, or where a line has none, spaces. Lines of
-DOCSTART- and comments (`# …`) are left out. Which letters the tags use says which scheme they are in. An entity that is not
written as its scheme wants it (an I- without its B-, an end without a beginning) is an error; `repair` reads it as
conlleval does: it goes on as long as its type does. That is also how IOB1 is read, which writes B- only between neighbours.

The text is the tokens with a space between them; without one where both sides are Chinese or Japanese writing, and without
any where every token of the file is a single character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yanmo.core.config import describe
from yanmo.core.data import Span
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.tasks.offenders import Offenders, lines
from yanmo.tasks.readers.tagged import Reading, Tagged
from yanmo.text import tags

DOCUMENT = "-DOCSTART-"
# Written without spaces between words: Han, kana, their punctuation and full-width forms. Korean has spaces.
UNSPACED = re.compile("[\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]")


@dataclass
class Sentence:
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # the line of each


def read(path: Path, reading: Reading, repair: bool) -> list[Tagged]:
    """The sentences of one file; what is wrong goes to the reading's offenders."""
    return texts(lines(path), written(path), reading, repair)


def texts(content: Iterable[str], place: str, reading: Reading, repair: bool = False) -> list[Tagged]:
    """The same of lines that are given; `place` names where they stand."""
    sentences = _sentences(content, place, reading.offenders)
    scheme = tags.scheme_of({tag for sentence in sentences for tag in sentence.tags})
    single = all(len(word) == 1 for sentence in sentences for word in sentence.words)
    found = []
    for sentence in sentences:
        whole, places = joined(sentence.words, single)
        spans = []
        for chunk in tags.chunks(sentence.tags):
            where = f"{place}:{sentence.numbers[chunk.first]}"
            if not repair and not chunk.proper(scheme):
                shown = " ".join(sentence.tags[max(chunk.first - 1, 0) : chunk.end + 1][:8])
                name = text("{scheme}: {begin} begins an entity", scheme="BIO", begin=f"B-{chunk.label}")
                if scheme == "bioes":
                    name = text("{scheme}: {begin} begins an entity, {end} ends it, {single} is one", scheme="BIOES",
                                begin=f"B-{chunk.label}", end=f"E-{chunk.label}", single=f"S-{chunk.label}")  # fmt: skip
                remedy = text("'repair: true' reads what is there, as conlleval does")
                reading.offenders.add("improper", where, name, shown, remedy)
            spans.append((Span(places[chunk.first][0], places[chunk.end - 1][1], chunk.label), where))
        made = reading.tagged(whole, spans, f"{place}:{sentence.numbers[0]}")
        if made is not None:
            found.append(made)
    return found


def _sentences(content: Iterable[str], place: str, offenders: Offenders) -> list[Sentence]:
    found = [Sentence()]
    for number, line in enumerate(content, 1):
        if not line.strip():
            if found[-1].words:
                found.append(Sentence())
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        cells = [cell.strip() for cell in cells]
        while cells and not cells[-1]:
            cells.pop()
        if cells[0] == DOCUMENT:
            continue
        if len(cells) < 2 or tags.parsed(cells[-1]) is None:
            if line.startswith("# "):
                continue
            offenders.add("tag", f"{place}:{number}", text("a token and its tag (O, B-…, I-…)"), describe(line.strip()))
            continue
        if not cells[0]:
            offenders.add("token", f"{place}:{number}", text("a token and its tag (O, B-…, I-…)"), describe(line))
            continue
        sentence = found[-1]
        sentence.words.append(cells[0])
        sentence.tags.append(cells[-1])
        sentence.numbers.append(number)
    return found if found[-1].words else found[:-1]


def joined(words: Sequence[str], single: bool = False) -> tuple[str, list[tuple[int, int]]]:
    """The words as one text, and the characters [start, end) of each. `single`: without spaces, whatever they are."""
    pieces: list[str] = []
    places: list[tuple[int, int]] = []
    length = 0
    for word in words:
        if pieces and not single and not (UNSPACED.match(pieces[-1][-1]) and UNSPACED.match(word[0])):
            pieces.append(" ")
            length += 1
        pieces.append(word)
        places.append((length, length + len(word)))
        length += len(word)
    return "".join(pieces), places

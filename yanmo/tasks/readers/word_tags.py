"""Words with their part of speech, a text a line, as the People's Daily corpus of Peking University is written:

    中共中央/nt  总书记/n  、/w  国家/n  主席/n  江/nr  泽民/nr  发表/v  讲话/n

Tags named in `entities` are entities (nr persons, ns places, nt organisations; Yu et al. 2003). The corpus writes surname and
given name as two words: a word of one or two characters and the one behind it, both nr, are one person. So a Chinese name is
whole, and a name behind another without a mark between them stays its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from yanmo.core.config import describe
from yanmo.core.data import Span
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.tasks.offenders import lines
from yanmo.tasks.readers.columns import joined
from yanmo.tasks.readers.tagged import Reading, Tagged

ENTITIES = ("nr", "ns", "nt")  # where nobody says which
NAME = "nr"
SURNAME = 2  # characters: 江, 欧阳


def read(path: Path, reading: Reading) -> list[Tagged]:
    """The lines of one file that hold words; what is wrong goes to the reading's offenders."""
    return texts(lines(path), written(path), reading)


def texts(content: Iterable[str], place: str, reading: Reading) -> list[Tagged]:
    """The same of lines that are given; `place` names where they stand."""
    wanted = ENTITIES if reading.entities is None else reading.entities
    found = []
    for number, line in enumerate(content, 1):
        where = f"{place}:{number}"
        items = [item.rpartition("/") for item in line.split()]
        if not items:
            continue
        wrong = next((item for item in items if not item[0] or not item[2]), None)
        if wrong is not None:
            reading.offenders.add("word", where, text("words with a tag each (word/tag)"), describe("".join(wrong)))
            continue
        whole, places = joined([word for word, _, _ in items])
        spans = []
        index = 0
        while index < len(items):
            word, _, tag = items[index]
            end = index + 1
            if tag == NAME and len(word) <= SURNAME and end < len(items) and items[end][2] == NAME:
                end += 1
            if tag in wanted:
                spans.append((Span(places[index][0], places[end - 1][1], tag), where))
            index = end
        made = reading.tagged(whole, spans, where)
        if made is not None:
            found.append(made)
    return found

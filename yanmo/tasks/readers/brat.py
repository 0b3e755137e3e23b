"""brat: a text beside its annotations, NAME.txt and NAME.ann.

    T1<TAB>PER 0 11<TAB>Marie Curie
    T2<TAB>LOC 21 26<TAB>Paris

Offsets count characters. The third column must be what stands there (brat writes line ends as spaces): an offset that counts
bytes or another version of the text is noticed. Relations, events, attributes and notes (R, E, A, M, N, #, *) are no
entities and are left out. An entity in several pieces (`0 5;16 23`) is none that tags can write, and so an error.
"""

from __future__ import annotations

import re
from pathlib import Path

from yanmo.core.config import describe
from yanmo.core.data import Span
from yanmo.core.messages import text
from yanmo.core.paths import written
from yanmo.tasks.offenders import decoded, lines
from yanmo.tasks.readers.tagged import Reading, Tagged

ENTITY = re.compile(r"(?P<label>\S+) (?P<start>\d+) (?P<end>\d+)(?P<more>;[\d ;]+)?")


def read(path: Path, reading: Reading) -> list[Tagged]:
    """The text beside the annotations `path` (NAME.ann), as one; what is wrong goes to the reading's offenders."""
    place, beside, offenders = written(path), path.with_suffix(".txt"), reading.offenders
    if not beside.is_file():
        offenders.add("text", place, text("{name} beside it", name=beside.name), text("none"))
        return []
    content = decoded(beside)
    spans = []
    for number, line in enumerate(lines(path), 1):
        if not line.startswith("T"):
            continue
        where, cells = f"{place}:{number}", line.split("\t")
        found = ENTITY.fullmatch(cells[1]) if len(cells) > 1 else None
        if found is None:
            offenders.add("line", where, text("a line of {form}", form="T1<TAB>LABEL START END<TAB>TEXT"), describe(line))
            continue
        if found["more"]:
            offenders.add("pieces", where, text("an entity in one piece"), describe(cells[1]))
            continue
        span = Span(int(found["start"]), int(found["end"]), found["label"])
        there = content[span.start : span.end]
        if len(cells) > 2 and span.end <= len(content) and there.replace("\n", " ") != cells[2].replace("\n", " "):
            expected = text("{what}, as the text has it there", what=describe(there))
            offenders.add("other", where, expected, describe(cells[2]), text("offsets count characters, not bytes"))
            continue
        spans.append((span, where))
    made = reading.tagged(content, spans, f"{written(beside)}:1")
    return [] if made is None else [made]

"""What every way of changing a labelled text has in common: which examples get copies, and the random numbers of each.

A copy's changes follow from the part's settings, its seed and the example alone, so that rows more or less change no other
copy. Only training rows are changed (`tasks/classify.py`). A copy that came out as its original is none.

A unit is a word, or a single character of scripts that write no spaces (Han, kana, Hangul); marks, spaces and emoji are left
where they stand.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import Field

from yanmo.core.config import Part
from yanmo.core.data import Example, content_id

UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
UNIT = re.compile(rf"[{UNSPACED}]|(?:[^\W{UNSPACED}][\u0300-\u036f]*)+(?:['’-](?:[^\W{UNSPACED}][\u0300-\u036f]*)+)*")
HAN = re.compile(rf"[{UNSPACED}]")


class Augment(Part):
    """A way of changing a text. `share`: how much of it, at least one unit; `copies` of each training row."""

    share: float = Field(0.1, gt=0, le=1, description="of the units of a text that are changed, at least one")
    copies: int = Field(1, ge=1, description="of each training row")
    seed: int = Field(0, ge=0)

    def change(self, content: str, rng: random.Random) -> str:
        """The text, changed; as it is where there is nothing to change."""
        raise NotImplementedError

    def copies_of(self, examples: Sequence[Example]) -> Iterator[Example]:
        """The changed copies, in the order of the examples."""
        settings = self.model_dump_json(exclude={"copies"})
        for example in examples:
            for copy in range(self.copies):
                rng = random.Random(content_id(f"{settings}\t{copy}\t{example.id}"))
                shown = [name for name in ("text", "second") if name in example.fields]
                made: dict[str, str] = {name: self.change(example.fields[name], rng) for name in shown}
                if any(made[name] != example.fields[name] for name in made) and all(v.strip() for v in made.values()):
                    name = content_id("\t".join([example.id, *made.values()]))
                    yield replace(example, id=name, fields={**example.fields, **made})

    def count(self, units: int) -> int:
        """How many of so many units are changed."""
        return min(max(round(self.share * units), 1), units)


def units(content: str) -> list[re.Match[str]]:
    """The text's units, in their order."""
    return list(UNIT.finditer(content))


def rewritten(content: str, changes: dict[int, str], found: Sequence[re.Match[str]]) -> str:
    """The text with unit number n replaced by changes[n]."""
    pieces, end = [], 0
    for number, unit in enumerate(found):
        pieces += [content[end : unit.start()], changes.get(number, unit[0])]
        end = unit.end()
    return "".join([*pieces, content[end:]])

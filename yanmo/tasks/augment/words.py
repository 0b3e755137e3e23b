"""Words replaced by others of a list of the user's: words that mean the same, or sound the same."""

from __future__ import annotations

import random
import re
from functools import cached_property
from pathlib import Path
from typing import Literal

from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import expand, written
from yanmo.tasks.augment.augment import HAN, Augment
from yanmo.tasks.offenders import lines

BETWEEN = re.compile(r"[\t,，、;；|]+")


class Synonym(Augment):
    """Words replaced by others of the same line of a list: `path` has a set of words a line, separated by tabs or commas."""

    type: Literal["synonym"] = "synonym"
    path: str

    @cached_property
    def _others(self) -> dict[str, list[str]]:
        """Word, case folded → the other words of its lines."""
        found: dict[str, list[str]] = {}
        for file in expand(self.path, (".txt", ".csv", ".tsv")):
            _read(file, found)
        if not found:
            raise DataError(self.path, text("lines of two words or more, separated by tabs or commas"), text("none"))
        return found

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Any word of the list, the longest first; of a script with spaces only where it stands alone."""
        words = sorted(self._others, key=lambda word: (-len(word), word))
        return re.compile("|".join(_alone(word) for word in words), re.IGNORECASE)

    def change(self, content: str, rng: random.Random) -> str:
        found = list(self._pattern.finditer(content))
        if not found:
            return content
        chosen = set(rng.sample(range(len(found)), self.count(len(found))))
        pieces, end = [], 0
        for number, match in enumerate(found):
            word = match[0]
            if number in chosen:
                other = rng.choice(self._others[word.casefold()])
                word = other[:1].upper() + other[1:] if word[:1].isupper() else other
            pieces += [content[end : match.start()], word]
            end = match.end()
        return "".join([*pieces, content[end:]])


def _alone(word: str) -> str:
    first, last = HAN.match(word), HAN.match(word[-1])
    return ("" if first else r"(?<!\w)") + re.escape(word) + ("" if last else r"(?!\w)")


def _read(file: Path, found: dict[str, list[str]]) -> None:
    for number, line in enumerate(lines(file), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = list(dict.fromkeys(word.strip() for word in BETWEEN.split(line) if word.strip()))
        if len(words) < 2:
            wanted = text("two words or more, separated by tabs or commas")
            raise DataError(f"{written(file)}:{number}", wanted, line.strip()[:60])
        for word in words:
            others = found.setdefault(word.casefold(), [])
            others += [other for other in words if other.casefold() != word.casefold() and other not in others]

"""Slips of the hand: a neighbouring key for a letter, a character that sounds alike for a Chinese one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal

from yanmo.core.data import Example
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.core.paths import expand
from yanmo.tasks.augment.augment import HAN, Augment
from yanmo.tasks.offenders import lines

ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")  # each row half a key to the right of the one above


def neighbours(letter: str) -> str:
    """The keys around a letter's on an English keyboard; empty for what has no key of its own."""
    for row, keys in enumerate(ROWS):
        place = keys.find(letter)
        if place >= 0:
            above = ROWS[row - 1][place : place + 2] if row > 1 else ""
            below = ROWS[row + 1][max(place - 1, 0) : place + 1] if row + 1 < len(ROWS) else ""
            return keys[max(place - 1, 0) : place] + keys[place + 1 : place + 2] + above + below
    return ""


class Keyboard(Augment):
    """Random letters replaced by a neighbour on the keyboard; texts of Han characters stay as they are."""

    type: Literal["keyboard"] = "keyboard"
    share: float = 0.03  # of the letters

    def change(self, content: str, rng: random.Random) -> str:
        places = [i for i, letter in enumerate(content) if "a" <= letter.lower() <= "z"]
        if not places:
            return content
        letters = list(content)
        for place in rng.sample(places, self.count(len(places))):
            key = rng.choice(neighbours(letters[place].lower()))
            letters[place] = key.upper() if letters[place].isupper() else key
        return "".join(letters)


class Homophone(Augment):
    """Chinese characters replaced by others of the same reading that the training texts use.

    `path`: a table of a character and its reading a line, tab or space between ("啊 a"); a character may stand there several
    times. Tables of the kind: `snownlp/normal/pinyin.txt`, or Unihan's kMandarin.
    """

    type: Literal["homophone"] = "homophone"
    share: float = 0.05
    path: str

    @cached_property
    def _readings(self) -> dict[str, list[str]]:
        """Character → its readings."""
        found: dict[str, list[str]] = {}
        for file in expand(self.path, (".txt", ".tsv")):
            for line in lines(file):
                cells = line.split()
                if len(cells) == 2 and len(cells[0]) == 1 and HAN.match(cells[0]) and cells[1] not in found.get(cells[0], ()):
                    found.setdefault(cells[0], []).append(cells[1])
        if not found:
            raise DataError(self.path, text("lines of a character and its reading"), text("none"))
        return found

    def copies_of(self, examples: Sequence[Example]) -> Iterator[Example]:
        texts = (example.fields.get(name) or "" for example in examples for name in ("text", "second"))
        used = sorted({character for content in texts for character in content if character in self._readings})
        alike: dict[str, list[str]] = {}
        for character in used:
            for reading in self._readings[character]:
                alike.setdefault(reading, []).append(character)
        object.__setattr__(self, "_alike", alike)
        yield from super().copies_of(examples)

    def change(self, content: str, rng: random.Random) -> str:
        alike: dict[str, list[str]] = getattr(self, "_alike", {})
        found = {}
        for place, character in enumerate(content):
            others = [o for reading in self._readings.get(character, ()) for o in alike.get(reading, ()) if o != character]
            if others:
                found[place] = others
        if not found:
            return content
        characters = list(content)
        for place in rng.sample(sorted(found), self.count(len(found))):
            characters[place] = rng.choice(found[place])
        return "".join(characters)

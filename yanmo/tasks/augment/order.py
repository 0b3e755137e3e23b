"""Words swapped, left out, and marks put in between (Wei and Zou 2019, EDA; Karimi et al. 2021, AEDA)."""

from __future__ import annotations

import random
from typing import Literal

from pydantic import Field

from yanmo.tasks.augment.augment import HAN, Augment, rewritten, units

MARKS, CHINESE_MARKS = (".", ";", "?", ":", "!", ","), ("。", "；", "？", "：", "！", "，")


class Swap(Augment):
    """Random swaps of words (of characters in Chinese) that stand near each other."""

    type: Literal["swap"] = "swap"
    reach: int = Field(2, ge=1, description="units that the two may be apart")

    def change(self, content: str, rng: random.Random) -> str:
        found = units(content)
        if len(found) < 2:
            return content
        words = [unit[0] for unit in found]
        for _ in range(self.count(len(found))):
            first = rng.randrange(len(words))
            near = [i for i in range(max(first - self.reach, 0), min(first + self.reach + 1, len(words))) if i != first]
            second = rng.choice(near)
            words[first], words[second] = words[second], words[first]
        return rewritten(content, dict(enumerate(words)), found)


class Delete(Augment):
    """Random words (characters in Chinese) left out; one is always left."""

    type: Literal["delete"] = "delete"

    def change(self, content: str, rng: random.Random) -> str:
        found = units(content)
        if len(found) < 2:
            return content
        gone = set(rng.sample(range(len(found)), min(self.count(len(found)), len(found) - 1)))
        pieces, end = [], 0
        for number, unit in enumerate(found):
            if number in gone:
                before = content[end : unit.start()]
                spaced = content[unit.end() : unit.end() + 1].isspace()  # of the two spaces around a word one goes with it
                pieces.append(before.removesuffix(" ") if spaced or unit.end() == len(content) else before)
                end = unit.end()
        return "".join([*pieces, content[end:]])


class Insert(Augment):
    """Random marks put before words (AEDA): what was written stays whole and in its order."""

    type: Literal["insert"] = "insert"

    def change(self, content: str, rng: random.Random) -> str:
        found = units(content)
        if not found:
            return content
        places = set(rng.sample(range(len(found)), self.count(len(found))))
        changes = {}
        for number in sorted(places):
            word = found[number][0]
            changes[number] = rng.choice(CHINESE_MARKS) + word if HAN.match(word) else f"{rng.choice(MARKS)} {word}"
        return rewritten(content, changes, found)

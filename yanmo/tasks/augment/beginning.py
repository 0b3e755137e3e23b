"""Texts that end too early, as they stand while somebody still writes them."""

from __future__ import annotations

import random
from typing import Literal

from pydantic import Field

from yanmo.tasks.augment.augment import Augment, units


class Beginning(Augment):
    """The first words of a text (characters in Chinese), so many at random: what a classifier of unfinished texts learns from.

    `share`: of the units that are kept at least (Yang and Klein 2021, section 3, where every prefix is one example)."""

    type: Literal["beginning"] = "beginning"
    share: float = Field(0.1, gt=0, le=1, description="of the units of a text that are kept at least")
    copies: int = Field(2, ge=1, description="of each training row")

    def change(self, content: str, rng: random.Random) -> str:
        found = units(content)
        if len(found) < 2:
            return content
        kept = rng.randint(min(self.count(len(found)), len(found) - 1), len(found) - 1)
        return content[: found[kept - 1].end()]

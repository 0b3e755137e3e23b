"""The special tokens that an objective writes into its rows: those of the tokenizer's roles, and T5's sentinels.

    mask       hides a token or a span                                       no row without it
    begin      cls, before a text or a pair                                  where there is none, a row begins as the stream
    end        sep, behind each text; where there is none, the border of documents
    sentinels  <extra_id_0> <extra_id_1> …                                   in the order of their numbers, as T5 uses them

A recipe adds them to a tokenizer: `special: ["<mask>"]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yanmo.core.errors import RequestError
from yanmo.core.messages import text

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

SENTINEL = re.compile(r"<extra_id_(\d+)>")


@dataclass(frozen=True)
class Marks:
    """Ids. `special` (V,) bool: which ids are special tokens, or stand for no text: never masked, never drawn at random."""

    pad: int
    border: int
    mask: int | None
    begin: int | None
    end: int  # also between two segments
    sentinels: tuple[int, ...]
    special: np.ndarray

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Marks:
        names = tokenizer.special
        numbered = sorted((int(found[1]), token) for name, token in names.items() if (found := SENTINEL.fullmatch(name)))
        special = np.asarray(tokenizer.byte_lengths) == 0
        special[list(names.values())] = True
        end = tokenizer.eos_id if tokenizer.sep_id is None else tokenizer.sep_id
        return cls(tokenizer.pad_id, tokenizer.eos_id, tokenizer.mask_id, tokenizer.cls_id, end,
                   tuple(token for _, token in numbered), special)  # fmt: skip

    def needed_mask(self, objective: str) -> int:
        """The mask's id; RequestError where the tokenizer has none."""
        if self.mask is None:
            wanted = text("a tokenizer with a special token {names}", names="<mask>")
            raise RequestError(f"objective '{objective}'", wanted, text("none"), text("add it to the tokenizer's 'special'"))
        return self.mask

    def needed_sentinels(self, objective: str, count: int) -> None:
        """RequestError where the tokenizer has fewer than `count`."""
        if len(self.sentinels) < count:
            wanted = text("a tokenizer with {count} special tokens <extra_id_0> …", count=count)
            remedy = text("add them to the tokenizer's 'special', or lower the objective's 'context'")
            raise RequestError(f"objective '{objective}'", wanted, str(len(self.sentinels)), remedy)

    @property
    def ordinary(self) -> np.ndarray:
        """The ids that stand for text."""
        return np.flatnonzero(~self.special)

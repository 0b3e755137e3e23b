"""Keeps a fraction of the documents, chosen by the hash of their content: the same ones in whatever order they come, on
however many machines, and a larger fraction contains the smaller."""

from __future__ import annotations

import xxhash
from pydantic import Field

from yanmo.core.data import Document, Rejection
from yanmo.corpus.step import Filter


class Sample(Filter):
    """Keeps a fraction of the documents, the same ones in any order.

    `seed` picks another sample of the same size."""

    type: str = "sample"
    fraction: float = Field(gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**64)

    def reject(self, doc: Document) -> Rejection | None:
        place = xxhash.xxh3_64_intdigest(b"sample/" + doc.id.encode(), seed=self.seed) / 2**64
        return None if place < self.fraction else Rejection(self.type, "not_sampled", round(place, 6))

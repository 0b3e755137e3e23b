"""TextRank (Mihalcea and Tarau 2004): the sentences that most others resemble, as a text's summary.

Sentences are the nodes of a graph; an edge weighs how alike two are, the cosine of their TF-IDF vectors (idf from the
training texts; the paper counted common words). A sentence's rank is PageRank's, equation 2 of the paper:

    R(i) = (1 - d) + d Σ_j  w(j, i) / Σ_k w(j, k) · R(j),        d = 0.85

The best `sentences` are given in the order of the text. Of equal ranks the earlier sentence wins.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from yanmo.core import files
from yanmo.core.errors import CorruptError
from yanmo.core.messages import Text, text
from yanmo.models.base import ModelPart
from yanmo.models.families.family import needs
from yanmo.models.writer import TextWriter, other_task, required
from yanmo.text.metrics.rouge import tokenize, tokenizer_for
from yanmo.text.sentences import joined, sentences

DAMPING, ROUNDS, SETTLED = 0.85, 200, 1e-9
MOST = 400  # sentences of a text that are compared with each other: the rest is left out
TERMS = "terms.json"


class TextRankModel(ModelPart):
    """The sentences that most others resemble: a baseline for summaries."""

    tasks: ClassVar[tuple[str, ...]] = ("summarize",)

    type: str = "textrank"
    sentences: int = Field(1, ge=1)

    def fit_task(self, task: Any) -> TextRankWriter:
        """Learns how many of the training texts each term occurs in."""
        required(self, task)
        tokenizer = tokenizer_for(task.language)
        counts: Counter[str] = Counter()
        examples = task.load("train")
        for example in examples:
            counts.update(set(tokenize(example.fields["text"], tokenizer)))
        known = {term: count for term, count in sorted(counts.items()) if count > 1}
        return TextRankWriter(self.sentences, tokenizer, known, len(examples))


class TextRankWriter(TextWriter):
    """`count` sentences; `terms`: in how many of `texts` training texts each stood."""

    family = "yanmo_textrank"

    def __init__(self, count: int, tokenizer: str, terms: dict[str, int], texts: int):
        self.count, self.tokenizer, self.terms, self.texts = count, tokenizer, terms, texts

    def write(self, texts: Sequence[str]) -> list[str]:
        return [self._one(content) for content in texts]

    def _one(self, content: str) -> str:
        found = sentences(content)[:MOST]
        if len(found) <= self.count:
            return joined(found)
        ranks = rank(self.similarity(found))
        best = sorted(range(len(found)), key=lambda place: (-ranks[place], place))[: self.count]
        return joined([found[place] for place in sorted(best)])

    def similarity(self, found: Sequence[str]) -> NDArray[np.float64]:
        """(N, N) cosines of the sentences' TF-IDF vectors, 0 on the diagonal."""
        rows = [Counter(tokenize(sentence, self.tokenizer)) for sentence in found]
        columns = {term: number for number, term in enumerate(sorted(set().union(*rows)))}
        matrix = np.zeros((len(rows), len(columns)))
        for row, counts in enumerate(rows):
            for term, count in counts.items():
                matrix[row, columns[term]] = count * (np.log((1 + self.texts) / (1 + self.terms.get(term, 0))) + 1)
        lengths = np.sqrt((matrix * matrix).sum(1, keepdims=True))
        matrix = np.divide(matrix, lengths, out=matrix, where=lengths > 0)
        alike = matrix @ matrix.T
        np.fill_diagonal(alike, 0)
        return alike

    def unfit(self, task: Any) -> Text | None:
        return other_task(task, "summarize")


def rank(weights: NDArray[np.float64], damping: float = DAMPING) -> NDArray[np.float64]:
    """(N,) ranks of the nodes of a graph with edges (N, N) ≥ 0, to nine decimals. Rounded, so that sentences that are the same
    have the same rank whatever the order of the sums."""
    out = weights.sum(1, keepdims=True)
    moves = np.divide(weights, out, out=np.zeros_like(weights), where=out > 0).T
    ranks = np.ones(len(weights))
    for _ in range(ROUNDS):
        before, ranks = ranks, (1 - damping) + damping * (moves @ ranks)
        if np.abs(ranks - before).max() < SETTLED:
            break
    return ranks.round(7)


class TextRankFamily:
    """Terms and their counts as JSON."""

    def write(self, model: TextRankWriter, folder: Path) -> dict[str, Any]:
        files.write_text(folder / TERMS, json.dumps(model.terms, ensure_ascii=False, separators=(",", ":")) + "\n")
        return {"architectures": ["YanmoTextRank"], "model_type": model.family, "sentences": model.count,
                "tokenizer": model.tokenizer, "texts": model.texts}  # fmt: skip

    def read(self, folder: Path, config: dict[str, Any]) -> TextRankWriter:
        """CorruptError where the counts are none."""
        needs(config, str(folder / "config.json"), "sentences", "tokenizer", "texts")
        try:
            terms = files.read_json(folder / TERMS)
            assert isinstance(terms, dict)
            assert all(type(count) is int and count > 0 for count in [*terms.values(), config["sentences"]])
            assert config["tokenizer"] in ("words", "characters")
            assert type(config["texts"]) is int
        except (OSError, ValueError, AssertionError) as error:
            raise CorruptError(str(folder / TERMS), text("terms and how many texts have them"), str(error) or None) from error
        return TextRankWriter(config["sentences"], config["tokenizer"], terms, config["texts"])

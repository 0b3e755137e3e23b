"""BLEU (Papineni et al. 2002) and chrF (Popović 2015) of a set of translations, by sacrebleu (Post 2018, arXiv:1804.08771).

Both are figures of the set, not means over its sentences: counts of n-grams are summed first. So a sentence's counts are
kept (`Counts.of`), and whatever set is asked for, the whole, a part or a bootstrap resample, is a sum of rows put into
sacrebleu's own formula (`Counts.scores`). The signature that sacrebleu writes stands beside every figure: the tokenizer
(`zh` parts Chinese into characters), the smoothing, the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yanmo.core.extras import needed

NAMES = ("chrf", "bleu")
TOKENIZERS = {"zh": "zh", "yue": "zh", "ja": "char", "ko": "char"}  # of BLEU; what needs no further library


class Counts:
    """One of the two metrics for texts of one language, and how sentences are counted for it."""

    def __init__(self, name: str, language: str):
        """RequestError where sacrebleu is not installed."""
        assert name in NAMES, name
        library = needed("sacrebleu.metrics", "tasks", name)
        if name == "chrf":
            self.metric = library.CHRF()
        else:
            tokenizer = TOKENIZERS.get(language.lower().partition("-")[0], "13a")
            self.metric = library.BLEU(tokenize=tokenizer, force=True)  # not to be told that a text ends in ' .'
        self.metric.num_refs = 1

    @property
    def signature(self) -> str:
        return str(self.metric.get_signature())

    def of(self, references: Sequence[str], answers: Sequence[str]) -> NDArray[np.int64]:
        """(N, K) int64: what each sentence adds to the sums."""
        assert len(references) == len(answers), f"{len(references)} references, {len(answers)} answers"
        rows = self.metric._extract_corpus_statistics(answers, [references])  # as sacrebleu's own resampling does
        return np.array(rows, dtype=np.int64).reshape(len(rows), -1)

    def scores(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        """(R,) from 0 to 100, for sums (R, K)."""
        return np.array([self.metric._compute_score_from_stats([int(n) for n in row]).score for row in sums])


def score(name: str, references: Sequence[str], answers: Sequence[str], language: str) -> float:
    """BLEU or chrF of a set of translations into `language`, from 0 to 100."""
    counts = Counts(name, language)
    return float(counts.scores(counts.of(references, answers).sum(0, keepdims=True))[0])

"""The metrics of written answers in one form: each answer gives a row of numbers, and a figure is a formula of their sums.

    rouge/words        ROUGE-1, ROUGE-2, ROUGE-L: means of F over the answers           `rouge.py`
    rouge/characters   the same of characters
    translation/zh     chrF and BLEU of the set of answers, into that language          `bleu.py`
    chat               chrF of the answers and ROUGE-L of characters, in any language
    generation         what can be said without a reference: repetition

So whole sets, groups and bootstrap resamples are computed alike, and fast: sums of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yanmo.text.metrics import bleu, rouge

GRAM = 4  # pieces side by side, of which a text repeats some


class Measure(Protocol):
    """One metric. `of`: (N, K) of N references and answers; `scores`: (R,) of sums (R, K)."""

    name: str

    @property
    def signature(self) -> str: ...
    def of(self, references: Sequence[str], answers: Sequence[str]) -> NDArray[Any]: ...
    def scores(self, sums: NDArray[Any]) -> NDArray[np.float64]: ...


class Mean:
    """The mean of one number an answer, weighted by a second."""

    def __init__(self, name: str, signature: str):
        self.name, self.signature = name, signature

    def number(self, reference: str, answer: str) -> float:
        raise NotImplementedError

    def of(self, references: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        numbers = [(self.number(reference, answer), 1.0) for reference, answer in zip(references, answers, strict=True)]
        return np.array(numbers, dtype=np.float64).reshape(len(numbers), 2)

    def scores(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)


class RougeF(Mean):
    """The mean of ROUGE's F."""

    def __init__(self, name: str, tokenizer: str):
        super().__init__(name, f"F, {rouge.signature(tokenizer)}")
        self.tokenizer = tokenizer

    def number(self, reference: str, answer: str) -> float:
        return _rouge(reference, answer, self.tokenizer)[self.name].f


class Repetition(Mean):
    """The mean share of 4-grams that stood in the answer before (seq-rep-4, Welleck et al. 2020, arXiv:1908.04319)."""

    def __init__(self) -> None:
        super().__init__("repetition", f"share of {GRAM}-grams that repeat, {rouge.signature('characters')}")

    def number(self, reference: str, answer: str) -> float:
        pieces = rouge.tokenize(answer, "characters")
        grams = list(zip(*(pieces[start:] for start in range(GRAM))))
        return 1 - len(set(grams)) / len(grams) if grams else 0.0


class OfSet:
    """BLEU or chrF: sums of counts, put into sacrebleu's formula."""

    def __init__(self, name: str, language: str):
        self.name, self.counts = name, bleu.Counts(name, language)

    @property
    def signature(self) -> str:
        return self.counts.signature

    def of(self, references: Sequence[str], answers: Sequence[str]) -> NDArray[Any]:
        return self.counts.of(references, answers)

    def scores(self, sums: NDArray[Any]) -> NDArray[np.float64]:
        return self.counts.scores(sums)


@lru_cache(maxsize=64)
def measures(measured: str) -> list[Measure]:
    """The metrics that a name such as 'rouge/words' or 'translation/zh' stands for."""
    kind, _, detail = measured.partition("/")
    if kind == "rouge":
        return [RougeF(name, detail) for name in rouge.NAMES]
    if kind == "translation":
        return [OfSet(name, detail) for name in bleu.NAMES]
    if kind == "chat":
        return [OfSet("chrf", "en"), RougeF("rouge_l", "characters")]  # neither is a matter of words
    assert kind == "generation", measured
    return [Repetition()]


@lru_cache(maxsize=4096)
def _rouge(reference: str, answer: str, tokenizer: str) -> dict[str, rouge.Score]:
    return rouge.rouge(reference, answer, tokenizer)

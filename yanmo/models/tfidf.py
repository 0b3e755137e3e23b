"""TF-IDF and logistic regression: the baseline that a fine-tuned classifier has to beat, and often does not.

A text, normalised (NFKC, case folded), is described by its words and pairs of words, and by the 1 to 4 letters side by
side within each stretch without spaces. Chinese writes no spaces and has few letters a word, so there the letters alone
speak: a word is what is no Chinese, Japanese or Korean character. Each term weighs (1 + ln count) × idf, idf =
ln((1 + N) / (1 + N_term)) + 1; words and letters are each scaled to length 1 (scikit-learn's definitions), so that
neither drowns the other, and a multinomial logistic regression with an L2 penalty is fitted on both.

Fitting takes scikit-learn's solver; what reads texts and scores them is here, so that a saved model (terms as JSON,
weights as safetensors) gives the same probabilities and needs no scikit-learn.
"""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from yanmo.core import files
from yanmo.core.config import Settings
from yanmo.core.errors import CorruptError, DataError
from yanmo.core.messages import text
from yanmo.models.base import ModelPart, TextClassifier
from yanmo.models.classifier import MultiClassifier
from yanmo.models.families.family import needs
from yanmo.models.weights.folder import WEIGHTS, read_tensors

Array = NDArray[Any]

TERMS = "terms.json"
BATCH = 2048  # texts whose scores are made at once
Row = tuple[Array, Array]  # of a text: the numbers of its terms, and how often each occurs

# What is written without spaces between words: kana, Han with its extensions, Hangul.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(rf"[^\W{UNSPACED}]+")
SURROGATE = re.compile("[\ud800-\udfff]")


class Terms(Settings):
    """Which terms describe a text, and how much they weigh."""

    words: tuple[int, int] | None = (1, 2)  # from so many words side by side to so many; None: no words
    characters: tuple[int, int] | None = (1, 4)  # the same of characters
    sublinear: bool = True  # 1 + ln count instead of the count

    @field_validator("words", "characters")
    @classmethod
    def _range(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 1 <= value[0] <= value[1] <= 8:
            raise ValueError(str(text("two numbers from 1 to 8, the second no smaller")))
        return value

    def of(self, content: str) -> tuple[Counter[str], Counter[str]]:
        """The terms of a text with their counts: of words, of characters."""
        content = SURROGATE.sub("\ufffd", content)
        content = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", content).casefold())
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        if self.words is not None:
            words.update(" ".join(run) for run in _runs(WORD.findall(content), *self.words))
        if self.characters is not None:
            for stretch in content.split():
                characters.update(run for run in _runs(f" {stretch} ", *self.characters) if run != " ")
        return words, characters


class TfidfModel(ModelPart):
    """TF-IDF of words and characters with logistic regression: the baseline for labelling texts."""

    tasks: ClassVar[tuple[str, ...]] = ("classify", "multi_label")

    terms: Terms = Terms()
    min_texts: int | None = Field(None, ge=1, description="texts that a term must occur in; null: 2, or 1 below 1,000 texts")
    C: float = Field(10.0, gt=0, description="how freely the weights may grow: the inverse of the penalty")
    class_weight: Literal["balanced"] | None = Field(None, description="'balanced': rare labels count for more")

    def fit_texts(self, texts: Sequence[str], labels_of_texts: Sequence[str], labels: list[str]) -> TfidfClassifier:
        """A classifier into `labels`, from texts and the label of each. Labels without texts get probability 0."""
        from scipy.sparse import hstack

        from yanmo.models.majority import label_numbers

        numbers = label_numbers(texts, labels_of_texts, labels)
        known: tuple[dict[str, int], dict[str, int]] = ({}, {})  # every term, numbered as it comes
        rows: tuple[list[Row], list[Row]] = ([], [])
        for content in texts:
            for kind, found in enumerate(self.terms.of(content)):
                columns = [known[kind].setdefault(term, len(known[kind])) for term in found]
                rows[kind].append((np.array(columns, np.int64), np.array([*found.values()], np.int64)))
        least = self.min_texts or (2 if len(texts) >= 1000 else 1)
        vocabularies, idf, kept = [], [], []
        for kind in range(2):
            occurs = np.bincount(np.concatenate([columns for columns, _ in rows[kind]]), minlength=len(known[kind]))
            vocabulary = sorted(term for term, number in known[kind].items() if occurs[number] >= least)
            old = np.array([known[kind][term] for term in vocabulary], np.int64)
            new = np.full(len(known[kind]), -1)
            new[old] = np.arange(len(old))
            vocabularies.append(vocabulary)
            idf.append((np.log((1 + len(texts)) / (1 + occurs[old])) + 1).astype(np.float32))
            kept.append([(new[columns], times) for columns, times in rows[kind]])
        matrices = [_weigh(kept[kind], idf[kind], self.terms.sublinear) for kind in range(2)]
        weights, bias = self._regress(hstack(matrices, format="csr"), numbers, len(labels))
        words, characters = vocabularies
        return TfidfClassifier(self.terms, labels, words, characters, np.concatenate(idf), weights, bias)

    def fit_task(self, task: Any) -> TfidfClassifier:
        """A classifier for a task's training rows; of a task with any number of labels a regression for each label."""
        from yanmo.tasks.labelled import inputs

        examples = task.load("train")
        texts, names = [inputs(example.fields) for example in examples], task.names()
        if task.head != "labels":
            return self.fit_texts(texts, [example.fields["label"] for example in examples], names)
        parts = []
        for name in names:
            holds = ["yes" if name in example.fields["labels"] else "no" for example in examples]
            parts.append(self.fit_texts(texts, holds, ["no", "yes"]))
        first = parts[0]
        weights = np.stack([part.weights[:, 1] - part.weights[:, 0] for part in parts], 1)
        with np.errstate(invalid="ignore"):  # a label that no text has, or every text
            bias = np.array([part.bias[1] - part.bias[0] for part in parts])
        return TfidfLabels(self.terms, names, *first.vocabularies, first.idf, weights, bias)

    def _regress(self, features: Any, numbers: Array, labels: int) -> tuple[Array, Array]:
        """(F, L) float32 weights and (L,) float64 biases; -inf for labels without texts."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        weights = np.zeros((features.shape[1], labels), np.float32)
        bias = np.full(labels, -np.inf)
        seen = np.unique(numbers)
        bias[seen] = 0.0
        if len(seen) > 1 and features.shape[1]:
            regression = LogisticRegression(C=self.C, class_weight=self.class_weight, max_iter=500)
            with warnings.catch_warnings():
                # a penalised fit that is not at its optimum to the last digit is as good a baseline
                warnings.simplefilter("ignore", ConvergenceWarning)
                regression.fit(features, numbers)
            if len(seen) == 2:  # one logit d: softmax(0, d)
                weights[:, seen[1]], bias[seen[1]] = regression.coef_[0], regression.intercept_[0]
            else:
                weights[:, seen], bias[seen] = regression.coef_.T, regression.intercept_
        elif len(seen) > 1:  # no terms at all: how often each label occurs
            bias[seen] = np.log(np.bincount(numbers, minlength=labels)[seen] / len(numbers))
        return weights, bias


class TfidfClassifier(TextClassifier):
    """The fitted model: terms, their idf, and for each a weight per label."""

    family = "yanmo_tfidf"

    def __init__(
        self, terms: Terms, labels: list[str], words: list[str], characters: list[str], idf: Array, weights: Array, bias: Array
    ):
        self.terms, self.labels = terms, labels
        self.vocabularies = (words, characters)
        self.numbers = tuple({term: number for number, term in enumerate(terms)} for terms in self.vocabularies)
        self.idf = idf  # (F,) float32, words first
        self.weights = weights  # (F, L) float32
        self.bias = bias  # (L,) float64

    def probabilities(self, texts: list[str]) -> Array:
        """(N, L) float64, rows summing to 1; each row depends on its own text alone."""
        rows = [self._scores(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        scores = np.concatenate([np.zeros((0, len(self.labels))), *rows])
        return self._shares(scores)

    def _shares(self, scores: Array) -> Array:
        scores -= scores.max(1, keepdims=True, initial=-np.inf)
        np.exp(scores, out=scores)
        return scores / scores.sum(1, keepdims=True)

    def _scores(self, texts: Sequence[str]) -> Array:
        from scipy.sparse import csr_array

        scores = np.tile(self.bias, (len(texts), 1))
        rows: tuple[list[Row], list[Row]] = ([], [])
        for content in texts:
            for kind, found in enumerate(self.terms.of(content)):
                numbers = [self.numbers[kind].get(term, -1) for term in found]
                rows[kind].append((np.array(numbers, np.int64), np.array([*found.values()], np.int64)))
        first = len(self.vocabularies[0])
        for idf, weights, some in ((self.idf[:first], self.weights[:first], rows[0]),
                                   (self.idf[first:], self.weights[first:], rows[1])):  # fmt: skip
            features = _weigh(some, idf, self.terms.sublinear)
            used, columns = np.unique(features.indices, return_inverse=True)  # few: the others' weights stay unread
            narrow = csr_array((features.data, columns, features.indptr), shape=(len(texts), len(used)))
            scores += narrow @ weights[used].astype(np.float64)
        return scores


class TfidfLabels(TfidfClassifier):
    """The fitted model where any number of labels holds: a logistic regression for each."""

    gives: ClassVar[str] = MultiClassifier.gives
    problem: ClassVar[str] = MultiClassifier.problem

    def _shares(self, scores: Array) -> Array:
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-scores))


def _weigh(rows: list[Row], idf: Array, sublinear: bool) -> Any:
    """(N, F) sparse float64: tf × idf of each row's terms (columns, counts), scaled to length 1; column -1 is no term."""
    from scipy.sparse import csr_array

    pointers = np.zeros(len(rows) + 1, np.int64)
    indices: list[Array] = [np.zeros(0, np.int64)]
    values: list[Array] = [np.zeros(0)]
    for row, (columns, times) in enumerate(rows):
        order = np.argsort(columns)[np.count_nonzero(columns < 0) :]
        columns, times = columns[order], times[order]
        value = (1 + np.log(times) if sublinear else times) * idf[columns].astype(np.float64)
        pointers[row + 1] = pointers[row] + len(columns)
        indices.append(columns)
        values.append(value / max(np.sqrt((value * value).sum()), 1e-300))
    return csr_array((np.concatenate(values), np.concatenate(indices), pointers), shape=(len(rows), len(idf)))


class TfidfFamily:
    """TF-IDF classifiers: terms.json, and idf, weights and biases in model.safetensors."""

    def write(self, model: TfidfClassifier, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        words, characters = model.vocabularies
        content = {"words": words, "characters": characters}
        files.write_text(folder / TERMS, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
        save_file({"idf": model.idf, "weights": model.weights, "bias": model.bias}, folder / WEIGHTS)
        return {
            "architectures": ["YanmoTfidfForSequenceClassification"],
            "model_type": model.family,
            "terms": model.terms.model_dump(mode="json"),
            "id2label": {str(number): label for number, label in enumerate(model.labels)},
        }

    def read(self, folder: Path, config: dict[str, Any]) -> TfidfClassifier:
        """CorruptError where the parts do not fit together."""
        needs(config, str(folder / "config.json"), "terms", "id2label")
        if not (folder / TERMS).is_file():
            raise DataError(str(folder), text("a model directory"), text("no {name} in it", name=TERMS))
        labels = [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
        tensors = read_tensors(folder, infinite=True)  # the bias of a label without texts is
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        try:
            stored = files.read_json(folder / TERMS)
            terms = Terms.model_validate(config["terms"])
            kind = TfidfLabels if config.get("problem_type") == TfidfLabels.problem else TfidfClassifier
            model = kind(terms, labels, stored["words"], stored["characters"], **arrays)
            size = sum(map(len, model.vocabularies))
            assert model.idf.shape == (size,)
            assert model.weights.shape == (size, len(labels))
            assert model.bias.shape == (len(labels),)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise CorruptError(str(folder), text("terms, weights and labels that fit together"), str(error) or None) from error
        return model


def _runs(items: Sequence[str], shortest: int, longest: int) -> Iterator[Any]:
    """Every run of `shortest` to `longest` items side by side."""
    for size in range(shortest, longest + 1):
        for start in range(len(items) - size + 1):
            yield items[start : start + size]

"""TF-IDF retrieval: the sentence of a passage that is most like the question, and of it the part that such a question mostly
asks for. The baseline of extractive question answering.

    question    Where was the stone found?                     kind 'where'
    sentence    It was found | in Xi'an | in 1956.             the highest cosine of TF-IDF vectors
    answer      one of a few cuts of it: the whole sentence, its clauses, what the question does not say, names, numbers, …

Which cut a kind of question gets is what the training data speaks for: the one with the highest mean F1 there, and so is the
cosine below which a question is said to have no answer, where it may have none. Terms weigh (1 + ln count) × idf, idf = ln((1+N)/
(1+N_term)) + 1 over the N sentences of the training passages; a term that is not among them weighs as the rarest.

English is read by words. Chinese is read by characters, alone and in pairs, or by the words that jieba finds. Saved as JSON and
safetensors.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from yanmo.core import files
from yanmo.core.data import Place, Prediction, Span
from yanmo.core.errors import CorruptError, DataError
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.models.base import ModelPart
from yanmo.models.cuts import CUTS, WHOLE, kind_of
from yanmo.models.families.family import needs
from yanmo.models.weights.folder import WEIGHTS, read_tensors
from yanmo.models.writer import required
from yanmo.text.metrics import squad
from yanmo.text.spelling import sentence_ends
from yanmo.text.windows import trimmed

if TYPE_CHECKING:
    from yanmo.tasks.qa import QuestionAnswering

TERMS = "terms.json"
PIECE = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
FEWEST = 8  # questions of a kind that choose a cut of their own
MOST = 5000  # questions that choose
KEPT = 4096  # sentences whose vectors are kept: several questions are about one passage
STEPS = 50  # cosines tried as the one below which there is no answer

Units = Literal["words", "characters"]
Vector = dict[str, float]


class RetrievalModel(ModelPart):
    """The most similar sentence by TF-IDF and the usual part of it: the baseline for questions about a passage."""

    tasks: ClassVar[tuple[str, ...]] = ("qa",)

    type: str = "retrieval"
    units: Units | None = None  # what Chinese is read by; null: characters

    def fit_task(self, task: QuestionAnswering) -> Retriever:
        """A retriever from the task's training questions; RequestError for another task, DataError without questions."""
        required(self, task)
        examples = task.load("train")
        if not examples:
            raise DataError(text("the training texts"), text("questions with their passages"), text("none"))
        units = self.units or "characters"
        passages = dict.fromkeys(example.fields["text"] for example in examples)
        counts: Counter[str] = Counter()
        total = 0
        for passage in passages:
            for start, end in sentence_places(passage):
                counts.update(set(terms(passage[start:end], units)))
                total += 1
        vocabulary = sorted(counts)
        idf = np.array([math.log((1 + total) / (1 + counts[term])) + 1 for term in vocabulary], np.float64)
        model = Retriever(units, vocabulary, idf, total, {}, None)
        found = [(example, model.retrieve(example.fields["question"], example.fields["text"])) for example in examples[:MOST]]
        cuts = _cuts(found, task.rule)
        bound = _bound(Retriever(units, vocabulary, idf, total, cuts, None), found, task.rule) if task.unanswerable else None
        return Retriever(units, vocabulary, idf, total, cuts, bound)


class Retriever:
    """`idf` (V,) of the terms in `vocabulary`, over `total` sentences; `cuts`: kind of question → name of a cut, '' for any other
    kind; `bound`: a lower cosine says that there is no answer (None: there always is one)."""

    family = "yanmo_retrieval"
    gives = "span"
    context = None

    def __init__(self, units: Units, vocabulary: list[str], idf: NDArray[Any], total: int, cuts: dict[str, str],
                 bound: float | None):  # fmt: skip
        self.units, self.vocabulary, self.idf, self.total, self.cuts, self.bound = units, vocabulary, idf, total, cuts, bound
        self.weights: Vector = dict(zip(vocabulary, idf.tolist()))
        self.rarest = math.log(1 + total) + 1
        self.vector = lru_cache(maxsize=KEPT)(self._weigh)

    def answer(self, question: str, context: str) -> Prediction:
        """The answer with its place; `score`: the cosine of question and sentence."""
        score, place = self.retrieve(question, context)
        if place is None or (self.bound is not None and score < self.bound):
            return Prediction(context, score=score, answer="")
        start, end = self.cut(question, context, place)
        return Prediction(context, score=score, answer=context[start:end], spans=(Span(start, end),))

    def cut(self, question: str, context: str, place: Place) -> Place:
        """The part of the sentence that such a question asks for."""
        name = self.cuts.get(kind_of(question)) or self.cuts.get("") or WHOLE
        return CUTS[name](question, context, place) or place

    def retrieve(self, question: str, context: str) -> tuple[float, Place | None]:
        """(cosine, place) of the sentence most like the question, the first of equals; None in a passage without any."""
        asked = self.vector(question)
        best: tuple[float, Place | None] = (-1.0, None)
        for place in sentence_places(context):
            found = self.vector(context[place[0] : place[1]])
            cosine = math.fsum(weight * found[term] for term, weight in asked.items() if term in found)
            if cosine > best[0]:
                best = (cosine, place)
        return max(best[0], 0.0), best[1]

    def _weigh(self, content: str) -> Vector:
        """The weights of its terms, of length 1 together."""
        counts = Counter(terms(content, self.units))
        weights = {term: (1 + math.log(count)) * self.weights.get(term, self.rarest) for term, count in counts.items()}
        length = math.sqrt(math.fsum(weight * weight for weight in weights.values()))
        return {term: weight / length for term, weight in weights.items()}


def terms(content: str, units: Units) -> list[str]:
    """What a text is compared by: words, case folded; of Chinese its characters and pairs of them, or jieba's words."""
    content = unicodedata.normalize("NFKC", content).casefold()
    found = [word for piece in CHINESE.split(content) for word in PIECE.findall(piece)]
    for run in CHINESE.findall(content):
        if units == "words":
            found += needed("rjieba", "tasks", "retrieval").cut(run)
        else:
            found += [*run, *(run[place : place + 2] for place in range(len(run) - 1))]
    return found


def sentence_places(content: str) -> list[Place]:
    """The characters of each sentence, without the white space at its ends."""
    ends = [*sentence_ends(content), len(content)]
    places = (trimmed(content, start, end) for start, end in zip([0, *ends], ends))
    return [place for place in places if place is not None]


# ---------------------------------------------------------------------------------------------- fitting


def _texts(example: Any) -> list[str]:
    return [answer["text"] for answer in example.fields["answers"]]


def _cuts(found: Sequence[tuple[Any, tuple[float, Place | None]]], rule: str) -> dict[str, str]:
    """Kind of question → the cut with the highest mean F1 over the questions of that kind that have an answer; '': over all."""
    sums: dict[str, dict[str, float]] = {}
    counts: Counter[str] = Counter()
    for example, (_, place) in found:
        answers = _texts(example)
        if place is None or not answers:
            continue
        question, context = example.fields["question"], example.fields["text"]
        for name, cut in CUTS.items():
            start, end = cut(question, context, place) or place
            f1 = squad.score(context[start:end], answers, rule).f1
            for kind in ("", kind_of(question)):
                table = sums.setdefault(kind, dict.fromkeys(CUTS, 0.0))
                table[name] += f1
        counts.update(("", kind_of(question)))
    return {kind: max(table, key=lambda name: table[name]) for kind, table in sorted(sums.items())
            if kind == "" or counts[kind] >= FEWEST}  # fmt: skip


def _bound(model: Retriever, found: Sequence[tuple[Any, tuple[float, Place | None]]], rule: str) -> float:
    """The cosine below which saying that there is no answer gives the highest mean F1."""
    scored = []
    for example, (cosine, place) in found:
        answers = _texts(example)
        start, end = (0, 0) if place is None else model.cut(example.fields["question"], example.fields["text"], place)
        said = squad.score(example.fields["text"][start:end], answers, rule).f1
        scored.append((cosine, said, float(not answers)))
    cosines, saying, silent = (np.array(column) for column in zip(*scored))
    bounds = [0.0, *np.quantile(cosines, np.linspace(0, 1, STEPS + 1)).tolist(), float(cosines.max()) + 1]
    return round(max(bounds, key=lambda bound: float(np.where(cosines < bound, silent, saying).sum())), 6)


# ---------------------------------------------------------------------------------------------- on disk


class RetrievalFamily:
    """Retrievers: terms.json, their idf in model.safetensors, cuts and bound in config.json."""

    def write(self, model: Retriever, folder: Path) -> dict[str, Any]:
        from safetensors.numpy import save_file

        files.write_text(folder / TERMS, json.dumps(model.vocabulary, ensure_ascii=False, separators=(",", ":")) + "\n")
        save_file({"idf": model.idf}, folder / WEIGHTS)
        return {"architectures": ["YanmoRetrievalForQuestionAnswering"], "model_type": model.family, "units": model.units,
                "sentences": model.total, "cuts": model.cuts, "bound": model.bound}  # fmt: skip

    def read(self, folder: Path, config: dict[str, Any]) -> Retriever:
        """CorruptError where the parts do not fit together."""
        needs(config, str(folder / "config.json"), "units", "sentences", "cuts")
        if not (folder / TERMS).is_file():
            raise DataError(str(folder), text("a model directory"), text("no {name} in it", name=TERMS))
        try:
            vocabulary = files.read_json(folder / TERMS)
            idf = read_tensors(folder)["idf"].numpy()
            assert idf.shape == (len(vocabulary),)
            assert config["units"] in ("words", "characters")
            cuts: Mapping[str, str] = config["cuts"]
            assert set(cuts.values()) <= set(CUTS), sorted(cuts.values())
            bound = None if config.get("bound") is None else float(config["bound"])
            return Retriever(config["units"], vocabulary, idf, int(config["sentences"]), dict(cuts), bound)
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise CorruptError(str(folder), text("terms and weights that fit together"), str(error) or None) from error

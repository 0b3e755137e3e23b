"""The answer to a question, as a span of a passage: SQuAD, CMRC and one's own rows (`readers/squad.py` tells the formats).

    passage    … Yanmo is to grind the ink stick on the stone before writing. …
    question   What is done before writing?          answer   grind the ink stick on the stone

A passage longer than the model is read in windows that overlap (`text/windows.py`), and the best span of all of them is the
answer (`spans.py`). Where questions may have no answer in their passage, none is given when "nowhere" scores higher than the
best span by more than `threshold`.

What is not sound stops the work with the place of the first offender and of four more: an answer that does not stand in the
passage, one that stands elsewhere than the file says (and where), an empty question, an id that stands twice. The passages are
divided into training and test data by their hash: all questions on one passage are on one side.

Answers are scored as the data set's own script scores them (`text/metrics/squad.py`). The same questions can be put to a model
that writes (`prompt`), and its answers are scored alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from yanmo.core.data import Example, Prediction, Row, Span, content_id
from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
from yanmo.core.paths import written
from yanmo.tasks.offenders import SHOWN, Offenders
from yanmo.tasks.readers.answers import placed, problem_of
from yanmo.tasks.readers.squad import ENDINGS, Columns, Question, questions
from yanmo.tasks.spans import NOWHERE, Spot
from yanmo.tasks.splits import SplitTask
from yanmo.text import windows as reading
from yanmo.text.metrics import squad
from yanmo.text.spelling import HAN_RUN

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

SAMPLE = 500  # questions that tell the language
PROMPTS = {
    "en": ("Answer the question with a few words copied from the text.{no}\n\nText: {context}\n\nQuestion: {question}\nAnswer:",
           " If the text does not answer it, write: unanswerable."),
    "zh": ("根据文章回答问题，答案请照抄文章中的几个词。{no}\n\n文章：{context}\n\n问题：{question}\n答案：",
           "如果文章中没有答案，请写：无法回答。"),
}  # fmt: skip
NONE = {"en": "unanswerable", "zh": "无法回答"}


class QuestionAnswering(SplitTask):
    """Answers to questions, found in a passage: SQuAD 1 and 2, CMRC, JSON lines."""

    head: ClassVar[str] = "span"
    metric: ClassVar[str] = "f1"

    endings: ClassVar[tuple[str, ...]] = ENDINGS

    type: str = "qa"
    fields: Columns = Columns()
    metrics: Literal["squad1", "squad2", "cmrc"] | None = Field(
        None, description="whose script scores; null: cmrc for Chinese, squad2 where answers are missing, else squad1"
    )
    no_answer: bool | None = Field(None, description="whether a question may have no answer; null: as in the data")
    window: int | None = Field(None, ge=8, description="tokens read at once, question included; null: all that the model takes")
    overlap: int | None = Field(None, ge=0, description="tokens that neighbouring windows share; null: 128 or half of the room")
    elsewhere: float = Field(1.0, ge=0, le=1, description="share of the windows without the answer that are trained on")
    answer_tokens: int = Field(30, ge=1, description="tokens of an answer at most")
    best: int = Field(20, ge=1, description="spans that are kept of each question")
    chat: bool = Field(False, description="ask a model that writes in its chat template, as one message")
    # by how much 'nowhere' must be ahead of the best span; None: what was best on the model's validation data, else 0
    threshold: float | None = Field(None, allow_inf_nan=False, description="lead of 'nowhere' over the best span; null: as found")

    # ------------------------------------------------------------------------------------------------ data

    @cached_property
    def _read(self) -> dict[str, list[Example]]:
        found = {split: self._sound([q for file in files for q in questions(file, self.fields)], files)
                 for split, files in self._files.items()}  # fmt: skip
        for examples in found.values():
            self._once(examples)
        if self.metrics == "squad1" or self.no_answer is False:
            empty = [example for examples in found.values() for example in examples if not example.fields["answers"]]
            if empty:
                remedy = text("set metrics: squad2") if self.metrics == "squad1" else text("set no_answer: true")
                raise DataError(empty[0].where, text("a question with an answer"), text("none"), remedy)
        return found

    def examples(self) -> dict[str, list[Example]]:
        return self._read

    def _sound(self, asked: list[Question], files: Sequence[Path]) -> list[Example]:
        """The examples of the questions; DataError with the first five of a kind that are not sound."""
        if not asked:
            raise DataError(", ".join(map(written, files[:3])), text("questions with their passages"), text("no rows"))
        wrong = Offenders()
        found = []
        for question in asked:
            problem = problem_of(question, self.fields)
            if problem is None:
                found.append(self._example(question))
            else:
                wrong.add(problem[0], question.where, None, problem[1])
        wrong.raise_any()
        return found

    def _example(self, question: Question) -> Example:
        kept: dict[str, Any] = {"text": question.context, "question": question.question,
                                "answers": [placed(said, question.context) for said in question.answers]}  # fmt: skip
        if question.group:
            kept["group"] = f"{self.fields.group}={question.group}"
        if question.language:
            kept["language"] = question.language
        return Example(question.id or content_id(f"{question.question}\t{question.context}"), kept, question.where)

    def _once(self, examples: list[Example]) -> None:
        seen: dict[str, Example] = {}
        twice = Offenders()
        for example in examples:
            other = seen.setdefault(example.id, example)
            if other is example:
                continue
            again = (other.fields["question"], other.fields["text"]) == (example.fields["question"], example.fields["text"])
            said = text("the same question on the same passage as {other}", other=other.where) if again else text(
                "the id '{id}', as {other}", id=example.id, other=other.where)  # fmt: skip
            twice.add("twice", example.where, text("an id of its own"), said)
        twice.raise_any()

    def check(self) -> list[Text]:
        train = self.load("train")
        seen = {_passage(example): example.where for example in reversed(train)}
        found: list[Text] = []
        for split in ("validation", "test"):
            again = [example for example in self.load(split) if _passage(example) in seen]
            if again:
                rows = ", ".join(f"{example.where} = {seen[_passage(example)]}" for example in again[:SHOWN])
                found.append(text("{split}: {count} of {total} questions are about passages of the training data ({rows})",
                                  split=split, count=len(again), total=len(self.load(split)), rows=rows))  # fmt: skip
        ids = {example.id: example for example in reversed(train)}
        for split in ("validation", "test"):
            again = [e for e in self.load(split) if e.id in ids and ids[e.id].fields["question"] != e.fields["question"]]
            if again:
                rows = ", ".join(f"{example.where} = {ids[example.id].where}" for example in again[:SHOWN])
                found.append(text("{split}: {count} of {total} ids are those of other questions of the training data ({rows})",
                                  split=split, count=len(again), total=len(self.load(split)), rows=rows))  # fmt: skip
        examples = [example for examples in self._read.values() for example in examples]
        unsure = [e for e in examples if any(answer.get("places", 1) > 1 for answer in e.fields["answers"])]
        if unsure:
            rows = ", ".join(example.where for example in unsure[:SHOWN])
            found.append(text("{count} answers without a start stand more than once in their passages: the first place is taken "
                              "({rows})", count=len(unsure), rows=rows))  # fmt: skip
        return found

    # ------------------------------------------------------------------------------------------------ what the data is

    @cached_property
    def unanswerable(self) -> bool:
        """Whether a question may have no answer."""
        if self.no_answer is not None:
            return self.no_answer
        return any(not example.fields["answers"] for examples in self._read.values() for example in examples)

    @cached_property
    def rule(self) -> str:
        """Whose script scores the answers."""
        if self.metrics is not None:
            return self.metrics
        if language(example for examples in self._read.values() for example in examples[:SAMPLE]) == "zh":
            return "cmrc"
        return "squad2" if self.unanswerable else "squad1"

    # ------------------------------------------------------------------------------------------------ a model that marks spans

    def windows(self, example: Example, tokenizer: Tokenizer, length: int) -> list[reading.Window]:
        """The rows about a question with the places of their tokens in the passage, in the order of `encode`'s."""
        room = min(length, self.window or length)
        return reading.windows(example.fields["text"], tokenizer, room, self.overlap, before=example.fields["question"])

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """A row a window. `label`: the first and last token of the first answer that stands in it whole, twice the mark for
        "nowhere" where none does; `trained`: the passage's tokens and that mark."""
        rows = []
        known = example.fields.get("answers")
        for window in self.windows(example, tokenizer, length):
            trained = [place is not None or index == window.nowhere for index, place in enumerate(window.places)]
            label = None if known is None else _label(window, known)
            rows.append(window.row(label, trained, example.id))
        return rows

    def studied(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """The rows that are trained on: all of a question without an answer; else those with the answer, and of the others, of
        which a long passage has many, the share `elsewhere`, by a hash. One at least."""
        rows = self.encode(example, tokenizer, length)
        if self.elsewhere == 1 or not example.fields["answers"]:
            return rows
        chance = [int(content_id(f"{number}\t{example.id}")[:8], 16) / (1 << 32) for number in range(len(rows))]
        kept = [row for row, drawn in zip(rows, chance) if (row.places or [])[row.label[0]] is not None or drawn < self.elsewhere]
        return kept or rows[:1]

    def decode(self, outputs: Iterable[tuple[int, int, float]], example: Example) -> Prediction:
        """`outputs`: (start, end, score) of characters, and under (0, 0, score) that of no answer, as `best_spans` gives
        them. `answer` is '' for no answer and None where nothing was decided: no outputs, or one that is not finite."""
        content = example.fields["text"]
        spots = sorted((Spot(*item) for item in outputs), key=lambda s: (-s.score, s.start, s.end))
        if not self.unanswerable:
            spots = [spot for spot in spots if (spot.start, spot.end) != NOWHERE]
        return decide(content, spots, self.threshold or 0.0)

    # ------------------------------------------------------------------------------------------------ a model that writes

    def prompt(self, example: Example) -> str:
        """The question as a text to go on with."""
        template, no = PROMPTS[language([example])]
        return template.format(no=no if self.unanswerable else "", context=example.fields["text"],
                               question=example.fields["question"])  # fmt: skip

    def answer(self, example: Example) -> str:
        """What a model that writes should write: the first answer, or that there is none."""
        known = example.fields["answers"]
        return known[0]["text"] if known else NONE[language([example])]

    def reply(self, content: str, example: Example) -> Prediction:
        """What a model wrote, as a prediction: its first line that is not blank, without quotes around it."""
        passage = example.fields["text"]
        line = next((line.strip() for line in content.splitlines() if line.strip()), "").strip("\"'“”‘’「」").strip()
        if not line:
            return Prediction(passage)
        if self.unanswerable and any(line.lower().rstrip(".。") == word for word in NONE.values()):
            return Prediction(passage, answer="")
        start = passage.find(line)
        return Prediction(passage, answer=line, spans=(Span(start, start + len(line)),) if start >= 0 else ())

    # ------------------------------------------------------------------------------------------------ figures

    def taught(self, config: dict[str, Any]) -> QuestionAnswering:
        """The same task with the threshold of a model with this config.json, unless the task has one of its own."""
        saved = ((config.get("yanmo") or {}).get("answers") or {}).get("threshold")
        return self if self.threshold is not None or saved is None else self.model_copy(update={"threshold": float(saved)})

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """exact and f1, the same of the questions with and without an answer, undecided, and the rule."""
        found = [(bool(example.fields["answers"]), squad.score(prediction.answer, _texts(example), self.rule)
                  if prediction.answer is not None else squad.Score(0.0, 0.0)) for example, prediction in pairs]  # fmt: skip
        scores: dict[str, Any] = {}
        for prefix, kind in (("", None), ("answer_", True), ("no_answer_", False)):
            some = [score for has, score in found if kind is None or has is kind]
            if some:
                scores |= {f"{prefix}exact": math.fsum(s.exact for s in some) / len(some),
                           f"{prefix}f1": math.fsum(s.f1 for s in some) / len(some), f"{prefix}n": len(some)}  # fmt: skip
        scores.setdefault("f1", 0.0)
        return scores | {"undecided": sum(prediction.answer is None for _, prediction in pairs), "rule": self.rule}


def decide(content: str, spots: Sequence[Spot], threshold: float = 0.0) -> Prediction:
    """The best span of `spots` (best first), or no answer where that is among them and ahead by more than `threshold`. Its
    probability is among these spots; None decides where a score is not finite."""
    if not spots or not all(math.isfinite(spot.score) for spot in spots):
        return Prediction(content)
    nothing = next((spot for spot in spots if (spot.start, spot.end) == NOWHERE), None)
    span = next((spot for spot in spots if spot is not nothing), None)
    chosen = nothing if span is None or (nothing is not None and nothing.score - span.score > threshold) else span
    assert chosen is not None
    highest = max(spot.score for spot in spots)
    shares = {(s.start, s.end): math.exp(s.score - highest) for s in spots}
    probability = shares[(chosen.start, chosen.end)] / math.fsum(shares.values())
    if chosen is nothing:
        return Prediction(content, score=probability, answer="")
    answer = content[chosen.start : chosen.end]
    return Prediction(content, score=probability, spans=(Span(chosen.start, chosen.end),), answer=answer)


def language(examples: Iterable[Example]) -> str:
    """'zh' where most letters of the questions are Chinese, else 'en'."""
    content = "".join(example.fields["question"] for example in examples)
    letters = sum(character.isalpha() for character in content)
    return "zh" if sum(map(len, HAN_RUN.findall(content))) * 2 > letters else "en"


def _texts(example: Example) -> list[str]:
    return [answer["text"] for answer in example.fields["answers"]]


def _passage(example: Example) -> str:
    return content_id(" ".join(example.fields["text"].split()))


def _label(window: reading.Window, known: Sequence[dict[str, Any]]) -> tuple[int, int]:
    for answer in known:
        found = window.find(answer["start"], answer["start"] + len(answer["text"]))
        if found is not None:
            return found
    return window.nowhere, window.nowhere

"""Answers to questions about a passage: marked by models with such a head, found by retrieval, or written by models that write,
held against sentences that need no learning.

Intervals are over passages, not over questions: those on one passage are alike hard, and another test set would be made of
other passages. So passages are drawn, each with all its questions, and a figure is the mean over the questions drawn (a cluster
bootstrap; with one question a passage it is the usual one). What is compared item by item (differences, permutations) is
compared question by question.

A line keeps the answers whole, so that each figure can be computed again from the lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from yanmo.core.data import Example, Prediction, content_id
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import Answer, Figure, grouped, ratio, result
from yanmo.tasks.base import Task
from yanmo.tasks.qa import QuestionAnswering
from yanmo.tasks.spans import best_spans
from yanmo.text.metrics import squad
from yanmo.text.sentences import sentences

if TYPE_CHECKING:
    from yanmo.inference.model import Model

SHOWN = 3  # answers that tables.json repeats
WINDOW = 512  # tokens read at once by a model that takes any number
FIRST, COMMON, NOTHING = "first-sentence", "longest-common", "no-answer"


class SpanHead(Head):
    """The place of an answer in a passage."""

    leading: ClassVar[tuple[str, ...]] = ("f1", "exact")

    # ------------------------------------------------------------------------------------------------ asking

    def able(self, config: Mapping[str, Any]) -> bool:
        return any("QuestionAnswering" in str(name) for name in config.get("architectures") or [])

    def unfit(self, model: Model, task: Task) -> Text | None:
        from yanmo.inference.model import generates

        assert isinstance(task, QuestionAnswering), task
        loaded = model.loaded
        if loaded.head == "span":
            return None
        if not generates(loaded):
            return text("it finds no answers: finetune it on the task first")
        assert loaded.tokenizer is not None
        if task.chat and not loaded.tokenizer.chat_template:
            return text("its tokenizer has no chat template")
        return None

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        assert isinstance(task, QuestionAnswering), task
        if model.loaded.head != "span":
            found, more = _written(model, task, examples)
        elif hasattr(model.loaded.model, "answer"):
            ask = model.loaded.model.answer
            found, more = [ask(e.fields["question"], e.fields["text"]) for e in examples], [{} for _ in examples]
        else:
            found, more = _marked(model, task, examples)
        return [_line(task, example, prediction, some) for example, prediction, some in zip(examples, found, more, strict=True)]

    # ------------------------------------------------------------------------------------------------ figures

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """f1 and exact; where there are questions of both kinds also those of each: answer_f1, answer_exact, no_answer_f1 (which
        is exact). Lines: rule, answers, predicted (null: no decision, which is wrong)."""
        return {name: Figure(ratio, columns) for name, columns in _columns(lines).items()}

    def scored(self, model: str, name: str, lines: Sequence[Answer], task: Task | None = None) -> list[dict[str, Any]]:
        rows = []
        columns = _columns(lines)
        passages = np.unique([line["passage"] for line in lines], return_inverse=True)[1]
        for group, items in grouped(lines, self.keys).items():
            for metric, (values, counted) in columns.items():
                count = int(counted[items].sum())
                if not count:
                    continue
                whole = _by_passage(values[items], counted[items], passages[items])
                rows.append(result(model, name, metric, whole.value, whole.bounds(), count, group))
        return rows

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """What costs nothing: the first sentence; the one with the longest stretch of words in common with the question;
        where a question may have no answer, to say so always."""
        return [row for floor in lines[0]["floors"] for row in
                self.scored(floor, name, [{**line, "predicted": line["floors"][floor]} for line in lines], task)]

    # ------------------------------------------------------------------------------------------------ tables

    def about(self, task: Task) -> dict[str, Any]:
        assert isinstance(task, QuestionAnswering), task
        examples = task.load("test")
        return super().about(task) | {"rule": task.rule, "passages": len({example.fields["text"] for example in examples}),
                                      "without_answer": sum(not example.fields["answers"] for example in examples)}  # fmt: skip

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        """How many questions or passages were cut (of passages read in windows nothing is), how many took several windows, how
        many were not decided or said to have no answer; how the answers were had; a few of them."""
        shown = [{key: line[key] for key in ("question", "answers", "predicted")} for line in lines[:SHOWN]]
        return {"by": lines[0]["by"], "truncated": sum("cut" in line for line in lines),
                "windowed": sum(line.get("windows", 1) > 1 for line in lines),
                "undecided": sum(line["predicted"] is None for line in lines),
                "no_answer": sum(line["predicted"] == "" for line in lines), "answers": shown}  # fmt: skip

    @property
    def title(self) -> Text:
        return text("Answering questions about a text")


# ---------------------------------------------------------------------------------------------- answers


def _line(task: QuestionAnswering, example: Example, prediction: Prediction, more: Answer) -> Answer:
    context, question = example.fields["text"], example.fields["question"]
    floors = {FIRST: next(iter(sentences(context)), context), COMMON: longest_common(question, context)}
    floors |= {NOTHING: ""} if task.unanswerable else {}
    return {"id": example.id, "where": example.where, "passage": content_id(context)[:16], "question": question,
            "answers": [answer["text"] for answer in example.fields["answers"]], "predicted": prediction.answer,
            "score": None if prediction.score is None else round(prediction.score, 6), "rule": task.rule,
            "group": example.fields.get("group") or "", "language": example.fields.get("language") or "",
            "by": more.pop("by", "span"), "floors": floors, **more}  # fmt: skip


def _marked(model: Model, task: QuestionAnswering, examples: list[Example]) -> tuple[list[Prediction], list[Answer]]:
    """By a model with scores for the ends of an answer."""
    from yanmo.inference.places import scores

    loaded = model.loaded
    assert loaded.tokenizer is not None
    task = task.taught(loaded.config)
    length = loaded.model.context or WINDOW
    read = [task.windows(example, loaded.tokenizer, length) for example in examples]
    rows = [row for example in examples for row in task.encode(example, loaded.tokenizer, length)]
    given = iter(scores(loaded.model, rows, loaded.tokenizer.pad_id))
    found, more = [], []
    for example, windows in zip(examples, read):
        spots = best_spans(windows, [next(given) for _ in windows], task.answer_tokens, task.best)
        found.append(task.decode(spots, example))
        more.append(({"windows": len(windows)} if len(windows) > 1 else {}) | ({"cut": windows[0].cut} if windows[0].cut else {}))
    return found, more


def _written(model: Model, task: QuestionAnswering, examples: list[Example]) -> tuple[list[Prediction], list[Answer]]:
    """By a model that writes: greedy, the question as a prompt, the end of the passage cut where both are too long."""
    from yanmo.inference.engine import Request
    from yanmo.inference.model import prompt_ids, start_of
    from yanmo.inference.sampling import sampling
    from yanmo.inference.writing import written

    loaded = model.loaded
    tokenizer, network = loaded.tokenizer, loaded.model
    assert tokenizer is not None
    two = network.kind == "encoder-decoder"

    def ids_of(example: Example) -> list[int]:
        prompt = task.prompt(example)
        if task.chat:
            return prompt_ids([{"role": "user", "content": prompt}], tokenizer)
        return tokenizer.add_special(tokenizer.encode(prompt)).ids if two else prompt_ids(prompt, tokenizer)

    room = None if network.context is None else max(network.context - (0 if two else task.answer_tokens), 1)
    settings = sampling(max_tokens=task.answer_tokens, temperature=0.0)
    requests, more = [], []
    for example in examples:
        ids, cut = ids_of(example), 0
        if room is not None and len(ids) > room:
            passage = tokenizer.encode(example.fields["text"])
            kept = len(passage)
            while len(ids) > room and kept:
                kept = max(kept - (len(ids) - room), 0)
                fields = {**example.fields, "text": tokenizer.decode(passage[:kept])}
                ids = ids_of(Example(example.id, fields, example.where))
            ids, cut = ids[-room:], len(passage) - kept
        requests.append(Request([start_of(loaded)], settings, ids) if two else Request(ids, settings))
        more.append({"by": "prompt", **({"cut": cut} if cut else {})})
    answers = written(network, tokenizer, requests)
    return [task.reply(answer.text, example) for answer, example in zip(answers, examples, strict=True)], more


def longest_common(question: str, context: str) -> str:
    """The sentence with the longest stretch of words (of Chinese, characters) that stands in the question too; the first of
    equals."""
    asked = squad.pieces(question)
    found = sentences(context) or [context]
    return max(found, key=lambda sentence: squad.longest_common(asked, squad.pieces(sentence)))


# ---------------------------------------------------------------------------------------------- figures


def _columns(lines: Sequence[Answer]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Metric → (value, whether it counts) of each line, (N,) each."""
    wrong = squad.Score(0.0, 0.0)
    scores = [wrong if line["predicted"] is None else squad.score(line["predicted"], line["answers"], line["rule"])
              for line in lines]  # fmt: skip
    f1, exact = (np.array(column) for column in ([s.f1 for s in scores], [s.exact for s in scores]))
    has = np.array([bool(line["answers"]) for line in lines], np.float64)
    found = {"f1": (f1, np.ones(len(lines))), "exact": (exact, np.ones(len(lines)))}
    if 0 < has.sum() < len(lines):
        found |= {"answer_f1": (f1 * has, has), "answer_exact": (exact * has, has), "no_answer_f1": (f1 * (1 - has), 1 - has)}
    return found


def _by_passage(values: np.ndarray, counted: np.ndarray, passages: np.ndarray) -> Figure:
    """A mean over questions as sums over passages, (P,) each, of those that have any."""
    numbers = np.unique(passages, return_inverse=True)[1]
    sums, counts = (np.bincount(numbers, weights=column) for column in (values, counted))
    return Figure(ratio, (sums[counts > 0], counts[counts > 0]))

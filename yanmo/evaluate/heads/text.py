"""Texts that models write: summaries, translations, open generation; held against what costs nothing to say.

Answers are written by the task's settings (greedy, drawn, or beams), many at a time through one engine. A line keeps the
answer and the reference whole, so that every figure can be computed again. A prompt that had to be cut to the model's
context says by how many tokens (`cut`), an answer that did not end says so (`unfinished`); both are counted and shown. Where
training pairs were looked up, a line names the most similar ones (`near`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from yanmo.core.data import Example
from yanmo.core.messages import Text, text
from yanmo.evaluate.head import Head
from yanmo.evaluate.measure import EXCERPT, Answer, Figure, accuracy, column, ratio, result, scored
from yanmo.tasks.base import Task
from yanmo.tasks.generation import Generation
from yanmo.tasks.writing import WritingTask
from yanmo.text.metrics.figures import Measure, measures

if TYPE_CHECKING:
    from yanmo.evaluate.page import Markup
    from yanmo.evaluate.record import Record
    from yanmo.inference.model import Model
    from yanmo.models.base import Loaded

SHOWN = 3  # answers that tables.json repeats


class TextHead(Head):
    """A text that the model writes."""

    keys: ClassVar[tuple[str, ...]] = ("group",)
    leading: ClassVar[tuple[str, ...]] = ("rouge_l", "chrf", "bleu", "control", "repetition")

    # ------------------------------------------------------------------------------------------------ asking

    def unfit(self, model: Model, task: Task) -> Text | None:
        from yanmo.inference.model import generates
        from yanmo.models.writer import TextWriter

        assert isinstance(task, WritingTask), task
        loaded = model.loaded
        if isinstance(loaded.model, TextWriter):
            if isinstance(task, Generation) and task.guide is not None:
                return text("no guide can weigh its tokens")
            return loaded.model.unfit(task)
        if not generates(loaded):
            return text("it writes no text")
        assert loaded.tokenizer is not None
        if task.chat and not loaded.tokenizer.chat_template:
            return text("its tokenizer has no chat template")
        return None

    def answer(self, model: Model, task: Task, examples: list[Example]) -> list[Answer]:
        from yanmo.models.writer import TextWriter

        assert isinstance(task, WritingTask), task
        writer = model.loaded.model
        if isinstance(writer, TextWriter):
            said = [{"answer": answer} for answer in writer.write([example.fields["text"] for example in examples])]
        else:
            said = _written(model.loaded, task, examples)
        lines = []
        for example, found in zip(examples, said, strict=True):
            line = {"id": example.id, "where": example.where, "text": example.fields["text"][:EXCERPT],
                    "group": example.fields.get("group") or "", "measured": task.measured,
                    "reference": task.answer(example), **found}  # fmt: skip
            floors = task.floors(example)
            lines.append(line | ({"floors": floors} if floors else {}))
        if isinstance(task, Generation):
            _judged(task, examples, lines)
            for strength in task.strengths[:-1]:
                steered = _written(model.loaded, task, examples, strength)
                tried: list[dict[str, Any]] = [{**line, **found} for line, found in zip(lines, steered)]
                _judged(task, examples, tried)
                for line, other in zip(lines, tried):
                    kept: dict[str, Any] = {key: other[key] for key in ("answer", "predicted", "bits", "bytes") if key in other}
                    line.setdefault("steered", []).append({"strength": strength, **kept})
            for line in lines:
                if task.strengths:
                    line["strength"] = task.strengths[-1]
        return lines

    # ------------------------------------------------------------------------------------------------ figures

    def figures(self, task: Task | None, lines: Sequence[Answer]) -> dict[str, Figure]:
        """The task's measures. Lines: measured, reference, answer; of generation also label with judged, bits with bytes."""
        references, answers = ([line[name] for line in lines] for name in ("reference", "answer"))
        found = {measure.name: _figure(measure, references, answers) for measure in measures(lines[0]["measured"])}
        if "predicted" in lines[0]:
            found["control"] = accuracy(lines)
        if "bits" in lines[0]:
            found["fluency"] = Figure(ratio, (column(lines, "bits"), column(lines, "bytes")))
        return found

    def scored(self, model: str, name: str, lines: Sequence[Answer], task: Task | None = None) -> list[dict[str, Any]]:
        """As every head's, each line with the signature of its metric: of which pieces, by which tokenizer and version."""
        told = {measure.name: measure.signature for measure in measures(lines[0]["measured"])}
        rows = super().scored(model, name, lines, task)
        for strength, own in _by_strength(lines):
            for metric, (value, bounds) in scored(self.figures(task, own)).items():
                rows.append(result(model, name, metric, value, bounds, len(own), f"strength={strength:g}"))
        return [row | ({"signature": told[row["metric"]]} if row["metric"] in told else {}) for row in rows]

    def floors(self, name: str, task: Task, lines: Sequence[Answer]) -> list[dict[str, Any]]:
        """What costs nothing: the source copied, the text's first sentences."""
        plain = [{key: line[key] for key in ("group", "measured", "reference")} for line in lines]
        return [row for floor in lines[0].get("floors", {}) for row in
                self.scored(floor, name, [{**line, "answer": own["floors"][floor]} for line, own in zip(plain, lines)], task)]

    # ------------------------------------------------------------------------------------------------ tables

    def table(self, task: Task, lines: Sequence[Answer]) -> dict[str, Any]:
        """How many prompts were cut, how many answers did not end or are empty; by what they were measured; a few of them."""
        shown = [{key: line[key] for key in ("text", "reference", "answer")} for line in lines[:SHOWN]]
        return {"truncated": sum("cut" in line for line in lines), "unfinished": sum("unfinished" in line for line in lines),
                "empty": sum(not line["answer"].strip() for line in lines),
                "signatures": {measure.name: measure.signature for measure in measures(lines[0]["measured"])},
                "answers": shown}  # fmt: skip

    @property
    def title(self) -> Text:
        return text("Writing texts")

    def section(self, record: Record, task: str) -> Markup | None:
        from yanmo.evaluate.page import join
        from yanmo.evaluate.sections import steering

        body = super().section(record, task)
        return None if body is None else join([body, steering.section(record, task)])


def _by_strength(lines: Sequence[Answer]) -> list[tuple[float, list[Answer]]]:
    """The lines as they are at each strength of a guide's advice; empty where there was one strength, or no guide."""
    if not lines[0].get("steered"):
        return []
    found = [(tried["strength"], [{**line, **line["steered"][at]} for line in lines])
             for at, tried in enumerate(lines[0]["steered"])]  # fmt: skip
    return [*found, (lines[0]["strength"], list(lines))]


def _figure(measure: Measure, references: Sequence[str], answers: Sequence[str]) -> Figure:
    """A measure as a figure of the items' places, so that a resample is a sum of their rows."""
    rows = measure.of(references, answers)

    def metric(places: np.ndarray) -> np.ndarray:
        return measure.scores(np.stack([rows[drawn].sum(0) for drawn in places]))

    return Figure(metric, (np.arange(len(rows)),))


def _written(loaded: Loaded, task: WritingTask, examples: list[Example], strength: float | None = None) -> list[Answer]:
    """What a language model writes for each example, as the line has it; by a guide's advice of `strength`, the task's own
    unless given."""
    from yanmo.inference import guidance
    from yanmo.inference.writing import answered

    tokenizer = loaded.tokenizer
    assert tokenizer is not None
    temperature, seed = (task.temperature, task.seed) if isinstance(task, Generation) else (0.0, None)
    wish = None
    if isinstance(task, Generation) and task.guide is not None:
        from yanmo.inference.model import Model

        guide = guidance.guide_of(Model.open(task.guide), task.guide, task.candidates or guidance.CANDIDATES)
        strength = task.strengths[-1] if strength is None else strength

        def wish(example: Example) -> guidance.Wish:
            return guide.wish(example.fields["label"], strength, tokenizer.encode(example.fields["text"]))

    found = answered(loaded, task, examples, temperature, seed, wish)
    return [{"answer": written.text, "tokens": written.tokens, **written.beside} for written in found]


def _judged(task: Generation, examples: list[Example], lines: list[Answer]) -> None:
    """Adds what the judge finds in the texts (with what was asked for), and how likely the reader finds them."""
    from yanmo.inference.model import Model

    texts = [f"{example.fields['text']} {line['answer']}".strip() for example, line in zip(examples, lines)]
    if task.judge is not None:
        for example, line, prediction in zip(examples, lines, Model.open(task.judge).predict(texts)):
            line |= {"label": example.fields["label"], "predicted": prediction.label}
    if task.reader is not None:
        from yanmo.inference.scoring import score

        found, _, _ = score(Model.open(task.reader).loaded, texts)
        for line, nats, size in zip(lines, found.nats, found.bytes):
            line |= {"bits": float(nats) / float(np.log(2)), "bytes": int(size)}

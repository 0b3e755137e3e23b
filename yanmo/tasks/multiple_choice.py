"""Questions with some answers to choose from: the answer that a model finds the likeliest is its choice.

    test.jsonl   {"question": "What is ground on the stone?", "choices": ["ink", "rice", "glass"], "answer": 0}
                 {"question": "…", "choices": {"text": ["…", "…"], "label": ["A", "B"]}, "answerKey": "B"}         as ARC has it
                 Question,A,B,C,D,Answer     with fields: {choices: [A, B, C, D]}                                 as CMMLU has it

`answer` is the place of the right choice (from 0, or from `base`), its letter or label, or its text. A passage that the
question is about may stand in `context`. Each choice is scored as the continuation of the prompt (`tasks/likelihoods.py` says
how choices of different lengths are made comparable); with `letters` the choices stand in the prompt, and their letters are
scored.

One path is test data, whole. Rows that are not sound are named, five at a time.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from yanmo.core.config import Settings, describe
from yanmo.core.data import Example, Prediction, Row, content_id
from yanmo.core.errors import DataError, RequestError, nearest
from yanmo.core.messages import Text, text
from yanmo.core.paths import written
from yanmo.tasks.base import Task
from yanmo.tasks.labelled import bad, label_text
from yanmo.tasks.likelihoods import winner
from yanmo.tasks.offenders import Offenders, leak
from yanmo.tasks.prompting import PLACE, SAMPLE, Posed, answered, blank, chosen, ending, filled, tongue
from yanmo.tasks.records import ENDINGS, Record, records
from yanmo.tasks.splits import SPLITS, carve, split_files
from yanmo.text.chat import render

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

LETTERS = string.ascii_uppercase
TEMPLATES = {"en": "Question: {question}\nAnswer:", "zh": "问题：{question}\n答案："}
LETTERED = {"en": "Question: {question}\n{choices}\nAnswer:", "zh": "问题：{question}\n{choices}\n答案："}
PASSAGE = "{context}\n\n"


class Fields(Settings):
    """What the columns are called in the files."""

    question: str = "question"
    context: str = "context"  # a passage before the question, where the rows have one
    choices: str | list[str] = "choices"  # one field with a list, or a field for each
    answer: str = "answer"
    group: str = "subject"  # results are also given for each of its values, where the rows have it
    language: str = "language"  # and for each of these


class MultipleChoice(Task):
    """Questions with choices, by the likelihood of each choice.

    `template`: the prompt with `{question}`, `{context}` and, with `letters`, `{choices}` in it, up to where the answer begins;
    by default English or Chinese, as the questions are. `normalize`: what is compared; `prior`: of 'prior', the prompt that says
    nothing, by default what the template ends with."""

    head: ClassVar[str] = "choice"
    metric: ClassVar[str] = "accuracy"

    type: str = "multiple_choice"
    path: str | dict[str, str]
    fields: Fields = Fields()
    base: Literal[0, 1] = Field(0, description="the number of the first choice, where answers are numbers")
    template: str | None = None
    letters: bool = Field(False, description="the choices stand in the prompt, and their letters are scored")
    normalize: Literal["sum", "tokens", "bytes", "characters", "prior"] = "bytes"
    prior: str | None = None
    shots: int = Field(0, ge=0, le=1000, description="training questions shown with their answers")
    seed: int = Field(0, ge=0, description="which of them")
    between: str = "\n\n"
    chat: bool = Field(False, description="the prompt is a message, in the model's own chat template")
    validation: float = Field(0.1, ge=0, lt=1)  # share of the training questions, where `path` names no validation files

    @field_validator("path")
    @classmethod
    def _splits(cls, path: str | dict[str, str]) -> str | dict[str, str]:
        if isinstance(path, dict) and (not path or set(path) - set(SPLITS)):
            raise ValueError(str(text("a path, or paths under 'train', 'validation' and 'test'")))
        return path

    @model_validator(mode="after")
    def _fits(self) -> MultipleChoice:
        if self.prior is not None and self.normalize != "prior":
            raise ValueError(str(text("'prior' with normalize: prior alone")))
        if self.template is not None:
            places = set(PLACE.findall(self.template))
            if "question" not in places or places - {"question", "context", "choices"} or ("choices" in places) != self.letters:
                shown = "{question} {choices}" if self.letters else "{question}"
                raise ValueError(str(text("a template with '{place}' in it", place=shown)))
        return self

    # ------------------------------------------------------------------------------------------------ files

    def files(self) -> list[Path]:
        return sorted({file for found in self._files.values() for file in found})

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        found = split_files(self.path, ENDINGS)
        return {"test": found["train"]} if isinstance(self.path, str) and set(found) == {"train"} else found

    def load(self, split: str = "test") -> list[Example]:
        assert split in SPLITS, split
        return list(self._split.get(split, []))

    @cached_property
    def _split(self) -> dict[str, list[Example]]:
        found = {split: self._examples(files) for split, files in self._files.items()}
        if "train" in found and "validation" not in found:
            found["validation"], found["train"] = carve(found["train"], self.validation, "validation")
        return found

    def _examples(self, files: list[Path]) -> list[Example]:
        rows, offenders = [record for file in files for record in records(file)], Offenders()
        if not rows:
            raise DataError(", ".join(map(written, files[:3])), text("questions with choices"), text("no rows"))
        found = [example for record in rows if (example := self._example(record, offenders)) is not None]
        offenders.raise_any()
        return found

    def _example(self, record: Record, offenders: Offenders) -> Example | None:
        values, fields = record.values, self.fields
        several = [fields.choices] if isinstance(fields.choices, str) else fields.choices
        answer = fields.answer if fields.answer in values or "answerKey" not in values else "answerKey"
        for field in (fields.question, *several, answer):
            if field not in values:
                offenders.add(f"no {field}", record.where, None, text("field '{field}' is missing", field=field),
                              nearest(field, [str(name) for name in values]))  # fmt: skip
                return None
        question = values[fields.question]
        if not isinstance(question, str) or not question.strip():
            bad(offenders, record, fields.question, text("some text"),
                text("an empty one") if isinstance(question, str) else describe(question))  # fmt: skip
            return None
        choices, labels = self._choices(values)
        if choices is None:
            bad(offenders, record, several[0], text("at least two choices, none of them empty"), describe(values[several[0]]))
            return None
        right = self._right(values[answer], choices, labels)
        if right is None:
            bad(offenders, record, answer, text("the number, the letter or the text of a choice"), describe(values[answer]))
            return None
        kept: dict[str, Any] = {"text": question, "choices": choices, "answer": right, "label": letter(right),
                "language": str(values.get(fields.language) or "")}  # fmt: skip
        if isinstance(values.get(fields.context), str) and values[fields.context].strip():
            kept["context"] = values[fields.context]
        group = label_text(values.get(fields.group))
        if group:
            kept["group"] = f"{fields.group}={group}"
        return Example(content_id("\t".join([kept.get("context", ""), question, *choices, str(right)])), kept, record.where)

    def _choices(self, values: dict[str, Any]) -> tuple[list[str] | None, list[str]]:
        """(the choices, what they are called where the data say so); None for what are none."""
        fields, labels = self.fields.choices, list[str]()
        found: Any = values[fields] if isinstance(fields, str) else [values[name] for name in fields]
        if not isinstance(fields, str):
            labels = list(fields)
            found = [str(item) if isinstance(item, int | float) else item for item in found]
        if isinstance(found, dict):  # as ARC has it
            labels, found = [str(label) for label in found.get("label") or []], found.get("text")
        ready = isinstance(found, list) and len(found) > 1 and all(isinstance(item, str) and item.strip() for item in found)
        return (list(found) if ready else None), labels

    def _right(self, answer: Any, choices: list[str], labels: list[str]) -> int | None:
        if isinstance(answer, bool) or not isinstance(answer, int | str):
            return None
        if isinstance(answer, int):
            return answer - self.base if 0 <= answer - self.base < len(choices) else None
        for known in (labels, choices, list(LETTERS[: len(choices)])):
            if known.count(answer.strip()) == 1:
                return known.index(answer.strip())
        number = int(answer) - self.base if answer.strip().isdecimal() else -1
        return number if 0 <= number < len(choices) else None

    def check(self) -> list[Text]:
        found: list[Text] = []
        test, train = self.load("test"), {_asked(example): example.where for example in reversed(self.load("train"))}
        again = [(example.where, train[_asked(example)]) for example in test if _asked(example) in train]
        if again:
            found.append(leak("test", again, len(test)))
        alike = [example for example in test if len(set(example.fields["choices"])) < len(example.fields["choices"])]
        if alike:
            found.append(text("test: {count} questions have a choice twice, which is a tie and wrong (first: {where})",
                              count=len(alike), where=alike[0].where))  # fmt: skip
        return found

    # ------------------------------------------------------------------------------------------------ as prompts

    def pose(self, examples: Sequence[Example]) -> list[Posed]:
        """Each question as a prompt, with the training questions that are shown before it."""
        shown = chosen(self.load("train"), self.shots, self.seed, lambda example: example.fields["label"]) if self.shots else []
        if self.shots > len(shown):
            raise RequestError("shots", text("at most as many as there are training examples ({count})", count=len(shown)),
                               str(self.shots))  # fmt: skip
        before = "".join(answered(self.prompt(example), self.answer(example)) + self.between for example in shown)
        free = () if self.normalize != "prior" else (ending(self._template) if self.prior is None else self.prior,)
        posed = []
        for example in examples:
            context = before + self.prompt(example)
            choices = example.fields["choices"]
            said = [letter(index) for index in range(len(choices))] if self.letters else choices
            posed.append(Posed(context, tuple(blank(context, choice) + choice for choice in said), free))
        return posed

    @cached_property
    def _template(self) -> str:
        if self.template is not None:
            return self.template
        asked = (example.fields["text"] for split in SPLITS for example in self._split.get(split, [])[:SAMPLE])
        return (LETTERED if self.letters else TEMPLATES)[tongue(asked)]

    def prompt(self, example: Example) -> str:
        """What is read, up to where the answer begins."""
        fields = example.fields
        template = self._template
        if fields.get("context") and "{context}" not in template:
            template = PASSAGE + template
        listed = "\n".join(f"{letter(index)}. {choice}" for index, choice in enumerate(fields["choices"]))
        return filled(template, {"question": fields["text"], "context": fields.get("context", ""), "choices": listed})

    def answer(self, example: Example) -> str:
        """The right continuation, without the blank before it."""
        return letter(example.fields["answer"]) if self.letters else example.fields["choices"][example.fields["answer"]]

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """One row: the prompt (the border before it, or with `chat` a message in the model's template), the right answer and the
        end, trained on the answer and its end; of a row that is too long the prompt loses its beginning."""
        prompt = self.prompt(example)
        if self.chat:
            begin, *before = render([{"role": "user", "content": prompt}], tokenizer)
            turns = [token for token in tokenizer.ends if token != tokenizer.eos_id]
            answer = [*tokenizer.encode(self.answer(example)), turns[0] if turns else tokenizer.eos_id]
        else:
            begin, before = tokenizer.bos_id, tokenizer.encode(prompt)
            answer = [*tokenizer.encode(answered(prompt, self.answer(example)))[len(before) :], tokenizer.eos_id]
        kept = before[max(len(before) + len(answer) + 1 - length, 0) :]
        tokens = [begin, *kept, *answer][:length]
        return [Row(tokens, [index > len(kept) for index in range(len(tokens))], example=example.id)]

    def decode(self, outputs: Any, example: Example) -> Prediction:
        """`outputs`: the value of each choice (C,). The label is the letter of the greatest; None without a winner."""
        values = [float(value) for value in outputs]
        assert len(values) == len(example.fields["choices"]), f"{len(values)} values for {len(example.fields['choices'])} choices"
        best = winner(values)
        scores = {letter(index): value for index, value in enumerate(values)}
        return Prediction(example.fields["text"], None if best is None else letter(best), None, scores)

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """accuracy, undecided, chosen (letter → how often it was chosen and how often it was right)."""
        right = [prediction.label == example.fields["label"] for example, prediction in pairs]
        said = Counter(prediction.label for _, prediction in pairs if prediction.label is not None)
        true = Counter(example.fields["label"] for example, _ in pairs)
        return {
            "accuracy": sum(right) / max(len(right), 1), "undecided": sum(prediction.label is None for _, prediction in pairs),
            "chosen": {name: {"chosen": said[name], "right": true[name]} for name in sorted({*said, *true})},
        }  # fmt: skip


def letter(index: int) -> str:
    """A, B … Z, then 27, 28 …"""
    return LETTERS[index] if index < len(LETTERS) else str(index + 1)


def _asked(example: Example) -> str:
    fields = example.fields
    return content_id("\t".join([fields.get("context", "").strip(), fields["text"].strip(), *sorted(fields["choices"])]))

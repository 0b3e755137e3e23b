"""Writing on, openly or as asked for: a text, with the attributes that it has written before it.

    train.jsonl   {"text": "Long ago …", "prompt": "Long", "sentiment": "positive", "topic": "sea"}

With `attributes: [sentiment, topic]` a text stands behind its attributes' values, so that a model learns what they mean for
what follows, and writes accordingly when they are asked for (Keskar et al. 2019, "CTRL", arXiv:1909.05858):

    <sentiment=positive> <topic=sea> Long ago …

`prompt` is what the text begins with, where the rows have it; the answer is the rest. Repetition (seq-rep-4) needs no
model. With `judge`, a model that labels texts, `control` is the share of texts with the attribute that was asked for;
with `reader`, another language model, `fluency` is how many bits per byte it finds in them: control that ruins the text
shows there.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from yanmo.core.config import Settings, describe
from yanmo.core.data import Example, content_id
from yanmo.core.errors import DataError
from yanmo.core.messages import text
from yanmo.tasks.labelled import label_text
from yanmo.tasks.records import Record
from yanmo.tasks.writing import PLACE, WritingTask, field_of


class Fields(Settings):
    """What the columns are called in the files."""

    text: str = "text"
    prompt: str = "prompt"
    group: str = "language"


class Generation(WritingTask):
    """Writing on, openly or controlled by attributes written before the text.

    `attributes`: columns whose values stand before a text; `judge`: a model that tells the first of them; `reader`: one that
    says how likely the texts are."""

    metric: ClassVar[str] = "repetition"
    higher_is_better: ClassVar[bool] = False

    type: str = "generation"
    fields: Fields = Fields()
    attributes: tuple[str, ...] = ()
    judge: str | None = None  # a path to a model that labels texts
    reader: str | None = None  # a path to a language model
    temperature: float = Field(0.0, ge=0, le=100, allow_inf_nan=False, description="0: always the likeliest token")
    seed: int = Field(0, ge=0)

    @field_validator("attributes")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
            raise ValueError(str(text("names of columns, each once")))
        return names

    @model_validator(mode="after")
    def _whose(self) -> Generation:
        if self.judge is not None and not self.attributes:
            raise ValueError(str(text("'attributes' with 'judge', which tells whether they were met")))
        if self.temperature and self.beams > 1:
            raise ValueError(str(text("'temperature' 0 with several beams, which draw nothing")))
        if self.seed and not self.temperature:
            raise ValueError(str(text("'seed' left out at temperature 0, where nothing is drawn")))
        return self

    def example(self, record: Record) -> Example:
        whole = field_of(record, self.fields.text)
        prompt = record.values.get(self.fields.prompt) or ""
        if not isinstance(prompt, str) or not whole.startswith(prompt.strip()) or prompt.strip() == whole:
            raise DataError(record.where, None, text(
                "field '{field}' expected {expected}, got {given}", field=self.fields.prompt,
                expected=text("what the text begins with, and not all of it"), given=describe(prompt)))  # fmt: skip
        prompt = prompt.strip()
        kept: dict[str, Any] = {"text": prompt, "answer": whole[len(prompt) :]}
        wanted = {}
        for name in self.attributes:
            value = label_text(record.values.get(name))
            if not value:
                raise DataError(record.where, None, text("field '{field}' is missing", field=name))
            wanted[name] = value
        if wanted:
            kept |= {"wanted": wanted, "label": next(iter(wanted.values()))}
        if isinstance(group := record.values.get(self.fields.group), str) and group:
            kept["group"] = f"{self.fields.group}={group}"
        return Example(content_id(f"{sorted(wanted.items())}\t{prompt}\t{whole}"), kept, record.where)

    def asked(self, example: Example, content: str) -> str | list[dict[str, str]]:
        prefix = "".join(f"<{name}={value}> " for name, value in example.fields.get("wanted", {}).items())
        written_out = self.template.replace(PLACE, prefix + content)
        return [{"role": "user", "content": written_out}] if self.chat else written_out

    @property
    def measured(self) -> str:
        return "generation"

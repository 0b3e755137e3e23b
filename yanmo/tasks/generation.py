"""Writing on, openly or as asked for: a text, with the attributes that it has written before it.

    train.jsonl   {"text": "Long ago …", "prompt": "Long", "sentiment": "positive", "topic": "sea"}

With `attributes: [sentiment, topic]` a text stands behind its attributes' values, so that a model learns what they mean for
what follows, and writes accordingly when they are asked for (Keskar et al. 2019, "CTRL", arXiv:1909.05858):

    <sentiment=positive> <topic=sea> Long ago …

With `guide`, a model that labels texts, the first attribute is also steered for while a text is written: of the likeliest next
tokens those rise that make the label likelier to the guide (`inference/guidance.py`), by `strength`. Of several strengths each
is tried, and control stands beside fluency for each: that is what control costs. A judge is to be another model than the guide,
fitted on other texts. `prefix: false` writes no attributes, for a model that never saw any.

`prompt` is what the text begins with, where the rows have it; the answer is the rest. Repetition (seq-rep-4) needs no
model. With `judge`, a model that labels texts, `control` is the share of texts with the attribute that was asked for;
with `reader`, another language model, `fluency` is how many bits per byte it finds in them: control that ruins the text
shows there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from yanmo.core.config import Settings, describe
from yanmo.core.data import Example, content_id
from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
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
    says how likely the texts are; `guide`: one whose advice on the first attribute is followed in writing, by `strength`."""

    of_texts: ClassVar[bool] = False
    metric: ClassVar[str] = "repetition"
    higher_is_better: ClassVar[bool] = False

    type: str = "generation"
    fields: Fields = Fields()
    attributes: tuple[str, ...] = ()
    prefix: bool = True  # whether attributes are written before a text
    guide: str | None = None  # a path to a model that labels texts, whose advice is followed
    strength: float | tuple[float, ...] | None = None  # of the advice, 1 unless given; of several the last is the task's own
    candidates: int | None = Field(None, ge=2, le=10_000, description="tokens that the guide weighs each time, 50 unless given")
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

    @field_validator("strength")
    @classmethod
    def _strengths(cls, given: Any) -> Any:
        values = [given] if isinstance(given, int | float) else given or ()
        if given is not None and (not values or len(set(values)) < len(values) or not all(0 <= v <= 100 for v in values)):
            raise ValueError(str(text("numbers from 0 to 100, each once")))
        return given

    @property
    def strengths(self) -> tuple[float, ...]:
        """By which the guide's advice is followed, one after another; empty without a guide."""
        if self.guide is None:
            return ()
        given = 1.0 if self.strength is None else self.strength
        return given if isinstance(given, tuple) else (given,)

    @model_validator(mode="after")
    def _whose(self) -> Generation:
        if self.judge is not None and not self.attributes:
            raise ValueError(str(text("'attributes' with 'judge', which tells whether they were met")))
        if self.guide is None and (self.strength, self.candidates) != (None, None):
            raise ValueError(str(text("'guide' with 'strength' and 'candidates', which are its own")))
        if self.guide is not None and (not self.attributes or self.beams > 1):
            raise ValueError(str(text("'guide' with 'attributes', which it steers for, and one beam")))
        if not self.prefix and not self.attributes:
            raise ValueError(str(text("'attributes' with 'prefix', which says whether they are written")))
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

    def check(self) -> list[Text]:
        found = super().check()
        if self.guide is not None and self.judge is not None and Path(self.guide).resolve() == Path(self.judge).resolve():
            found.append(text("the judge is the guide itself: control says how well it was obeyed, not what the texts are"))
        return found

    def asked(self, example: Example, content: str) -> str | list[dict[str, str]]:
        wanted = example.fields.get("wanted", {}) if self.prefix else {}
        prefix = "".join(f"<{name}={value}> " for name, value in wanted.items())
        written_out = self.template.replace(PLACE, prefix + content)
        return [{"role": "user", "content": written_out}] if self.chat else written_out

    @property
    def measured(self) -> str:
        return "generation"

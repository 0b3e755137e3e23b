"""A short text for a long one.

    train.jsonl   {"text": "The ex-Reading defender denied …", "summary": "Former footballer Sam Sodje has appeared in court …"}

Scored by ROUGE, of words where they are written apart and of characters where they are not (`language`, or `tokenizer`).
The floor is what costs nothing: the text's first sentence, or first three.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from yanmo.core.config import Settings
from yanmo.core.data import Example, content_id
from yanmo.tasks.records import Record
from yanmo.tasks.writing import WritingTask, field_of


class Fields(Settings):
    """What the columns are called in the files."""

    text: str = "text"
    answer: str = "summary"
    group: str = "language"  # results are also given for each of its values, where the rows have it


class Summarize(WritingTask):
    """A short text for a long one, scored by ROUGE."""

    metric: ClassVar[str] = "rouge_l"

    type: str = "summarize"
    fields: Fields = Fields()
    language: str = Field("en", min_length=2, description="of the summaries: it chooses the tokenizer of ROUGE")
    tokenizer: Literal["words", "characters"] | None = Field(None, description="of ROUGE; null: by the language")
    template: str = "{text}\n\nTL;DR:\n"
    max_tokens: int = Field(64, ge=1)

    def example(self, record: Record) -> Example:
        content, summary = (field_of(record, name) for name in (self.fields.text, self.fields.answer))
        kept = {"text": content, "answer": summary}
        if isinstance(group := record.values.get(self.fields.group), str) and group:
            kept["group"] = f"{self.fields.group}={group}"
        return Example(content_id(f"{summary}\t{content}"), kept, record.where)

    @property
    def measured(self) -> str:
        from yanmo.text.metrics.rouge import tokenizer_for

        return f"rouge/{self.tokenizer or tokenizer_for(self.language)}"

    def floors(self, example: Example) -> dict[str, str]:
        from yanmo.text.sentences import joined, sentences

        first = sentences(example.fields["text"])[:3]
        return {"lead-1": joined(first[:1]), "lead-3": joined(first)}

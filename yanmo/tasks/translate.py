"""A text in another language: `source: en`, `target: zh`.

    train.jsonl    {"en": "Open the document.", "zh": "打开文档。"}      fields are named by the languages unless `fields` says
    train.tsv      en <TAB> zh, with these names in the first line       otherwise; CSV alike
    train.en       train.zh: line by line (Moses); both have as many lines, or nothing is read. A line that is empty
                   in both is none.
    memory.tmx     translation units of a translation memory; the first variant of each language counts, and a unit
                   without one of the two is left out and counted by `yanmo check`
    zh.po          messages of a program and their translations (.mo too), in the direction that its header's language says;
                   those without one, marked fuzzy or no longer used are left out and counted by `yanmo check`

Scored by chrF and BLEU of the set as a whole, by sacrebleu, whose signature stands beside them. The floor is the source
text, copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from yanmo.core.config import Settings
from yanmo.core.data import Example, content_id
from yanmo.core.messages import Text, text
from yanmo.core.paths import locate
from yanmo.tasks import catalogs, parallel, tmx
from yanmo.tasks.records import ENDINGS, Record
from yanmo.tasks.splits import split_files
from yanmo.tasks.writing import Choice, WritingTask, field_of, some_text
from yanmo.text.sentences import joined, sentences

NAMES = {"en": "English", "zh": "Chinese", "fr": "French", "de": "German", "es": "Spanish", "ja": "Japanese", "ko": "Korean",
         "ru": "Russian", "pt": "Portuguese", "it": "Italian", "ar": "Arabic"}  # fmt: skip


class Fields(Settings):
    """What the columns are called in the files, where it is not the languages' codes."""

    text: str | None = None
    answer: str | None = None
    group: str = "group"  # results are also given for each of its values, where the rows have it


class Translate(WritingTask):
    """A text in another language, scored by chrF and BLEU.

    `source`, `target`: codes of the languages; of files `x.en` and `x.zh` also their endings. `by_sentence`: a text is
    translated sentence by sentence, and learned so where its translation has as many; a long one is then no harder than its
    sentences. `channel`: of the translations that the beams end with the one that also explains the text best is taken, by
    which words become which in the training pairs; its weight beside the model's own judgement, 0.5 is a good one.
    `memory`: the share of what the training pairs with similar texts went on with, in each next token's probability; 0.4 is a
    good one."""

    metric: ClassVar[str] = "chrf"

    type: str = "translate"
    source: str = Field("en", min_length=2, pattern="^[A-Za-z][A-Za-z0-9-]*$")
    target: str = Field("zh", min_length=2, pattern="^[A-Za-z][A-Za-z0-9-]*$")
    fields: Fields = Fields()
    template: str = ""  # empty: made of the languages' names
    by_sentence: bool = False
    channel: float = Field(0.0, ge=0, allow_inf_nan=False)
    memory: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _template(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("template"):
            own, other = (str(data.get(key, default)) for key, default in (("source", "en"), ("target", "zh")))
            names = [NAMES.get(code.partition("-")[0].lower(), code) for code in (own, other)]
            data = {**data, "template": f"{names[0]}: {{text}}\n{names[1]}:\n"}
        return data

    @model_validator(mode="after")
    def _two(self) -> Translate:
        if self.source == self.target:
            raise ValueError(str(text("two different languages")))
        if self.channel and self.beams == 1:
            raise ValueError(str(text("'channel' left out with one beam, which leaves nothing to choose from")))
        return self

    # ------------------------------------------------------------------------------------------------ reading

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        paths = {split: self._found(path) for split, path in self.path.items()} if isinstance(self.path, dict) else None
        endings = (*ENDINGS, ".tmx", *catalogs.ENDINGS, f".{self.source}", f".{self.target}")
        found = split_files(paths or self._found(str(self.path)), endings)
        return {split: sorted({*files, *(other for file in files if (other := self._other(file)) is not None)})
                for split, files in found.items()}  # fmt: skip

    def _found(self, path: str) -> str:
        """`corpus/train` where there is a corpus/train.en."""
        plain = not locate(path).exists() and not any(c in path for c in "*?[")
        return f"{path}.{self.source}" if plain and locate(f"{path}.{self.source}").exists() else path

    def _other(self, file: Path) -> Path | None:
        """The file beside one of a parallel pair; DataError where it is not there."""
        return parallel.partner(file, self.source, self.target)

    def rows(self, file: Path) -> Iterator[Callable[[], Example]]:
        if file.suffix == f".{self.target}":
            return iter(())  # read beside its partner
        if file.suffix == f".{self.source}":
            return (partial(self._pair, *row) for row in parallel.pairs(file, parallel.partner(file, self.source, self.target)))
        if (reader := _units(file)) is not None:
            return (partial(self._pair, *row) for row in reader(file, self.source, self.target) if None not in row)
        return super().rows(file)

    def example(self, record: Record) -> Example:
        content, translation = (field_of(record, name) for name in
                                (self.fields.text or self.source, self.fields.answer or self.target))  # fmt: skip
        made = self._example(record.where, content, translation)
        if isinstance(group := record.values.get(self.fields.group), str) and group:
            made.fields["group"] = f"{self.fields.group}={group}"
        return made

    def _pair(self, where: str, content: str, translation: str) -> Example:
        record = Record(where, {})
        return self._example(where, some_text(content, record, self.source), some_text(translation, record, self.target))

    @staticmethod
    def _example(where: str, content: str, translation: str) -> Example:
        return Example(content_id(f"{translation}\t{content}"), {"text": content, "answer": translation}, where)

    def check(self) -> list[Text]:
        found = super().check()
        for file in self.files():
            if (reader := _units(file)) is not None:
                every = list(reader(file, self.source, self.target))
                lacking = [where for where, own, other in every if own is None or other is None]
                if lacking:
                    found.append(text("{count} of {total} units have no text in {source} and {target} (first: {where})",
                                      count=len(lacking), total=len(every), source=self.source, target=self.target,
                                      where=lacking[0]))  # fmt: skip
        return found

    # ------------------------------------------------------------------------------------------------ model side

    def pieces(self, example: Example) -> list[Example]:
        if not self.by_sentence:
            return [example]
        return [replace(example, fields={**example.fields, "text": piece}) for piece in sentences(example.fields["text"])]

    def joined(self, answers: list[str]) -> str:
        return joined([answer for answer in answers if answer])

    def learned(self, example: Example) -> list[Example]:
        """By sentence, where both sides have as many."""
        pieces, answers = self.pieces(example), sentences(self.answer(example))
        if len(pieces) == 1 or len(pieces) != len(answers):
            return [example]
        return [replace(piece, fields={**piece.fields, "answer": answer}) for piece, answer in zip(pieces, answers)]

    @property
    def choice(self) -> Choice:
        return Choice(self.channel, self.memory)

    # ------------------------------------------------------------------------------------------------ figures

    @property
    def measured(self) -> str:
        return f"translation/{self.target}"

    def floors(self, example: Example) -> dict[str, str]:
        return {"copy": example.fields["text"]}


def _units(file: Path) -> Callable[[Path, str, str], Iterator[tmx.Unit]] | None:
    """What reads a file whose units may lack a side."""
    ending = file.suffix.lower()
    return tmx.units if ending == ".tmx" else catalogs.units if ending in catalogs.ENDINGS else None

"""What the tasks have in common whose answer is a text that the model writes: summaries, translations, open generation.

    train.jsonl   {"text": "what is read", "answer": "what is to be written"}

A decoder reads the prompt and goes on with the answer; of an encoder-decoder the prompt is what the encoder reads:

    row       <border> prompt … answer … <end>         `trained` on the answer and its end alone
    length    at most the model's: the text inside the prompt is cut at `cut` so that `max_tokens` stay free for the answer
              (at least half of the row is the prompt's); an answer longer than what is left loses its end

With `chat` the prompt is one message to the model, in its own chat template, and the answer ends with the turn.

A row that is not sound stops the work: the error names the first one and the lines of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import Field, field_validator, model_validator

from yanmo.core.config import describe
from yanmo.core.data import Example, Prediction, Row, content_id
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import Text, text
from yanmo.tasks.offenders import leak
from yanmo.tasks.records import Record, records
from yanmo.tasks.splits import SplitTask

if TYPE_CHECKING:
    from yanmo.text.metrics.figures import Measure
    from yanmo.text.tokenizer import Tokenizer

OFFENDERS = 5  # rows that are not sound, named by one error
PLACE = "{text}"  # of a template
PENALTY = 0.6  # of length, for beams (Vaswani et al. 2017, section 6.1)
Made = TypeVar("Made")


class Choice(NamedTuple):
    """By what answers are chosen beside a model's own judgement: `channel`, the weight of how well one explains the text
    (models/channel.py); `memory`, the share of what is remembered (inference/memory.py)."""

    channel: float = 0.0
    memory: float = 0.0


class WritingTask(SplitTask):
    """A text for each text: what is shared by summaries, translations and generation.

    `template`: the prompt, `{text}` in it the text. `cut`: where a text too long for the model loses its tokens. `max_tokens`:
    of an answer. `beams`: how many hypotheses are followed when answers are written, 1 is greedy; `length_penalty`: α of Wu et
    al. 2016, equation 14, 0.6 unless given."""

    head: ClassVar[str] = "text"
    of_texts: ClassVar[bool] = True  # whether a text is all that is asked about

    template: str = PLACE
    chat: bool = False
    cut: Literal["end", "beginning"] = "end"
    max_tokens: int = Field(128, ge=1)
    beams: int = Field(1, ge=1, le=64)
    length_penalty: float | None = Field(None, allow_inf_nan=False)

    @field_validator("template")
    @classmethod
    def _place(cls, template: str) -> str:
        if template.count(PLACE) != 1:
            raise ValueError(str(text("a template with '{place}' in it once", place=PLACE)))
        return template

    @model_validator(mode="after")
    def _needed(self) -> WritingTask:
        if self.length_penalty is not None and self.beams == 1:
            raise ValueError(str(text("'length_penalty' left out with one beam, which chooses no length")))
        return self

    # ------------------------------------------------------------------------------------------------ reading

    def examples(self) -> dict[str, list[Example]]:
        found = {split: sound(self.rows(file) for file in files) for split, files in self._files.items()}
        for split, examples in found.items():
            if not examples:
                raise DataError(self.origin(split), text("texts with answers"), text("no rows"))
        return found

    def rows(self, file: Path) -> Iterator[Callable[[], Example]]:
        """What makes each example of a file, so that one that is not sound does not hide the next."""
        return (partial(self.example, record) for record in records(file))

    def example(self, record: Record) -> Example:
        """The example of a row; DataError for one that is not sound."""
        raise NotImplementedError

    def check(self) -> list[Text]:
        train = self.load("train")
        seen = {content_id(example.fields["text"].strip()): example.where for example in reversed(train)}
        found: list[Text] = []
        for split in ("validation", "test"):
            examples = self.load(split)
            again = [e for e in examples if content_id(e.fields["text"].strip()) in seen]
            if again:
                rows = [(e.where, seen[content_id(e.fields["text"].strip())]) for e in again]
                found.append(leak(split, rows, len(examples)))
        return found

    # ------------------------------------------------------------------------------------------------ model side

    def prompt(self, example: Example) -> str | list[dict[str, str]]:
        """What the model is asked: a text, or with `chat` a conversation."""
        return self.asked(example, example.fields["text"])

    def asked(self, example: Example, content: str) -> str | list[dict[str, str]]:
        """The prompt with `content` in the place of the example's text."""
        written_out = self.template.replace(PLACE, content)
        return [{"role": "user", "content": written_out}] if self.chat else written_out

    def answer(self, example: Example) -> str:
        """What is to be written."""
        return example.fields["answer"]

    def pieces(self, example: Example) -> list[Example]:
        """What a model is asked one after the other; their answers, `joined`, are the example's."""
        return [example]

    @property
    def choice(self) -> Choice:
        """By what answers are chosen beside a model's own judgement."""
        return Choice()

    def learned(self, example: Example) -> list[Example]:
        """What a model learns of an example: the pieces with the answer to each."""
        return [example]

    def joined(self, answers: list[str]) -> str:
        """The answers to all pieces of an example as one."""
        return " ".join(answers)

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """A row of at most `length` tokens for all that is learned: the prompt, the answer and its end; `trained` are those of
        the answer."""
        rows = []
        for piece in self.learned(example):
            prompt, _ = self.prompt_ids(piece, tokenizer, self.room(length))
            said = [*tokenizer.encode(self.answer(piece)), self.end(tokenizer)][: length - len(prompt)]
            rows.append(Row([*prompt, *said], [False] * len(prompt) + [True] * len(said), example=example.id))
        return rows

    def room(self, length: int) -> int:
        """How many of `length` tokens the prompt may take."""
        return max(length - self.max_tokens, length // 2, 1)

    def end(self, tokenizer: Tokenizer) -> int:
        """The token behind an answer: the end of a turn with `chat`, else of a text."""
        turns = [token for token in tokenizer.ends if token != tokenizer.eos_id]
        return turns[0] if self.chat and turns else tokenizer.eos_id

    def prompt_ids(self, example: Example, tokenizer: Tokenizer, room: int, source: bool = False) -> tuple[list[int], int]:
        """The prompt as a model reads it, at most `room` tokens, and how many tokens of the text that cut off. `source`: as
        an encoder reads it."""
        content = example.fields["text"]
        ids = self._ids(self.asked(example, content), tokenizer, source)
        if len(ids) <= room:
            return ids, 0
        tokens = tokenizer.encode(content)
        kept = len(tokens)
        while len(ids) > room and kept:
            kept = max(kept - (len(ids) - room), 0)
            part = tokens[:kept] if self.cut == "end" else tokens[len(tokens) - kept :]
            ids = self._ids(self.asked(example, tokenizer.decode(part)), tokenizer, source)
        if len(ids) > room:  # the template alone is longer: its end says what is asked
            ids = [ids[0], *ids[len(ids) - room + 1 :]]
        return ids, len(tokens) - kept

    @staticmethod
    def _ids(prompt: str | list[dict[str, str]], tokenizer: Tokenizer, source: bool) -> list[int]:
        from yanmo.text.chat import render

        if not isinstance(prompt, str):
            return render(prompt, tokenizer)
        ids = tokenizer.encode(prompt)
        return tokenizer.add_special(ids).ids if source else [tokenizer.bos_id, *ids]

    def decode(self, outputs: Any, example: Example) -> Prediction:
        """`outputs`: the text that a model wrote."""
        return Prediction(example.fields["text"], answer=str(outputs).strip())

    # ------------------------------------------------------------------------------------------------ figures

    @property
    def measured(self) -> str:
        """What answers are scored by, as `text.metrics.figures.measures` takes it."""
        raise NotImplementedError

    def measures(self) -> list[Measure]:
        from yanmo.text.metrics.figures import measures

        return measures(self.measured)

    def floors(self, example: Example) -> dict[str, str]:
        """Answers that need no learning, by name."""
        return {}

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """Every figure by its name, over all pairs, and `signatures` that say how each was made."""
        references = [self.answer(example) for example, _ in pairs]
        answers = [prediction.answer or "" for _, prediction in pairs]
        measures = self.measures()
        found: dict[str, Any] = {m.name: float(m.scores(m.of(references, answers).sum(0, keepdims=True))[0]) for m in measures}
        return found | {"signatures": {measure.name: measure.signature for measure in measures}}


def sound(files: Iterable[Iterable[Callable[[], Made]]]) -> list[Made]:
    """What the rows make; DataError for the first that is not sound, with the places of the next."""
    found: list[Made] = []
    wrong: list[DataError] = []
    for rows in files:
        for row in rows:
            try:
                found.append(row())
            except DataError as error:
                wrong.append(error)
                if len(wrong) > OFFENDERS:
                    break
    if not wrong:
        return found
    first = wrong[0]
    if len(wrong) == 1:
        raise first
    places = ", ".join(str(error.where) for error in wrong[1:OFFENDERS]) + (", …" if len(wrong) > OFFENDERS else "")
    raise DataError(first.where, first.expected, first.given, text("also: {places}", places=places))


def field_of(record: Record, field: str) -> str:
    """A field of a row as text that is not empty; DataError with the line where it is not."""
    values: Mapping[str, Any] = record.values
    if field not in values:
        raise DataError(record.where, None, text("field '{field}' is missing", field=field),
                        nearest(field, [str(name) for name in values]))  # fmt: skip
    content = values[field]
    if not isinstance(content, str):
        raise _bad(record, field, text("a string"), describe(content))
    return some_text(content, record, field)


def some_text(content: str, record: Record, field: str) -> str:
    """The text without blanks around it; DataError for an empty one, or half of a character."""
    if not content.strip():
        raise _bad(record, field, text("some text"), text("an empty one"))
    if any("\ud800" <= character <= "\udfff" for character in content):
        raise _bad(record, field, text("Unicode text"), text("half of a surrogate pair"))
    return content.strip()


def _bad(record: Record, field: str, expected: Text, given: str | Text) -> DataError:
    return DataError(record.where, None, text("field '{field}' expected {expected}, got {given}", field=field,
                                              expected=expected, given=given))  # fmt: skip

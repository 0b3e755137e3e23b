"""Prompts that a model answers, and what tells a right answer.

    {"prompt": "3 + 4 =", "answer": "7"}            or a list of messages; other fields are there for rewards of your own

A row may have the way to the answer too, which is what models are trained to write where they are trained on answers:

    {"prompt": "Tom has 3 apples and finds 4. How many has he?", "solution": "3+4=7. Answer: 7", "answer": "7"}

`verify` scores the answers to held-out prompts: it is what the model is meant to learn, whatever it is rewarded for in
training. Without one it is `exact` where the rows have answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from yanmo.core.config import PartOf, Settings
from yanmo.core.data import Example, Prediction, Row, content_id
from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import Text, text
from yanmo.core.registry import create
from yanmo.tasks.conversation import answer_ids, answer_of, plain, prompt_ids, prompt_of
from yanmo.tasks.offenders import leak
from yanmo.tasks.records import Record, records
from yanmo.tasks.rewards import Reward, worth
from yanmo.tasks.splits import SPLITS, SplitTask
from yanmo.tasks.writing import sound

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer


class Fields(Settings):
    """What the columns are called in the files."""

    prompt: str = "prompt"
    answer: str = "answer"
    solution: str = "solution"  # the steps to the answer and the answer itself, where the rows have them


class Prompts(SplitTask):
    """Prompts to be answered, and a check of the answers."""

    head: ClassVar[str] = "prompts"
    metric: ClassVar[str] = "verified"

    type: str = "prompts"
    fields: Fields = Fields()
    verify: Annotated[list[Any] | Any, PartOf("reward")] = None  # one or more; None: `exact` where there are answers
    max_tokens: int = Field(default=128, ge=1)  # of an answer, when a model is evaluated
    temperature: float = Field(default=0.0, ge=0, le=100)  # at which it is drawn then; 0: the likeliest tokens
    stop: list[str] = Field(default_factory=list)  # texts that end an answer
    test: float = Field(0.0, ge=0, lt=1, description="share of the training prompts, where `path` names no test files")

    def examples(self) -> dict[str, list[Example]]:
        found = {}
        for split, files in self._files.items():
            found[split] = sound((partial(self._example, record) for record in records(file)) for file in files)
            if not found[split]:
                raise DataError(self.origin(split), text("prompts"), text("no rows"))
        return found

    def _example(self, record: Record) -> Example:
        prompt = prompt_of(record, self.fields.prompt)
        others = {str(name): value for name, value in record.values.items() if name != self.fields.prompt}
        if self.fields.answer in others:
            others["answer"] = others.pop(self.fields.answer)
        if self.fields.solution in others:
            others["solution"] = answer_of(record, self.fields.solution)
        kept = {**others, "text": plain(prompt), "prompt": prompt}
        return Example(content_id(f"{kept['text']}\t{kept.get('answer', '')}"), kept, record.where)

    # ------------------------------------------------------------------------------------------------ what is right

    def verifiers(self) -> list[Reward]:
        """What tells a right answer; none where nothing says so."""
        if self.verify is not None:
            return list(self.verify) if isinstance(self.verify, list | tuple) else [self.verify]
        return [create("reward", "exact")] if all("answer" in e.fields for part in self._split.values() for e in part) else []

    def require(self, rewards: Sequence[Reward]) -> None:
        """DataError for the first row without a field that one of the rewards needs."""
        for reward in rewards:
            reward.check()
            for name in reward.needs():
                for example in (e for split in SPLITS for e in self.load(split)):
                    if name not in example.fields:
                        field = self.fields.answer if name == "answer" else name
                        given = text("field '{field}' is missing", field=field)
                        raise DataError(example.where, None, given, nearest(field, example.fields))

    def check(self) -> list[Text]:
        self.require(self.verifiers())
        seen = {e.fields["text"]: e.where for e in reversed(self.load("train"))}
        found = []
        for split in ("validation", "test"):
            examples = self.load(split)
            again = [e for e in examples if e.fields["text"] in seen]
            if again:
                found.append(leak(split, [(e.where, seen[e.fields["text"]]) for e in again], len(examples)))
        return found

    # ------------------------------------------------------------------------------------------------ model side

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """The prompt alone; of one that is too long its end."""
        ids = prompt_ids(example.fields["prompt"], tokenizer)
        kept = ids if len(ids) <= length else [ids[0], *ids[len(ids) - length + 1 :]]
        return [Row(kept[:length], label=example, example=example.id)]

    def answered(self, example: Example, tokenizer: Tokenizer, length: int) -> Row:
        """The prompt with the example's own answer, on which is trained: its solution, where it has one."""
        prompt = prompt_ids(example.fields["prompt"], tokenizer)
        taught = str(example.fields.get("solution") or example.fields["answer"])
        answer = answer_ids(example.fields["prompt"], taught, tokenizer)
        room = max(length - len(answer), length // 2, 1)
        kept = prompt if len(prompt) <= room else [prompt[0], *prompt[len(prompt) - room + 1 :]]
        trained = [False] * len(kept) + [True] * len(answer)
        return Row([*kept, *answer][:length], trained[:length], example=example.id)

    def decode(self, outputs: Any, example: Example) -> Prediction:
        """`outputs`: the text that a model wrote; its score is what `verify` says."""
        verifiers = self.verifiers()
        score = worth(verifiers, [example], [str(outputs)])[0] if verifiers else None
        return Prediction(example.fields["text"], score=score, answer=str(outputs))

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """verified, the mean of what `verify` says."""
        return {"verified": sum(p.score or 0.0 for _, p in pairs) / max(len(pairs), 1), "n": len(pairs)}

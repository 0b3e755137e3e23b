"""Which of two answers to a prompt is the better one.

    {"prompt": "3 + 4 =", "chosen": "7", "rejected": "8"}
    {"prompt": [{"role": "user", "content": "…"}], "chosen": "…", "rejected": "…"}
    {"chosen": [{"role": "user", …}, {"role": "assistant", …}], "rejected": […]}        whole conversations, without a prompt

Parts are divided by the hash of the prompt, so that the pairs of one prompt never stand on both sides.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from yanmo.core.config import Settings
from yanmo.core.data import Example, Prediction, Row, content_id
from yanmo.core.errors import DataError
from yanmo.core.messages import Text, text
from yanmo.tasks.conversation import answer_ids, answer_of, plain, prompt_ids, prompt_of, shown, split_conversations
from yanmo.tasks.offenders import leak
from yanmo.tasks.records import Record, records
from yanmo.tasks.splits import SplitTask
from yanmo.tasks.writing import sound

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

CHOSEN, REJECTED = "chosen", "rejected"


class Fields(Settings):
    """What the columns are called in the files."""

    prompt: str = "prompt"
    chosen: str = CHOSEN
    rejected: str = REJECTED


class Preferences(SplitTask):
    """Pairs of answers to a prompt, one of which is preferred."""

    head: ClassVar[str] = "preferences"
    metric: ClassVar[str] = "accuracy"

    type: str = "preferences"
    fields: Fields = Fields()
    test: float = Field(0.0, ge=0, lt=1, description="share of the training prompts, where `path` names no test files")

    def examples(self) -> dict[str, list[Example]]:
        found = {}
        for split, files in self._files.items():
            found[split] = sound((partial(self._example, record) for record in records(file)) for file in files)
            if not found[split]:
                raise DataError(self.origin(split), text("pairs of answers"), text("no rows"))
        return found

    def _example(self, record: Record) -> Example:
        names, values = self.fields, record.values
        answers: list[Any] = [answer_of(record, name) for name in (names.chosen, names.rejected)]
        prompt: Any
        whole = names.prompt not in values and all(isinstance(answer, list) for answer in answers)
        if whole:
            prompt, (chosen, rejected) = split_conversations(record, (names.chosen, names.rejected), answers)
        else:
            prompt = prompt_of(record, names.prompt)
            chosen, rejected = (answer if isinstance(answer, str) else answer[-1]["content"] for answer in answers)
        if chosen == rejected:
            raise DataError(record.where, text("two different answers"), f"'{shown(chosen)}'")
        kept = {"text": plain(prompt), "prompt": prompt, CHOSEN: chosen, REJECTED: rejected}
        return Example(content_id("\t".join((kept["text"], chosen, rejected))), kept, record.where)

    def check(self) -> list[Text]:
        train = self.load("train")
        found: list[Text] = []
        first = {(e.fields["text"], e.fields[CHOSEN], e.fields[REJECTED]): e.where for e in reversed(train)}
        both = [(e.where, first[turned]) for e in train
                if (turned := (e.fields["text"], e.fields[REJECTED], e.fields[CHOSEN])) in first]  # fmt: skip
        if both:
            found.append(text("{count} of {total} pairs also stand there the other way round (first: {where} and {other})",
                              count=len(both), total=len(train), where=both[0][0], other=both[0][1]))  # fmt: skip
        seen = {e.fields["text"]: e.where for e in reversed(train)}
        for split in ("validation", "test"):
            examples = self.load(split)
            again = [e for e in examples if e.fields["text"] in seen]
            if again:
                found.append(leak(split, [(e.where, seen[e.fields["text"]]) for e in again], len(examples)))
        return found

    def encode(self, example: Example, tokenizer: Tokenizer, length: int) -> list[Row]:
        """The prompt with the chosen answer and with the rejected one, `trained` those of the answer. Of a prompt that is too
        long its end is kept, of an answer its beginning."""
        prompt = prompt_ids(example.fields["prompt"], tokenizer)
        answers = [answer_ids(example.fields["prompt"], example.fields[name], tokenizer) for name in (CHOSEN, REJECTED)]
        room = max(length - max(map(len, answers)), length // 2, 1)
        kept = prompt if len(prompt) <= room else [prompt[0], *prompt[len(prompt) - room + 1 :]]
        return [Row([*kept, *answer][:length], ([False] * len(kept) + [True] * len(answer))[:length], example=example.id)
                for answer in answers]  # fmt: skip

    def decode(self, outputs: Any, example: Example) -> Prediction:
        """`outputs`: what the chosen and the rejected answer are worth. Without a winner the label is None."""
        chosen, rejected = map(float, outputs)
        label = None
        if math.isfinite(chosen) and math.isfinite(rejected) and chosen != rejected:
            label = CHOSEN if chosen > rejected else REJECTED
        return Prediction(example.fields["text"], label, None, {CHOSEN: chosen, REJECTED: rejected})

    def score(self, pairs: list[tuple[Example, Prediction]]) -> dict[str, Any]:
        """accuracy, the share of pairs whose chosen answer is worth more; undecided."""
        return {"accuracy": sum(p.label == CHOSEN for _, p in pairs) / max(len(pairs), 1),
                "undecided": sum(p.label is None for _, p in pairs)}  # fmt: skip

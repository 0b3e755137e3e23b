"""A task posed to a model that writes, by a prompt: the likeliest of some continuations is its answer.

    Text: a fine ink, and it dries fast
    Label: positive                             a training example, shown with its answer (`shots`)

    Text: the brush sheds hair
    Label:                                      and how likely are " positive" and " negative" here?

Which training examples are shown follows from the hash of their text and the seed, one of each label in turn, so that they are
the same for every model and every test item, and appended data changes few of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from yanmo.core.config import Settings
from yanmo.core.data import Example, content_id
from yanmo.core.errors import RequestError
from yanmo.core.messages import text
from yanmo.tasks.likelihoods import FREE, Normalize
from yanmo.text.language import language

SAMPLE = 200  # texts that tell the language of a task
PLACE = re.compile(r"\{(\w+)\}")
CLASSIFY = {"en": "Text: {text}\nLabel:", "zh": "文本：{text}\n类别："}
PAIRS = {"en": "First text: {text}\nSecond text: {second}\nLabel:", "zh": "第一段：{text}\n第二段：{second}\n类别："}


@dataclass(frozen=True, slots=True)
class Posed:
    """An item as it is put to a model: what is read, the continuations among which it chooses (with the blank before each), and
    prompts that say nothing of the item, whose answers are its priors."""

    context: str
    choices: tuple[str, ...]
    free: tuple[str, ...] = ()


class Prompt(Settings):
    """How texts with labels are put to a model that writes.

    `template`: the prompt, `{text}` in it the text (of a pair also `{second}`), up to where the label begins; by default English
    or Chinese, as the texts are. `words`: what stands for a label, where that is not its name. `normalize`: see
    `tasks/likelihoods.py`; `prior`: of 'prior', the prompt that says nothing, by default what the template ends with."""

    template: str | None = None
    words: dict[str, str] = Field(default_factory=dict)
    shots: int = Field(0, ge=0, le=1000, description="training examples shown before each item")
    seed: int = Field(0, ge=0, description="which of them")
    between: str = "\n\n"
    normalize: Normalize = "contextual"
    prior: str | None = None
    chat: bool = Field(False, description="the prompt is a message, in the model's own chat template")

    @field_validator("template")
    @classmethod
    def _places(cls, template: str | None) -> str | None:
        places = {"text"} if template is None else set(PLACE.findall(template))
        if "text" not in places or places - {"text", "second"}:
            raise ValueError(str(text("a template with '{place}' in it", place="{text}")))
        return template

    def pose(self, examples: Sequence[Example], names: Sequence[str], training: Sequence[Example]) -> list[Posed]:
        """Each example as a prompt with the labels `names` as continuations; `training`: what is shown comes from there."""
        words = self.spoken(names)
        template = self.template or default_template(examples)
        shown = chosen(training, self.shots, self.seed, lambda example: example.fields["label"])
        if self.shots > len(shown):
            raise RequestError("prompt.shots", text("at most as many as there are training examples ({count})", count=len(shown)),
                               str(self.shots))  # fmt: skip
        before = "".join(answered(filled(template, e.fields), words[e.fields["label"]]) + self.between for e in shown)
        free: tuple[str, ...] = ()
        if self.normalize == "prior":
            free = (ending(template) if self.prior is None else self.prior,)
        elif self.normalize == "contextual":
            free = tuple(before + filled(template, {"text": nothing, "second": nothing}) for nothing in FREE)
        posed = []
        for example in examples:
            context = before + filled(template, example.fields)
            posed.append(Posed(context, tuple(blank(context, words[name]) + words[name] for name in names), free))
        return posed

    def spoken(self, names: Sequence[str]) -> dict[str, str]:
        """Label → what stands for it; RequestError for words of no label, and for two labels that read alike."""
        strange = sorted(set(self.words) - set(names))
        if strange:
            raise RequestError("prompt.words", text("labels of the task"), ", ".join(strange))
        words = {name: self.words.get(name, name.replace("_", " ")).strip() for name in names}
        if len(set(words.values())) < len(words) or "" in words.values():
            raise RequestError("prompt.words", text("different words for every label"), ", ".join(words.values()))
        return words


def default_template(examples: Sequence[Example]) -> str:
    """By the language of the texts, for texts or pairs."""
    pairs = any(example.fields.get("second") is not None for example in examples[:SAMPLE])
    return (PAIRS if pairs else CLASSIFY)[tongue(example.fields["text"] for example in examples[:SAMPLE])]


def tongue(texts: Any) -> Literal["en", "zh"]:
    """The language that a default prompt is written in."""
    return "zh" if language("\n".join(content[:400] for content in texts)) == "zh" else "en"


def filled(template: str, values: Mapping[str, Any]) -> str:
    """The template with `{name}` replaced, in one pass: braces in the values stay what they are."""
    return PLACE.sub(lambda found: str(values.get(found[1]) or "") if found[1] in values else found[0], template)


def ending(template: str) -> str:
    """What stands behind the last place of a template: 'Label:'."""
    found = list(PLACE.finditer(template))
    return template[found[-1].end() :].strip() if found else template


def answered(prompt: str, answer: str) -> str:
    return prompt + blank(prompt, answer) + answer


def blank(prompt: str, answer: str) -> str:
    """The blank between a prompt and what goes on: none behind a blank, none behind or before wide characters (Chinese and its
    punctuation), none before punctuation."""
    if not prompt or prompt[-1].isspace() or answer[:1].isspace():
        return ""
    wide = any(unicodedata.east_asian_width(character) in "WF" for character in (prompt[-1], answer[:1] or " "))
    return "" if wide or answer[:1] in ".,;:!?)]}'’”" else " "


def chosen(training: Sequence[Example], count: int, seed: int, kind: Callable[[Example], str]) -> list[Example]:
    """`count` examples, of each kind in turn, by the hash of their ids; equal ones once."""
    if not count:
        return []
    kinds: dict[str, list[tuple[str, Example]]] = {}
    for example in {example.id: example for example in training}.values():
        kinds.setdefault(kind(example), []).append((content_id(f"shot {seed}\t{example.id}"), example))
    queues = [sorted(group, key=lambda item: item[0]) for _, group in sorted(kinds.items())]
    queues.sort(key=lambda queue: queue[0][0])
    turns = [queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)]
    return [example for _, example in turns[:count]]

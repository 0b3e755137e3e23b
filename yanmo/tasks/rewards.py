"""Rewards: what an answer is worth, as plain functions of the example and the answer that can be checked by reading them.

    reward: {type: exact}                                          1 for the example's own answer, else 0
    reward: [{type: number}, {type: length, most: 40, weight: 0.2}]   their weighted sum
    reward: {type: function, call: "my.module:reward"}             reward(example: dict, answer: str) -> float

A reward that raises, or gives what is no finite number, ends the training: the error names the prompt and the next ones.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from yanmo.core.config import Part, describe
from yanmo.core.data import Example
from yanmo.core.errors import RequestError, TrainingError
from yanmo.core.messages import Text, text
from yanmo.tasks.conversation import shown
from yanmo.text.numerals import numbers

OFFENDERS = 5  # prompts that one error names
Fields = Mapping[str, Any]  # of an example: 'prompt', 'answer' and whatever else its row has


class Reward(Part):
    """`weight`: by which it is multiplied where there are several."""

    weight: float = Field(default=1.0, allow_inf_nan=False)

    @field_validator("weight")
    @classmethod
    def _some(cls, weight: float) -> float:
        if weight == 0:
            raise ValueError(str(text("a number other than 0")))
        return weight

    def needs(self) -> tuple[str, ...]:
        """The fields that each example must have."""
        return ()

    def check(self) -> None:
        """RequestError where it can be known beforehand that it cannot be had."""

    def scores(self, examples: Sequence[Example], answers: Sequence[str]) -> list[Any]:
        """What each answer is worth."""
        return [self.score(example.fields, answer) for example, answer in zip(examples, answers)]

    def score(self, example: Fields, answer: str) -> float:
        raise NotImplementedError


class ExactReward(Reward):
    """1 where the answer is the example's own, else 0.

    Blanks around both and the width of characters do not count; nor does case with `ignore_case`."""

    ignore_case: bool = False

    def needs(self) -> tuple[str, ...]:
        return ("answer",)

    def score(self, example: Fields, answer: str) -> float:
        return float(self._plain(answer) == self._plain(str(example["answer"])))

    def _plain(self, content: str) -> str:
        made = unicodedata.normalize("NFKC", content).strip()
        return made.casefold() if self.ignore_case else made


class NumberReward(Reward):
    """1 where the answer's number is that of the example's answer, else 0.

    Read are digits and Chinese numerals. `which` of an answer's numbers counts; `tolerance`: how far it may be off, relative
    to the right one."""

    which: Literal["first", "last", "only"] = "last"
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    def needs(self) -> tuple[str, ...]:
        return ("answer",)

    def score(self, example: Fields, answer: str) -> float:
        right, found = numbers(str(example["answer"])), numbers(answer)
        if not right:
            raise ValueError(f"no number in the answer {example['answer']!r}")
        if not found or (self.which == "only" and len(found) > 1):
            return 0.0
        given = found[0 if self.which == "first" else -1]
        return float(abs(given - right[-1]) <= self.tolerance * abs(right[-1]))


class PatternReward(Reward):
    """1 where the answer has the form of a regular expression, else 0.

    `whole`: all of it, else some place in it."""

    pattern: str
    whole: bool = True

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(str(text("a regular expression ({error})", error=str(error)))) from None
        return pattern

    def score(self, example: Fields, answer: str) -> float:
        found = re.compile(self.pattern, re.DOTALL)
        return float((found.fullmatch(answer.strip()) if self.whole else found.search(answer)) is not None)


class LengthReward(Reward):
    """0 within the bounds, and down to -1 the further an answer's characters are beyond them.

    `least`, `most`: characters; an answer that is half as long as the least or twice as long as the most gets -1."""

    least: int = Field(default=0, ge=0)
    most: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _bounds(self) -> LengthReward:
        if self.most is None and not self.least:
            raise ValueError(str(text("'least' or 'most'")))
        if self.most is not None and self.least > self.most:
            raise ValueError(str(text("a 'least' that is not above the 'most'")))
        return self

    def score(self, example: Fields, answer: str) -> float:
        size = len(answer.strip())
        if size < self.least:
            return -min(1.0, 2 * (self.least - size) / self.least)
        return -min(1.0, (size - self.most) / self.most) if self.most is not None and size > self.most else 0.0


class FunctionReward(Reward):
    """What a function of yours says: `call: "pkg.mod:function"`.

    It is given the example (a mapping: 'prompt', 'answer', and the other fields of its row) and the answer, and gives a
    number."""

    call: str

    @field_validator("call")
    @classmethod
    def _named(cls, call: str) -> str:
        if not re.fullmatch(r"[\w.]+:\w+", call):
            raise ValueError("'pkg.mod:function'")
        return call

    def check(self) -> None:
        self.function()

    def function(self) -> Callable[[dict[str, Any], str], float]:
        module, _, name = self.call.partition(":")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise RequestError("reward.call", text("an importable 'pkg.mod:function'"), self.call, str(error)) from None
        if not callable(found):
            raise RequestError("reward.call", text("a function"), describe(found))
        return found

    def scores(self, examples: Sequence[Example], answers: Sequence[str]) -> list[Any]:
        function = self.function()
        return [_tried(function, dict(example.fields), answer) for example, answer in zip(examples, answers)]


class JudgeReward(Reward):
    """What a reward model says of the prompt with the answer: the one that the stage's `judge` names."""

    _score: Callable[[Sequence[Example], Sequence[str]], list[float]] | None = PrivateAttr(default=None)

    def bind(self, score: Callable[[Sequence[Example], Sequence[str]], list[float]]) -> JudgeReward:
        bound = self.model_copy()
        bound._score = score
        return bound

    def scores(self, examples: Sequence[Example], answers: Sequence[str]) -> list[Any]:
        assert self._score is not None, "a judge is bound to its model before it is asked"
        return list(self._score(examples, answers))


class _Raised:
    """An exception in the place of a number."""

    def __init__(self, error: Exception):
        self.error = error

    def __repr__(self) -> str:
        return " ".join(f"{type(self.error).__name__}: {self.error}".split())[:120]


def _tried(score: Callable[[dict[str, Any], str], Any], example: dict[str, Any], answer: str) -> Any:
    try:
        return score(example, answer)
    except Exception as error:  # whatever a function of the user's does
        return _Raised(error)


def worth(rewards: Sequence[Reward], examples: Sequence[Example], answers: Sequence[str]) -> list[float]:
    """The weighted sum of the rewards for each answer. TrainingError that names the first prompts for which one raised or gave
    no finite number."""
    total = [0.0] * len(answers)
    for reward in rewards:
        try:
            found = reward.scores(examples, answers)
        except ValueError:  # one of ours, of data that it was not made for: again, one by one
            found = [_tried(reward.score, dict(example.fields), answer) for example, answer in zip(examples, answers)]
        wrong = [index for index, value in enumerate(found) if not _finite(value)]
        if wrong:
            raise _broken(reward, [(examples[index], found[index]) for index in wrong])
        total = [sum_ + reward.weight * float(value) for sum_, value in zip(total, found)]
    return total


def _finite(value: Any) -> bool:
    if isinstance(value, _Raised | str | bytes) or value is None:
        return False
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _broken(reward: Reward, wrong: list[tuple[Example, Any]]) -> TrainingError:
    example, value = wrong[0]
    name = getattr(reward, "call", reward.type)
    others = dict.fromkeys(shown(other.fields["prompt"]) for other, _ in wrong[1:] if other.id != example.id)
    remedy: Text | None = None
    if others:
        listed = ", ".join(f"'{prompt}'" for prompt in list(others)[: OFFENDERS - 1])
        remedy = text("also for {prompts}", prompts=listed + (", …" if len(others) >= OFFENDERS else ""))
    given = text("{value} for the prompt '{prompt}' ({where})", value=describe(value) if value is not None else "None",
                 prompt=shown(example.fields["prompt"]), where=example.where or "-")  # fmt: skip
    return TrainingError(text("reward '{name}'", name=name), text("a finite number for each answer"), given, remedy)

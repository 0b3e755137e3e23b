"""Items put to a language model by prompts: the likelihood of every continuation, what it is compared by, and the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from yanmo.core.messages import Text, text
from yanmo.evaluate.measure import rounded
from yanmo.tasks.likelihoods import Normalize, content_free, normalized, winner
from yanmo.tasks.prompting import Posed

if TYPE_CHECKING:
    from yanmo.inference.model import Model
    from yanmo.models.base import Loaded


class Asked(Protocol):
    """Whatever holds an opened model: that of an evaluation, or one that is being trained."""

    @property
    def loaded(self) -> Loaded: ...


@dataclass(frozen=True)
class Chosen:
    """Of one item: the values that are compared and the place of the greatest (None: a tie, or one that is not finite); ln p and
    tokens of each continuation, what was subtracted, and the most tokens that a prompt lost."""

    values: list[float]
    winner: int | None
    logprobs: list[float]
    tokens: list[int]
    priors: list[float] | None
    cut: int


def unable(model: Model, chat: bool) -> Text | None:
    """Why a model cannot be asked so, or None."""
    from yanmo.inference import continuations

    reason = continuations.unable(model.loaded)
    if reason is None and chat and not model.tokenizer.chat_template:
        return text("its tokenizer has no chat template")
    return reason


def choose(model: Asked, posed: Sequence[Posed], how: Normalize, chat: bool = False,
           batch_tokens: int | None = None) -> list[Chosen]:  # fmt: skip
    """What the model chooses of each item. Priors are asked for once for all items that share them."""
    from yanmo.inference.continuations import score_texts

    pairs = list(dict.fromkeys(
        pair for item in posed for prompt in (item.context, *item.free) for pair in ((prompt, choice) for choice in item.choices)
    ))  # fmt: skip
    found = dict(zip(pairs, score_texts(model.loaded, pairs, chat=chat, batch_tokens=batch_tokens)))
    chosen = []
    for item in posed:
        scored = [found[item.context, choice] for choice in item.choices]
        logprobs, tokens = [one.logprob for one in scored], [one.tokens for one in scored]
        free = [[found[prompt, choice].logprob for choice in item.choices] for prompt in item.free]
        priors = None
        if how == "prior":
            priors = free[0]
        elif how == "contextual":
            priors = content_free(free)
        said = [choice.lstrip() for choice in item.choices]
        values = normalized(logprobs, how, said, tokens, priors)
        chosen.append(Chosen(values, winner(values), logprobs, tokens, priors, max(one.cut for one in scored)))
    return chosen


def written(found: Chosen) -> dict:
    """What a line of the answer file keeps of it, so that every choice can be made again."""
    kept = {"logprobs": list(map(rounded, found.logprobs)), "tokens": found.tokens}
    kept |= {"priors": list(map(rounded, found.priors))} if found.priors is not None else {}
    return kept | ({"cut": found.cut} if found.cut else {})

"""From the likelihoods of some continuations to the one chosen: what makes short and long, frequent and rare ones comparable.

    sum          ln p(choice | prompt)
    tokens       the same over its tokens: what the model read
    bytes        the same over its UTF-8 bytes, which do not depend on the tokenizer
    characters   the same over its characters: lm-evaluation-harness's `acc_norm`
    prior        ln p(choice | prompt) - ln p(choice | a prompt that says nothing of the question): how much likelier the question
                 made it (Brown et al. 2020, section 2.4; Holtzman et al. 2021, domain-conditional pointwise mutual information)
    contextual   ln p(choice | prompt) - ln of its share among the choices, mean over prompts whose text says nothing: contextual
                 calibration (Zhao et al. 2021), for choices that are the same for all items, such as labels

A tie for the first place, and any value that is not finite, chooses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Normalize = Literal["sum", "tokens", "bytes", "characters", "prior", "contextual"]
FREE = ("N/A", "", "[MASK]")  # texts that say nothing, as in Zhao et al.
DECIMALS = 6  # of values that are compared: what differs by less is a tie, and the answer file holds so many


def normalized(logprobs: Sequence[float], how: Normalize, choices: Sequence[str], tokens: Sequence[int],
               priors: Sequence[float] | None = None) -> list[float]:  # fmt: skip
    """The value of each choice by which the choice is made. `priors`: of 'prior' and 'contextual', what is subtracted."""
    if how in ("prior", "contextual"):
        assert priors is not None, f"'{how}' needs priors"
        return [value - prior for value, prior in zip(logprobs, priors, strict=True)]
    sizes = {"sum": [1] * len(choices), "tokens": list(tokens), "characters": [len(choice) for choice in choices],
             "bytes": [len(choice.encode("utf-8", "surrogatepass")) for choice in choices]}[how]  # fmt: skip
    return [value / max(size, 1) for value, size in zip(logprobs, sizes, strict=True)]


def winner(values: Sequence[float]) -> int | None:
    """The place of the greatest; None for a tie, or where any value is not finite."""
    shown = [round(value, DECIMALS) if math.isfinite(value) else math.nan for value in values]
    if not shown or any(map(math.isnan, shown)):
        return None
    best = max(shown)
    return None if shown.count(best) > 1 else shown.index(best)


def shares(values: Sequence[float]) -> list[float]:
    """exp(value) over their sum: probabilities of the choices, of which one is to be right; all NaN where one value is."""
    if not all(map(math.isfinite, values)):
        return [math.nan] * len(values)
    best = max(values)
    weights = [math.exp(value - best) for value in values]
    return [weight / sum(weights) for weight in weights]


def content_free(logprobs: Sequence[Sequence[float]]) -> list[float]:
    """ln of the mean share of each choice over prompts that say nothing: one row a prompt (Zhao et al. 2021, equation 1)."""
    rows = [shares(row) for row in logprobs]
    means = [sum(column) / len(rows) for column in zip(*rows)]
    return [math.log(mean) if mean > 0 else math.nan for mean in means]

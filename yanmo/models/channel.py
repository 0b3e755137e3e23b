"""How well an answer explains what was asked: p(source | answer), beside a model's own p(answer | source).

    p(s_1 … s_m | t_1 … t_n)  =  Π_j  1/(n+1) · Σ_i p(s_j | t_i)         t_0 is NULL       (IBM Model 1; alignment.py)

The noisy channel of Brown et al. 1993: a source word that no word of the answer accounts for was not translated, and an answer
that says one thing twice accounts for no more by it. So of several answers that a model finds likely the better one is found
(Yee, Ng, Dauphin and Auli 2019, arXiv:1908.05731, where the channel is a network). The words are the tokenizer's tokens of the
text in small letters, so that it serves any language.

    channel.safetensors      answer, source (P,) int32: pairs of tokens; probability (P,) float32: p(source | answer)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from yanmo.core.errors import CorruptError
from yanmo.core.messages import text
from yanmo.models import alignment

if TYPE_CHECKING:
    from yanmo.text.tokenizer import Tokenizer

FILE = "channel.safetensors"
ROUNDS = 8  # of EM
MOST = 100_000  # pairs that are aligned: of more, so many from all over
LEAST = 1e-5  # p(source token | answer) is no less, and pairs below it are not kept
NULL = alignment.NULL
Array = NDArray[Any]


class Channel:
    """`answer`, `source`: pairs of token numbers (a token's id and 1; NULL is 0), sorted; `probability`: of each pair."""

    def __init__(self, tokenizer: Tokenizer, answer: Array, source: Array, probability: Array):
        self.tokenizer, self.answer, self.source, self.probability = tokenizer, answer, source, probability
        self.width = tokenizer.size + 1
        self.keys = answer.astype(np.int64) * self.width + source

    @classmethod
    def fit(cls, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> Channel:
        """From (source, answer) texts."""
        chosen = [pairs[at] for at in np.linspace(0, len(pairs) - 1, min(len(pairs), MOST)).astype(int)]
        links = alignment.Links([(_numbers(tokenizer, answer), _numbers(tokenizer, source)) for source, answer in chosen])
        probability = alignment.translation_probabilities(links, ROUNDS)
        kept = probability > LEAST
        return cls(tokenizer, links.source[kept].astype(np.int32), links.target[kept].astype(np.int32),
                   probability[kept].astype(np.float32))  # fmt: skip

    def logprob(self, source: str, answer: str) -> tuple[float, int]:
        """(ln p(source | answer) in nats, tokens of the source)."""
        wanted = np.array(_numbers(self.tokenizer, source), np.int64)
        given = np.array([NULL, *_numbers(self.tokenizer, answer)], np.int64)
        keys = given[:, None] * self.width + wanted
        if not len(self.keys):
            found = np.zeros(keys.shape)
        else:
            places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
            found = np.where(self.keys[places] == keys, self.probability[places], 0.0)
        return float(np.log(np.maximum(found.mean(0), LEAST)).sum()), len(wanted)

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"answer": self.answer, "source": self.source, "probability": self.probability}, folder / FILE)

    @classmethod
    def load(cls, folder: Path, tokenizer: Tokenizer) -> Channel:
        """CorruptError for a file that is none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = folder / FILE
        try:
            found = load_file(path)
            parts = [found[name] for name in ("answer", "source", "probability")]
        except (SafetensorError, KeyError, ValueError) as error:
            raise CorruptError(str(path), text("pairs of tokens and their probabilities"), " ".join(str(error).split())) from None
        if any(part.ndim != 1 or part.shape != parts[0].shape for part in parts):
            raise CorruptError(str(path), text("as many tokens as probabilities"), " ".join(str(part.shape) for part in parts))
        highest = int(max(parts[0].max(initial=0), parts[1].max(initial=0)))
        if highest > tokenizer.size or min(part.min(initial=0) for part in parts) < 0:
            raise CorruptError(str(path), text("pairs of the tokenizer's tokens"),
                               text("tokens up to {highest}, of {size}", highest=highest, size=tokenizer.size))  # fmt: skip
        made = cls(tokenizer, *parts)
        if (np.diff(made.keys) <= 0).any():
            raise CorruptError(str(path), text("pairs of tokens, each once and in order"), text("others"))
        return made


def _numbers(tokenizer: Tokenizer, content: str) -> list[int]:
    return [token + 1 for token in tokenizer.encode(content.casefold())]

"""One token for each character, the most frequent first; what is not in the vocabulary is spelled by its UTF-8 bytes.

The plainest tokenizer that loses nothing: for Chinese verse, for teaching, and as the floor that others are measured by.
It is saved as a BPE without merges and with byte fallback, which `transformers` loads as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import Field
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models

from yanmo.core.errors import DataError
from yanmo.core.messages import text as message
from yanmo.text.chat import CHATML
from yanmo.text.special import OURS, SPECIAL, extend, special_tokens
from yanmo.text.tokenizer import Tokenizer, TokenizerPart, readable

SMALLEST = len(SPECIAL) + 256


class CharacterTokenizer(TokenizerPart):
    """`size`: tokens in all, special ones and the 256 bytes included; null: every character that occurs at least
    `min_count` times."""

    size: int | None = Field(default=None, ge=SMALLEST, le=1_000_000)
    min_count: int = Field(default=2, ge=1)

    def train(self, texts: Iterable[str], at_most: int | None = None) -> Tokenizer:
        counts: Counter[str] = Counter()
        for text in readable(texts):
            counts.update(text)
        chosen = sorted((c for c, n in counts.items() if n >= self.min_count), key=lambda c: (-counts[c], c))
        most = SMALLEST + len(chosen)
        if self.size is not None:
            if most + len(self.special) < self.size:
                raise DataError("size", message("a vocabulary of at most {most} tokens for this text",
                                                most=most + len(self.special)),
                                str(self.size), message("ask for fewer, or give more text"))  # fmt: skip
            chosen = chosen[: max(self.size - SMALLEST - len(self.special), 0)]
        names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *chosen]
        inner = Inner(models.BPE(vocab={name: token for token, name in enumerate(names)}, merges=[], byte_fallback=True))
        inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
        inner.add_special_tokens(special_tokens())
        return Tokenizer(inner, CHATML, extend(inner, self.special, OURS))

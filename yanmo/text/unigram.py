"""Unigram (Kudo 2018): pieces with probabilities; a text is cut in the most probable way.

Text is cut first as for BPE (yanmo.text.bpe), so that pieces are of the same kinds and bounded in the same way. Spaces stay
what they are, and a character that the vocabulary lacks is spelled by its UTF-8 bytes: nothing is lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from pydantic import Field
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models

from yanmo.core.errors import DataError
from yanmo.core.messages import text as message
from yanmo.text.bpe import CUT, SMALLEST, chosen_size, pieces
from yanmo.text.chat import CHATML
from yanmo.text.counts import count
from yanmo.text.lattice import learn
from yanmo.text.special import OURS, SPECIAL, extend, special_tokens
from yanmo.text.tokenizer import Tokenizer, TokenizerPart, readable

ALPHABET = 0.75  # of the vocabulary at most, single characters; the rarer ones are spelled by their bytes
A_BYTE = 500  # bytes of memory for each byte of the kinds of pieces


class UnigramTokenizer(TokenizerPart):
    """Unigram with byte fallback. `size`: tokens in all, special ones and the 256 bytes included; null: as for BPE. A character
    that occurs less than `min_count` times is spelled by its bytes. `memory_mb`: what training may take, as for BPE."""

    size: int | None = Field(default=None, ge=SMALLEST, le=1_000_000)
    min_count: int = Field(default=2, ge=1)
    memory_mb: int = Field(default=1000, ge=10)

    def open_size(self, text_bytes: int, minutes: float | None = None, letters: int = 0) -> int | None:
        return chosen_size(text_bytes, minutes, letters) if self.size is None else None

    def train(self, texts: Iterable[str], at_most: int | None = None) -> Tokenizer:
        counts = count(readable(texts), pieces, self.memory_mb * 1_000_000 // A_BYTE)
        size = self.size or at_most or chosen_size(counts.read)
        room = max(size - SMALLEST - len(self.special), 0)
        words, alphabet = _spelled(counts.pieces, self.min_count, room)
        learned, most = learn(words, alphabet, room) if room else ({}, len(alphabet))
        if self.size is not None and len(learned) < room:
            raise DataError("size", message("a vocabulary of at most {most} tokens for this text",
                                            most=SMALLEST + len(self.special) + most),
                            str(self.size), message("ask for fewer, or give more text"))  # fmt: skip
        ranked = sorted(learned.items(), key=lambda item: (-item[1], item[0]))
        worst = min(learned.values(), default=0.0)  # what no text spells must not be worse: the unknown is ten below the worst
        names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
        # The unknown is never written, as every byte is known; its number only has to be one of the vocabulary's.
        inner = Inner(models.Unigram([*((name, worst) for name in names), *ranked], len(SPECIAL), True))
        inner.pre_tokenizer = CUT
        inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
        inner.add_special_tokens(special_tokens())
        return Tokenizer(inner, CHATML, extend(inner, self.special, OURS), counts.notes())


def _spelled(words: Counter[str], least: int, room: int) -> tuple[Counter[str], list[str]]:
    """The words without the characters that are too rare to be pieces, cut where those were; and the others."""
    seen: Counter[str] = Counter()
    for word, times in words.items():
        for character in word:
            seen[character] += times
    ranked = sorted((c for c, times in seen.items() if times >= least), key=lambda c: (-seen[c], c))
    alphabet = ranked[: max(int(ALPHABET * room), 1)] if room else []
    rare = seen.keys() - set(alphabet)
    if not rare:
        return words, alphabet
    cut = re.compile("[" + re.escape("".join(sorted(rare))) + "]+")
    kept: Counter[str] = Counter()
    for word, times in words.items():
        for part in cut.split(word):
            if part:
                kept[part] += times
    return kept, alphabet

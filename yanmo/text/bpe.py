"""Byte-level byte-pair encoding (Sennrich et al. 2016, over bytes as in GPT-2), cut for English and Chinese alike.

Text is first cut into pieces; merges never cross a cut. The pattern is ours:

    'll 've …          English contractions
    word               letters with their marks, one space before them kept, 32 at most
    漢字漢字…          Han characters, HAN at most, no space
    123                up to three digits
    punctuation        with one space before it, 16 at most
    line ends, spaces  64 at most

Every kind is bounded, so that no line of a megabyte becomes a piece. Chinese has no spaces, so its pieces are whole
clauses: measured on Romance of the Three Kingdoms (108 of 120 chapters train, 12 test, 4,096 tokens), pieces of at most
2, 4, 8, 16 and any number of characters give 3.47, 3.59, 3.67, 3.68, 3.68 bytes a token and, under a bigram Kneser-Ney
model, 2.225, 2.204, 2.172, 2.159, 2.159 bits a byte: a short bound cuts words at arbitrary places, 16 is as good as none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from pydantic import Field
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Inner

from yanmo.core.errors import DataError
from yanmo.core.messages import text as message
from yanmo.text.chat import CHATML
from yanmo.text.counts import count
from yanmo.text.special import OURS, SPECIAL, extend, special_tokens
from yanmo.text.tokenizer import Tokenizer, TokenizerPart, readable

HAN = 16
LETTER = r"[\p{L}&&[^\p{Han}]]"
PATTERN = "|".join(
    (
        r"(?i:['’](?:s|t|d|m|ll|ve|re))(?!\p{L})",
        rf" ?{LETTER}[\p{{L}}\p{{M}}&&[^\p{{Han}}]]{{0,31}}",
        rf"\p{{Han}}{{1,{HAN}}}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]{1,16}",
        r"\s{0,64}[\r\n]{1,64}",
        r"\s{1,64}(?!\S)",
        r"\s{1,64}",
    )
)
SMALLEST = len(SPECIAL) + 256
AUTOMATIC = (512, 32768)  # the least and the most that `chosen_size` gives
A_BYTE = 180  # bytes of memory for each byte of the kinds of pieces: 105 to 143 in the trainer, up to 35 in the counts (measured)


class BpeTokenizer(TokenizerPart):
    """Byte-level BPE. `size`: tokens in all, special ones and the 256 bytes included; null: `chosen_size`.
    A pair of tokens that occurs less than `min_frequency` times is not merged. `memory_mb`: what training may take, in
    megabytes; where a text has more kinds of pieces than fit, the rarest are left out and that is said."""

    size: int | None = Field(default=None, ge=SMALLEST, le=1_000_000)
    min_frequency: int = Field(default=2, ge=1)
    memory_mb: int = Field(default=1000, ge=10)

    def open_size(self, text_bytes: int, minutes: float | None = None, letters: int = 0) -> int | None:
        return chosen_size(text_bytes, minutes, letters) if self.size is None else None

    def train(self, texts: Iterable[str], at_most: int | None = None) -> Tokenizer:
        """With neither `size` nor `at_most` given, the size follows from the bytes that were read."""
        counts = count(readable(texts), pieces, self.memory_mb * 1_000_000 // A_BYTE)
        size = self.size or at_most or chosen_size(counts.read)
        inner = Inner(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=max(size - len(self.special), SMALLEST),
            min_frequency=self.min_frequency,
            special_tokens=special_tokens(),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(counts.batches(), trainer)
        inner.pre_tokenizer = pre_tokenizers.Sequence([CUT, inner.pre_tokenizer])
        roles = extend(inner, self.special, OURS)
        made = inner.get_vocab_size()
        if self.size is not None and made != self.size:
            if made > self.size:
                raise DataError("size", message("at least {least}, special tokens included", least=made), str(self.size))
            raise DataError("size", message("a vocabulary of at most {most} tokens for this text", most=made),
                            str(self.size), message("ask for fewer, or give more text"))  # fmt: skip
        return Tokenizer(inner, CHATML, roles, counts.notes())


CUT = pre_tokenizers.Split(Regex(PATTERN), "isolated")


def pieces(text: str) -> list[str]:
    """A text cut into pieces, over whose borders no token goes."""
    return [piece for piece, _ in CUT.pre_tokenize_str(text)]


def letters(texts: Iterable[str]) -> int:
    """How many kinds of characters beyond ASCII make up all but a hundredth of a text: of English none, of Chinese prose about
    two thousand."""
    counts = Counter(character for text in texts for character in text)
    left, spared = sum(counts.values()), 0.01 * sum(counts.values())
    left -= sum(times for character, times in counts.items() if character.isascii())
    for number, (_, times) in enumerate((c, n) for c, n in counts.most_common() if not c.isascii()):
        if left <= spared:
            return number
        left -= times
    return sum(not character.isascii() for character in counts) if left > spared else 0


def chosen_size(text_bytes: int, minutes: float | None = None, letters: int = 0) -> int:
    """The vocabulary for so much text: the power of two at or below 2.5 √bytes, from 512 to 32,768.

    A token must be seen often enough to be learned, and kinds of tokens grow about as the root of a text (Heaps' law):
    1 MB gives 2,048 tokens, 10 MB 4,096, 100 MB 16,384. In a budget of few minutes the table of tokens costs time too:
    at most 2,048 √minutes, so 2,048 for one to three minutes, 4,096 from four, 8,192 from sixteen.

    A script of many `letters` (`letters`) needs room for them and for as many words, or its characters are spelled in bytes, of
    which neither counts nor a small network make sense: at least the power of two at or below 256 + 2 · letters (Three Kingdoms,
    2,048 → 4,096 tokens: 1.955 → 1.926 bits per byte with a fifth less training).
    """
    wanted = 2.5 * math.sqrt(max(text_bytes, 1))
    if minutes is not None:
        wanted = min(wanted, 2048 * math.sqrt(max(minutes, 1)))
    least, most = AUTOMATIC
    return max(least, min(most, 2 ** int(math.log2(max(wanted, 256 + 2 * letters)))))

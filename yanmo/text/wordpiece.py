"""WordPiece (Schuster and Nakajima 2012) as BERT uses it: words, and the longest pieces that they are made of.

Text is normalised as BERT's is (Devlin et al. 2019): control characters go, every Han character is a word by itself (so that
unspaced Chinese makes no long words), and with `lowercase` letters lose case and accents. So it loses something of a text:
what it gives back is a reading of the text, not the text. A word with a character that the vocabulary lacks is [UNK].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import Field
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Inner

from yanmo.core.errors import DataError
from yanmo.core.messages import text as message
from yanmo.text.bpe import A_BYTE, chosen_size
from yanmo.text.counts import Counts, count
from yanmo.text.special import BERT, added, extend, frame_by
from yanmo.text.tokenizer import Tokenizer, TokenizerPart, readable

ROLES = {"bos": "[CLS]", "eos": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "unk": "[UNK]"}
LONGEST = 64  # characters of a word; longer ones (a hash, a line of one letter) are cut, or the whole of them would be [UNK]
ALPHABET = 0.75  # of the vocabulary at most, single characters; the rarer ones are unknown


class WordPieceTokenizer(TokenizerPart):
    """WordPiece with BERT's special tokens and normalisation. `size`: tokens in all; null: as for BPE. `lowercase`: letters
    lose case and accents. A pair that occurs less than `min_frequency` times is not joined, a character that does is
    unknown. `memory_mb`: what training may take, as for BPE."""

    size: int | None = Field(default=None, ge=len(BERT) + 8, le=1_000_000)
    lowercase: bool = True
    min_frequency: int = Field(default=2, ge=1)
    memory_mb: int = Field(default=1000, ge=10)

    def open_size(self, text_bytes: int, minutes: float | None = None, letters: int = 0) -> int | None:
        return chosen_size(text_bytes, minutes, letters) if self.size is None else None

    def train(self, texts: Iterable[str], at_most: int | None = None) -> Tokenizer:
        normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, lowercase=self.lowercase)
        bound = pre_tokenizers.Split(Regex(rf".{{1,{LONGEST}}}"), "isolated")
        words = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), bound])

        def cut(text: str) -> list[str]:
            return [word for word, _ in words.pre_tokenize_str(normalizer.normalize_str(text))]

        counts = count(readable(texts), cut, self.memory_mb * 1_000_000 // A_BYTE)
        size = (self.size or at_most or chosen_size(counts.read)) - len(self.special)
        known = _alphabet(counts.pieces, int(ALPHABET * (size - len(BERT))), self.min_frequency)
        counts.pieces = Counter({word: times for word, times in counts.pieces.items() if known.issuperset(word)})
        inner = Inner(_learn(counts, known, size, self.min_frequency))
        inner.normalizer, inner.pre_tokenizer, inner.decoder = normalizer, words, decoders.WordPiece()
        inner.add_special_tokens(added(BERT))
        frame_by(inner, "[CLS]", "[SEP]")
        roles = extend(inner, self.special, ROLES)
        made = inner.get_vocab_size()
        if self.size is not None and made != self.size:
            raise DataError("size", message("a vocabulary of at most {most} tokens for this text", most=made),
                            str(self.size), message("ask for fewer, or give more text"))  # fmt: skip
        return Tokenizer(inner, None, roles, counts.notes())


def _learn(counts: Counts, known: set[str], size: int, least: int) -> models.WordPiece:
    """The trainer numbers the pieces that go on in a word as a hash table happens to hold them, and goes by the numbers where
    pairs are as frequent as each other: given all single characters beforehand, in one order, the same words give the same."""
    inside = {character for word in counts.pieces for character in word[1:]}
    first = [*BERT, *sorted(known), *sorted(f"##{character}" for character in inside)]
    learner = Inner(models.WordPiece(unk_token="[UNK]"))
    trainer = trainers.WordPieceTrainer(vocab_size=size, min_frequency=least, special_tokens=first, show_progress=False)
    learner.train_from_iterator(counts.batches(), trainer)
    return models.WordPiece(learner.get_vocab(), unk_token="[UNK]", max_input_chars_per_word=LONGEST)


def _alphabet(words: Counter[str], most: int, least: int) -> set[str]:
    """The most frequent characters whose pieces, `x` and where it goes on in a word `##x`, are at most `most`."""
    seen: Counter[str] = Counter()
    inside: set[str] = set()
    for word, times in words.items():
        for character in word:
            seen[character] += times
        inside.update(word[1:])
    known: set[str] = set()
    for character, times in sorted(seen.items(), key=lambda item: (-item[1], item[0])):
        most -= 2 if character in inside else 1
        if most < 0 or times < least:
            break
        known.add(character)
    return known

"""What every tokenizer is: text to ids and back, by a table of bytes.

A `TokenizerPart` is the recipe's settings; `train` makes a `Tokenizer` of texts. A `Tokenizer` wraps one of Hugging
Face's `tokenizers` (Rust) for encoding and is saved in their layout, so that `transformers` loads it and gives the same
ids. Decoding is ours: each id stands for some bytes, and text is those bytes joined, so that whole text, streams and
byte counts agree by construction.

Four special tokens come first in the vocabularies that we train (WordPiece has BERT's five): padding, the border of
documents (both their beginning and their end), and the two marks around a turn of a conversation. A recipe adds others
behind the vocabulary. Text that merely contains their names is ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from pydantic import Field, field_validator

from yanmo.core import files
from yanmo.core.config import Part
from yanmo.core.errors import DataError
from yanmo.core.messages import Text
from yanmo.core.messages import text as message
from yanmo.text.pieces import StreamDecoder, byte_characters, spell, state
from yanmo.text.special import (
    BORDER,
    OURS,
    PAD,
    SPECIAL,
    TURN,
    TURN_END,
    TURN_ENDS,
    Frame,
    Framed,
    checked,
    special_tokens,
)

__all__ = [
    "BORDER", "PAD", "SPECIAL", "TURN", "TURN_END", "StreamDecoder", "Tokenizer", "TokenizerPart", "byte_characters",
    "readable", "special_tokens",
]  # fmt: skip

SLICE, GROUP = 1 << 16, 1 << 20  # characters that are encoded as one text, and at one time

_SURROGATE = re.compile("[\ud800-\udfff]")
_CUT = re.compile(r"\n(?=[ \t\u3000]*\w)")  # after a line's end no piece goes on into the next line's indent and words
# What a tokenizer has to give back whole to be called lossless.
_TRIALS = (
    "A  word,\tÉcole ﬁ ½ ＡＢ\r\n\n  two ",
    " 研墨，齉龘𠀀。\u3000 don't do not . ?",
    "e\u0301 \U0001f468\u200d\U0001f469 ❤️ \u0085\u2028\x00\x7f\xad",
    "▁ ▁▁x </w> ##y <0x41>",
    " \ufeff\ufffd\U0010ffff  ",
)


class TokenizerPart(Part):
    """A tokenizer's settings in a recipe: how to make one of texts.

    `special`: more special tokens, behind the vocabulary, such as `<mask>`, `[CLS]`, `[SEP]` or `<extra_id_0>`; with a cls
    and a sep among them, texts and pairs are framed by those."""

    special: tuple[str, ...] = Field(default=())

    @field_validator("special")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(checked(list(names)))

    def open_size(self, text_bytes: int, minutes: float | None = None, letters: int = 0) -> int | None:
        """The size for so many bytes of text with so many kinds of letters (`bpe.letters`) and, where given, a budget; None where
        the settings leave no size open."""
        return None

    def train(self, texts: Iterable[str], at_most: int | None = None) -> Tokenizer:
        """A tokenizer learned from `texts`, the same for the same texts whatever the number of threads.

        `at_most` is the size where the settings leave it open (from `open_size`): a text that supports less gets less.
        A size that the settings ask for is met exactly, or DataError (its `where` the setting's name) says what is possible.
        """
        raise NotImplementedError


class Tokenizer:
    """Text ↔ ids. `special` maps each special token to its id; `names` says which of them is which (bos, eos, pad, cls, sep,
    mask, unk). `pad_id`, `eos_id` and `bos_id` (the first id of a document: the border where the tokenizer has no other) are
    always there, `cls_id`, `sep_id`, `mask_id` and `unk_id` None where the tokenizer has none. `lossless`: any text comes
    back whole. `notes`: what stands in for what.

    Strings that are no Unicode text (lone surrogates, which UTF-8 cannot carry) are read as U+FFFD, one for one.
    """

    def __init__(self, inner: tokenizers.Tokenizer, chat_template: str | None = None, names: Mapping[str, str] | None = None,
                 notes: Sequence[Text] = ()):  # fmt: skip
        self.inner, self.chat_template, self.notes = inner, chat_template, list(notes)
        inner.encode_special_tokens = True  # their names inside a text are ordinary text
        added = inner.get_added_tokens_decoder()
        self.special: dict[str, int] = {token.content: number for number, token in sorted(added.items()) if token.special}
        vocabulary = inner.get_vocab(with_added_tokens=True)
        self._names = {token: name.encode("utf-8") for name, token in self.special.items()}
        self.size = max(vocabulary.values()) + 1
        self.names = dict(OURS if names is None else names)
        number = {role: vocabulary[name] for role, name in self.names.items()}
        self.pad, self.eos = self.names["pad"], self.names["eos"]
        self.bos = self.names.get("bos", self.eos)
        self.pad_id, self.eos_id, self.bos_id = number["pad"], number["eos"], number.get("bos", number["eos"])
        self.ends = sorted({self.eos_id, *(self.special[name] for name in TURN_ENDS if name in self.special)})
        self.cls_id, self.sep_id, self.mask_id, self.unk_id = map(number.get, ("cls", "sep", "mask", "unk"))
        names_as_written = [token.content for token in added.values()]  # they are found in a text before it is cut
        self._whole, self._first = spell(inner, vocabulary, self.size, names_as_written)
        self._silent = frozenset(self.special.values()) | {self.pad_id}
        self._bytes = list(self._whole)
        for token in self._silent:
            self._bytes[token] = b""
        # Long texts are encoded in slices, as the encoder holds 440 bytes for each token of a text (measured); not where
        # a slice is encoded otherwise than within a longer text (tokenizers that put a space before each text; GPT-2's).
        probes = (("a\n", "b"), ("a\n\n", "  b"), ("研\n", "\u3000墨"))
        self._divisible = all(self._ids(a) + self._ids(b) == self._ids(a + b) for a, b in probes)
        self.lossless = not state(inner.normalizer) and all(self.decode(self._ids(trial)) == trial for trial in _TRIALS)
        self.byte_lengths = np.array([len(piece) for piece in self._bytes], dtype=np.int64)  # (size,); special: 0
        self._frame: Frame | None = None

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; no special token is added."""
        return self._ids(text) if len(text) <= SLICE else self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each, on all cores unless TOKENIZERS_PARALLELISM=false; memory is bounded whatever their length."""
        made: list[list[int]] = [[] for _ in texts]
        group: list[str] = []
        owners: list[int] = []
        held = 0

        def work() -> None:
            for owner, encoding in zip(owners, self._encodings(group)):
                made[owner] += encoding.ids

        for owner, text in enumerate(texts):
            for piece in self._slices(_unicode(text)):
                group.append(piece)
                owners.append(owner)
                held += len(piece)
                if held >= GROUP:
                    work()
                    group, owners, held = [], [], 0
        work()
        return made

    def _ids(self, text: str) -> list[int]:
        return self._encodings([_unicode(text)])[0].ids

    def _encodings(self, texts: list[str], places: bool = False) -> list[tokenizers.Encoding]:
        """DataError where the tokenizer's own pattern gives up: its engine stops after ten million steps back in a match."""
        try:
            return (self.inner.encode_batch if places else self.inner.encode_batch_fast)(texts, add_special_tokens=False)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # how Rust's panics arrive, outside of Exception
                raise
            raise DataError("tokenizer.json", message("a pattern that cuts any text"), str(error)) from None

    def _slices(self, text: str) -> Iterator[str]:
        start = 0
        while self._divisible and len(text) - start > SLICE and (cut := _CUT.search(text, start + SLICE)):
            yield text[start : cut.end()]
            start = cut.end()
        yield text[start:]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """For each id of `encode(text)` the characters [start, end) that its bytes belong to, wholly or in part; empty for
        an id that stands for nothing in the text (a space that the tokenizer put before it)."""
        text = _unicode(text)
        if not self.lossless:
            return self._encodings([text], places=True)[0].offsets
        ends = np.cumsum(self.byte_lengths[np.array(self._ids(text), dtype=np.int64)])  # of each id, in bytes
        codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
        # of each character, in bytes
        behind = np.cumsum(1 + (codes > 0x7F) + (codes > 0x7FF).astype(np.int64) + (codes > 0xFFFF))
        assert (ends[-1] if len(ends) else 0) == (behind[-1] if len(behind) else 0), "a lossless tokenizer lost something"
        first = np.searchsorted(behind, np.append([0], ends[:-1]), side="right") if len(ends) else ends
        last = np.searchsorted(behind, ends, side="left") + 1
        return list(zip(first.tolist(), last.tolist()))

    def add_special(self, ids: Sequence[int], pair: Sequence[int] | None = None) -> Framed:
        """A text's ids, or a pair's, as an encoder is fed them ([CLS] a [SEP] b [SEP]), with the type of each id (0, 1).

        What goes around them is what the tokenizer's own post-processor puts there, as in `transformers`: nothing for most
        decoders, the border between a pair's texts where it has nothing for pairs."""
        if self._frame is None:
            self._frame = Frame(self.inner, self.eos_id)
        return self._frame.around(ids, pair)

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of `ids`. Bytes that can never become UTF-8 show as U+FFFD; a character that the last ids only begin
        is left out, so that no prefix of a text's ids decodes to anything that the text does not begin with."""
        stream = self.stream(skip_special)
        return stream.take(ids) + stream.flush()

    def stream(self, skip_special: bool = True) -> StreamDecoder:
        """A decoder that is fed id by id."""
        if skip_special:
            return StreamDecoder(self._bytes, self._first, self._silent)
        return StreamDecoder(self._whole, self._first)

    def bytes_of(self, ids: Any) -> int:
        """How many UTF-8 bytes of text `ids` (a list or an array of any shape) stand for; special tokens for none. Where the
        tokenizer is not `lossless` these are the bytes of what it gives back, not of what it read."""
        return int(self.byte_lengths[np.asarray(ids, dtype=np.int64)].sum())

    def piece(self, token: int) -> bytes:
        """The bytes of one id; of a special token, those of its name."""
        return self._names.get(token) or self._whole[token]

    def token(self, token: int) -> str:
        """One id as a person reads it: its text, its special name, or its bytes as \\x escapes."""
        return self.piece(token).decode("utf-8", "backslashreplace")

    def identity(self, first: int | None = None) -> dict[str, Any]:
        """Which tokenizer it is: the hash of its tokens by their ids, or of the `first` so many, which stay what they are where
        others are added behind them."""
        tokens = ((token, name) for name, token in self.inner.get_vocab(with_added_tokens=True).items())
        named = sorted((token, name) for token, name in tokens if first is None or token < first)
        return {"tokens": self.size if first is None else first, "sha256": files.digest(named)}

    def config(self) -> dict[str, Any]:
        """What `tokenizer_config.json` says, in `transformers`' words."""
        known = {role: name for role, name in self.names.items() if name in self.special}  # others would become so there
        config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
        config |= {f"{role}_token": known[role] for role in ("bos", "eos", "pad") if role in known}
        config |= {"clean_up_tokenization_spaces": False, "add_prefix_space": self._prefixed()}
        config |= {f"{role}_token": known[role] for role in ("cls", "sep", "mask", "unk") if role in known}
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        return config

    def _prefixed(self) -> bool:
        return any(step["type"] == "ByteLevel" and step["add_prefix_space"] for step in state(self.inner.pre_tokenizer))

    def save(self, folder: Path | str) -> None:
        """`tokenizer.json` and `tokenizer_config.json`: the same bytes for the same tokenizer."""
        folder = Path(folder)
        files.write_text(folder / "tokenizer.json", self.inner.to_str(pretty=True) + "\n")
        files.write_json(folder / "tokenizer_config.json", self.config())

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """The tokenizer of a folder (Hugging Face's layout, or the older files) or of one file: tokenizer.json, vocab.txt,
        tiktoken ranks, a SentencePiece model. DataError where there is none, it is broken or not one that we can serve."""
        from yanmo.text.loading import load

        return load(Path(path))

    def __reduce__(self) -> tuple[Any, ...]:  # to corpus workers and back
        return _revive, (self.inner.to_str(), self.chat_template, self.names, self.notes)


def readable(texts: Iterable[str]) -> Iterator[str]:
    """Texts as they are encoded: lone surrogates replaced."""
    return map(_unicode, texts)


def _unicode(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _revive(source: str, chat_template: str | None, names: dict[str, str], notes: list[Text]) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(source), chat_template, names, notes)

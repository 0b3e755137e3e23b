"""What every tokenizer is: text to ids and back without loss, by a table of bytes.

A `TokenizerPart` is the recipe's settings; `train` makes a `Tokenizer` of texts. A `Tokenizer` wraps one of Hugging
Face's `tokenizers` (Rust) for encoding and is saved in their layout, so that `transformers` loads it and gives the same
ids. Decoding is ours: each id stands for some bytes, and text is those bytes joined, so that whole text, streams and
byte counts agree by construction.

Four special tokens come first in every vocabulary: padding, the border of documents (both their beginning and their
end), and the two marks around a turn of a conversation. Text that merely contains their names is ordinary text.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders

from yanmo.core import files
from yanmo.core.config import Part
from yanmo.core.errors import DataError, RequestError
from yanmo.core.messages import text as message

PAD, BORDER, TURN, TURN_END = "<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, BORDER, TURN, TURN_END)  # in the order of their ids, 0 to 3

SLICE, GROUP = 1 << 16, 1 << 20  # characters that are encoded as one text, and at one time

_SURROGATE = re.compile("[\ud800-\udfff]")
_CUT = re.compile(r"\n(?=[ \t\u3000]*\w)")  # after a line's end no piece goes on into the next line's indent and words


class TokenizerPart(Part):
    """A tokenizer's settings in a recipe: how to make one of texts."""

    def open_size(self, text_bytes: int, minutes: float | None = None) -> int | None:
        """The size for so many bytes of text and, where given, a budget; None where the settings leave no size open."""
        return None

    def train(self, texts: Iterable[str], at_most: int | None = None) -> Tokenizer:
        """A tokenizer learned from `texts`, the same for the same texts whatever the number of threads.

        `at_most` is the size where the settings leave it open (from `open_size`): a text that supports less gets less.
        A size that the settings ask for is met exactly, or DataError (its `where` the setting's name) says what is possible.
        """
        raise NotImplementedError


class Tokenizer:
    """Text ↔ ids. `special` maps each special token to its id; `pad_id` and `eos_id` (also the first id of a document).

    Strings that are no Unicode text (lone surrogates, which UTF-8 cannot carry) are read as U+FFFD, one for one.
    """

    def __init__(self, inner: tokenizers.Tokenizer, chat_template: str | None = None, *, pad: str = PAD, eos: str = BORDER):
        self.inner, self.chat_template = inner, chat_template
        inner.encode_special_tokens = True  # their names inside a text are ordinary text
        added = inner.get_added_tokens_decoder()
        self.special: dict[str, int] = {token.content: number for number, token in sorted(added.items()) if token.special}
        self.pad, self.eos = pad, eos
        self.pad_id, self.eos_id = self.special[pad], self.special[eos]
        vocabulary = inner.get_vocab(with_added_tokens=True)
        self.size = max(vocabulary.values()) + 1
        self._bytes = _byte_table(inner, vocabulary, self.size)
        self._named = list(self._bytes)
        for name, number in self.special.items():
            self._named[number] = name.encode("utf-8")
        # Long texts are encoded in slices, as the encoder holds 440 bytes for each token of a text (measured); not where
        # a slice is encoded otherwise than within a longer text (tokenizers that put a space before each text; GPT-2's).
        probes = (("a\n", "b"), ("a\n\n", "  b"), ("研\n", "\u3000墨"))
        self._divisible = all(self._ids(a) + self._ids(b) == self._ids(a + b) for a, b in probes)
        self.byte_lengths = np.array([len(piece) for piece in self._bytes], dtype=np.int64)  # (size,); special: 0

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
            for owner, encoding in zip(owners, self.inner.encode_batch_fast(group, add_special_tokens=False)):
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
        return self.inner.encode_batch_fast([_unicode(text)], add_special_tokens=False)[0].ids

    def _slices(self, text: str) -> Iterator[str]:
        start = 0
        while self._divisible and len(text) - start > SLICE and (cut := _CUT.search(text, start + SLICE)):
            yield text[start : cut.end()]
            start = cut.end()
        yield text[start:]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """For each id of `encode(text)` the characters [start, end) that its bytes belong to, wholly or in part."""
        return self.inner.encode(_unicode(text), add_special_tokens=False).offsets

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of `ids`. Bytes that can never become UTF-8 show as U+FFFD; a character that the last ids only begin
        is left out, so that no prefix of a text's ids decodes to anything that the text does not begin with."""
        stream = self.stream(skip_special)
        return stream.take(ids) + stream.flush()

    def stream(self, skip_special: bool = True) -> StreamDecoder:
        """A decoder that is fed id by id."""
        return StreamDecoder(self._bytes if skip_special else self._named)

    def bytes_of(self, ids: Any) -> int:
        """How many UTF-8 bytes of text `ids` (a list or an array of any shape) stand for; special tokens for none."""
        return int(self.byte_lengths[np.asarray(ids, dtype=np.int64)].sum())

    def piece(self, token: int) -> bytes:
        """The bytes of one id; of a special token, those of its name."""
        return self._named[token]

    def token(self, token: int) -> str:
        """One id as a person reads it: its text, its special name, or its bytes as \\x escapes."""
        return self._named[token].decode("utf-8", "backslashreplace")

    def config(self) -> dict[str, Any]:
        """What `tokenizer_config.json` says, in `transformers`' words."""
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.eos,
            "eos_token": self.eos,
            "pad_token": self.pad,
            "clean_up_tokenization_spaces": False,
            "add_prefix_space": False,
        }
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        return config

    def save(self, folder: Path | str) -> None:
        """`tokenizer.json` and `tokenizer_config.json`: the same bytes for the same tokenizer."""
        folder = Path(folder)
        files.write_text(folder / "tokenizer.json", self.inner.to_str(pretty=True) + "\n")
        files.write_json(folder / "tokenizer_config.json", self.config())

    @classmethod
    def load(cls, folder: Path | str) -> Tokenizer:
        """A tokenizer that `save` or Hugging Face's libraries wrote; DataError where there is none or it is broken."""
        file, settings = Path(folder) / "tokenizer.json", Path(folder) / "tokenizer_config.json"
        if not file.is_file():
            raise DataError(str(folder), message("a folder with a tokenizer"), message("no {name} in it", name=file.name))
        source = _read(file)
        try:
            inner = tokenizers.Tokenizer.from_str(source)
        except Exception as error:  # the binding raises plain Exception
            raise DataError(str(file), message("a tokenizer"), str(error)) from None
        try:
            config = json.loads(_read(settings)) if settings.is_file() else {}
        except ValueError as error:
            raise DataError(str(settings), message("valid JSON"), str(error)) from None
        special = {token.content for token in inner.get_added_tokens_decoder().values() if token.special}
        names = {"eos": _name(config.get("eos_token")) or BORDER, "pad": _name(config.get("pad_token")) or PAD}
        for name in names.values():
            if name not in special:
                raise DataError(str(file), message("a special token {name}", name=name), message("none"))
        return cls(inner, config.get("chat_template"), **names)

    def __reduce__(self) -> tuple[Any, ...]:  # to corpus workers and back
        return _revive, (self.inner.to_str(), self.chat_template, self.pad, self.eos)


class StreamDecoder:
    """Ids to text as they come. What `push` returns is always whole characters: only the bytes of a character that may
    still become whole are held back (three at most), and bytes that cannot are shown as U+FFFD at once."""

    def __init__(self, table: list[bytes]):
        self._table = table
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that this id completes, often one token's text, sometimes none."""
        if not 0 <= token < len(self._table):
            raise RequestError(message("token id"), message("one from 0 to {last}", last=len(self._table) - 1), str(token))
        return self._utf8.decode(self._table[token])

    def take(self, ids: Iterable[int]) -> str:
        return "".join(map(self.push, ids))

    def flush(self) -> str:
        """Ends the text: a character that was only begun is dropped. The decoder may then be used anew."""
        self._utf8.reset()
        return ""


def special_tokens() -> list[AddedToken]:
    """The four, as `tokenizers` takes them."""
    return [AddedToken(name, special=True, normalized=False) for name in SPECIAL]


def readable(texts: Iterable[str]) -> Iterator[str]:
    """Texts as they are encoded: lone surrogates replaced."""
    return map(_unicode, texts)


def _unicode(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(str(file), message("UTF-8 text"), str(error)) from None


def _name(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _revive(source: str, chat_template: str | None, pad: str, eos: str) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(source), chat_template, pad=pad, eos=eos)


def _byte_table(inner: tokenizers.Tokenizer, vocabulary: dict[str, int], size: int) -> list[bytes]:
    """The bytes that each id stands for; special tokens (and ids that nothing uses) stand for none."""
    special = {token.content for token in inner.get_added_tokens_decoder().values() if token.special}
    table = [b""] * size
    if isinstance(inner.decoder, decoders.ByteLevel):
        values = {character: byte for byte, character in enumerate(byte_characters())}
        for piece, token in vocabulary.items():
            if piece not in special:
                table[token] = bytes(values[character] for character in piece)
    elif getattr(inner.model, "byte_fallback", False):
        for piece, token in vocabulary.items():
            if piece not in special:
                one = re.fullmatch("<0x([0-9A-F]{2})>", piece)
                table[token] = bytes([int(one[1], 16)]) if one else piece.encode("utf-8")
    else:
        raise DataError("tokenizer.json", message("a byte-level tokenizer or one with byte fallback"),
                        type(inner.decoder).__name__)  # fmt: skip
    return table


def byte_characters() -> list[str]:
    """The printable character that byte-level BPE writes for each of the 256 bytes (Radford et al. 2019, GPT-2): the
    visible ones of Latin-1 stand for themselves, the other 68 for U+0100 and up, in order."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(hidden)) for byte in range(256)]

"""What each id stands for: a table of bytes, so that text, streams and byte counts agree by construction.

A tokenizer's decoder is a list of small rules (Hugging Face's `tokenizers`: ByteLevel, ByteFallback, Metaspace, WordPiece,
Replace, Strip …) that turn pieces into text. Each of them looks at one piece at a time and knows at most whether it is the
first of the text, so that they can be worked out once for every id: what it says after others, and what it says first.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import tokenizers

from yanmo.core.errors import DataError, RequestError
from yanmo.core.messages import text as message

Rule = Callable[[Any, bool], Any]  # (a piece, is it the text's first) → what it says; a str until its bytes are known

_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")
# What WordPiece's decoder puts right in each piece, in this order (tokenizers, decoders/wordpiece.rs).
_TIDY = ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
         (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"))  # fmt: skip


class StreamDecoder:
    """Ids to text as they come. What `push` returns is always whole characters: only the bytes of a character that may
    still become whole are held back (three at most), and bytes that cannot are shown as U+FFFD at once.

    `table` has the bytes of each id, `first` of those that say something else at the beginning of a text; the ids of
    `silent` are passed over and begin nothing.
    """

    def __init__(self, table: list[bytes], first: dict[int, bytes] | None = None, silent: frozenset[int] = frozenset()):
        self._table, self._first, self._silent = table, first or {}, silent
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = not self._first

    def push(self, token: int) -> str:
        """The characters that this id completes, often one token's text, sometimes none."""
        if not 0 <= token < len(self._table):
            raise RequestError(message("token id"), message("one from 0 to {last}", last=len(self._table) - 1), str(token))
        if self._begun:
            return self._utf8.decode(self._table[token])
        if token in self._silent:
            return ""
        self._begun = True
        return self._utf8.decode(self._first.get(token, self._table[token]))

    def take(self, ids: Iterable[int]) -> str:
        return "".join(map(self.push, ids))

    def flush(self) -> str:
        """Ends the text: a character that was only begun is dropped. The decoder may then be used anew."""
        self._utf8.reset()
        self._begun = not self._first
        return ""


def spell(
    inner: tokenizers.Tokenizer, vocabulary: dict[str, int], size: int, added: Iterable[str] = ()
) -> tuple[list[bytes], dict[int, bytes]]:
    """The bytes of each id (size,), and of those that differ at the beginning of a text. `added`: tokens that byte-level
    vocabularies hold as they stand in a text (DeepSeek's `ü`), not in the characters that stand for bytes. DataError where
    the decoder is none that we know."""
    table = [b""] * size
    steps = state(inner.decoder)
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        values = {character: byte for byte, character in enumerate(byte_characters())}
        for piece, token in vocabulary.items():
            try:
                table[token] = bytes([values[character] for character in piece])
            except KeyError:
                table[token] = piece.encode("utf-8", "replace")
        for name in added:
            table[vocabulary[name]] = name.encode("utf-8", "replace")
        return table, {}
    rules = _rules(steps)
    beginning = not kinds or bool({"Strip", "Metaspace", "WordPiece"} & set(kinds))
    first: dict[int, bytes] = {}
    for piece, token in vocabulary.items():
        table[token] = _said(rules, piece, False)
        if beginning and (alone := _said(rules, piece, True)) != table[token]:
            first[token] = alone
    return table, first


def state(part: Any) -> list[dict[str, Any]]:
    """A normalizer's, pre-tokenizer's or decoder's settings as tokenizer.json writes them, sequences laid out flat."""
    if part is None:
        return []

    def flat(settings: dict[str, Any]) -> list[dict[str, Any]]:
        if settings.get("type") != "Sequence":
            return [settings]
        inside = next((value for value in settings.values() if isinstance(value, list)), [])
        return [step for each in inside for step in flat(each)]

    return flat(json.loads(part.__getstate__()))


def byte_characters() -> list[str]:
    """The printable character that byte-level BPE writes for each of the 256 bytes (Radford et al. 2019, GPT-2): the
    visible ones of Latin-1 stand for themselves, the other 68 for U+0100 and up, in order."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(hidden)) for byte in range(256)]


def _said(rules: list[Rule], piece: str, first: bool) -> bytes:
    value: Any = piece
    for rule in rules:
        value = rule(value, first)
    return value if isinstance(value, bytes) else value.encode("utf-8", "replace")


def _rules(steps: list[dict[str, Any]]) -> list[Rule]:
    if not steps:  # no decoder: `tokenizers` puts a space between pieces
        return [lambda piece, first: piece if first else " " + piece]
    rules: list[Rule] = []
    fused = False  # from here on the rules see the whole text: only its beginning is a beginning
    for step in steps:
        kind = step["type"]
        if kind == "Fuse":
            fused = True
        elif kind == "ByteLevel":
            rules.append(_byte_level())
        elif kind == "ByteFallback":
            rules.append(_byte_fallback)
        elif kind == "Metaspace":
            rules.append(_metaspace(step))
        elif kind == "WordPiece":
            rules.append(_word_piece(step["prefix"], step["cleanup"]))
        elif kind == "Replace":
            rules.append(_replace(step))
        elif kind == "Strip" and (not fused or step["stop"] == 0):
            rules.append(_strip(step["content"], step["start"], step["stop"], fused))
        else:
            raise DataError("tokenizer.json", message("a decoder that works piece by piece"), kind)
    return rules


def _byte_level() -> Rule:
    values = {character: byte for byte, character in enumerate(byte_characters())}

    def rule(piece: Any, first: bool) -> Any:
        if isinstance(piece, bytes) or not all(character in values for character in piece):
            return piece
        return bytes(values[character] for character in piece)

    return rule


def _byte_fallback(piece: Any, first: bool) -> Any:
    one = _BYTE.fullmatch(piece) if isinstance(piece, str) else None
    return bytes([int(one[1], 16)]) if one else piece


def _metaspace(step: dict[str, Any]) -> Rule:
    mark = step["replacement"]
    dropped = step.get("prepend_scheme", "always") != "never" and step.get("add_prefix_space", True)

    def rule(piece: Any, first: bool) -> Any:
        return piece if isinstance(piece, bytes) else piece.replace(mark, "" if first and dropped else " ")

    return rule


def _word_piece(prefix: str, cleanup: bool) -> Rule:
    def rule(piece: Any, first: bool) -> Any:
        if not first:
            piece = piece[len(prefix) :] if piece.startswith(prefix) else " " + piece
        if cleanup:
            for found, tidy in _TIDY:
                piece = piece.replace(found, tidy)
        return piece

    return rule


def _replace(step: dict[str, Any]) -> Rule:
    pattern, content = step["pattern"], step["content"]
    if "String" in pattern:
        found = pattern["String"]
        return lambda piece, first: piece if isinstance(piece, bytes) else piece.replace(found, content)
    try:
        compiled = re.compile(pattern["Regex"])
    except re.error as error:
        raise DataError("tokenizer.json", message("a decoder that works piece by piece"), f"Replace: {error}") from None
    return lambda piece, first: piece if isinstance(piece, bytes) else compiled.sub(lambda _: content, piece)


def _strip(content: str, start: int, stop: int, fused: bool) -> Rule:
    def rule(piece: Any, first: bool) -> Any:
        if fused and not first:
            return piece
        mark: Any = content.encode("utf-8") if isinstance(piece, bytes) else content
        for _ in range(start):
            piece = piece.removeprefix(mark)
        for _ in range(stop):
            piece = piece.removesuffix(mark)
        return piece

    return rule

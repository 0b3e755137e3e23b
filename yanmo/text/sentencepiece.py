"""SentencePiece's models (Kudo and Richardson 2018), read from their protobuf and built on `tokenizers`.

A model is a list of pieces with scores and types, the rules that normalise a text before it is cut, and whether a space is
put before it. Unigram models take the pieces' scores as log probabilities; BPE models merge the neighbours whose join has
the highest score. `assemble` serves the models inside GGUF files too, which keep the same lists under other names.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from yanmo.core.errors import DataError
from yanmo.core.messages import text as message
from yanmo.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from yanmo.text.loading import Settings

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)  # types of pieces
UNIGRAM, BPE = 1, 2  # kinds of models; 3 and 4, words and characters, are read as the Unigram that they amount to
SPACE = "▁"


@dataclass
class Pieces:
    """What a SentencePiece model says. `names`, `scores`, `types` by id; `rules`: the compiled map of its normaliser."""

    names: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    kind: int = UNIGRAM
    byte_fallback: bool = False
    prefix: bool = True  # a space is put before a text
    tidy: bool = True  # spaces at the ends are dropped, those in a row become one
    rules: bytes = b""
    roles: dict[str, int] = field(default_factory=dict)  # unk, bos, eos, pad → ids


def read(file: Path, settings: Settings | None = None) -> Tokenizer:
    """The tokenizer of a `.model` file."""
    from yanmo.text import loading

    settings = settings or loading.Settings(file.parent)
    if file.stat().st_size > loading.LARGEST:
        raise DataError(str(file), message("at most {most} bytes", most=loading.LARGEST), str(file.stat().st_size))
    pieces = parse(file.read_bytes(), str(file))
    inner = assemble(pieces, str(file))
    names: dict[str, str | None] = {role: pieces.names[token] for role, token in pieces.roles.items()}
    named = settings.roles(inner)
    said = {role: name for role, name in names.items() if role not in named}
    _frame(inner, settings.config, said | named)
    return loading.finish(inner, settings, str(file), said)


def parse(content: bytes, where: str) -> Pieces:
    """The fields of sentencepiece_model.proto that decide what a text becomes."""
    made = Pieces()
    defaults = {"unk": 0, "bos": 1, "eos": 2, "pad": -1}
    try:
        for number, value in _fields(content):
            if number == 1 and isinstance(value, bytes):
                piece = dict(_fields(value))
                made.names.append(piece.get(1, b"").decode("utf-8"))
                made.scores.append(struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0)
                made.types.append(piece.get(3, NORMAL))
            elif number == 2 and isinstance(value, bytes):
                trainer = dict(_fields(value))
                made.kind = trainer.get(3, UNIGRAM)
                made.byte_fallback = bool(trainer.get(35, 0))
                if trainer.get(24, 0):
                    raise DataError(where, message("spaces written before a word"), "treat_whitespace_as_suffix")
                for key, role in ((40, "unk"), (41, "bos"), (42, "eos"), (43, "pad")):
                    if key in trainer:  # an int32: negative ones are written as 64 bits
                        defaults[role] = trainer[key] - (1 << 64) if trainer[key] >> 63 else trainer[key]
            elif number == 3 and isinstance(value, bytes):
                rules = dict(_fields(value))
                made.rules = rules.get(2, b"")
                made.prefix, made.tidy = bool(rules.get(3, 1)), bool(rules.get(4, 1))
                if not rules.get(5, 1):
                    raise DataError(where, message("spaces written as {mark}", mark=SPACE), "escape_whitespaces: false")
    except (IndexError, struct.error, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise DataError(where, message("a SentencePiece model"), f"{type(error).__name__}: {error}") from None
    if not made.names:
        raise DataError(where, message("a SentencePiece model"), message("none of its pieces"))
    made.roles = {role: token for role, token in defaults.items() if 0 <= token < len(made.names)
                  and (role == "unk" or made.types[token] in (CONTROL, USER, UNKNOWN))}  # fmt: skip
    return made


def assemble(pieces: Pieces, where: str) -> tokenizers.Tokenizer:
    """A tokenizer that gives the ids that SentencePiece gives."""
    names = pieces.names
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(where, message("each token once"), repr(twice))
    if not len(names) == len(pieces.scores) == len(pieces.types):
        raise DataError(where, message("a score and a type for each of {count} tokens", count=len(names)),
                        f"{len(pieces.scores)}, {len(pieces.types)}")  # fmt: skip
    unk = pieces.roles.get("unk", next((token for token, kind in enumerate(pieces.types) if kind == UNKNOWN), None))
    bytes_known = BYTE in pieces.types
    model: Any
    try:
        if pieces.kind == BPE:
            model = models.BPE(vocab={name: token for token, name in enumerate(names)}, merges=merges(pieces), fuse_unk=True,
                               unk_token=None if unk is None else names[unk], byte_fallback=bytes_known)  # fmt: skip
        else:
            model = models.Unigram(list(zip(names, _log_probabilities(pieces))), unk, bytes_known)
    except Exception as error:  # the binding raises plain Exception
        raise DataError(where, message("a SentencePiece model"), str(error)) from None
    inner = tokenizers.Tokenizer(model)
    steps: list[Any] = []
    if pieces.rules:
        try:
            steps.append(normalizers.Precompiled(pieces.rules))
        except Exception as error:
            raise DataError(where, message("a compiled map of characters"), str(error)) from None
    if pieces.tidy:
        steps += [normalizers.Replace(Regex("^ +| +$|(?<= ) +"), "")]
    if pieces.prefix:
        steps.append(normalizers.Prepend(SPACE))
    inner.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    cuts: list[Any] = []
    if pieces.kind != BPE:
        if hidden := _hidden(pieces):
            cuts.append(pre_tokenizers.Split(Regex(hidden), "merged_with_previous"))
        if not any(SPACE in name[1:] for name in names):  # no piece goes over a space
            cuts.append(pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=True))
    if cuts:
        inner.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    ends = [decoders.Strip(" ", 1, 0)] if pieces.prefix else []
    inner.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *ends])
    for kind, special in ((CONTROL, True), (UNKNOWN, True), (USER, False)):
        chosen = [name for name, each in zip(names, pieces.types) if each == kind]
        inner.add_tokens([AddedToken(name, special=special, normalized=False) for name in chosen])
    return inner


def merges(pieces: Pieces) -> list[tuple[str, str]]:
    """Which neighbours join, the first first: by the score of what they make; a score shared by two goes by id."""
    vocabulary = {name: token for token, name in enumerate(pieces.names) if pieces.types[token] in (NORMAL, USER, UNUSED)}
    made: list[tuple[float, int, int, int, str, str]] = []
    for name, token in vocabulary.items():
        if pieces.types[token] == USER:  # found before anything is merged
            continue
        for cut in range(1, len(name)):
            left, right = name[:cut], name[cut:]
            if left in vocabulary and right in vocabulary:
                made.append((-pieces.scores[token], token, vocabulary[left], vocabulary[right], left, right))
    return [(left, right) for *_, left, right in sorted(made)]


def _hidden(pieces: Pieces) -> str:
    """Where a text spells a name that is no text (`<s>`, `<0x41>`), it is cut behind the name's first character: the encoder
    looks for all its names in a text, SentencePiece only for those that are text."""
    names = [name for name, kind in zip(pieces.names, pieces.types) if kind not in (NORMAL, USER, BYTE) and len(name) > 1]
    after: dict[str, list[str]] = {}
    for name in names:
        after.setdefault(name[0], []).append(re.escape(name[1:]))
    if BYTE in pieces.types:
        after.setdefault("<", []).append("0x[0-9A-F]{2}>")
    return "|".join(f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in after.items())


def _log_probabilities(pieces: Pieces) -> list[float]:
    """Names that are no text have the worst score of those that are, so that the score of what is unknown, ten below the
    worst of all, stays what it is."""
    normal = [score for score, kind in zip(pieces.scores, pieces.types) if kind == NORMAL]
    worst = min(normal, default=0.0)
    return [score if kind in (NORMAL, USER) else worst for score, kind in zip(pieces.scores, pieces.types)]


def _frame(inner: tokenizers.Tokenizer, config: dict[str, Any], names: dict[str, str | None]) -> None:
    """What a family puts around a text: as tokenizer_config.json says, else the border at the end that T5 wants."""
    tokens = {role: name for role, name in names.items() if name is not None and inner.token_to_id(name) is not None}
    start = [tokens["bos"]] if config.get("add_bos_token", False) and "bos" in tokens else []
    end = [tokens["eos"]] if config.get("add_eos_token", False) and "eos" in tokens else []
    frame(inner, start, end)


def frame(inner: tokenizers.Tokenizer, start: list[str], end: list[str]) -> None:
    """Puts special tokens around each text."""
    if start or end:
        one = [*(f"{name}:0" for name in start), "$A:0", *(f"{name}:0" for name in end)]
        two = [*(f"{name}:1" for name in start), "$B:1", *(f"{name}:1" for name in end)]
        numbers = [(name, inner.token_to_id(name)) for name in dict.fromkeys([*start, *end])]
        inner.post_processor = TemplateProcessing(single=one, pair=[*one, *two], special_tokens=numbers)


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """(field's number, value) of a protobuf message: integers as they are, the rest as bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = content[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise IndexError("a number of more than 64 bits")

    while place < len(content):
        key = varint()
        number, wire = key >> 3, key & 7
        if wire == 0:
            yield number, varint()
            continue
        if wire not in (1, 2, 5):
            raise IndexError(f"a field of the unknown kind {wire}")
        size = varint() if wire == 2 else {1: 8, 5: 4}[wire]
        if place + size > len(content):
            raise IndexError("a field that goes on behind the end")
        yield number, content[place : place + size]
        place += size

"""Tokenizers that others published, opened as ours are.

    folder  tokenizer.json, with tokenizer_config.json, special_tokens_map.json, config.json where they are there
            vocab.txt (BERT) · vocab.json + merges.txt (GPT-2) · tokenizer.model (SentencePiece or tiktoken ranks) · *.tiktoken
    file    tokenizer.json · vocab.txt · *.model · *.tiktoken

What is read is not trusted: a file is bounded in size, ids in number, a pattern in the steps that it may take back; fixed
padding and truncation, which would add to a text or cut it in silence, are taken off.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from yanmo.core.errors import DataError, YanmoError
from yanmo.core.files import pointer
from yanmo.core.messages import text as message
from yanmo.text.special import ROLES, find, frame_by
from yanmo.text.tokenizer import Tokenizer

LARGEST = 1 << 28  # bytes of a file; the largest published tokenizer.json has 34 million
MOST = 1 << 22  # ids; the largest published vocabulary has 262,144
FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
# Texts on which a pattern of nested repetitions fails before it does any harm.
TRIALS = tuple(part * 64 + end for part in ("a", " ", "1", "漢", "!", "\n", "aA", "a1 ") for end in ("", "!", "\n", "x"))


def load(path: Path) -> Tokenizer:
    """As `Tokenizer.load` says."""
    if path.is_file():
        return _of(path, path.parent)
    for name in FILES:
        if (path / name).is_file():
            return _of(path / name, path)
    ranks = sorted(path.glob("*.tiktoken")) if path.is_dir() else []
    if len(ranks) == 1:
        return _of(ranks[0], path)
    raise DataError(str(path), message("a folder with a tokenizer"), message("no {name} in it", name="tokenizer.json"))


def _of(file: Path, folder: Path) -> Tokenizer:
    try:
        return _opened(file, folder)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        if isinstance(error, YanmoError):
            raise
        given = _short(f"{type(error).__name__}: {error}")  # a setting of a kind that nobody thought of
        raise DataError(str(file), message("a tokenizer"), given) from error


def _opened(file: Path, folder: Path) -> Tokenizer:
    settings = Settings(folder)
    if file.suffix == ".tiktoken":
        from yanmo.text.ranks import read

        return read(file)
    if file.suffix == ".model":
        from yanmo.text import ranks, sentencepiece

        return ranks.read(file, settings) if ranks.are_ranks(file) else sentencepiece.read(file, settings)
    if file.name == "vocab.txt":
        return finish(word_piece(file, settings), settings, str(file))
    if file.name == "vocab.json":
        return finish(gpt2(file, settings), settings, str(file))
    return finish(parsed(read_text(file), str(file)), settings, str(file))


def finish(
    inner: tokenizers.Tokenizer, settings: Settings, where: str, said: Mapping[str, str | None] | None = None
) -> Tokenizer:
    """A `Tokenizer` of what was read: checked, its roles found. `said` goes before what the settings say."""
    inner.no_padding()
    inner.no_truncation()
    check(inner, where)
    roles, notes = find(inner, {**settings.roles(inner), **(said or {})}, where, whole=_whole(inner))
    return Tokenizer(inner, settings.template(), roles, notes)


def parsed(source: str, where: str) -> tokenizers.Tokenizer:
    if (said := pointer(source[:64].encode("utf-8", "replace"))) is not None:
        raise DataError(where, message("a tokenizer"), said)
    try:
        inner = tokenizers.Tokenizer.from_str(source)
    except Exception as error:  # the binding raises plain Exception
        raise DataError(where, message("a tokenizer"), _short(error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how Rust's panics arrive, outside of Exception
            raise
        raise DataError(where, message("a tokenizer"), _short(error)) from None
    vocabulary = inner.get_vocab(with_added_tokens=True)
    if vocabulary and max(vocabulary.values()) >= len(vocabulary):  # ids that nobody has: was a token written twice?
        _twice(source, where)
    return inner


def _twice(source: str, where: str) -> None:
    """DataError where the vocabulary has a token twice, the first of which the parser loses without a word."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) < len(items):
            name = Counter(key for key, _ in items).most_common(1)[0][0]
            raise DataError(where, message("each token once"), repr(name)[:80])
        return made

    vocabulary = json.loads(source, object_pairs_hook=pairs).get("model", {}).get("vocab", {})
    if isinstance(vocabulary, list):  # Unigram's pieces with their scores
        pairs([(piece, None) for piece, _ in vocabulary])


def check(inner: tokenizers.Tokenizer, where: str) -> None:
    """Refuses ids that are out of range, that two tokens share or that a token lost, and patterns that do not end."""
    vocabulary = inner.get_vocab(with_added_tokens=True)
    if not vocabulary:
        raise DataError(where, message("a tokenizer"), message("an empty vocabulary"))
    most = max(vocabulary.values())
    if most >= MOST:
        name = max(vocabulary, key=lambda piece: vocabulary[piece])
        raise DataError(where, message("token ids below {most}", most=MOST), f"{name!r}: {most}")
    if len(set(vocabulary.values())) < len(vocabulary):
        by_id: dict[int, str] = {}
        for piece, token in vocabulary.items():
            if token in by_id:
                raise DataError(where, message("one token for each id"), f"{token}: {by_id[token]!r}, {piece!r}")
            by_id[token] = piece
    try:
        for trial in TRIALS:
            inner.encode(trial, add_special_tokens=False)
    except Exception as error:  # such as a piece without an id where the tokenizer has no token for the unknown
        raise DataError(where, message("a tokenizer that takes any text"), _short(error)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DataError(where, message("a pattern that cuts any text"), _short(error)) from None


class Settings:
    """The files beside a tokenizer that say what its special tokens are for."""

    def __init__(self, folder: Path | None = None, *, name: str = "tokenizer_config.json"):
        self.where = str(folder / name) if folder else name
        self.config = _mapping(folder / name) if folder else {}
        self.map = _mapping(folder / "special_tokens_map.json") if folder else {}
        self.model = _mapping(folder / "config.json") if folder else {}
        jinja = folder / "chat_template.jinja" if folder else None
        self.jinja = read_text(jinja) if jinja and jinja.is_file() else None

    def roles(self, inner: tokenizers.Tokenizer) -> dict[str, str | None]:
        """role → its token, None where it is said that there is none."""
        found: dict[str, str | None] = {}
        for role in ROLES:
            for source in (self.config, self.map):
                if f"{role}_token" in source and role not in found:
                    name = found[role] = _name(source[f"{role}_token"])
                    if name is not None and not isinstance(name, str):
                        raise DataError(f"{self.where}: {role}_token", message("a string"), str(name)[:80])
            if role in found:
                continue
            number = self.model.get(f"{role}_token_id")
            number = number[0] if isinstance(number, list) and number else number
            if isinstance(number, int) and not isinstance(number, bool):
                name = inner.id_to_token(number) if 0 <= number < MOST else None
                if name is not None:
                    found[role] = name
        return found

    def template(self) -> str | None:
        template = self.config.get("chat_template")
        if isinstance(template, list):  # several by name
            named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
            template = named.get("default") or next(iter(named.values()), None)
        return template if isinstance(template, str) else self.jinja


def word_piece(file: Path, settings: Settings) -> tokenizers.Tokenizer:
    """BERT's vocab.txt: a piece a line, its number the id."""
    pieces = read_text(file).split("\n")
    while pieces and not pieces[-1]:
        pieces.pop()
    vocabulary = {piece.rstrip("\r"): token for token, piece in enumerate(pieces)}
    if len(vocabulary) < len(pieces):
        seen: set[str] = set()
        twice = next(piece for piece in pieces if piece in seen or seen.add(piece))  # type: ignore[func-returns-value]
        raise DataError(str(file), message("each token once"), repr(twice))
    config = settings.config
    inner = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=_name(config.get("unk_token")) or "[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    cls, sep = (_name(config.get(f"{role}_token")) or f"[{role.upper()}]" for role in ("cls", "sep"))
    if cls in vocabulary and sep in vocabulary:
        inner.add_special_tokens([name for name in ("[PAD]", "[UNK]", cls, sep, "[MASK]") if name in vocabulary])
        frame_by(inner, cls, sep)
    return inner


def gpt2(file: Path, settings: Settings) -> tokenizers.Tokenizer:
    """GPT-2's and RoBERTa's vocab.json and merges.txt: byte-level BPE."""
    merges = file.parent / "merges.txt"
    if not merges.is_file():
        raise DataError(str(file.parent), message("vocab.json with merges.txt beside it"),
                        message("no {name} in it", name=merges.name))  # fmt: skip
    vocabulary = _mapping(file)
    lines = [line.rstrip("\r") for line in read_text(merges).split("\n")]
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate((line for line in lines if line and not line.startswith("#version")), 1):
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise DataError(f"{merges}:{number}", message("two pieces with one space between them"), line[:80])
        pairs.append((left, right))
    try:
        inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    except Exception as error:
        raise DataError(str(merges), message("merges of the vocabulary's pieces"), _short(error)) from None
    prefixed = bool(settings.config.get("add_prefix_space", False))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefixed)
    inner.decoder = decoders.ByteLevel()
    usual = ("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>")
    inner.add_special_tokens([name for name in usual if name in vocabulary])
    if {"<s>", "</s>", "<mask>"} <= vocabulary.keys():  # RoBERTa's
        inner.post_processor = processors.RobertaProcessing(("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]),
                                                            add_prefix_space=prefixed)  # fmt: skip
    return inner


def read_text(file: Path) -> str:
    size = file.stat().st_size
    if size > LARGEST:
        raise DataError(str(file), message("at most {most} bytes", most=LARGEST), str(size))
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(str(file), message("UTF-8 text"), str(error)) from None


def _mapping(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(str(file), message("valid JSON"), _short(error)) from None
    if not isinstance(found, dict):
        raise DataError(str(file), message("a mapping"), type(found).__name__)
    return found


def _name(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _short(error: object, most: int = 200) -> str:
    said = " ".join(str(error).split())
    return said if len(said) <= most else said[:most] + "…"


def _whole(inner: tokenizers.Tokenizer) -> bool:
    """Does the model know every byte, so that nothing is unknown to it?"""
    if not getattr(inner.model, "byte_fallback", False):
        return False
    return all(inner.token_to_id(f"<0x{byte:02X}>") is not None for byte in range(256))

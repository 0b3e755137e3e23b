"""The tokenizer inside a GGUF file, from the file's metadata: a mapping of its keys, as the reader of the format gives it.

    tokenizer.ggml.model    gpt2: byte-level BPE · llama: SentencePiece's BPE · t5: its Unigram · bert: WordPiece
                  .pre      how byte-level text is cut (yanmo.text.patterns)
                  .tokens .scores .token_type .merges
                  .bos_token_id .eos_token_id .padding_token_id … .add_bos_token .add_eos_token .add_space_prefix
    tokenizer.chat_template
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import Text
from yanmo.core.messages import text as message
from yanmo.text import sentencepiece
from yanmo.text.loading import MOST, Settings, finish
from yanmo.text.patterns import NAMED, WHOLE_FIRST, cutting
from yanmo.text.sentencepiece import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, USER, Pieces, frame
from yanmo.text.special import frame_by
from yanmo.text.tokenizer import Tokenizer

KEY = "tokenizer.ggml."
# What a key holds, where it is there.
KINDS: dict[str, tuple[type, ...]] = {
    f"{KEY}model": (str,), f"{KEY}pre": (str,), f"{KEY}tokens": (list,), f"{KEY}scores": (list,), f"{KEY}token_type": (list,),
    f"{KEY}merges": (list,), f"{KEY}add_bos_token": (bool,), f"{KEY}add_eos_token": (bool,), f"{KEY}add_space_prefix": (bool,),
    f"{KEY}remove_extra_whitespaces": (bool,), f"{KEY}precompiled_charsmap": (list,), "tokenizer.chat_template": (str,),
}  # fmt: skip
NUMBERS = {f"{KEY}scores": (int, float), f"{KEY}token_type": (int,), f"{KEY}precompiled_charsmap": (int,)}
# Role → its key's last part; GGUF writes "seperator".
IDS = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id", "unk": "unknown_token_id",
       "sep": "seperator_token_id", "cls": "cls_token_id", "mask": "mask_token_id"}  # fmt: skip


def read(metadata: Mapping[str, Any], where: str) -> Tokenizer:
    """The tokenizer that `metadata` describes; DataError where there is none, or one of a kind that we do not know."""
    _typed(metadata, where)
    kind = metadata.get(f"{KEY}model")
    builders = {"gpt2": _gpt2, "llama": _llama, "t5": _t5, "bert": _bert}
    if kind is None:
        raise DataError(where, message("a tokenizer"), message("none"))
    if kind not in builders:
        raise DataError(f"{where}: {KEY}model", message("one of {choices}", choices=", ".join(builders)), repr(kind))
    names = _names(metadata, where)
    notes: list[Text] = []
    inner = builders[kind](metadata, names, where, notes)
    said = _roles(metadata, names, where)
    settings = Settings()
    template = metadata.get("tokenizer.chat_template")
    settings.jinja = template if isinstance(template, str) else None
    made = finish(inner, settings, where, said)
    made.notes[:0] = notes
    return made


def _typed(metadata: Mapping[str, Any], where: str) -> None:
    """DataError for a value of another kind than its key's."""
    kinds = KINDS | {KEY + key: (int,) for key in (*IDS.values(), "separator_token_id")}
    for key, kind in kinds.items():
        value = metadata.get(key)
        if value is not None and (not isinstance(value, kind) or (kind == (int,) and isinstance(value, bool))):
            raise DataError(f"{where}: {key}", message("a value of the kind {kind}", kind=kind[0].__name__), str(value)[:40])
        each = NUMBERS.get(key)
        if isinstance(value, list) and each is not None and not all(isinstance(item, each) for item in value):
            raise DataError(f"{where}: {key}", message("a list of numbers"), str(value)[:40])


def _names(metadata: Mapping[str, Any], where: str) -> list[str]:
    names = metadata.get(f"{KEY}tokens")
    if not isinstance(names, list) or not names:
        raise DataError(f"{where}: {KEY}tokens", message("a list of tokens"), type(names).__name__)
    if len(names) > MOST:
        raise DataError(f"{where}: {KEY}tokens", message("token ids below {most}", most=MOST), str(len(names)))
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: {KEY}tokens", message("a list of tokens"), message("one that is no text"))
    names = [name or f"[EMPTY_{token}]" for token, name in enumerate(names)]
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"{where}: {KEY}tokens", message("each token once"), repr(twice))
    return names


def _types(metadata: Mapping[str, Any], count: int, where: str) -> list[int]:
    types = metadata.get(f"{KEY}token_type")
    if types is None:
        return [NORMAL] * count
    if len(types) != count:
        raise DataError(f"{where}: {KEY}token_type", message("a type for each of {count} tokens", count=count), str(len(types)))
    return [int(each) for each in types]


def _roles(metadata: Mapping[str, Any], names: list[str], where: str) -> dict[str, str | None]:
    """role → its token. A unk of byte-level BPE, which llama.cpp's converter fills in for files that have none, is none."""
    found: dict[str, str | None] = {}
    for role, key in IDS.items():
        number = metadata.get(KEY + key, metadata.get(f"{KEY}separator_token_id") if role == "sep" else None)
        if number is None or (role == "unk" and metadata[f"{KEY}model"] == "gpt2"):
            continue
        if not 0 <= int(number) < len(names):
            raise DataError(f"{where}: {KEY}{key}", message("one from 0 to {last}", last=len(names) - 1), str(number))
        found[role] = names[int(number)]
    return found


def _add(inner: tokenizers.Tokenizer, names: list[str], types: list[int]) -> None:
    """Marks control tokens as special and a user's own as found before anything is cut."""
    for kind, special in ((CONTROL, True), (UNKNOWN, True), (USER, False)):
        chosen = [name for name, each in zip(names, types) if each == kind]
        inner.add_tokens([AddedToken(name, special=special, normalized=False) for name in chosen])


def _around(metadata: Mapping[str, Any], inner: tokenizers.Tokenizer, names: list[str], bos: bool, eos: bool) -> None:
    """What goes around a text, as the file says or, where it does not, as its kind does."""
    numbers = [metadata.get(KEY + key) for key in ("bos_token_id", "eos_token_id")]
    wanted = (metadata.get(f"{KEY}add_bos_token", bos), metadata.get(f"{KEY}add_eos_token", eos))
    start, end = ([names[number]] if want and number is not None and 0 <= number < len(names) else []
                  for want, number in zip(wanted, numbers))  # fmt: skip
    frame(inner, start, end)


def _gpt2(metadata: Mapping[str, Any], names: list[str], where: str, notes: list[Text]) -> tokenizers.Tokenizer:
    way = metadata.get(f"{KEY}pre")
    if way is None:
        way = "default"
        notes.append(message("the file does not say how text is cut ({key}): llama.cpp's default is used", key=f"{KEY}pre"))
    if way not in NAMED:
        raise DataError(f"{where}: {KEY}pre", message("a way to cut text that we know"), repr(way), nearest(str(way), NAMED))
    merges = metadata.get(f"{KEY}merges")
    if not isinstance(merges, list):
        raise DataError(f"{where}: {KEY}merges", message("a list of merges"), message("none"))
    pairs = []
    for index, merge in enumerate(merges):
        cut = merge.find(" ", 1) if isinstance(merge, str) else -1
        if cut < 0:
            place = f"{where}: {KEY}merges[{index}]"
            raise DataError(place, message("two pieces with one space between them"), repr(merge)[:80])
        pairs.append((merge[:cut], merge[cut + 1 :]))
    types = _types(metadata, len(names), where)
    try:
        vocabulary = {name: token for token, name in enumerate(names)}
        model = models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=way in WHOLE_FIRST)
    except Exception as error:  # the binding raises plain Exception
        raise DataError(f"{where}: {KEY}merges", message("merges of the vocabulary's pieces"), str(error)) from None
    inner = tokenizers.Tokenizer(model)
    inner.pre_tokenizer = cutting(NAMED[way], bool(metadata.get(f"{KEY}add_space_prefix", False)))
    inner.decoder = decoders.ByteLevel()
    _add(inner, names, types)
    _around(metadata, inner, names, way in WHOLE_FIRST, False)
    return inner


def _pieces(metadata: Mapping[str, Any], names: list[str], where: str) -> Pieces:
    scores = metadata.get(f"{KEY}scores")
    if not isinstance(scores, list) or len(scores) != len(names):
        given = str(len(scores)) if isinstance(scores, list) else message("none")
        raise DataError(f"{where}: {KEY}scores", message("a score for each of {count} tokens", count=len(names)), given)
    types = _types(metadata, len(names), where)
    return Pieces(names, [float(score) for score in scores], types, byte_fallback=BYTE in types,
                  prefix=bool(metadata.get(f"{KEY}add_space_prefix", True)),
                  tidy=bool(metadata.get(f"{KEY}remove_extra_whitespaces", False)))  # fmt: skip


def _llama(metadata: Mapping[str, Any], names: list[str], where: str, notes: list[Text]) -> tokenizers.Tokenizer:
    pieces = _pieces(metadata, names, where)
    pieces.kind = sentencepiece.BPE
    inner = sentencepiece.assemble(pieces, where)
    _around(metadata, inner, names, True, False)
    return inner


def _t5(metadata: Mapping[str, Any], names: list[str], where: str, notes: list[Text]) -> tokenizers.Tokenizer:
    pieces = _pieces(metadata, names, where)
    pieces.rules = bytes(each & 0xFF for each in metadata.get(f"{KEY}precompiled_charsmap") or ())
    inner = sentencepiece.assemble(pieces, where)
    _around(metadata, inner, names, False, True)
    return inner


def _bert(metadata: Mapping[str, Any], names: list[str], where: str, notes: list[Text]) -> tokenizers.Tokenizer:
    """llama.cpp marks the pieces that begin a word, by SPACE; WordPiece those that do not, by ##."""
    types = _types(metadata, len(names), where)
    special = [name for name, kind in zip(names, types) if kind in (CONTROL, UNKNOWN, USER)]
    vocabulary: dict[str, int] = {}
    for token, (name, kind) in enumerate(zip(names, types)):
        if kind in (CONTROL, UNKNOWN, USER):
            piece = name
        else:
            piece = name[1:] if name.startswith(SPACE) and len(name) > 1 else "##" + name
        if vocabulary.setdefault(piece, token) != token:
            raise DataError(f"{where}: {KEY}tokens", message("each token once"), repr(piece))
    roles = _roles(metadata, names, where)
    unk = roles.get("unk") or "[UNK]"
    inner = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=unk))
    lower = not any(piece != piece.lower() for piece in vocabulary if piece not in special)
    inner.normalizer = normalizers.BertNormalizer(lowercase=lower)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    cls, sep = roles.get("cls") or roles.get("bos"), roles.get("sep") or roles.get("eos")
    if cls is not None and sep is not None:
        frame_by(inner, cls, sep)
    return inner

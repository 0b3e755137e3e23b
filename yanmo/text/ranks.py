"""tiktoken's files: a line for each token, its bytes in base64 and its rank, which is its id and its place among the merges.

The files say neither how text is cut nor which tokens are special. Published ones are known by their hash; others take the
way that `tokenizer_config.json` beside them names (`pattern`, a name of `yanmo.text.patterns.WAYS`, and `special`, names
with their ids), else they are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, decoders, models

from yanmo.core.errors import DataError, nearest
from yanmo.core.messages import text as message
from yanmo.text.patterns import WAYS, cutting
from yanmo.text.pieces import byte_characters
from yanmo.text.special import BORDER, TURN, TURN_END
from yanmo.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from yanmo.text.loading import Settings


class Known(NamedTuple):
    way: str
    special: dict[str, int]
    sha256: str


_MIDDLE = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_QWEN = {BORDER: 151643, TURN: 151644, TURN_END: 151645} | {f"<|extra_{index}|>": 151646 + index for index in range(205)}
_QWEN35 = (
    BORDER, TURN, TURN_END, "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>",
    "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>",
    "</tool_call>", *_MIDDLE, "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>",
    "</think>", "<|audio_start|>", "<|audio_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>", "<tts_text_bos_single>",
    "<|audio_pad|>",
)  # fmt: skip

KNOWN = {
    "r50k_base": Known("gpt2", {BORDER: 50256}, "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),
    "p50k_base": Known("gpt2", {BORDER: 50256}, "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"),
    "cl100k_base": Known("cl100k", {BORDER: 100257, _MIDDLE[0]: 100258, _MIDDLE[1]: 100259, _MIDDLE[2]: 100260,
                                    "<|endofprompt|>": 100276},
                         "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    "o200k_base": Known("o200k", {BORDER: 199999, "<|endofprompt|>": 200018},
                        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
    "qwen": Known("qwen2", _QWEN, "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"),
    "qwen3_6": Known("qwen35", {name: 248044 + index for index, name in enumerate(_QWEN35)},
                     "8dde380a6405e935f5de16a99eb61c824f3f814dd1ed298784c72babb7a03cdd"),
}  # fmt: skip


def are_ranks(file: Path) -> bool:
    """Does the file begin as tiktoken's do? (Llama 3 calls its ranks `tokenizer.model`, as SentencePiece's are called.)"""
    with file.open("rb") as opened:
        first = opened.readline(256).rstrip().split(b" ")
    try:
        return len(first) == 2 and bool(base64.b64decode(first[0], validate=True)) and first[1].isdigit()
    except binascii.Error:
        return False


def read(file: Path, settings: Settings | None = None) -> Tokenizer:
    """The tokenizer of a file of ranks."""
    from yanmo.text import loading

    settings = settings or loading.Settings(file.parent)
    if file.stat().st_size > loading.LARGEST:
        raise DataError(str(file), message("at most {most} bytes", most=loading.LARGEST), str(file.stat().st_size))
    content = file.read_bytes()
    way, special = _about(file, content, settings.config)
    ranks = parse(content, str(file))
    inner = assemble(ranks, way, special, str(file))
    return loading.finish(inner, settings, str(file))


def parse(content: bytes, where: str) -> dict[bytes, int]:
    """Bytes → rank. Every byte has to be among them, each once, with a rank of its own."""
    ranks: dict[bytes, int] = {}
    seen: set[int] = set()
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            code, rank = line.split()
            piece, place = base64.b64decode(code, validate=True), int(rank)
        except ValueError:
            raise DataError(f"{where}:{number}", message("base64 and a number"), repr(line[:60].decode("latin-1"))) from None
        if piece in ranks or place in seen or place < 0:
            raise DataError(f"{where}:{number}", message("each token once"), repr(line[:60].decode("latin-1")))
        ranks[piece] = place
        seen.add(place)
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise DataError(where, message("a token for each of the 256 bytes"),
                        message("none for {byte}", byte=f"0x{missing[0]:02X}"))  # fmt: skip
    return ranks


def assemble(ranks: dict[bytes, int], way: str, special: dict[str, int], where: str) -> tokenizers.Tokenizer:
    """Byte-level BPE that merges what tiktoken merges: of all neighbours that make a token, those of the lowest rank."""
    characters = byte_characters()
    spelled = {piece: "".join(map(characters.__getitem__, piece)) for piece in ranks}
    merges: list[tuple[str, str]] = []
    for piece in sorted(ranks, key=ranks.__getitem__):
        if len(piece) > 1:
            halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
            pairs = [(ranks[a], ranks[b], spelled[a], spelled[b]) for a, b in halves if a in ranks and b in ranks]
            merges += [(a, b) for _, _, a, b in sorted(pairs)]
    vocabulary = {spelled[piece]: rank for piece, rank in ranks.items()}
    for name, token in special.items():
        if vocabulary.setdefault(name, token) != token:
            raise DataError(where, message("one id for {name}", name=name), f"{vocabulary[name]}, {token}")
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    inner.pre_tokenizer = cutting(way)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    return inner


def _about(file: Path, content: bytes, config: dict[str, Any]) -> tuple[str, dict[str, int]]:
    """How its text is cut, and its special tokens."""
    found = hashlib.sha256(content).hexdigest()
    named = KNOWN.get(file.stem)
    if named is not None and named.sha256 != found and "pattern" not in config:
        raise DataError(str(file), message("the published {name} (sha256 {sha})", name=file.stem, sha=named.sha256[:12] + "…"),
                        message("sha256 {sha}", sha=found[:12] + "…"))  # fmt: skip
    for known in KNOWN.values():
        if known.sha256 == found:
            return known.way, known.special
    way = config.get("pattern")
    if way is None:
        remedy = message("name how its text is cut in tokenizer_config.json beside it: {key}",
                         key='{"pattern": "cl100k", "special": {…}}')  # fmt: skip
        raise DataError(str(file), message("one of the published files, or a pattern"),
                        message("sha256 {sha}", sha=found[:12] + "…"), remedy)  # fmt: skip
    if way not in WAYS:
        raise DataError(f"{file.parent / 'tokenizer_config.json'}: pattern", message("the name of a way to cut text"), repr(way),
                        nearest(str(way), WAYS))  # fmt: skip
    special = config.get("special", {})
    if not (isinstance(special, dict) and all(isinstance(token, int) for token in special.values())):
        raise DataError(f"{file.parent / 'tokenizer_config.json'}: special", message("names with their ids"), repr(special)[:80])
    return way, special

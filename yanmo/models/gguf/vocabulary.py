"""A tokenizer as GGUF's metadata, and back.

llama.cpp knows four kinds of tokenizer and, for byte-level BPE, some fifty ways to cut text, by name. Where its keys do not
give a tokenizer's own ids (a way of cutting that has no name there, as ours), the whole tokenizer.json goes into the file as
well, under the key that the format has for it; we read that first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from yanmo.core.errors import DataError, YanmoError
from yanmo.core.messages import Text, text
from yanmo.text import gguf
from yanmo.text.gguf import IDS, KEY
from yanmo.text.loading import Settings, finish, parsed
from yanmo.text.patterns import NAMED, WAYS, WHOLE_FIRST, cutting
from yanmo.text.pieces import state
from yanmo.text.sentencepiece import BYTE, CONTROL, NORMAL, SPACE, UNKNOWN, UNUSED, USER
from yanmo.text.tokenizer import Tokenizer

WHOLE, TEMPLATE = "tokenizer.huggingface.json", "tokenizer.chat_template"
NEAREST = "dbrx"  # the way of cutting that llama.cpp is told where it knows none that is right: cl100k's
PROBES = (
    "Call me Ishmael.  It's 12345.67, isn't it?\r\n\n\tdef f(x): return x**2  # §\n",
    "话说天下大势，分久必合，合久必分。研墨 2024年１２月",
    "e\u0301 é 👨‍👩‍👧 ❤️ Ünïcödé Пример مثال 日本語の例 \u00a0\u3000 end ",
    "<|im_end|> [SEP] </s> ▁ ▁▁x ##y <0x41>",
)


def read(metadata: Mapping[str, Any], where: str) -> Tokenizer | None:
    """The tokenizer in a file's metadata; None where there is none. DataError for one that is broken."""
    whole = metadata.get(WHOLE)
    if whole is None:
        return gguf.read(metadata, where) if f"{KEY}model" in metadata else None
    if not isinstance(whole, str):
        raise DataError(f"{where}: {WHOLE}", text("a tokenizer"), type(whole).__name__)
    inner = parsed(whole, f"{where}: {WHOLE}")
    said: dict[str, str | None] = {}
    for role, key in IDS.items():
        number = metadata.get(KEY + key)
        if number is not None:
            name = inner.id_to_token(number) if isinstance(number, int) and 0 <= number < 1 << 31 else None
            if name is None:
                last = inner.get_vocab_size() - 1
                raise DataError(f"{where}: {KEY}{key}", text("one from 0 to {last}", last=last), str(number)[:40])
            said[role] = name
    settings = Settings()
    template = metadata.get(TEMPLATE)
    settings.jinja = template if isinstance(template, str) else None
    return finish(inner, settings, where, said)


def metadata(tokenizer: Tokenizer, size: int) -> tuple[dict[str, Any], list[Text]]:
    """The keys for a model of `size` rows of embeddings, which a vocabulary's tokens are filled up to; and notes on what
    llama.cpp will do otherwise. DataError for a tokenizer larger than that."""
    if tokenizer.size > size:
        raise DataError(text("tokenizer"), text("a tokenizer of at most {size} tokens, as many as the model has", size=size),
                        str(tokenizer.size))  # fmt: skip
    model = json.loads(tokenizer.inner.to_str())["model"]
    keys = _kind(tokenizer, model)
    names: list[str] = keys[f"{KEY}tokens"]
    names += [f"[PAD{number}]" for number in range(len(names), size)]
    keys[f"{KEY}token_type"] += [UNUSED] * (size - len(keys[f"{KEY}token_type"]))
    if f"{KEY}scores" in keys:
        keys[f"{KEY}scores"] += [-1e6] * (size - len(keys[f"{KEY}scores"]))
    for role, key in IDS.items():
        name = tokenizer.names.get(role)
        if name is not None and (number := tokenizer.inner.token_to_id(name)) is not None:
            keys[KEY + key] = number
    framed = tokenizer.add_special([])[0]
    keys[f"{KEY}add_bos_token"] = framed[:1] == [tokenizer.bos_id]
    keys[f"{KEY}add_eos_token"] = len(framed) > 1 and framed[-1] == tokenizer.eos_id
    if tokenizer.chat_template is not None:
        keys[TEMPLATE] = tokenizer.chat_template
    known = keys[f"{KEY}model"] != "gpt2" or _way(tokenizer.inner)[0] is not None
    if known and _same(tokenizer, keys):
        return keys, []
    keys[WHOLE] = tokenizer.inner.to_str()
    return keys, [text("llama.cpp has no name for how this tokenizer cuts text and will cut it otherwise here and there; "
                       "Yanmo reads the file's own {key}", key=WHOLE)]  # fmt: skip


def _same(tokenizer: Tokenizer, keys: Mapping[str, Any]) -> bool:
    """Whether llama.cpp's keys alone give back this tokenizer."""
    try:
        again = gguf.read(keys, "")
    except YanmoError:
        return False
    whole = "".join(name for name in tokenizer.inner.get_vocab() if name not in tokenizer.special)[:4096]
    same = all(again.encode(probe) == tokenizer.encode(probe) for probe in (*PROBES, whole))
    return same and all(again.special.get(name) == number for name, number in tokenizer.special.items())


def _kind(tokenizer: Tokenizer, model: Mapping[str, Any]) -> dict[str, Any]:
    """`model`, `pre`, tokens with their types, and scores or merges, by the kind of the tokenizer."""
    inner = tokenizer.inner
    found = {token: name for name, token in inner.get_vocab(with_added_tokens=True).items()}
    names = [found.get(token, f"[PAD{token}]") for token in range(tokenizer.size)]
    types = [NORMAL if token in found else UNUSED for token in range(tokenizer.size)]
    for token, added in inner.get_added_tokens_decoder().items():
        types[token] = CONTROL if added.special else USER
    keys: dict[str, Any] = {f"{KEY}tokens": names, f"{KEY}token_type": types}
    if model["type"] == "BPE" and any(step["type"] == "ByteLevel" for step in state(inner.decoder)):
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        way, prefixed = _way(inner)
        named = [name for name, each in NAMED.items() if each == way]
        named.sort(key=lambda name: (name in WHOLE_FIRST) != bool(model.get("ignore_merges")))
        return {f"{KEY}model": "gpt2", f"{KEY}pre": next(iter(named), NEAREST), f"{KEY}add_space_prefix": prefixed, **keys,
                f"{KEY}merges": merges}  # fmt: skip
    if model["type"] == "WordPiece":
        for token, name in enumerate(names):
            if types[token] == NORMAL:
                names[token] = name[2:] if name.startswith("##") else SPACE + name
        return {f"{KEY}model": "bert", f"{KEY}pre": "default", **keys}
    prefixed = next(iter(inner.encode("a", add_special_tokens=False).tokens), "").startswith(SPACE)
    for token, name in enumerate(names):
        if name == model.get("unk_token") or (model["type"] == "Unigram" and token == model.get("unk_id")):
            types[token] = UNKNOWN
        elif len(name) == 6 and name.startswith("<0x") and types[token] == NORMAL:
            types[token] = BYTE
        elif name == " " and SPACE not in found.values():
            names[token] = SPACE
    keys = {f"{KEY}model": "t5" if model["type"] == "Unigram" else "llama", f"{KEY}pre": "default", **keys}
    keys |= {f"{KEY}add_space_prefix": prefixed}
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        rules = next((step["precompiled_charsmap"] for step in state(inner.normalizer) if step["type"] == "Precompiled"), None)
        keys[f"{KEY}remove_extra_whitespaces"] = _tidy(tokenizer)
        if rules:
            keys[f"{KEY}precompiled_charsmap"] = _raw(rules)
    else:  # the sooner a merge comes, the higher the score of what it makes
        scores = {}
        for rank, merge in enumerate(model["merges"]):
            scores.setdefault("".join(merge.split(" ", 1) if isinstance(merge, str) else merge), -float(rank + 1))
    return keys | {f"{KEY}scores": [float(scores.get(name, 0.0)) for name in names]}


def _way(inner: Any) -> tuple[str | None, bool]:
    """Which of `WAYS` text is cut by (None: another), and whether a space goes before it."""
    given = state(inner.pre_tokenizer)
    for prefixed in (False, True):
        for way in WAYS:
            if state(cutting(way, prefixed)) == given:
                return way, prefixed
    return None, any(step.get("add_prefix_space") for step in given)


def _tidy(tokenizer: Tokenizer) -> bool:
    return tokenizer.encode("a  b ") == tokenizer.encode("a b")


def _raw(rules: Any) -> bytes:
    import base64

    return base64.b64decode(rules) if isinstance(rules, str) else bytes(rules)

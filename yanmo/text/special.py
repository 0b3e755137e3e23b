"""Special tokens by what they do: which of a vocabulary's is the padding, the border, the mask.

The roles have the field's names: pad, eos, bos, cls, sep, mask, unk. A published tokenizer says them in
`tokenizer_config.json`, `special_tokens_map.json` or by ids in `config.json`; where it leaves one open that we need, a
stand-in is found and said. Padding is never the token that ends a text: a model must learn to end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from yanmo.core.errors import DataError
from yanmo.core.messages import Text
from yanmo.core.messages import text as message
from yanmo.text.pieces import byte_characters, state

PAD, BORDER, TURN, TURN_END = "<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TURN_ENDS = (TURN_END, "<|eot_id|>", "<end_of_turn>", "<|end|>", "<turn|>")  # what ends an answer in published chat models
SPECIAL = (PAD, BORDER, TURN, TURN_END)  # in the order of their ids, 0 to 3, in the tokenizers that we train
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # in the order of theirs, 0 to 4, in WordPiece
ROLES = ("bos", "eos", "pad", "cls", "sep", "mask", "unk")
OURS = {"bos": BORDER, "eos": BORDER, "pad": PAD}  # the roles in every tokenizer that we train, but for WordPiece

# How each role is usually called, the likelier first: for tokenizers that do not say, and for a recipe's `special`.
USUAL = {
    "eos": (BORDER, "</s>", "<|end_of_text|>", "<eos>", "<|eos|>", "[EOS]", "<｜end▁of▁sentence｜>", "[SEP]"),
    "pad": (PAD, "<pad>", "[PAD]", "<PAD>", "<|padding|>", "<|finetune_right_pad_id|>"),
    "bos": ("<s>", "<|begin_of_text|>", "<bos>", "<|bos|>", "[BOS]", "<｜begin▁of▁sentence｜>"),
    "cls": ("[CLS]", "<cls>", "<|cls|>"),
    "sep": ("[SEP]", "<sep>", "<|sep|>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
    "unk": ("[UNK]", "<unk>", "<|unk|>"),
}  # fmt: skip

NAME = re.compile(r"<[^\s<>]{1,62}>|\[[^\s\[\]]{1,62}\]")  # what a recipe may add: never a piece that text is cut into
NEVER = (0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0xFA, 0xF9, 0xF8, 0xF7, 0xF6, 0xF5, 0xC1, 0xC0)  # bytes that UTF-8 never has


class Framed(NamedTuple):
    """Ids as an encoder is fed them, and the sentence (0 or 1) that each belongs to."""

    ids: list[int]
    types: list[int]


def added(names: Sequence[str]) -> list[AddedToken]:
    """Special tokens as `tokenizers` takes them."""
    return [AddedToken(name, special=True, normalized=False) for name in names]


def special_tokens() -> list[AddedToken]:
    """The four of the tokenizers that we train."""
    return added(SPECIAL)


def checked(names: Sequence[str]) -> list[str]:
    """A recipe's `special`, or ValueError: names within <…> or […], each once, none of ours."""
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a special token: one within <…> or […], without spaces")
        if name in SPECIAL or names.count(name) > 1:
            raise ValueError(f"{name!r} is there already")
    return list(names)


def extend(inner: tokenizers.Tokenizer, names: Sequence[str], roles: Mapping[str, str]) -> dict[str, str]:
    """Adds special tokens behind the vocabulary, so that no other id moves; returns the roles with those that they take.

    With a cls and a sep among them, texts and pairs are framed by those, as BERT's are."""
    roles = dict(roles)
    if names:
        inner.add_special_tokens(added(names))
    for name in names:
        for role in ("cls", "sep", "mask"):
            if name in USUAL[role]:
                roles.setdefault(role, name)
    if "cls" in roles and "sep" in roles:
        frame_by(inner, roles["cls"], roles["sep"])
    return roles


def frame_by(inner: tokenizers.Tokenizer, cls: str, sep: str) -> None:
    """`cls` a `sep`, and of a pair `cls` a `sep` b `sep` (Devlin et al. 2019)."""
    numbers = [(name, inner.token_to_id(name)) for name in (cls, sep)]
    inner.post_processor = TemplateProcessing(single=f"{cls}:0 $A:0 {sep}:0", pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
                                              special_tokens=numbers)  # fmt: skip


class Frame:
    """What a tokenizer puts around a text and around a pair: read off from its post-processor once."""

    def __init__(self, inner: tokenizers.Tokenizer, border: int):
        probe = next((p for p in ("a", "1", "的", ".") if inner.encode(p, add_special_tokens=False).ids), "a")
        self.single = _template(inner.encode(probe))
        self.pair = _template(inner.encode(probe, probe))
        if all(sequence is not None for sequence, _, _ in self.pair):  # nothing between the two: the border is
            self.pair = [(0, 0, 0), (None, border, 0), (1, 0, 1)]

    def around(self, ids: Sequence[int], pair: Sequence[int] | None = None) -> Framed:
        made = Framed([], [])
        for sequence, token, kind in self.single if pair is None else self.pair:
            content = [token] if sequence is None else pair if sequence else ids
            made.ids.extend(content or ())
            made.types.extend([kind] * len(content or ()))
        return made


def _template(encoding: Any) -> list[tuple[int | None, int, int]]:
    """(which text or None, the special id, the type) in order."""
    steps: list[tuple[int | None, int, int]] = []
    for token, sequence, kind in zip(encoding.ids, encoding.sequence_ids, encoding.type_ids):
        step = (sequence, token if sequence is None else 0, kind)
        if sequence is None or not steps or steps[-1] != step:
            steps.append(step)
    return steps


def find(
    inner: tokenizers.Tokenizer, said: Mapping[str, str | None], where: str, *, whole: bool = True
) -> tuple[dict[str, str], list[Text]]:
    """The roles' tokens of a published tokenizer, and notes on each stand-in. `said`: role → token, None where it is said
    that there is none. A token that is said must be in the vocabulary; eos and pad are always found, pad never eos.
    Marks them as special in `inner`; `whole` says that its model knows every byte."""
    vocabulary = inner.get_vocab(with_added_tokens=True)
    special = {token.content for token in inner.get_added_tokens_decoder().values() if token.special}
    roles: dict[str, str] = {}
    notes: list[Text] = []
    for role in ROLES:
        name = said.get(role)
        if name is not None:
            if name not in vocabulary:
                raise DataError(where, message("a special token {name}", name=name), message("none"))
            roles[role] = name
        elif role not in said:
            usual = next((name for name in USUAL[role] if name in special), None)
            if role == "unk":
                usual = _unknown(inner) or usual
            if usual is not None:
                roles[role] = usual
    if "eos" not in roles:
        stand_in = roles.get("sep") or next((name for name in USUAL["eos"] if name in special), None) or roles.get("bos")
        if stand_in is None:
            raise DataError(where, message("a special token that ends a text"), message("none"))
        roles["eos"] = stand_in
        notes.append(message("no token ends a text: {name} stands in", name=stand_in))
    if roles.get("pad") in (None, roles["eos"]):
        stand_in = _padding(inner, vocabulary, special, roles, whole)
        if "pad" in roles:
            notes.append(message("padding was {name}, which ends a text: {other} stands in", name=roles["eos"], other=stand_in))
        else:
            notes.append(message("no token for padding: {name} stands in", name=stand_in))
        roles["pad"] = stand_in
    marked = [name for name in dict.fromkeys(roles.values()) if name not in special and NAME.fullmatch(name)]
    if marked:
        inner.add_special_tokens(added(marked))
    return roles, notes


def _padding(
    inner: tokenizers.Tokenizer, vocabulary: dict[str, int], special: set[str], roles: dict[str, str], whole: bool
) -> str:
    taken = {name for role, name in roles.items() if role != "pad"}
    free = sorted(special - taken, key=lambda name: vocabulary[name])
    for sign in ("pad", "reserved", "unused", "extra"):
        named = next((name for name in free if sign in name.lower()), None)
        if named is not None:
            return named
    if whole and roles.get("unk") not in (None, roles["eos"]):  # it knows every byte, so that nothing is ever unknown
        return roles["unk"]
    if any(step["type"] == "ByteLevel" for step in state(inner.decoder)):
        characters = byte_characters()
        named = next((characters[byte] for byte in NEVER if characters[byte] in vocabulary), None)
        if named is not None:
            return named
    if free:
        return free[-1]
    inner.add_special_tokens(added([PAD]))
    return PAD


def _unknown(inner: tokenizers.Tokenizer) -> str | None:
    """The token that the model itself writes for what it does not know."""
    model: Any = inner.model
    name = getattr(model, "unk_token", None)
    if name is None and (number := getattr(model, "unk_id", None)) is not None:
        name = inner.id_to_token(number)
    return name if name is not None and inner.token_to_id(name) is not None else None

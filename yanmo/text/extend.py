"""A published tokenizer with more pieces: what it lacks for a language or a field is learned on text of that kind.

    base       你 | 好 as five pieces of bytes           merges   … ("ä½", "ł")                  ids 0 … 49,151 stay
    extended   你好 as one                               merges   … and ("ä½ł", "å¥½") behind    ids 49,152 … are new

The new merges stand behind the base's own and are learned on the text as the base cuts it: so a text is first divided as it
always was, and then put together further. Where no new merge applies, a text has the ids that it had; no id changes its
meaning; special tokens, normalisation and the chat template are the base's.

Learning is the trainer's of `tokenizers`: each of the base's pieces that occur is handed to it as one character of its own.
For tokenizers that spell unknown characters by `<0xE4>`-like tokens (SentencePiece's), frequent characters come first, as
pieces without a merge.

Continued pretraining then gives the model rows for the new ids (yanmo.models.growth), by the `spelling` of each in old ones.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from typing import Any, Self

import tokenizers
from pydantic import Field, PrivateAttr, model_validator
from tokenizers import models, trainers

from yanmo.core.errors import DataError
from yanmo.core.messages import text as message
from yanmo.text import bpe
from yanmo.text.bpe import A_BYTE, chosen_size
from yanmo.text.counts import Counts, count
from yanmo.text.pieces import byte_characters, state
from yanmo.text.special import extend
from yanmo.text.tokenizer import Tokenizer, TokenizerPart, readable

ALPHABET = 0.75  # of the new pieces at most, single characters
SPARE = 1.1  # merges that are learned for each new piece: two ways to the same one are two merges
FIRST = 0x10000  # the characters that stand for the base's pieces while the merges are learned
SYMBOL = "▁"  # SentencePiece's space

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


class ExtendedTokenizer(TokenizerPart):
    """A byte-pair tokenizer with more pieces behind its own, learned on the corpus. `base`: a folder or file, or an earlier
    stage with a tokenizer or a model; `add`: how many more pieces; or `size`: how many in all; or `pieces`: which. With none
    of them, as many as a fresh tokenizer would have for so much text. `min_frequency`, `memory_mb` as for BPE."""

    base: str
    add: int | None = Field(default=None, ge=1, le=1_000_000)
    size: int | None = Field(default=None, ge=1, le=4_000_000)
    pieces: tuple[str, ...] = ()
    min_frequency: int = Field(default=2, ge=1)
    memory_mb: int = Field(default=1000, ge=10)

    _base: Tokenizer | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum((self.add is not None, self.size is not None, bool(self.pieces))) > 1:
            raise ValueError(str(message("one of add, size and pieces")))
        if "" in self.pieces or len(set(self.pieces)) < len(self.pieces):
            raise ValueError(str(message("pieces of at least one character, each once")))
        return self

    def bind(self, base: Tokenizer) -> ExtendedTokenizer:
        """The same settings with the base opened."""
        bound = self.model_copy()
        bound._base = base
        return bound

    def opened(self) -> Tokenizer:
        return self._base if self._base is not None else Tokenizer.load(self.base)

    def open_size(self, text_bytes: int, minutes: float | None = None, letters: int = 0) -> int | None:
        if self.add is not None or self.size is not None or self.pieces:
            return None
        return self.opened().size + chosen_size(text_bytes, minutes, letters)

    def train(self, texts: Iterable[str], at_most: int | None = None) -> Tokenizer:
        base = self.opened()
        special = [name for name in self.special if name not in base.inner.get_vocab(with_added_tokens=True)]
        growth = Growth(base)
        notes = []
        if self.pieces:
            for piece in self.pieces:
                growth.take(piece)
        else:
            counts = count(readable(texts), growth.words, self.memory_mb * 1_000_000 // A_BYTE)
            notes = counts.notes()
            room = self._room(base.size + len(special), at_most or base.size + chosen_size(counts.read))
            growth.learn(counts.pieces, room, self.min_frequency)
            self._check(len(growth.pieces), room)
        inner = growth.assembled(growth.merges)
        roles = extend(inner, special, base.names)
        if inner.get_vocab_size() != base.size + len(growth.pieces) + len(special):
            raise DataError("base", message("ids without gaps"), message("{count} tokens, the last of which is {last}",
                            count=base.inner.get_vocab_size(), last=base.size - 1))  # fmt: skip
        return Tokenizer(inner, base.chat_template, roles, notes)

    def _room(self, least: int, size: int) -> int:
        """How many new pieces are wanted; `least`: what there is without any, `size`: where the settings leave it open."""
        if self.add is not None:
            return self.add
        if self.size is not None and self.size <= least:
            raise DataError("size", message("more than the base's {size} tokens", size=least), str(self.size),
                            message("'add: {count}' gives it so many more", count=self.size))  # fmt: skip
        return (self.size or size) - least

    def _check(self, made: int, wanted: int) -> None:
        asked = "add" if self.add is not None else "size"
        if made < wanted and (self.add is not None or self.size is not None):
            raise DataError(asked, message("at most {most} new pieces for this text", most=made), str(getattr(self, asked)),
                            message("ask for fewer, or give more text"))  # fmt: skip
        if not made:
            raise DataError("base", message("text that comes often enough for a new piece"), message("none"),
                            message("give more text, or name the new ones by 'pieces'"))  # fmt: skip


class Growth:
    """What comes to a base: `pieces` in the order of their ids, and `merges`. DataError for a base that has no merges."""

    def __init__(self, base: Tokenizer):
        self.base = base
        self.settings = json.loads(base.inner.to_str())
        model = self.settings["model"]
        if model.get("type", "BPE") != "BPE":
            raise DataError("base", message("a byte-pair tokenizer, whose merges can be added to"), str(model.get("type")),
                            message("train a tokenizer of its own, or keep the model's"))  # fmt: skip
        if model.get("continuing_subword_prefix"):
            raise DataError("base", message("a byte-pair tokenizer, whose merges can be added to"),
                            f"continuing_subword_prefix {model['continuing_subword_prefix']!r}")  # fmt: skip
        model["dropout"] = None
        added = {token.content: number for number, token in base.inner.get_added_tokens_decoder().items()}
        # An added token keeps its id only while the vocabulary itself has it: behind the vocabulary it would move.
        self.vocabulary: dict[str, int] = {**model["vocab"], **added}
        self.old = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        self.known = set(self.old)
        self.pieces: list[str] = []
        self.merges: list[tuple[str, str]] = []
        self._model: Any = None
        steps = [*state(base.inner.normalizer), *state(base.inner.pre_tokenizer)]
        self.bytes = any(step["type"] == "ByteLevel" for step in [*steps, *state(base.inner.decoder)])
        marked = any(step["type"] == "Metaspace" or SYMBOL in (step.get("content"), step.get("prepend")) for step in steps)
        self.space = SYMBOL if marked else " "
        self.fallback = bool(model.get("byte_fallback"))

    # ------------------------------------------------------------------------------------------------ text as the base cuts it

    def words(self, text: str) -> list[str]:
        """What merges do not go beyond: the base's own cuts; where it has none, those of our BPE."""
        inner = self.base.inner
        text = inner.normalizer.normalize_str(text) if inner.normalizer is not None else text
        if not self.bytes:
            text = text.replace(SYMBOL, " ") if self.space == SYMBOL else text
            return bpe.pieces(text)
        if inner.pre_tokenizer is None:
            return [text]
        return [text[start:end] for _, (start, end) in inner.pre_tokenizer.pre_tokenize_str(text)]

    def written(self, word: str) -> str:
        """A word in the vocabulary's characters."""
        if self.bytes:
            return "".join(map(BYTES.__getitem__, word.encode("utf-8", "replace")))
        return word.replace(" ", self.space)

    # ------------------------------------------------------------------------------------------------ learned and chosen

    def learn(self, words: Counter[str], room: int, least: int) -> None:
        """At most `room` more pieces, from words and how often each came."""
        if room <= 0:
            return
        if self.fallback:
            self._characters(words, int(ALPHABET * room), least)
        coded = Counts()
        numbers: dict[str, int] = {}  # the base's pieces that occur, numbered by their ids further down
        cut: Counter[tuple[str, ...]] = Counter()
        for word, times in words.items():
            for part in self._divided(word):
                cut[part] += times
        for name in sorted({name for part in cut for name in part}, key=self.vocabulary.__getitem__):
            numbers[name] = len(numbers)
        names = list(numbers)
        for part, times in cut.items():
            coded.pieces["".join(chr(FIRST + numbers[name]) for name in part)] += times
        left = room - len(self.pieces)
        if not coded.pieces or left <= 0:
            return
        trained = tokenizers.Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(vocab_size=len(names) + int(SPARE * left) + 16, min_frequency=least, show_progress=False)
        trained.train_from_iterator(coded.batches(), trainer)
        for pair in json.loads(trained.to_str())["model"]["merges"]:
            first, second = ("".join(names[ord(symbol) - FIRST] for symbol in side)
                             for side in (pair.split(" ", 1) if isinstance(pair, str) else pair))  # fmt: skip
            if len(self.pieces) >= room:
                break
            self._merge(first, second)

    def take(self, piece: str) -> None:
        """One that a person names: from left to right, by pieces that are new as well where they must be."""
        written = self.written(piece)
        if written in self.vocabulary:
            raise DataError("pieces", message("pieces that the base does not have"), repr(piece))
        words = self.words(piece)
        if not self.bytes and words[:1] == [" "] and not piece.startswith(" "):
            words = words[1:]  # the space that the normaliser puts before a text
        if len(words) != 1 or written != self.written(words[0]):
            raise DataError("pieces", message("pieces that the base does not divide before it merges"), repr(piece),
                            message("it divides it into {words}", words=" | ".join(map(repr, words))))  # fmt: skip
        if self.fallback:
            for character in dict.fromkeys(written):
                if character not in self.vocabulary:
                    self._new(character)
        names = [token.value for token in self.model.tokenize(written)]
        for pair in self.merges:  # in the order of their ranks, as they will be applied
            names = _merged(names, pair)
        while len(names) > 1 and self._merge(names[0], names[1]):
            names = _merged(names, (names[0], names[1]))
        if names != [written]:
            raise DataError("pieces", message("a piece that new merges can make"), repr(piece))

    @property
    def model(self) -> Any:
        """The base's model, with the new single characters and without new merges."""
        if self._model is None:
            self._model = self.assembled([]).model
        return self._model

    def assembled(self, merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
        settings = deepcopy({key: value for key, value in self.settings.items() if key != "model"})
        settings["model"] = {**self.settings["model"], "vocab": self.vocabulary,
                             "merges": [list(pair) for pair in (*self.old, *merges)]}  # fmt: skip
        made = tokenizers.Tokenizer.from_str(json.dumps(settings, ensure_ascii=False))
        for name, token in self.base.inner.get_vocab(with_added_tokens=True).items():
            assert made.token_to_id(name) == token, f"{name!r} was {token}"
        return made

    def _characters(self, words: Counter[str], most: int, least: int) -> None:
        """Characters that the base would spell by their bytes, the most frequent first."""
        seen: Counter[str] = Counter()
        for word, times in words.items():
            for character in self.written(word):
                if character not in self.vocabulary:
                    seen[character] += times
        ranked = sorted((c for c, times in seen.items() if times >= least), key=lambda c: (-seen[c], c))
        for character in ranked[:most]:
            self._new(character)

    def _divided(self, word: str) -> Iterator[tuple[str, ...]]:
        """The base's pieces of a word, cut where one is only a byte's name or the unknown; a single one cannot be merged."""
        part: list[str] = []
        for token in self.model.tokenize(self.written(word)):
            if (self.fallback and _BYTE.fullmatch(token.value)) or token.id == self.base.unk_id:
                if len(part) > 1:
                    yield tuple(part)
                part = []
            else:
                part.append(token.value)
        if len(part) > 1:
            yield tuple(part)

    def _merge(self, first: str, second: str) -> bool:
        """One more merge, unless it would make a piece that the base has and makes of others: a text without new pieces would
        then be divided otherwise than before."""
        pair, piece = (first, second), first + second
        known = first in self.vocabulary and second in self.vocabulary
        if not known or pair in self.known or (piece in self.vocabulary and self.vocabulary[piece] < self.base.size):
            return False
        self.known.add(pair)
        self.merges.append(pair)
        if piece not in self.vocabulary:
            self._new(piece)
        return True

    def _new(self, piece: str) -> None:
        if len(piece) == 1:
            self._model = None  # which then knows the character
        self.vocabulary[piece] = self.base.size + len(self.pieces)
        self.pieces.append(piece)


BYTES = byte_characters()


def _merged(names: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """`names` with the pair put together wherever it stands, from the left."""
    made: list[str] = []
    index = 0
    while index < len(names):
        two = tuple(names[index : index + 2]) == pair
        made.append("".join(pair) if two else names[index])
        index += 2 if two else 1
    return made


def extends(other: Tokenizer, base: Tokenizer) -> bool:
    """Whether every token of `base` has the same id in `other`."""
    theirs = other.inner.get_vocab(with_added_tokens=True)
    return all(theirs.get(name) == token for name, token in base.inner.get_vocab(with_added_tokens=True).items())


def spelling(base: Tokenizer, extended: Tokenizer) -> list[list[int]]:
    """For each id of `extended` from `base.size` on, the ids by which `base` says the same; empty for an id that nobody has."""
    names = {token: name for name, token in extended.inner.get_vocab(with_added_tokens=True).items()}
    added = {token.content for token in extended.inner.get_added_tokens_decoder().values()}
    made: list[list[int]] = []
    for token in range(base.size, extended.size):
        name = names.get(token)
        if name is None or name in added:
            made.append(base.encode(name) if name else [])
        else:
            made.append([each.id for each in base.inner.model.tokenize(name)])
    return made

"""More pieces for a tokenizer that is there: what was keeps its ids, new text becomes shorter, `transformers` agrees."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.test_tokenizers import TEXTS
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.extend import extends, spelling
from yanmo.text.sentencepiece import BPE, BYTE, CONTROL, NORMAL, Pieces, assemble
from yanmo.text.sentencepiece import UNKNOWN as UNK
from yanmo.text.tokenizer import Tokenizer

ENGLISH = "Call me Ishmael. Some years ago - never mind how long precisely - having little or no money in my purse. It's 1851.\n"
CHINESE = "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。及秦灭之后，楚、汉分争，又并入于汉。\n"
DOMAIN = [CHINESE * 6, "天下大势 in 三国演义, 分久必合。\n" * 4, "曹操引兵 20 万渡长江 🐉。\n" * 4]


def english() -> Tokenizer:
    """Trained on English alone: Chinese is bytes to it."""
    return BpeTokenizer(size=320).train([ENGLISH * 4])


def llama() -> Tokenizer:
    """As SentencePiece's BPE with byte fallback is read: ▁ for a space, no cut before the merges."""
    words = ["▁", "C", "a", "l", "m", "e", "I", "s", "h", ".", "▁m", "▁I", "al", "▁me", "▁Ishm", "▁Is", "▁Ish", "hm", "ael", "▁S", "o", "S"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(words))]
    types = [UNK, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(words)]
    pieces = Pieces(names, scores, types, byte_fallback=True, prefix=True, tidy=False)
    pieces.kind = BPE
    inner = assemble(pieces, "llama")
    return Tokenizer(inner, None, {"bos": "<s>", "eos": "</s>", "pad": "<unk>", "unk": "<unk>"})


BASES = {"bpe": english, "characters": lambda: CharacterTokenizer(min_count=1).train([ENGLISH]), "llama": llama}


def extended(base: Tokenizer, texts=DOMAIN, **fields) -> Tokenizer:
    return create("tokenizer", {"type": "extended", "base": "here", **fields}).bind(base).train(texts)


@pytest.fixture(scope="module", params=BASES)
def pair(request):
    base = BASES[request.param]()
    return base, extended(base, add=40)


def test_old_ids_stay_and_the_new_ones_follow(pair):
    base, made = pair
    assert made.size == base.size + 40
    assert extends(made, base)
    assert not extends(base, made)
    assert made.special == base.special
    assert (made.names, made.chat_template) == (base.names, base.chat_template)


def test_chinese_becomes_shorter_and_english_stays_as_it_was(pair):
    base, made = pair
    assert len(made.encode(CHINESE)) < 0.6 * len(base.encode(CHINESE))
    assert made.encode(ENGLISH[:50]) == base.encode(ENGLISH[:50])  # behind it are digits and a line's end, bytes to one of them


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_every_text_comes_back_and_only_new_pieces_differ(pair, text):
    base, made = pair
    ids = made.encode(text)
    assert made.decode(ids) == base.decode(base.encode(text))
    if all(token < base.size for token in ids):
        assert ids == base.encode(text)
    assert [old for token in ids for old in ([token] if token < base.size else spelling(base, made)[token - base.size])] == base.encode(text)


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("天下大势，分久必合 Callme.\né🐉<|>im_end" + "\u0301"), max_size=40))
def test_new_pieces_are_old_ones_put_together(text):
    base, made = GROWN
    ids = made.encode(text)
    old = [part for token in ids for part in ([token] if token < base.size else SPELLED[token - base.size])]
    assert old == base.encode(text)
    assert made.decode(ids) == text
    assert not set(ids) & set(made.special.values())


GROWN = (english(), extended(english(), add=60))
SPELLED = spelling(*GROWN)


def test_a_spelling_is_what_the_base_says(pair):
    base, made = pair
    found = spelling(base, made)
    assert len(found) == 40
    for token, ids in enumerate(found, base.size):
        assert ids
        assert max(ids) < base.size
        assert b"".join(base.piece(old) for old in ids) == made.piece(token)


def test_the_same_text_gives_the_same_bytes(pair, tmp_path):
    base, made = pair
    extended(base, add=40).save(tmp_path / "a")
    made.save(tmp_path / "b")
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()
    again = Tokenizer.load(tmp_path / "a")
    assert [again.encode(text) for text in TEXTS.values()] == [made.encode(text) for text in TEXTS.values()]


def test_transformers_gives_the_same_ids(pair, tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is a development dependency")
    _, made = pair
    made.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == made.size
    for text in (ENGLISH, CHINESE, "天下大势 and 曹操 🐉 e\u0301"):
        assert theirs.encode(text, add_special_tokens=False) == made.encode(text)


def test_added_tokens_behind_the_vocabulary_keep_their_ids(tmp_path):
    """As Qwen's are: they are not in the model's own vocabulary, whose length would give them other ids."""
    source = json.loads(english().inner.to_str())
    size = len(source["model"]["vocab"])
    source["added_tokens"].append({"id": size, "content": "<|last|>", "single_word": False, "lstrip": False, "rstrip": False,
                                   "normalized": False, "special": True})  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(source), encoding="utf-8")
    base = Tokenizer.load(tmp_path)
    assert base.special["<|last|>"] == size
    made = extended(base, add=10, special=["<mask>", "<|last|>"])
    assert made.special["<|last|>"] == size
    assert made.special["<mask>"] == made.mask_id == size + 11
    made.save(tmp_path / "made")
    assert Tokenizer.load(tmp_path / "made").special == made.special
    assert made.decode(made.encode("天下<|last|>")) == "天下<|last|>"
    assert made.special["<|last|>"] not in made.encode("天下<|last|>")


def test_a_piece_that_the_base_cannot_reach_is_not_made_by_the_way():
    """A merge that gave an old id would divide texts otherwise that have no new piece."""
    source = json.loads(english().inner.to_str())
    piece = "ä½ł"  # the bytes of 你, in the vocabulary, and no merge leads there
    source["model"]["vocab"][piece] = len(source["model"]["vocab"])
    import tokenizers

    base = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(source)))
    made = extended(base, ["你好，你好吗？" * 20], add=5)
    assert base.inner.token_to_id(piece) not in made.encode("你")
    assert made.encode("你") == base.encode("你") or max(made.encode("你")) >= base.size


def test_pieces_that_are_named():
    base = english()
    made = extended(base, pieces=["天下", " xyzzy", "分久必合"])
    assert len(made.encode("天下")) == len(made.encode("分久必合")) == len(made.encode(" xyzzy")) == 1
    assert made.encode(ENGLISH) == base.encode(ENGLISH)
    assert extends(made, base)
    assert len(extended(llama(), pieces=["天下"]).encode("天下")) == 2  # the space before a text, and the piece


def test_with_nothing_given_there_are_as_many_as_the_text_supports(tmp_path):
    base = english()
    part = create("tokenizer", {"type": "extended", "base": "here"}).bind(base)
    assert part.open_size(1_000_000) == base.size + 2048
    made = part.train(DOMAIN, at_most=part.open_size(1_000_000))
    assert base.size < made.size < base.size + 2048
    base.save(tmp_path)
    alone = create("tokenizer", {"type": "extended", "base": str(tmp_path), "size": base.size + 7}).train(DOMAIN)
    assert alone.size == base.size + 7


@pytest.mark.parametrize(
    ("fields", "texts", "message"),
    [
        ({"size": 300}, DOMAIN, r"size: expected more than the base's 320 tokens, got 300 - 'add: 300' gives it so many more"),
        ({"add": 5000}, DOMAIN, r"add: expected at most \d+ new pieces for this text, got 5000 - ask for fewer, or give more text"),
        ({"add": 5}, ["天下"], r"add: expected at most 0 new pieces for this text, got 5"),
        ({}, ["天下"], r"base: expected text that comes often enough for a new piece, got none"),
        ({"pieces": ["two words"]}, DOMAIN, r"pieces: expected pieces that the base does not divide before it merges, got 'two words'"),
        ({"pieces": ["e"]}, DOMAIN, r"pieces: expected pieces that the base does not have, got 'e'"),
    ],
)
def test_what_cannot_be_is_said(fields, texts, message):
    with pytest.raises(DataError, match=message):
        extended(english(), texts, **fields)


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_only_merges_can_be_added_to(kind):
    base = create("tokenizer", kind).train([ENGLISH * 8 + CHINESE * 8])
    with pytest.raises(DataError, match="expected a byte-pair tokenizer, whose merges can be added to"):
        extended(base, add=5)


def test_one_way_to_say_how_many():
    with pytest.raises(RecipeError, match="expected one of add, size and pieces"):
        extended(english(), add=5, size=400)
    with pytest.raises(RecipeError, match="base: expected a value"):
        create("tokenizer", {"type": "extended", "add": 5})

"""Tokenizers as GGUF's metadata and back: the same ids, roles, template; what llama.cpp has no name for comes along whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models, trainers

from yanmo.core.errors import DataError
from yanmo.models.gguf.reader import Gguf
from yanmo.models.gguf.vocabulary import NEAREST, PROBES, WHOLE, metadata, read
from yanmo.models.gguf.writer import write
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.patterns import cutting
from yanmo.text.special import OURS, special_tokens
from yanmo.text.tokenizer import Tokenizer
from yanmo.text.unigram import UnigramTokenizer
from yanmo.text.wordpiece import WordPieceTokenizer

PROSE = ["Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse",
         "话说天下大势，分久必合，合久必分。周末七国分争，并入于秦；及秦灭之后，楚汉分争，又并入于汉。", *PROBES] * 3  # fmt: skip
KINDS = ("bpe", "cl100k", "qwen2", "characters", "wordpiece", "unigram")


def cut_as(way):
    """A byte-level BPE that cuts text as a published one does."""
    inner = Inner(models.BPE())
    inner.pre_tokenizer = cutting(way)
    inner.decoder = decoders.ByteLevel()
    from tokenizers.pre_tokenizers import ByteLevel

    inner.train_from_iterator(PROSE, trainers.BpeTrainer(vocab_size=320, special_tokens=special_tokens(), initial_alphabet=ByteLevel.alphabet(), show_progress=False))
    return Tokenizer(inner, "{{ messages }}", dict(OURS))


@pytest.fixture(scope="module")
def tokenizers():
    return {
        "bpe": BpeTokenizer(size=320).train(PROSE),
        "cl100k": cut_as("cl100k"),
        "qwen2": cut_as("qwen2"),
        "characters": CharacterTokenizer(min_count=1).train(PROSE),
        "wordpiece": WordPieceTokenizer().train(PROSE, at_most=700),
        "unigram": UnigramTokenizer().train(PROSE, at_most=700),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [0, 37])
def test_a_tokenizer_comes_back_from_a_file(tokenizers, tmp_path, kind, more):
    tokenizer = tokenizers[kind]
    keys, _ = metadata(tokenizer, tokenizer.size + more)
    write(tmp_path / "m.gguf", keys, [])
    found = Gguf(tmp_path / "m.gguf").metadata
    assert len(found["tokenizer.ggml.tokens"]) == len(found["tokenizer.ggml.token_type"]) == tokenizer.size + more
    assert len(set(found["tokenizer.ggml.tokens"])) == tokenizer.size + more
    again = read(found, "m.gguf")
    for text in (*PROSE, "", " ", "unseen: Ωmega 龘"):
        assert again.encode(text) == tokenizer.encode(text), text
        assert again.decode(again.encode(text)) == tokenizer.decode(tokenizer.encode(text))
    assert again.special == tokenizer.special
    assert (again.names, again.chat_template) == (tokenizer.names, tokenizer.chat_template)
    assert again.add_special([9, 8], [7]) == tokenizer.add_special([9, 8], [7])


@pytest.mark.parametrize("kind", ["bpe", "cl100k"])
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_gives_the_same_ids(tokenizers, kind, text):
    tokenizer = tokenizers[kind]
    again = read(metadata(tokenizer, tokenizer.size)[0], "")
    assert again.encode(text) == tokenizer.encode(text)


def test_what_llama_cpp_knows_needs_no_more_and_what_it_does_not_is_said(tokenizers):
    keys, notes = metadata(tokenizers["qwen2"], tokenizers["qwen2"].size)
    assert (keys["tokenizer.ggml.pre"], WHOLE in keys, notes) == ("qwen2", False, [])
    keys, notes = metadata(tokenizers["bpe"], tokenizers["bpe"].size)
    assert (keys["tokenizer.ggml.pre"], WHOLE in keys) == (NEAREST, True)
    assert "llama.cpp has no name for how this tokenizer cuts text" in str(notes[0])


def test_the_keys_alone_read_as_the_gguf_package_writes_them(tokenizers, tmp_path):
    gguf = pytest.importorskip("gguf")
    keys, _ = metadata(tokenizers["qwen2"], tokenizers["qwen2"].size)
    write(tmp_path / "m.gguf", keys, [])
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    types = {name: [kind.name for kind in field.types] for name, field in fields.items()}
    assert types["tokenizer.ggml.tokens"] == types["tokenizer.ggml.merges"] == ["ARRAY", "STRING"]
    assert types["tokenizer.ggml.token_type"] == ["ARRAY", "INT32"]
    assert types["tokenizer.ggml.eos_token_id"] == ["UINT32"]
    assert types["tokenizer.ggml.add_bos_token"] == ["BOOL"]


def test_no_tokenizer_is_none(tokenizers):
    assert read({}, "m.gguf") is None


def test_a_tokenizer_larger_than_the_model_is_refused(tokenizers):
    with pytest.raises(DataError, match="a tokenizer of at most 300 tokens"):
        metadata(tokenizers["bpe"], 300)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({WHOLE: 7}, "expected a tokenizer, got int"),
        ({WHOLE: "{"}, "m.gguf: tokenizer.huggingface.json"),
        ({WHOLE: "[" * 100_000}, "m.gguf: tokenizer.huggingface.json"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, "tokenizer.ggml.eos_token_id: expected one from 0 to"),
        ({"tokenizer.ggml.eos_token_id": "x"}, "tokenizer.ggml.eos_token_id: expected one from 0 to"),
    ],
)
def test_broken_ones_are_refused(tokenizers, change, said):
    keys, _ = metadata(tokenizers["bpe"], tokenizers["bpe"].size)
    with pytest.raises(DataError) as error:
        read(keys | change, "m.gguf")
    assert said in str(error.value)

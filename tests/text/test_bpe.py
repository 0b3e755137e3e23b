"""Byte-level BPE: where text is cut, that threads change nothing, and the sizes chosen for it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.registry import create
from yanmo.text.bpe import BpeTokenizer, chosen_size
from yanmo.text.tokenizer import byte_characters

SAMPLES = Path(__file__).parents[2] / "yanmo" / "samples"
WORDS = "the whale and the sea and the ship 研墨 天下大势 分久必合 话说天下 don't we'll 1234567 ...!! \n\n"


@pytest.fixture(scope="module")
def trained():
    return BpeTokenizer(min_frequency=1).train([WORDS * 4])


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Call me Ishmael", ["Call", " me", " Ishmael"]),
        ("it's 'tis we’ll", ["it", "'s", " '", "tis", " we", "’ll"]),
        ("1234567 年", ["123", "456", "7", " ", "年"]),
        ("用Python写代码，很好。", ["用", "Python", "写代码", "，", "很好", "。"]),
        ("話" * 20, ["話" * 16, "話" * 4]),
        ("a" * 40, ["a" * 32, "a" * 8]),
        ("cafe\u0301s", ["cafe\u0301s"]),
        ("a  b\n\n  c", ["a", " ", " b", "\n\n", " ", " c"]),
        ("(研墨) [x]", ["(", "研墨", ")", " [", "x", "]"]),
        ("-" * 20, ["-" * 16, "-" * 4]),
        ("❤️‍🔥!", ["❤️‍🔥!"]),
    ],
)
def test_where_text_is_cut(trained, text, pieces):
    cut = trained.inner.pre_tokenizer.pre_tokenize_str(text)
    assert [text[start:end] for _, (start, end) in cut] == pieces


def test_frequent_words_of_both_languages_become_one_token(trained):
    assert [trained.token(token) for token in trained.encode("the ship 天下大势")] == ["the", " ship", " ", "天下大势"]


SCRIPT = """
import hashlib, json, sys
from yanmo.text.bpe import BpeTokenizer
texts = [json.loads(line)["text"] for path in sys.argv[1:] for line in list(open(path, encoding="utf-8"))[:8]]
print(hashlib.sha256(BpeTokenizer(size=2000).train(texts).inner.to_str().encode()).hexdigest())
"""


def test_the_number_of_threads_and_the_hash_seed_change_nothing():
    paths = [str(SAMPLES / name / "chapters.jsonl") for name in ("moby_dick", "sanguo")]
    found = []
    for threads, parallel, seed in (("1", "true", "0"), ("2", "true", "1"), ("5", "true", "2"), ("1", "false", "3")):
        changed = {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", SCRIPT, *paths], env={**os.environ, **changed}, text=True,
                              capture_output=True, check=True, cwd=Path(__file__).parents[2])  # fmt: skip
        found.append(done.stdout.strip())
    assert len(found[0]) == len(hashlib.sha256().hexdigest())
    assert set(found) == {found[0]}


def test_the_order_of_texts_changes_nothing():
    texts = [WORDS, "乾坤 one two", "three 四五六"] * 3
    assert (
        BpeTokenizer(min_frequency=1).train(texts).inner.to_str()
        == BpeTokenizer(min_frequency=1).train(texts[::-1]).inner.to_str()
    )


def test_rare_pairs_are_not_merged():
    rare = "zyx " + WORDS * 4
    assert len(BpeTokenizer(min_frequency=1).train([rare]).encode("zyx")) < 3
    assert len(BpeTokenizer(min_frequency=2).train([rare]).encode("zyx")) == 3


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ids=st.lists(st.integers(0, 400), max_size=30))
def test_any_ids_decode_as_the_encoders_own_decoder_does(trained, ids):
    """Rust's lossy UTF-8 is an independent judge; only where the last character is unfinished it ends in U+FFFD, we do not."""
    ids = [token % trained.size for token in ids]
    ours, theirs = trained.decode(ids), trained.inner.decode(ids, skip_special_tokens=True)
    assert theirs in (ours, ours + "\ufffd")
    if theirs != ours:
        stream = trained.stream()
        stream.take(ids)
        assert stream._utf8.getstate()[0]


def test_the_characters_that_stand_for_bytes_are_the_encoders_own():
    from tokenizers import pre_tokenizers

    characters = byte_characters()
    assert sorted(characters) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert [characters[byte] for byte in b" A\n\xff"] == ["Ġ", "A", "Ċ", "ÿ"]


@pytest.mark.parametrize(
    ("size", "minutes", "expected"),
    [(0, None, 512), (100_000, None, 512), (1_000_000, None, 2048), (10_000_000, None, 4096), (100_000_000, None, 16384),
     (10**13, None, 32768), (10_000_000, 1, 2048), (10_000_000, 0.05, 2048), (10_000_000, 4, 4096), (10**12, 16, 8192),
     (100_000, 60, 512)],
)  # fmt: skip
def test_the_size_chosen_for_a_text_and_a_budget(size, minutes, expected):
    assert chosen_size(size, minutes) == expected
    assert BpeTokenizer().open_size(size, minutes) == expected
    assert BpeTokenizer(size=300).open_size(size, minutes) is None


def test_an_open_size_takes_what_the_text_supports():
    made = BpeTokenizer().train([WORDS * 4])
    assert 260 < made.size < 512
    assert BpeTokenizer().train(iter([WORDS * 4]), at_most=512).inner.to_str() == made.inner.to_str()
    assert BpeTokenizer().train([WORDS * 4], at_most=270).size == 270


# The bytes of tokenizers that were saved before special tokens could be added and pieces were counted in bounded memory.
SAVED = {
    ("bpe", 2000): "c02274439c7d5a814a46016fe0cca5d1d85ebcb99ab28f2ed1ffed2f5735011d",
    ("characters", 1500): "4dff4dacd811cde6cb36f478ae5b0d97781d09da8543009bda92c13eb9dd951b",
}
SETTINGS = "6b383533b1cfb2a9ca63cc347415453385f673c9d6e173ba05d815328e8df98c"


@pytest.mark.parametrize(("kind", "size"), SAVED)
def test_saved_bytes_are_what_they_were(tmp_path, kind, size):
    paths = [SAMPLES / name / "chapters.jsonl" for name in ("moby_dick", "sanguo")]
    texts = [json.loads(line)["text"] for path in paths for line in path.read_text(encoding="utf-8").splitlines()[:8]]
    made = create("tokenizer", {"type": kind, "size": size}).train(texts)
    made.save(tmp_path)
    assert hashlib.sha256((tmp_path / "tokenizer.json").read_bytes()).hexdigest() == SAVED[kind, size]
    assert hashlib.sha256((tmp_path / "tokenizer_config.json").read_bytes()).hexdigest() == SETTINGS
    more = create("tokenizer", {"type": kind, "size": size + 3, "special": ["<mask>", "<extra_id_0>", "<extra_id_1>"]}).train(texts)
    assert [more.special[name] for name in ("<mask>", "<extra_id_0>", "<extra_id_1>")] == [size, size + 1, size + 2]
    assert more.mask_id == size
    assert more.encode(texts[0]) == made.encode(texts[0])

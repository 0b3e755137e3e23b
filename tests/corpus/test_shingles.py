"""Tokens and shingles: what a token is, that what is quick gives what is plain, and that the place of a word is not in its hash."""

from __future__ import annotations

import random
import unicodedata
from functools import cache
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.corpus.corpora import ODD, chinese, english, texts
from yanmo.corpus.words import shingles as module
from yanmo.corpus.words.shingles import (
    ALONE,
    CHARACTER,
    CODE,
    DEPENDS,
    SEVERAL,
    SLICE,
    classes,
    factors,
    folded,
    mixed,
    plain,
    powers,
    runs,
    shingles,
    tokens,
    tokens_of,
)

BITS = (1 << 64) - 1
AWKWARD = "aZ é\u0301\u0308Å ΣςσΑ İıiẞß ﬁﷺ™½²①… ㎏㈱ ｆＡ１，。研墨字 ありパﾊﾟ 한ᄒ\u1161\u11ab กำ่ हिक्\u0958 \ufe0f\u200d👩🏳 \u00ad\n\t-_' 𠮷丽\u2f800 ϴϹ𝚺Ǆ \ud800"
TEXTS = st.text(st.one_of(st.sampled_from(AWKWARD), st.characters()), max_size=60)


def words(text: str) -> list[str]:
    """The tokens of a text, character by character, as the module's first lines say."""
    found: list[str] = []
    joined = False
    for character in unicodedata.normalize("NFKC", text).lower():
        kind = classes()[ord(character)]
        if kind and joined and kind != CHARACTER:
            found[-1] += character
        elif kind:
            found.append(character)
        joined = bool(kind) and kind != CHARACTER
    return found


@cache
def hashed(word: str) -> int:
    """A token's hash by its definition, in Python's numbers."""
    base = int(factors(1, 21)[0])
    codes = [ord(c) | (ALONE if classes()[ord(c)] == CHARACTER else 0) for c in word]
    return finished(sum(code * pow(base, i, 1 << 64) for i, code in enumerate(codes)) & BITS)


def finished(value: int) -> int:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0):
        value ^= value >> 33
        value = value * factor & BITS if factor else value
    return value


def shingled(text: str, length: int) -> list[int]:
    base, held = int(factors(1, 21)[0]), [hashed(word) for word in words(text)]
    return [
        finished(sum(value * pow(base, i, 1 << 64) for i, value in enumerate(held[at : at + length])) & BITS)
        for at in range(len(held) - length + 1)
    ]


# ---------------------------------------------------------------------------------------------- against the definition


@given(TEXTS)
@example(AWKWARD)
@example("ΑΣ ΣΑΣ. Σ")
@example("ᄒ\u1161\u11ab 한\u11ab")
@example("\u0344 a\u0340\u0f73 ´´ \u1fc1")
@example("ｶﾞ ｶ゛ﾊﾟ")
def test_tokens_are_those_of_the_definition(text):
    assert tokens(text).tolist() == list(map(hashed, words(text)))


@pytest.mark.parametrize("text", [*ODD, *texts(12)])
@pytest.mark.parametrize("length", [1, 2, 5, 13])
def test_shingles_are_those_of_the_definition(text, length):
    assert shingles([text], length)[0].tolist() == shingled(text, length)


@given(st.lists(TEXTS, max_size=8), st.integers(1, 6))
def test_texts_that_are_looked_at_together_do_not_touch_each_other(bodies, length):
    hashes, borders = tokens_of(bodies)
    assert len(borders) == len(bodies) + 1
    assert [hashes[a:b].tolist() for a, b in pairwise(borders)] == [tokens(body).tolist() for body in bodies]
    assert [found.tolist() for found in shingles(bodies, length)] == [shingles([body], length)[0].tolist() for body in bodies]


@given(st.lists(TEXTS, max_size=5), st.integers(8, 40))
def test_slices_do_not_show(bodies, size):
    """But for words longer than a slice, of which the text has none here."""
    bodies = [" ".join(body[i : i + 7] for i in range(0, len(body), 7)) for body in bodies]
    bodies = [" ".join(word[:7] for word in unicodedata.normalize("NFKC", body).split()) for body in bodies]
    bodies = [body for body in bodies if all(len(word) < size for word in words(body))]
    whole = [tokens(body).tolist() for body in bodies]
    several = [found.tolist() for found in shingles(bodies, 3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLICE", size)
        assert [tokens(body).tolist() for body in bodies] == whole
        assert [found.tolist() for found in shingles(bodies, 3)] == several


def test_long_texts_in_slices_of_the_real_size():
    rng = random.Random(1)
    for text in (english(rng, SLICE // 2), chinese(rng, 2 * SLICE), "é " * SLICE, "a" + " " * 3 * SLICE + "b", "研" * (SLICE + 1)):
        assert len(text) > SLICE
        assert tokens(text).tolist() == [hashed(word) for word in words(text)]
        assert shingles([text, text[:100]], 5)[0].size == max(len(words(text)) - 4, 0)


def test_a_word_longer_than_a_slice_is_several_wherever_it_stands():
    long = "x" * (2 * SLICE + 5)
    found = tokens(long)
    assert found.size == 3
    assert found[0] == found[1] == tokens("x" * SLICE)[0]
    assert found[2] == tokens("xxxxx")[0]
    for text in ("one two " + long, long + " y", "，" * SLICE + long, "ab " * SLICE + long + " " + "研" * SLICE):
        inner = tokens(text).tolist()
        assert any(inner[at : at + 3] == found.tolist() for at in range(len(inner)))


def test_expansions_beyond_a_slice():
    text = "ﷺ" * 5000  # four Arabic words each
    assert tokens(text).tolist() == [hashed(word) for word in words(text)]


# ---------------------------------------------------------------------------------------------- the table


def every() -> list[str]:
    return [chr(point) for point in (*range(0x20000), *range(0x2F800, 0x2FA20), *range(0x20000, 0x40000, 97), *range(0xE0000, 0xE0200))]


def test_the_table_says_what_normalising_each_character_alone_gives():
    codes = folded()
    for character in every():
        code, written = int(codes[ord(character)]), unicodedata.normalize("NFKC", character).lower()
        kinds = [int(classes()[ord(c)]) for c in written]
        if code >= DEPENDS:
            continue
        if not any(kinds):
            assert code == 0, hex(ord(character))
        elif code < SEVERAL:
            assert len(written) == 1
            assert code == ord(written) + (ALONE if kinds[0] == CHARACTER else 0)
        else:
            assert len(written) > 1
            assert all(codes[ord(c)] < SEVERAL for c in written)


def test_whatever_joins_what_stands_before_it_depends_on_its_neighbours():
    """All that can be the second half of a composition (Unicode's NFC_Quick_Check=Maybe), and all that may change places."""
    codes = folded()
    for character in map(chr, range(0x110000)):
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            assert codes[int(parts[1], 16)] >= DEPENDS, hex(ord(character))
        if unicodedata.combining(character):
            assert codes[ord(character)] >= DEPENDS, hex(ord(character))
    assert all(codes[ord(c)] >= DEPENDS for c in "ΣϹ𝚺\u1161\u11a8")


def test_folding_twice_changes_nothing_more():
    codes = folded()
    for character in every():
        for c in unicodedata.normalize("NFKC", character).lower():
            again = int(codes[ord(c)])
            if again < SEVERAL:
                assert again & (ALONE - 1) in (0, ord(c)), hex(ord(character))


def test_only_what_needs_it_is_normalised():
    for same in ("plain ASCII, 100%", "——“研墨”，ＡＢＣ", "naïve café 👩 한국어", ""):
        assert plain(same) is same
    assert plain("ﬁne™ ½") == "finetm 1⁄2"
    assert plain("ﬁne™ ＡＢ") == "finetm ＡＢ", "the table does that"
    assert plain("e\u0301 ＡＢ") == "é ab"
    assert plain("ΟΔΟΣ ΣΑ") == "οδος σα"


# ---------------------------------------------------------------------------------------------- what a token is


@pytest.mark.parametrize(("text", "count"), [
    ("the quick brown fox", 4), ("don't stop-me_now", 5), ("研墨写字", 4), ("Yanmo研墨 v2", 4), ("ありがとう", 5), ("สวัสดี", 6), ("हिन्दी भाषा", 2),
    ("한국어 문장", 2), ("", 0), ("，。！", 0), ("👩‍👩‍👧‍👦", 0), ("a  b\n\nc", 3), ("naïve café", 2), ("𠮷野家", 3), ("™", 1), ("①②", 1), ("\ud800x", 1),
])  # fmt: skip
def test_a_token_is_a_word_or_an_unspaced_character(text, count):
    assert tokens(text).size == count == len(words(text))


@pytest.mark.parametrize(("a", "b"), [
    ("The Quick, brown FOX", "the quick brown fox!"), ("研墨，写字。", "研墨写字"), ("ＡＢＣ １２", "abc 12"), ("cafe\u0301", "café"), ("a" * 100, "A" * 100),
    ("ﬁne", "FINE"), ("e\u0301 研，ＡＢ", "É 研 ab"), ("ΟΔΟΣ", "οδος"), ("ᄒ\u1161\u11ab", "한"),
])  # fmt: skip
def test_case_width_and_punctuation_do_not_count(a, b):
    assert tokens(a).tolist() == tokens(b).tolist()


def test_different_words_have_different_hashes():
    rng = random.Random(0)
    found = {"".join(rng.choices("abcdefghij", k=rng.randint(1, 9))) for _ in range(20_000)}
    found |= {"ab", "ba", "aab", "aba", *("a" * n for n in range(1, 300)), "研"}
    assert len({tokens(word)[0].item() for word in found}) == len(found)
    assert tokens("一二 二一").tolist()[:2] == tokens("二一 一二").tolist()[2:]
    assert shingles(["a b c d"], 5)[0].size == 0
    assert shingles(["a b c d e"], 5)[0].size == 1
    assert shingles(["a b c d e"], 5)[0] != shingles(["b a c d e"], 5)[0]
    assert shingles([], 5) == []


def test_runs_do_not_depend_on_where_they_stand_nor_on_slices(monkeypatch):
    values = np.random.default_rng(0).integers(0, 2**64, 1000, np.uint64)
    whole = runs(values, 7)
    assert whole.size == 994
    assert (runs(values[500:], 7) == whole[500:]).all()
    for size in (8, 33, 999):
        monkeypatch.setattr(module, "SLICE", size)
        assert (runs(values, 7) == whole).all()
    assert runs(values[:6], 7).size == 0


def test_powers_and_their_inverses():
    one, other = powers(3000)
    assert one.size == other.size == 3000
    assert (one * other == 1).all()
    assert (one[1:] == one[:-1] * one[1]).all()


def test_mixing_is_a_bijection_that_spreads_single_bits():
    values = np.arange(1 << 16, dtype=np.uint64)
    assert np.unique(mixed(values)).size == values.size
    assert mixed(values[:9]).tolist() == [finished(value) for value in range(9)]
    flipped = mixed(values) ^ mixed(values ^ np.uint64(1))
    assert 31 < np.bitwise_count(flipped).mean() < 33


def test_borders_are_counts_of_tokens():
    bodies = ["one two", "", "研墨 three", "…"]
    hashes, borders = tokens_of(bodies)
    assert borders == [0, *accumulate(len(words(body)) for body in bodies)]
    assert hashes.size == borders[-1]
    assert (folded()[[ord("A"), ord("研")]] & CODE).tolist() == [ord("a"), ord("研") | ALONE]

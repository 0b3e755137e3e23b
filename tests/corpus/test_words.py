"""Words: the English conventions, Chinese by jieba, both in one text; arrays against plain lists; the cache."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import definitions
from tests.corpus.prose import document, real, texts
from yanmo.core.registry import create
from yanmo.corpus.words import english, words
from yanmo.corpus.words.words import HAN, LETTER, MARK, NUMBER, SYMBOL, TERMINAL, Words, hashes_of, language_of, words_of


def listed(text: str, language: str | None = None) -> list[str]:
    found = Words(text, language)
    return [text[a:b] for a, b in zip(found.starts.tolist(), found.ends.tolist())]


# ---------------------------------------------------------------------------------------------- English


@pytest.mark.parametrize(("text", "expected"), [
    ("Don't stop.", "Do n't stop ."),
    ("It's John's dog, isn't it?", "It 's John 's dog , is n't it ?"),
    ("they’ll we’d I’m", "they ’ll we ’d I ’m"),
    ("cannot gonna dont Ill well its", "can not gon na do nt Ill well its"),
    ("mother-in-law self--help 3-4 pre-1900", "mother - in - law self -- help 3 - 4 pre-1900"),
    ("Mr. Smith vs. Dr. Who, etc.", "Mr. Smith vs. Dr. Who , etc ."),
    ("U.S. and U.K., i.e. J. K. e.g.,", "U.S. and U.K. , i.e. J. K. e.g. ,"),
    ("paid $5.50 (about 10%)! US$7", "paid $ 5.50 ( about 10 % ) ! US$ 7"),
    ("wait... what?! so…on a..b", "wait ... what ? ! so … on a .. b"),
    ("one.Two three.four A.B", "one . Two three.four A.B"),
    ("see https://example.com/a-b?c=d, or me@example.com.", "see https://example.com/a-b?c=d , or me@example.com ."),
    ("www.example.org/path; 192.0.2.17 x.y", "www.example.org/path ; 192.0.2.17 x.y"),
    ("10km 5pm 12a.m. 1990s 7lb 20°C.", "10 km 5 pm 12 a.m. 1990s 7 lb 20 ° C ."),
    ("and/or either/or a=b x:y 10:30", "and/or either / or a = b x : y 10:30"),
    ("(1-8) thanks:) <3 :-(", "( 1 - 8) thanks :) <3 :-("),
    ("“Yes,” he said. ‘No’", "“ Yes , ” he said . ‘ No ’"),
    ("3,000 a,b 'n' rock'n'roll", "3,000 a , b ' n ' rock'n'roll"),
    ("#tag @me C++ C# +5 +x", "# tag @me C++ C # +5 + x"),
    ("— -- - ... ****", "— -- - ... * * * *"),
    ("ok👍 ☃snow naïve e\u0301t Ünï-cödé", "ok 👍 ☃ snow naïve e\u0301t Ünï - cödé"),
    ("ALL CAPS. END.", "ALL CAPS . END ."), ("Wed. soon—we’ll", "We d. soon — we’ll"),
    ("((nested)) [1] {x}", "( ( nested ) ) [ 1 ] { x }"),
    ("goin' o'clock y'all dogs'", "goin' o'clock y' all dogs '"),
    ("日本語です", "日本語です"),
])  # fmt: skip
def test_english_words(text, expected):
    found = [word for piece in text.split() for word in english.split(piece)]
    assert found == expected.split(" ")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(st.one_of(st.sampled_from("abAB01.,:;!?'\"’-–—/()[]<>…$%#+~@°²_👍é研 "), st.characters(exclude_categories=["Cs"])), max_size=25))
def test_english_words_are_their_text_again(text):
    for piece in text.split():
        found = english.split(piece)
        assert "".join(found) == piece
        assert all(found)


def test_words_of_a_long_piece_take_linear_time():
    for unit in ("(", ".", "a", "a.", "a-", "a@", "'", "…", "1", "a/", "http://a.", "👍", ":)", "研"):
        body = unit * (60_000 // len(unit))
        begin = time.process_time()
        found = Words(body)
        assert found.lengths.sum() == len(body)
        assert time.process_time() - begin < 3, unit


# ---------------------------------------------------------------------------------------------- Chinese, and both


def test_chinese_words_are_those_of_jieba():
    import rjieba

    for language, text in real():
        if language == "zh":
            assert listed(text) == [word for word in rjieba.cut(text) if not word.isspace()]


@pytest.mark.parametrize("expected", [  # as jieba 0.42.1 cuts them
    "我 来到 北京 清华大学 。", "看 example . com 吧", "OpenAI 发布 了 GPT - 4 模型 ， 支持 128K 上下文 。", "用 C++ 写 的", "AT&T 公司", "3.5% 的", "这是 U . S . A",
    "地址 192.168 . 1.1", "日期 1954 - 07 - 20", "价格 100.5 元", "变量 a _ 2 _ 3", "c# 语言", "版本 v1.2 . 3 - beta", "R & D 部门", "标签 # tag #", "看 a.5",
    "𦩷 𦪇", "𠮷 野家", "① ②", "列 B5 - B7", "占 5.9% - 6",
])  # fmt: skip
def test_chinese_words_are_those_of_jieba_itself(expected):
    assert listed(expected.replace(" ", ""), "zh") == expected.split(" ")


def test_a_language_that_is_told_cuts_the_whole_text_by_its_rules():
    body = "I don't know 研墨写字。 It's"
    assert listed(body, "en") == ["I", "do", "n't", "know", "研墨写字", "。", "It", "'s"]
    assert listed(body, "zh") == ["I", "don", "'", "t", "know", "研墨", "写字", "。", "It", "'", "s"]
    assert listed(body) == ["I", "do", "n't", "know", "研墨", "写字", "。", "It", "'s"]
    doc = document(body)
    assert words_of(doc, "en") is not words_of(doc)
    for text, language in (("Only English’s.", "en"), ("研墨写字，天下大势。", "zh")):
        doc = document(text)
        assert words_of(doc) is words_of(doc, language), "the same words are worked out once"


@pytest.mark.parametrize("expected", [  # as spaCy's blank English pipeline cuts them: marks of these scripts are letters within
    "goats , 。”汝", "「 ; 」 「 ! 」 「 : 」", "each.青、徐之兵", "１০ : ৪৬", "১০ : ৪৬", "কুষ্টিয়া - ১", "আ.লীগ", "B় .", "o<²A", "m²-「a", "x/²,y", "Text」 : 字符串", "नमस्ते - दुनिया",
])  # fmt: skip
def test_other_scripts_among_english(expected):
    assert english.split(expected.replace(" ", "")) == expected.split(" ")


def test_scripts_in_one_text_are_cut_each_by_its_own():
    assert listed("I don't know 研墨写字。 It's 三国演义 (sic).") == [
        "I", "do", "n't", "know", "研墨", "写字", "。", "It", "'s", "三国演义", "(", "sic", ")", "."]  # fmt: skip
    assert listed("研墨写字，研磨写字， don't.") == ["研墨", "写字", "，", "研磨", "写字", "，", "don", "'", "t", "."], "jieba cuts a Chinese text whole"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(texts())
def test_arrays_hold_the_words_of_plain_lists(text):
    plain, found = definitions.words(text), Words(text)
    assert listed(text) == plain
    assert found.count == len(plain)
    assert found.lengths.tolist() == [len(word) for word in plain]
    assert found.hashes.tolist() == hashes_of(plain).tolist()
    for word, flags in zip(plain, found.flags.tolist()):
        letter = any(character.isalpha() for character in word)
        assert bool(flags & LETTER) == letter
        assert bool(flags & SYMBOL) == all(character in words.SYMBOLS for character in word)
        assert bool(flags & MARK) == all(unicodedata.category(c)[0] == "P" for c in word)
        assert bool(flags & TERMINAL) == (word in words.TERMINALS)
        assert bool(flags & HAN) == (words.CHINESE.search(word) is not None)
        assert bool(flags & NUMBER) == (not letter and any(c.isdecimal() for c in word))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(texts(), st.integers(1, 6))
def test_grams_are_the_hashes_of_the_joined_words(text, longest):
    plain, found = definitions.words(text), Words(text)
    for blank, between in ((True, " "), (False, "")):
        for length, hashes in enumerate(found.grams(longest, blank), 1):
            joined = [between.join(plain[i : i + length]) for i in range(len(plain) - length + 1)]
            assert hashes.tolist() == hashes_of(joined).tolist()
            assert found.spans(length).tolist() == [len("".join(plain[i : i + length])) for i in range(len(plain) - length + 1)]


def test_different_words_have_different_hashes_and_the_same_everywhere():
    many = {f"{a}{b}" for a in "abcdefghij研墨写字" for b in range(5000)} | {"ab", "ba", "a", "aa", "", "\0", "ab" * 200, "ba" * 200}
    assert len(set(hashes_of(many).tolist())) == len(many)
    long = "a研" * 1000
    total = 0
    for letter in long:
        total = (total * words.BASE + (ord(letter) + 1) * words.SPREAD) % 2**64
    assert words.polynomial(long) == (total, pow(words.BASE, len(long), 2**64))
    assert hashes_of(["the", "研墨"]).tolist() == GOLDEN


# ---------------------------------------------------------------------------------------------- the cache and the table


def test_words_stay_with_a_document_until_its_text_changes():
    doc = document("One text, of words.")
    first = words_of(doc)
    assert words_of(doc) is first
    doc.text = "Another."
    second = words_of(doc)
    assert second is not first
    assert second.count == 2
    assert words_of(doc) is second
    same = document("One text, of words.")
    assert same == document("One text, of words.")
    words_of(same)
    assert same == document("One text, of words."), "what is worked out is no part of a document's value"


def test_steps_that_follow_each_other_share_the_words(monkeypatch):
    made = []

    class Counted(Words):
        def __init__(self, text, language=None):
            made.append(text)
            super().__init__(text, language)

    monkeypatch.setattr(words, "Words", Counted)
    body = next(text for language, text in real() if language == "en")
    rows = iter([document(body), document(body + "\n[edit] and one more line that ends in a full stop.")])
    for name in ("gopher_repetition", "gopher_quality", "c4_quality", "fineweb_quality"):
        rows = create("step", {"type": name, **({"terminal_punctuation": False, "min_words_per_line": None} if name == "c4_quality" else {})}).rows(rows)
    first, second = rows
    assert first.rejection is second.rejection is None
    assert first.text == body, "C4 found nothing to take out"
    assert sorted(made, key=len) == sorted([body, body + "\n[edit] and one more line that ends in a full stop.", second.text], key=len)


def test_a_full_table_is_begun_anew_and_changes_nothing(monkeypatch):
    bodies = [text for _, text in real()][:30]
    before = [Words(body).hashes.tolist() for body in bodies]
    old = Words(bodies[0])
    monkeypatch.setattr(words, "PIECES", 50)
    assert [Words(body).hashes.tolist() for body in bodies] == before
    assert words.table() is not old.table
    assert old.hashes.tolist() == before[0], "texts already cut keep the table they were cut with"


def test_a_long_text_is_taken_apart_in_blocks(monkeypatch):
    text = "\n".join(body for _, body in real()[:8])
    whole = Words(text).hashes.tolist()
    for block in (1, 10, 1000):
        monkeypatch.setattr(words, "BLOCK", block)
        assert Words(text).hashes.tolist() == whole


def test_a_long_piece_takes_no_place_in_the_table():
    Words("a" * 1000 + " " + "-" * 100)
    assert not [piece for piece in words.table().pieces if len(piece) > words.LONG]


def test_words_do_not_depend_on_what_was_read_before():
    code = "from yanmo.corpus.words.words import Words; print(Words(\"Don't 研墨 stop, e.g. here...\").hashes.tolist())"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert fresh == str(Words("Don't 研墨 stop, e.g. here...").hashes.tolist())


# ---------------------------------------------------------------------------------------------- language, sentences


@pytest.mark.parametrize(("text", "meta", "expected"), [
    ("plain English words", {}, "en"), ("研墨写字，天下大势。", {}, "zh"), ("English with 研墨 inside", {}, "en"), ("研墨写字的人 GPT", {}, "zh"),
    ("plain English words", {"language": "zh-Hans"}, "zh"), ("研墨写字", {"language": "en"}, "en"), ("研墨写字", {"language": "cmn_Hani"}, "zh"),
    ("研墨写字", {"language": "fr"}, "en"), ("12 34", {"language": ""}, "en"), ("", {}, "en"), ("研墨", {"language": 7}, "zh"), ("こんにちは", {}, "en"),
])  # fmt: skip
def test_language_of_a_document(text, meta, expected):
    assert language_of(document(text, **meta)) == expected


@pytest.mark.parametrize(("text", "count"), [
    ("One. Two! Three?", 3), ("No stop", 1), ("Wait... what", 1), ("One.) Two", 2), ("Mr. Smith came. He left.", 2), ("研墨。写字！好", 3),
    ("", 1), (".", 1), ("A sentence.  (Two) blanks", 2), ("Line.\nLine", 2), (". first", 2),
])  # fmt: skip
def test_sentences(text, count):
    assert len(words.sentences(text)) == count


@settings(max_examples=200, deadline=None, derandomize=True)
@given(texts())
def test_sentences_are_those_of_the_definition(text):
    found = words.sentences(text)
    assert found == definitions.sentences(text)
    assert "".join(found) == text


def test_sets_of_marks():
    assert {".", "!", "?", "。", "！", "？", "．", "｡", "؟", "।"} <= words.TERMINALS
    assert not words.TERMINALS & set(",;:\"'，；…”")
    assert len(words.TERMINALS) == 159
    assert words.SYMBOLS > words.TERMINALS
    assert {"\x00", "\x1f", "\x7f", "\x9f"} <= words.SYMBOLS
    assert not {"\n", "\t", " ", "\u3000", "a", "研", "•"} & words.SYMBOLS
    assert not [word for word in english.exceptions() if re.search(r"\s", word)]
    assert all("".join(cut) == word for word, cut in english.exceptions().items())


def test_arrays_are_of_the_right_types():
    found = Words("Some words, 研墨.")
    assert (found.hashes.dtype, found.flags.dtype, found.lengths.dtype) == (np.uint64, np.uint8, np.int32)
    empty = Words(" \n ")
    assert empty.count == 0
    assert empty.starts.tolist() == empty.hashes.tolist() == []
    assert [hashes.size for hashes in empty.grams(3, blank=True)] == [0, 0, 0]


GOLDEN = [4321708976568203856, 15853339313683967370]

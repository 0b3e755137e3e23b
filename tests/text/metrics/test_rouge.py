"""ROUGE is rouge-score's, to the last bit; characters for Chinese; the subsequence by bits is the table's."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yanmo.text.metrics.rouge import NAMES, common_subsequence, rouge, signature, tokenize, tokenizer_for

WORDS = ["the", "cat", "sat", "on", "a", "mat", "The", "CAT", "3", "3.5", "don't", "naïve", "e\u0301t", "re-read", "İ", "ﬁx", "_", "--",
         "研墨", "🙂", "", "\n", "x_y", "ſ", "K", "①"]  # fmt: skip


def table(first, second):
    """The length of the longest common subsequence, by the book."""
    rows = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            rows[i + 1][j + 1] = rows[i][j] + 1 if a == b else max(rows[i][j + 1], rows[i + 1][j])
    return rows[-1][-1]


@pytest.mark.filterwarnings("ignore")
def test_equal_to_rouge_score_on_thousands_of_cases():
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is not installed").RougeScorer(["rouge1", "rouge2", "rougeL"])
    dice = random.Random(0)
    cases = [("", ""), ("", "a"), ("a", ""), ("研墨", "研墨"), ("a b c", "a b c"), ("!!", "??")]
    cases += [tuple(" ".join(dice.choices(WORDS, k=dice.randint(0, 30))) for _ in range(2)) for _ in range(3000)]
    letters = "ab cA1.,-'\té字\u0130"
    cases += [tuple("".join(dice.choices(letters, k=dice.randint(0, 60))) for _ in range(2)) for _ in range(2000)]
    for reference, answer in cases:
        want, got = scorer.score(reference, answer), rouge(reference, answer)
        assert list(got) == list(NAMES)
        assert [tuple(score) for score in got.values()] == [tuple(want[name]) for name in ("rouge1", "rouge2", "rougeL")]


@given(st.lists(st.sampled_from("abcde研"), max_size=90), st.lists(st.sampled_from("abcde研"), max_size=90))
def test_the_subsequence_by_bits_is_the_tables(first, second):
    assert common_subsequence(first, second) == table(first, second) == common_subsequence(second, first)


def test_characters_of_chinese_and_words_of_the_rest():
    assert tokenize("用Writer打开3.5个文件，好吗？", "characters") == ["用", "writer", "打", "开", "3", "5", "个", "文", "件", "好", "吗"]
    assert tokenize("Cafe\u0301 naïve 🙂👩‍👩‍👧 x2 ひらがな", "characters") == ["café", "naïve", "x", "2", "ひ", "ら", "が", "な"]
    assert tokenize("क्या है", "characters") == ["क्या", "है"]  # signs of vowels stay with their letters
    assert tokenize("𠀀齉", "characters") == ["𠀀", "齉"]
    assert tokenize("\u0301a", "characters") == ["a"]
    scores = rouge("打开文件", "打开这个文件", "characters")
    assert scores["rouge_1"] == (4 / 6, 1.0, 0.8)
    assert scores["rouge_2"] == (2 / 5, 2 / 3, 0.5)
    assert scores["rouge_l"] == (4 / 6, 1.0, 0.8)
    assert rouge("打开文件", "打开这个文件")["rouge_1"].f == 0.0  # rouge-score's words know no Chinese


def test_what_a_figure_is_of_is_said():
    assert [tokenizer_for(language) for language in ("zh", "zh-CN", "en", "ja", "fr")] == ["characters", "characters", "words", "characters", "words"]
    assert signature("words").startswith("words: ")
    assert "Han" in signature("characters")

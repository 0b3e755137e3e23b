"""Gopher's rules: the known vectors, and every value against the definition on made and real texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import definitions
from tests.corpus.prose import document, real, texts
from yanmo.core.errors import RecipeError
from yanmo.core.registry import create
from yanmo.corpus.steps import gopher_quality, gopher_repetition

QUOTE = ("It was said that the time was ill chosen, and that nobody would have wished to live in it. But the choice of one's own "
         "time is not given to anyone: what remains to be chosen is what to do with the time that one has, and with whom.")  # fmt: skip


def verdict(step, text, **meta):
    found = step.reject(document(text, **meta))
    return None if found is None else (found.reason, found.value)


# ---------------------------------------------------------------------------------------------- vectors


@pytest.mark.parametrize(("text", "reason"), [
    ("I am your father.\n" * 4, "dup_line_frac"),
    ("I am your father.\n\n" * 4, "dup_para_frac"),
    ("I am groot.\n\nYou are a wizard.\n\nI am your father.\n\n" + f"{'x' * 30}.\n\n" * 2, "dup_para_char_frac"),
    ("I am groot.\nYou are a wizard.\nI am your father.\n" + f"{'x' * 40}.\n" * 2, "dup_line_char_frac"),
    ("I am Frank, I am Frank, I am Frank", "top_2_gram"),
    ("I am Frank, you are Jhon. I am Frank. I am Frank you are Jhon", "top_3_gram"),
    ("I am a solo traveller " * 4 + QUOTE, "duplicated_5_n_grams"),
    (QUOTE, None),
    ("", "empty"), ("   ", None), ("hello world", "top_2_gram"),
    ("却说曹操引军。\n" * 4, "dup_line_frac"), ("天下大势，天下大势，天下大势，", "top_2_gram"),
])  # fmt: skip
def test_repetition(text, reason):
    found = create("step", "gopher_repetition").reject(document(text))
    assert (found and found.reason) == reason
    assert found is None or found.step == "gopher_repetition"


@pytest.mark.parametrize(("text", "reason"), [
    ("I am too small...", "gopher_short_doc"),
    ("word " * 1001, "gopher_long_doc"),
    ("I am " * 20, "gopher_below_avg_threshold"),
    ("interconnection " * 20, "gopher_above_avg_threshold"),
    ("# comment " * 20, "gopher_too_many_hashes"),
    ("... comment " * 20, "gopher_too_many_ellipsis"),
    ("- the item that was bought\n" * 20, "gopher_too_many_bullets"),
    ("  • the item that was bought\n" * 20, "gopher_too_many_bullets"),
    ("the line goes on and on and over there, with what they have said before that other line ...\n" * 20, "gopher_too_many_end_ellipsis"),
    ("the ./!*?<><> apple <?////> orange  ++ interconnection !<>??? have" * 20, "gopher_below_alpha_threshold"),
    ("completely different vocabulary without function words " * 5, "gopher_enough_stop_words"),
    ("The Be To Of And That Have With capital letters count as other words " * 5, "gopher_enough_stop_words"),
    (QUOTE, None),
])  # fmt: skip
def test_quality(text, reason):
    step = create("step", {"type": "gopher_quality", "min_doc_words": 10, "max_doc_words": 1000})
    assert (found := step.reject(document(text)) and step.reject(document(text)).reason) == reason, found


def test_thresholds_are_those_of_the_papers():
    assert gopher_quality.ENGLISH["stop_words"] == ("the", "be", "to", "of", "and", "that", "have", "with")
    assert gopher_quality.CHINESE["stop_words"] == tuple("的年在月是和日了於·為有被人中为他與後也而由")
    step = create("step", "gopher_quality")
    assert [step.threshold(field, "en") for field in NUMBERS] == [50, 100_000, 3, 10, 0.1, 0.9, 0.3, 0.8, 2]
    assert [step.threshold(field, "zh") for field in NUMBERS] == [50, 100_000, 1, 5, 0.1, 0.9, 0.3, 0.735, 2]
    step = create("step", {"type": "gopher_repetition", "dup_line_frac": 0.5, "top_n_grams": {2: 0.9}})
    assert step.threshold("dup_line_frac", "zh") == step.threshold("dup_line_frac", "en") == 0.5
    assert step.threshold("top_n_grams", "en") == {2: 0.9}
    assert step.threshold("dup_para_frac", "zh") is None


def test_a_rule_is_turned_off_by_null_and_the_language_chosen():
    text = "I am your father.\n" * 4
    off = {"type": "gopher_repetition", "dup_line_frac": None, "dup_line_char_frac": None, "top_n_grams": {}, "dup_n_grams": {}}
    assert create("step", off).reject(document(text)) is None
    paragraphs = "One paragraph of this kind.\n\nOne paragraph of this kind.\n\n" + QUOTE.replace(". ", ".\n\n")
    assert create("step", {"type": "gopher_repetition", "language": "zh"}).reject(document(paragraphs)) is None
    english = create("step", {"type": "gopher_quality", "language": "en"}).reject(document("却说曹操引军追赶刘备至江边。" * 30))
    assert english.reason == "gopher_short_doc", "to the English rules it is one word"


@pytest.mark.parametrize(("settings_", "message"), [
    ({"type": "gopher_quality", "min_doc_words": -1}, "min_doc_words"), ({"type": "gopher_quality", "language": "fr"}, "language"),
    ({"type": "gopher_repetition", "dup_line_frac": "much"}, "dup_line_frac: expected a number, got .much."), ({"type": "gopher_repetition", "top_n_grams": {0: 0.1}}, "top_n_grams"),
    ({"type": "gopher_repetition", "dup_lines": 1}, "did you mean"), ({"type": "gopher_quality", "stop_words": "the"}, "stop_words: expected a list"),
    ({"type": "fineweb_quality", "line_punct_ratio": float("nan")}, "line_punct_ratio: expected a number"), ({"type": "gopher_repetition", "dup_n_grams": {5: -1}}, "at least 0"),
])  # fmt: skip
def test_wrong_settings_name_their_key(settings_, message):
    with pytest.raises(RecipeError, match=message):
        create("step", settings_)


def test_settings_written_out_give_the_same_step():
    for name in ("gopher_quality", "gopher_repetition"):
        step = create("step", {"type": name, "language": None})
        assert create("step", step.model_dump(mode="json")) == step
    step = create("step", {"type": "gopher_repetition", "top_n_grams": {2: 0.9}})
    assert create("step", step.model_dump(mode="json")) == step


# ---------------------------------------------------------------------------------------------- against the definition

NUMBERS = ["min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio",
           "max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "min_alpha_words_ratio", "min_stop_words"]  # fmt: skip
LOOSE = {"min_doc_words": 1, "min_avg_word_length": 0.0, "max_avg_word_length": 99.0, "max_symbol_word_ratio": 9.0,
         "max_bullet_lines_ratio": 1.0, "max_ellipsis_lines_ratio": 1.0, "min_alpha_words_ratio": 0.0}  # fmt: skip
RATIO = st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0])


@pytest.mark.parametrize("name", ["gopher_quality", "gopher_repetition"])
def test_real_texts_by_the_definition(name):
    reasons = set()
    for language, text in real():
        step = create("step", name)
        table = step.defaults[language]
        expected = getattr(definitions, name)(text, table)
        assert verdict(step, text) == expected
        reasons.add(expected and expected[0])
    assert len(reasons) >= 4, f"kept and dropped for several reasons: {reasons}"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts(), st.fixed_dictionaries({}, optional={
    "max_doc_words": st.integers(1, 60), "min_avg_word_length": st.floats(1, 5), "max_avg_word_length": st.floats(2, 8), "max_symbol_word_ratio": RATIO,
    "max_bullet_lines_ratio": RATIO, "max_ellipsis_lines_ratio": RATIO, "min_alpha_words_ratio": RATIO, "min_stop_words": st.integers(1, 5)}))
def test_quality_by_the_definition(text, limits):
    for language in ("en", "zh"):
        limits = {**LOOSE, **limits}
        table = {**gopher_quality.GopherQuality.defaults[language], **limits}
        if sum(any(c not in definitions.SYMBOLS for c in word) for word in definitions.words(text, language)) == 0:
            continue
        step = create("step", {"type": "gopher_quality", "language": language, **limits})
        assert verdict(step, text) == definitions.gopher_quality(text, table, language)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(texts(), st.sampled_from([0, 1, 2]), st.dictionaries(st.integers(1, 6), RATIO, max_size=3), st.dictionaries(st.integers(1, 12), RATIO, max_size=4))
def test_repetition_by_the_definition(text, lines, tops, again):
    if not text:
        return
    table = {"dup_para_frac": None, "dup_para_char_frac": None, "dup_line_frac": None, "dup_line_char_frac": None,
             "top_n_grams": dict(sorted(tops.items())), "dup_n_grams": dict(sorted(again.items()))}  # fmt: skip
    if lines == 1:
        table |= {"dup_line_frac": 0.3, "dup_line_char_frac": 0.2}
    elif lines == 2:
        table |= {"dup_para_frac": 0.3, "dup_para_char_frac": 0.2}
    assert verdict(create("step", {"type": "gopher_repetition", **table}), text) == definitions.gopher_repetition(text, table)


def test_repeated_words_joined_otherwise_are_the_same_n_gram():
    """The definition joins without blanks: `a bc` and `ab c` are one."""
    text = "a bc d e f x ab c d e f"
    table = {"dup_para_frac": None, "dup_para_char_frac": None, "dup_line_frac": None, "dup_line_char_frac": None, "top_n_grams": {}, "dup_n_grams": {5: 0.1}}
    expected = definitions.gopher_repetition(text, table)
    assert expected == ("duplicated_5_n_grams", 6 / len(text))
    assert verdict(create("step", {"type": "gopher_repetition", **table}), text) == expected
    assert gopher_repetition.lines_of("\na\n\nb\n") == ["", "a", "b", ""]

"""FineWeb's rules: the known vectors, and every value against the definition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import definitions
from tests.corpus.prose import document, real, texts
from yanmo.core.registry import create

GOOD = ("This is a paragraph that ends with a mark as it should.\nThe content of it is long enough and says something.\n"
        "Filters of quality see to it that only good texts pass.\nEach line here is long enough and ends with a full stop.\n"
        "This document should pass every check of the filter.")  # fmt: skip


def verdict(text, **settings_):
    found = create("step", {"type": "fineweb_quality", **settings_}).reject(document(text))
    return None if found is None else (found.reason, found.value)


@pytest.mark.parametrize(("text", "settings_", "expected"), [
    ("", {}, ("empty", None)), (" \n\n \u3000", {}, ("empty", None)),
    ("No punctuation here\nAnother line without any\nStill nothing", {"line_punct_ratio": 0.5}, ("line_punct_ratio", 0)),
    ("No punctuation here\nAnother line without any\nStill nothing", {"line_punct_ratio": 0.5, "line_punct_exclude_zero": True}, ("short_line_ratio", 1)),
    ("hi.\nbye.\nok.\nno.\nyes.", {"short_line_ratio": 0.5, "short_line_length": 30, "line_punct_ratio": 0.0}, ("short_line_ratio", 1)),
    ("\n".join(["a"] * 50), {"new_line_ratio": 0.1}, ("line_punct_ratio", 0)),
    ("\n".join(["a."] * 50), {"short_line_ratio": None}, ("char_dup_ratio", 0.98)),
    ("\n".join(f"{n}." for n in range(50)), {"short_line_ratio": None}, ("list_ratio", 0.49)),
    (GOOD, {}, None), (GOOD, {"stop_chars": "!"}, ("line_punct_ratio", 0)),
    ("却说曹操引军追赶刘备至江边，见长坂桥上一人横矛立马。\n天下大势，分久必合，合久必分。", {}, None),
    ("却说曹操\n引军追赶\n刘备至江边", {}, ("line_punct_ratio", 0)), ("却说。\n曹操。\n引军。\n追赶。", {}, ("list_ratio", 0.375)),
])  # fmt: skip
def test_vectors(text, settings_, expected):
    assert verdict(text, **settings_) == expected


def test_thresholds_are_those_of_the_papers():
    step = create("step", "fineweb_quality")
    fields = ("line_punct_ratio", "short_line_ratio", "char_duplicates_ratio", "new_line_ratio")
    assert [step.threshold(field, "en") for field in fields] == [0.12, 0.67, 0.01, 0.3]
    assert [step.threshold(field, "zh") for field in fields] == [0.106, None, 0.1, 0.178]


def test_real_texts_by_the_definition():
    reasons = set()
    step = create("step", "fineweb_quality")
    for language, text in real():
        expected = definitions.fineweb_quality(text, step.defaults[language])
        assert verdict(text) == expected
        reasons.add(expected and expected[0])
    assert len(reasons) >= 4


RATIO = st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.5, 1.0])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts(), st.fixed_dictionaries({}, optional=dict.fromkeys(("line_punct_ratio", "short_line_ratio", "char_duplicates_ratio", "new_line_ratio"), RATIO)))
def test_made_texts_by_the_definition(text, limits):
    for language in ("en", "zh"):
        table = {**create("step", "fineweb_quality").defaults[language], **limits}
        assert verdict(text, language=language, **limits) == definitions.fineweb_quality(text, table, language)

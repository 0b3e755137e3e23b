"""Traditional to simplified and back: phrases, not characters, and nothing but Chinese."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.corpora import ODD, run, write_jsonl
from yanmo.core.errors import RecipeError
from yanmo.core.package import HOME
from yanmo.core.registry import create
from yanmo.corpus.steps.convert_chinese import HAN


def convert(text: str, to: str = "simplified") -> str:
    return create("step", {"type": "convert_chinese", "to": to}).edit(text)


@pytest.mark.parametrize(("before", "to", "after"), [
    ("頭髮與發展，乾燥的皇后在後面", "simplified", "头发与发展，干燥的皇后在后面"),
    ("头发与发展，干燥的皇后在后面", "traditional", "頭髮與發展，乾燥的皇后在後面"),
    ("滑鼠和軟體", "tw2sp", "鼠标和软件"), ("鼠标和软件", "s2twp", "滑鼠和軟體"), ("為了", "t2s", "为了"), ("为了", "s2hk", "為了"),
    ("“引号”，《书》……——１２％", "simplified", "“引号”，《书》……——１２％"), ("「引號」『內』", "simplified", "「引号」『内』"),
    ("English only, naïve café", "simplified", "English only, naïve café"), ("", "simplified", ""),
    ("混排 mixed 國家 text 👩‍👩‍👧‍👦 e\u0301", "simplified", "混排 mixed 国家 text 👩‍👩‍👧‍👦 e\u0301"),
])  # fmt: skip
def test_conversions(before, to, after):
    assert convert(before, to) == after


def test_every_conversion_on_offer_exists():
    for name in create("step", "convert_chinese").model_json_schema()["properties"]["to"]["enum"]:
        assert convert("漢字与汉字", name)
    with pytest.raises(RecipeError, match=r"convert_chinese|to: expected one of"):
        create("step", {"type": "convert_chinese", "to": "klingon"})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("國说這这後髮a，。 \n👩\u200d\u0301"))))
def test_what_is_not_chinese_stays_in_its_order(text):
    for to in ("simplified", "traditional"):
        assert HAN.sub("", convert(text, to)) == HAN.sub("", text)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x2E7F)))
def test_text_without_chinese_is_the_same_object(text):
    assert convert(text) is text


def test_simplified_samples_stay_but_for_variants():
    with open(HOME / "samples" / "sanguo" / "chapters.jsonl", encoding="utf-8") as lines:
        text = json.loads(next(lines))["text"]
    again = convert(text)
    assert len(again) == len(text)
    assert sum(a != b for a, b in zip(again, text)) < len(text) / 500
    there = convert(text, "traditional")
    assert sum(a != b for a, b in zip(there, text)) > len(text) / 5
    assert sum(a != b for a, b in zip(convert(there), text)) < len(text) / 500


def test_a_step_of_a_corpus(folder):
    write_jsonl(folder / "a.jsonl", [{"text": text} for text in ("漢語", "plain", *ODD)])
    docs = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["convert_chinese"])
    assert [doc.text for doc in docs] == ["汉语", "plain", *ODD]
    assert not any(doc.rejection for doc in docs)

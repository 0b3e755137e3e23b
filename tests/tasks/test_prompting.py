"""Texts with labels as prompts: templates in both languages, what is shown before them, and what cannot be asked."""

from __future__ import annotations

import pytest

from yanmo.core.data import Example
from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.tasks.prompting import Prompt, blank, chosen, ending, filled

ENGLISH = [Example(str(i), {"text": f"the ink {i} is {word}", "label": label}) for i in range(4)
           for word, label in (("fine", "very_good"), ("dry", "bad"))]  # fmt: skip
ENGLISH = [Example(f"{e.id}{e.fields['label']}", e.fields) for e in ENGLISH]
CHINESE = [Example(str(i), {"text": f"这锭墨第{i}次用，很好 🙂", "label": "正面"}) for i in range(3)]


def test_the_default_prompt_is_in_the_language_of_the_texts():
    [posed] = Prompt().pose(ENGLISH[:1], ["bad", "very_good"], [])
    assert (posed.context, posed.choices) == ("Text: the ink 0 is fine\nLabel:", (" bad", " very good"))
    assert posed.free == ("Text: N/A\nLabel:", "Text: \nLabel:", "Text: [MASK]\nLabel:")
    posed = Prompt(normalize="prior").pose(CHINESE, ["正面", "负面"], [])[0]
    assert (posed.context, posed.choices, posed.free) == ("文本：这锭墨第0次用，很好 🙂\n类别：", ("正面", "负面"), ("类别：",))
    pair = Example("p", {"text": "a", "second": "b", "label": "bad"})
    assert Prompt(normalize="sum").pose([pair], ["bad"], [])[0].context == "First text: a\nSecond text: b\nLabel:"


def test_examples_are_shown_one_of_each_label_in_turn_and_always_the_same():
    prompt = Prompt(shots=3, template="{text} =", words={"very_good": "fine"})
    posed = prompt.pose(ENGLISH[:2], ["bad", "very_good"], ENGLISH)
    before = posed[0].context.removesuffix(filled("{text} =", ENGLISH[0].fields))
    assert posed[1].context.startswith(before)
    assert all(free.startswith(before) for free in posed[0].free)
    assert before.count("\n\n") == 3
    assert {before.count("= fine\n\n"), before.count("= bad\n\n")} == {1, 2}
    assert prompt.pose(ENGLISH[:1], ["bad", "very_good"], list(reversed(ENGLISH)))[0] == posed[0]
    assert Prompt(shots=3, template="{text} =", seed=1).pose(ENGLISH[:1], ["bad", "very_good"], ENGLISH)[0] != posed[0]


def test_appended_training_data_change_few_of_them():
    more = [Example(f"m{i}", {"text": f"more {i}", "label": "bad"}) for i in range(20)]
    kind = lambda example: example.fields["label"]  # noqa: E731
    first, second = (chosen(data, 4, 0, kind) for data in (ENGLISH, ENGLISH + more))
    assert {e.id for e in first if kind(e) == "very_good"} == {e.id for e in second if kind(e) == "very_good"}


def test_braces_in_texts_stay_what_they_are():
    assert filled("{text} {other}", {"text": "{second} {text}"}) == "{second} {text} {other}"


@pytest.mark.parametrize(("prompt", "answer", "expected"), [("Answer:", "yes", " "), ("答案：", "是", ""), ("Answer:", "是", ""), ("a\n", "b", ""),
                                                            ("", "b", ""), ("He sat", ", then", ""), ("say ", "b", "")])  # fmt: skip
def test_the_blank_between_prompt_and_answer(prompt, answer, expected):
    assert blank(prompt, answer) == expected


def test_what_a_template_ends_with():
    assert ending("Text: {text}\nLabel:") == "Label:"
    assert ending("{text}") == ""


def test_what_cannot_be_asked(folder):
    for settings, message in (({"template": "no place"}, "a template with '{text}' in it"), ({"template": "{text} {txet}"}, "a template with"),
                              ({"shots": -1}, "prompt.shots"), ({"normalize": "length"}, "prompt.normalize")):  # fmt: skip
        with pytest.raises(RecipeError, match=message):
            create("task", {"type": "classify", "path": "x.jsonl", "prompt": settings})
    with pytest.raises(RequestError, match="at most as many as there are training examples \\(8\\), got 9"):
        Prompt(shots=9).pose(ENGLISH, ["bad", "very_good"], ENGLISH)
    with pytest.raises(RequestError, match="labels of the task"):
        Prompt(words={"good": "x"}).pose(ENGLISH, ["bad", "very_good"], [])
    with pytest.raises(RequestError, match="different words for every label"):
        Prompt(words={"bad": "very good"}).pose(ENGLISH, ["bad", "very_good"], [])

"""Rewards: what answers are worth, and one line for those that break."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yanmo.core.data import Example
from yanmo.core.errors import RecipeError, RequestError, TrainingError
from yanmo.core.registry import create, names
from yanmo.tasks.rewards import worth


def example(answer="7", prompt="3 + 4 =", number=1) -> Example:
    return Example(f"e{number}", {"text": prompt, "prompt": prompt, "answer": answer}, f"p.jsonl:{number}")


def value(settings, answer, wanted="7"):
    return worth([create("reward", settings)], [example(wanted)], [answer])[0]


@pytest.mark.parametrize(("settings", "right", "wrong"), [
    ({"type": "exact"}, [" 7\n", "７"], ["8", "7.", "", "seven"]),
    ({"type": "number"}, ["it is 7", "七", "6 or 7", "7.0"], ["7 or 6", "", "none", "七十", "-7"]),
    ({"type": "number", "which": "first"}, ["7, not 8"], ["8, not 7"]),
    ({"type": "number", "which": "only"}, ["it is 7"], ["6 or 7"]),
    ({"type": "number", "tolerance": 0.1}, ["7.5"], ["8"]),
    ({"type": "pattern", "pattern": r"\d+"}, ["7", " 42 "], ["7a", "", "七"]),
    ({"type": "pattern", "pattern": "墨|ink", "whole": False}, ["研墨 🖌️", "an inkwell"], ["paper"]),
    ({"type": "function", "call": "tests.tasks.test_rewards:short"}, ["ok"], ["far too long"]),
])  # fmt: skip
def test_what_is_right_is_worth_one(settings, right, wrong):
    assert [value(settings, answer) for answer in right] == [1.0] * len(right)
    assert [value(settings, answer) for answer in wrong] == [0.0] * len(wrong)


def test_case_and_marks():
    assert value({"type": "exact"}, "Café", "cafe\u0301") == 0
    assert value({"type": "exact", "ignore_case": True}, "CAFÉ", "cafe\u0301") == 1


@given(st.text(max_size=60))
def test_lengths_are_between_minus_one_and_nothing(answer):
    given_ = value({"type": "length", "least": 4, "most": 10}, answer)
    size = len(answer.strip())
    assert -1 <= given_ <= 0
    assert (given_ == 0) == (4 <= size <= 10)


def test_rewards_add_up_with_their_weights():
    parts = [create("reward", {"type": "number"}), create("reward", {"type": "length", "most": 5, "weight": 0.5})]
    assert worth(parts, [example()] * 2, ["7", "the sum: 7"]) == [1.0, 0.5]


def short(example, answer):
    return len(answer) < 5


def broken(example, answer):
    if "raise" in answer:
        raise KeyError("no such\nkey")
    return {"nan": math.nan, "none": None, "text": "1", "inf": -math.inf}.get(answer, 0.5)


@pytest.mark.parametrize(("answer", "said"), [("raise", "KeyError: 'no such\\\\nkey'"), ("nan", "nan"), ("none", "None"), ("text", "'1'"), ("inf", "-inf")])
def test_a_broken_reward_names_the_prompt(answer, said):
    reward = create("reward", {"type": "function", "call": f"{__name__}:broken"})
    examples = [example(prompt=f"第 {i} 题 🐋\nhow?", number=i) for i in range(8)]
    with pytest.raises(TrainingError) as caught:
        worth([reward], examples, ["fine", *[answer] * 7])
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"reward '{__name__}:broken': expected a finite number for each answer, got")
    assert "第 1 题 🐋 how?" in line
    assert "(p.jsonl:1)" in line
    assert "第 2 题" in line
    assert "第 7 题" not in line, "the first five"


def test_a_number_that_is_not_there():
    with pytest.raises(TrainingError, match=r"no number in the answer 'blue'.*the prompt '3 \+ 4 ='"):
        value({"type": "number"}, "7", "blue")


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"type": "pattern", "pattern": "("}, RecipeError, "a regular expression"),
    ({"type": "length"}, RecipeError, "'least' or 'most'"),
    ({"type": "length", "least": 5, "most": 4}, RecipeError, "not above the 'most'"),
    ({"type": "exact", "weight": 0}, RecipeError, "a number other than 0"),
    ({"type": "function", "call": "no colon"}, RecipeError, "pkg.mod:function"),
    ({"type": "function", "call": "yanmo.nowhere:f"}, RequestError, "an importable 'pkg.mod:function'"),
    ({"type": "function", "call": f"{__name__}:pytestmark_none"}, RequestError, "an importable 'pkg.mod:function'"),
])  # fmt: skip
def test_what_cannot_be_a_reward(settings, error, message):
    with pytest.raises(error, match=message):
        create("reward", settings).check()


def test_every_reward_is_described():
    for name in names("reward"):
        assert create("reward", {"type": name, **{"pattern": {"pattern": "a"}, "length": {"most": 1}, "function": {"call": "math:floor"}}.get(name, {})}).__doc__

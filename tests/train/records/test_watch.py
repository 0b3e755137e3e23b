"""Rewards that teach nothing or the wrong thing are seen in a training's figures; sound trainings are not accused."""

import random

from yanmo.train.records.watch import flags


def lines(rewards, lengths=None, cuts=None, flat=None, verified=None):
    found = []
    for step, reward in enumerate(rewards, 1):
        found.append({"step": step, "loss": 0.0, "reward": reward, "length": lengths[step - 1] if lengths else 4.0,
                      "cut": cuts[step - 1] if cuts else 0.0, "flat": flat[step - 1] if flat else 0.25})  # fmt: skip
        if verified and step % 10 == 0:
            found.append({"step": step, "validation": {"verified": verified[step // 10 - 1], "reward": reward}})
    return found


def names(*given, before=None, **figures):
    return [flag.name for flag in flags(lines(*given, **figures), before or {}, 0.03)]


def noisy(begin, end, steps=40, seed=0):
    dice = random.Random(seed)
    return [begin + (end - begin) * step / steps + dice.uniform(-0.05, 0.05) for step in range(steps)]


def test_a_sound_training_has_no_flags():
    rising = noisy(0.3, 0.95)
    assert names(rising, verified=[0.4, 0.6, 0.8, 0.9], before={"verified": 0.3}) == []
    solved = [*rising, *[1.0] * 20]
    assert names(solved, flat=[0.3] * 40 + [1.0] * 20, verified=[0.5] * 6, before={"verified": 0.3}) == []
    assert names([0.5] * 3, flat=[1.0] * 3) == [], "too few steps to say"
    assert names([]) == []


def test_a_constant_reward():
    found = flags(lines([0.5] * 20, flat=[1.0] * 20), {})
    assert [flag.name for flag in found] == ["constant"]
    assert found[0].line.render("en") == "every answer was worth 0.5: nothing can be learned from this reward"


def test_a_collapse():
    assert names([*noisy(0.3, 0.9), *[0.2] * 20], flat=[0.3] * 40 + [1.0] * 20) == ["collapsed"]


def test_answers_that_grow_until_they_are_cut():
    grown = [4 + step for step in range(40)]
    assert names(noisy(0.3, 0.9), lengths=grown, cuts=[0.0] * 20 + [0.9] * 20) == ["length"]
    assert names(noisy(0.3, 0.9), lengths=grown, cuts=[0.0] * 40) == [], "longer answers that end are no fault"
    assert names(noisy(0.3, 0.9), lengths=[5.0] * 40, cuts=[1.0] * 40) == [], "as long as they may be from the beginning"


def test_a_reward_that_rises_while_the_answers_get_worse():
    found = flags(lines(noisy(0.3, 0.9), verified=[0.4, 0.3, 0.2, 0.1]), {"verified": 0.5}, 0.03)
    assert [flag.name for flag in found] == ["hacked"]
    line = found[0].line.render("en")
    assert "held-out answers are verified to be worse: 0.1 after 0.5" in line
    assert names(noisy(0.3, 0.3), verified=[0.4, 0.3, 0.2, 0.1], before={"verified": 0.5}) == [], "the reward has not risen"
    assert names(noisy(0.3, 0.9), verified=[0.48] * 4, before={"verified": 0.5}) == [], "within the error"

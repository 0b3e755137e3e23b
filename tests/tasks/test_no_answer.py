"""The threshold for no answer is the best that there is, and a model's own is used where the task has none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.data import Example
from yanmo.tasks.no_answer import best_threshold, margin
from yanmo.tasks.qa import QuestionAnswering
from yanmo.tasks.spans import Spot

QUESTION = st.tuples(st.integers(-6, 6).map(lambda n: n / 2), st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([0.0, 1.0]))


def mean(threshold, rows):
    return np.mean([silent if ahead > threshold else answered for ahead, answered, silent in rows])


@settings(max_examples=200, deadline=None)
@given(st.lists(QUESTION, min_size=1, max_size=12))
def test_no_threshold_is_better(rows):
    threshold, best = best_threshold(*zip(*rows))
    tried = sorted({ahead + step for ahead, _, _ in rows for step in (-0.25, 0.0, 0.25)} | {0.0})
    assert best == pytest.approx(max(mean(one, rows) for one in tried))
    assert mean(threshold, rows) == pytest.approx(best)
    assert mean(threshold + 1e-9, rows) == pytest.approx(best)  # and rounding changes nothing
    if mean(0.0, rows) == pytest.approx(best):
        assert threshold == 0.0


def test_one_that_never_or_always_answers_is_found():
    assert best_threshold([1.0, 2.0], [1.0, 1.0], [0.0, 0.0])[0] > 2
    assert best_threshold([-1.0, -2.0], [0.0, 0.0], [1.0, 1.0])[0] < -2
    assert best_threshold([], [], []) == (0.0, 0.0)


def test_the_margin_is_that_over_the_best_span():
    assert margin([Spot(3, 5, 2.0), Spot(0, 0, 1.5), Spot(1, 2, 1.0)]) == -0.5
    assert margin([Spot(3, 5, 2.0)]) is None
    assert margin([]) is None


def test_a_models_own_threshold_is_used_unless_the_task_has_one(tmp_path):
    place = tmp_path / "qa.jsonl"
    place.write_text('{"context": "曹操字孟德 🐋", "question": "字？", "answers": ["孟德"]}\n{"context": "曹操字孟德 🐋", "question": "年？", "answers": []}\n',
                     encoding="utf-8")  # fmt: skip
    task = QuestionAnswering(path={"test": str(place)})
    spots, example = [(0, 0, 2.0), (3, 5, 1.0)], Example("a", {"text": "曹操字孟德 🐋", "question": "字？", "answers": []})
    config = {"yanmo": {"answers": {"threshold": 1.5}}}
    assert task.decode(spots, example).answer == ""
    assert task.taught(config).decode(spots, example).answer == "孟德"
    assert task.taught({}).decode(spots, example).answer == ""
    fixed = QuestionAnswering(path={"test": str(place)}, threshold=0.5)
    assert fixed.taught(config).decode(spots, example).answer == ""

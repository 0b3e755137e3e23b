"""Runs that stood before: found as by looking for them one by one, whatever is asked for at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inference.tiny import TEXTS, tokenizer
from yanmo.models.recall import NONE, RUNS, recalled


def by_hand(tokens, begins):
    known, following = [], []
    start = 0
    for place in range(len(tokens)):
        if begins[place]:
            start = place
        best = (0, 0)
        for number, length in enumerate(RUNS, 1):
            run = tokens[place - length + 1 : place + 1]
            if place - length + 1 < start:
                break
            ends = [end for end in range(start + length - 1, place) if tokens[end - length + 1 : end + 1] == run]
            if ends:
                best = (number, tokens[ends[-1] + 1])
        known.append(best[0])
        following.append(best[1])
    return known, following


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.data())
def test_it_finds_what_looking_one_by_one_finds(tokens, data):
    begins = data.draw(st.lists(st.booleans(), min_size=len(tokens), max_size=len(tokens)))
    first = data.draw(st.integers(0, len(tokens) - 1))
    empty = data.draw(st.integers(0, 5))
    known, following = recalled(np.array([[NONE] * empty + tokens]), np.array([[False] * empty + begins]), empty + first)
    wanted = by_hand(tokens, begins)
    assert known[0].tolist() == wanted[0][first:]
    assert following[0].tolist() == wanted[1][first:]


@pytest.mark.parametrize("text", ["".join(TEXTS), "研墨🙂研墨🙂研墨", "naïve café naïve café " * 9, "词" * 70])
def test_real_text_in_both_languages(text):
    tokens = tokenizer().encode(text)
    begins = np.zeros((1, len(tokens)), bool)
    known, following = recalled(np.array([tokens]), begins, 0)
    assert (known[0].tolist(), following[0].tolist()) == by_hand(tokens, begins[0])


def test_a_period_is_known_by_its_longest_run():
    known, following = recalled(np.array([[1, 2, 3] * 20]), np.zeros((1, 60), bool), 0)
    assert known[0, -1] == len(RUNS)
    assert following[0, 3:].tolist() == ([2, 3, 1] * 19)
    assert known[0, :3].tolist() == [0, 0, 0]

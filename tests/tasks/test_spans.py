"""The best span over windows is the best of all of them, looked for one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.tasks.spans import NOWHERE, Spot, best_spans
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.windows import windows

TEXTS = ["却说曹操引兵夜渡，至 乌巢。", "Call me Ishmael. Some years ago — never mind 🐋 how long", "a", "e\u0301 naïve  two   spaces", "研"]
TOKENIZER = CharacterTokenizer(type="characters", min_count=1).train(TEXTS)


def every(found, scores, longest):
    """All spans of all windows, in order of the definition."""
    best: dict[tuple[int, int], float] = {}
    for window, table in zip(found, scores):
        for first in range(len(window.tokens)):
            for last in range(first, min(first + longest, len(window.tokens))):
                head, tail = window.places[first], window.places[last]
                if window.own[first] and head and tail:
                    score = float(table[first][0]) + float(table[last][1])
                    best[(head[0], tail[1])] = max(best.get((head[0], tail[1]), -np.inf), score)
    nothing = min(float(table[w.nowhere][0]) + float(table[w.nowhere][1]) for w, table in zip(found, scores))
    spots = sorted((Spot(*span, score) for span, score in best.items()), key=lambda s: (-s.score, s.start, s.end))
    return spots, nothing


@settings(max_examples=150, deadline=None)
@given(content=st.sampled_from(TEXTS), length=st.integers(8, 60), longest=st.integers(1, 12), count=st.integers(1, 6), seed=st.integers(0, 999))
def test_it_is_the_best_of_all(content, length, longest, count, seed):
    found = windows(content, TOKENIZER, length, before="谁？")
    rng = np.random.default_rng(seed)
    scores = [rng.normal(size=(len(window.tokens), 2)) for window in found]
    spots = best_spans(found, scores, longest, count)
    wanted, nothing = every(found, scores, longest)
    assert [spot for spot in spots if spot[:2] != NOWHERE] == wanted[:count]
    assert [spot.score for spot in spots if spot[:2] == NOWHERE] == [nothing]
    assert [spot.score for spot in spots] == sorted((spot.score for spot in spots), reverse=True)
    for spot in spots:
        assert spot[:2] == NOWHERE or (content[spot.start] + content[spot.end - 1]).strip() == content[spot.start] + content[spot.end - 1]


def test_one_character_of_several_tokens_is_one_place(tokenizer_of_bytes):
    content = "ab🐋c"
    found = windows(content, tokenizer_of_bytes, 40, before="?")
    scores = [np.zeros((len(found[0].tokens), 2))]
    first, last = found[0].find(2, 3)
    assert last - first == 3  # four bytes
    scores[0][first : last + 1] = 5
    assert best_spans(found, scores)[0] == Spot(2, 3, 10.0)


@pytest.fixture(scope="module")
def tokenizer_of_bytes():
    from yanmo.text.bpe import BpeTokenizer

    return BpeTokenizer(type="bpe", size=262).train(["a b c"] * 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_decides_nothing_unless_it_is_padding(bad):
    found = windows("abc", TOKENIZER, 40, before="?")
    length = len(found[0].tokens)
    padded = np.zeros((length + 4, 2))
    padded[length:] = bad
    assert len(best_spans(found, [padded])) == 7  # six spans of three characters, and none
    inside = np.zeros((length, 2))
    inside[found[0].find(1, 2)[0], 1] = bad
    assert best_spans(found, [inside]) == []
    nowhere = np.zeros((length, 2))
    nowhere[found[0].nowhere, 0] = bad
    assert best_spans(found, [nowhere]) == []


def test_equal_scores_give_the_earlier_and_shorter():
    found = windows("abc", TOKENIZER, 40, before="?")
    spots = best_spans(found, [np.zeros((len(found[0].tokens), 2))])
    assert [spot[:2] for spot in spots][:3] == [NOWHERE, (0, 1), (0, 2)]

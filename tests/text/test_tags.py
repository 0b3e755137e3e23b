"""Tags and the entities that they mean: seqeval's two readings on thousands of sequences, and sequences decoded by their grammar."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.text import tags
from yanmo.text.tags import Grammar

TYPES = ["PER", "地名", "geo-loc"]
SCHEMES = ["bio", "bioes"]


def random_tags(rng: random.Random, scheme: str, length: int) -> list[str]:
    """Anything that can be written with the scheme's letters: mostly nonsense."""
    letters = {"bio": "BI", "bioes": "BIES"}[scheme]
    return [rng.choice(["O", *(f"{letter}-{kind}" for letter in letters for kind in TYPES)]) for _ in range(length)]


def sequences(scheme: str) -> list[list[str]]:
    """Every sequence of four tags of two types, and thousands of longer ones."""
    letters = {"bio": "BI", "bioes": "BIES"}[scheme]
    alphabet = ["O", *(f"{letter}-{kind}" for letter in letters for kind in TYPES[:2])]
    every = [list(found) for found in itertools.product(alphabet, repeat=3 if scheme == "bioes" else 4)]
    rng = random.Random(0)
    return every + [random_tags(rng, scheme, rng.randint(1, 30)) for _ in range(3000)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_strict_reading_is_seqevals(scheme):
    from seqeval.scheme import IOB2, IOBES, Entities

    found = sequences(scheme)
    oracle = Entities(found, {"bio": IOB2, "bioes": IOBES}[scheme]).entities
    for sequence, expected in zip(found, oracle):
        assert tags.entities(sequence, scheme) == [(e.start, e.end, e.tag) for e in expected], sequence


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_loose_reading_is_conllevals(scheme):
    from seqeval.metrics.sequence_labeling import get_entities

    for sequence in sequences(scheme):
        loose = [(chunk.label, chunk.first, chunk.end - 1) for chunk in tags.chunks(sequence)]
        assert loose == get_entities(sequence), sequence


@st.composite
def spans(draw):
    count = draw(st.integers(1, 30))
    found, behind = [], 0
    while behind < count:
        first = draw(st.integers(behind, count - 1))
        end = draw(st.integers(first + 1, min(first + 4, count)))
        found.append((first, end, draw(st.sampled_from(TYPES))))
        behind = end
        if draw(st.booleans()):
            break
    return count, found


@settings(max_examples=200, deadline=None)
@given(spans(), st.sampled_from(SCHEMES))
def test_what_is_written_is_read_again_both_ways(made, scheme):
    count, found = made
    sequence = tags.written(found, count, scheme)
    assert tags.entities(sequence, scheme) == found
    assert [(chunk.first, chunk.end, chunk.label) for chunk in tags.chunks(sequence)] == found
    assert set(sequence) <= set(tags.names(TYPES, scheme))


@pytest.mark.parametrize(("tag", "pair"), [
    ("O", ("O", "")), ("B-PER", ("B", "PER")), ("B_PER", ("B", "PER")), ("M-人名", ("I", "人名")), ("L-x", ("E", "x")), ("U-x", ("S", "x")),
    ("B-geo-loc", ("B", "geo-loc")), ("o", None), ("", None), ("B", None), ("B-", None), ("X-PER", None), ("PER", None), ("0", None),
])  # fmt: skip
def test_what_is_a_tag(tag, pair):
    assert tags.parsed(tag) == pair


def test_names_types_and_schemes():
    assert tags.names(["PER", "LOC"], "bio") == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert tags.names(["PER"], "bioes") == ["O", "B-PER", "I-PER", "E-PER", "S-PER"]
    assert tags.types(tags.names(TYPES, "bioes")) == TYPES
    assert tags.scheme_of(["O", "B-x", "I-x"]) == "bio"
    assert tags.scheme_of(["O", "B-x", "M-x", "E-x"]) == tags.scheme_of(["U-x"]) == "bioes"


# ------------------------------------------------------------------------------------------------ places


def test_every_token_that_touches_an_entity_belongs_to_it():
    places = [(0, 2), (2, 5), (6, 9), (9, 10), (10, 10), (11, 14)]  # a token that stands for nothing among them
    assert tags.marked(places, [(3, 8, "PER")], "bio") == ["O", "B-PER", "I-PER", "O", "O", "O"]
    assert tags.marked(places, [(6, 14, "PER")], "bioes") == ["O", "O", "B-PER", "I-PER", "I-PER", "E-PER"]
    assert tags.marked(places, [(0, 5, "A"), (6, 10, "B")], "bioes") == ["B-A", "E-A", "B-B", "E-B", "O", "O"]
    assert tags.marked(places, [(5, 6, "A")], "bio") == ["O"] * 6  # in the gap between two tokens
    assert tags.marked(places, [(0, 1, "A"), (1, 2, "B")], "bio")[0] == "B-A"  # the first has it
    assert tags.marked([], [(0, 1, "A")], "bio") == []


@settings(max_examples=200, deadline=None)
@given(spans(), st.sampled_from(SCHEMES))
def test_tokens_of_one_character_give_the_entities_back(made, scheme):
    count, found = made
    places = [(i, i + 1) for i in range(count)]
    assert tags.marked(places, found, scheme) == tags.written(found, count, scheme)
    emoji = [(i, i + 1) for i in range(count) for _ in range(3)]  # each character three tokens of bytes
    marked = tags.marked(emoji, found, scheme)
    assert [(emoji[a][0], emoji[b - 1][1], label) for a, b, label in tags.entities(marked, scheme)] == found


# ------------------------------------------------------------------------------------------------ decoding


def brute(names: list[str], scores: np.ndarray, scheme: str) -> float:
    """The best sum over all sequences that the scheme can write."""
    best = -np.inf
    for path in itertools.product(range(len(names)), repeat=len(scores)):
        sequence = [names[i] for i in path]
        proper = all(chunk.proper(scheme) for chunk in tags.chunks(sequence))
        if proper:
            best = max(best, sum(scores[t, i] for t, i in enumerate(path)))
    return best


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_best_sequence_is_the_best_of_all_that_can_be_written(scheme):
    rng = np.random.default_rng(0)
    names = tags.names(["a", "b"] if scheme == "bio" else ["a"], scheme)
    for length in (1, 2, 3, 4, 5):
        for _ in range(6):
            scores = rng.normal(size=(length, len(names)))
            path = Grammar.of(names).best(scores)
            sequence = [names[i] for i in path]
            assert all(chunk.proper(scheme) for chunk in tags.chunks(sequence)), sequence
            assert sum(scores[t, i] for t, i in enumerate(path)) == pytest.approx(brute(names, scores, scheme))


def test_tags_of_other_making_are_taken_as_they_are():
    assert Grammar.of(["O", "I-a"]).begins.all()  # IOB1 without a single B-
    assert Grammar.of(["PER", "O"]).follows.all()  # no prefixes at all
    assert Grammar.of(["O", "B-a", "I-a"]).best(np.zeros((0, 3))) == []


def test_scores_that_are_not_finite_lose():
    grammar = Grammar.of(["O", "B-a", "I-a"])
    assert grammar.best([[0.0, np.nan, 9.0], [-np.inf, 0.0, 5.0]]) == [0, 1]
    assert grammar.best([[-np.inf, -np.inf, 0.0]]) in ([0], [1])

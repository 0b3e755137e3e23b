"""Unigram: the learned pieces, what they are worth, and that nothing but the text decides them."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from yanmo.text import lattice
from yanmo.text.unigram import UnigramTokenizer

SAMPLES = Path(__file__).parents[2] / "yanmo" / "samples"
WORDS = Counter({"abab": 6, "ab": 9, "ba": 2, "天下大势": 5, "天下": 4, "c": 1})


def ways(word: str, score: dict[str, float]):
    """Every way to cut a word, with its log probability: the slow truth that the lattice is held against."""
    if not word:
        yield (), 0.0
    for end in range(1, len(word) + 1):
        if word[:end] in score:
            for rest, value in ways(word[end:], score):
                yield (word[:end], *rest), score[word[:end]] + value


@pytest.fixture(scope="module")
def small():
    """The words laid out, with seeds and their first scores."""
    characters = sorted({c for word in WORDS for c in word})
    listed = sorted(WORDS)
    words = lattice._lay(listed, [WORDS[word] for word in listed], {c: i for i, c in enumerate(characters)})
    edges, names, uses = lattice._seed(words, characters, 100)
    return words, edges, names, uses


def test_the_seeds_are_all_substrings_that_come_twice(small):
    _, edges, names, uses = small
    found = Counter()
    for word, times in WORDS.items():
        for start in range(len(word)):
            for end in range(start + 1, len(word) + 1):
                found[word[start:end]] += times
    assert dict(zip(names, uses)) == {piece: times for piece, times in found.items() if times >= 2 or len(piece) == 1}
    assert len(edges.start) == sum(len([1 for s in range(len(w)) for e in range(s + 1, len(w) + 1) if w[s:e] in names]) for w in WORDS)


def test_expected_uses_are_those_over_all_ways(small):
    words, edges, names, uses = small
    score = np.log(uses / uses.sum())
    table = dict(zip(names, score))
    expected = Counter()
    for word, times in WORDS.items():
        found = list(ways(word, table))
        whole = math.log(sum(math.exp(value) for _, value in found))
        for cut, value in found:
            for piece in cut:
                expected[piece] += times * math.exp(value - whole)
    assert lattice._expect(words, edges, score) == pytest.approx([expected[name] for name in names], rel=1e-9)


def test_the_second_best_way_is_the_best_without_the_piece(small):
    words, edges, names, uses = small
    score = np.log(uses / uses.sum())
    table = dict(zip(names, score))
    for name, value in zip(names, lattice._second(words, edges, score, len(names))):
        rest = {piece: each for piece, each in table.items() if piece != name or len(name) == 1}
        assert value == pytest.approx(max(each for _, each in ways(name, rest)), rel=1e-9)


def test_the_likelihood_grows_with_each_round(small):
    words, edges, names, uses = small
    score = np.log(uses / uses.sum())
    seen = []
    for _ in range(6):
        table = dict(zip(names, score))
        seen.append(sum(times * math.log(sum(math.exp(value) for _, value in ways(word, table))) for word, times in WORDS.items()))
        uses = np.maximum(lattice._expect(words, edges, score), 1e-9)
        score = np.log(uses / uses.sum())
    assert all(after >= before - 1e-9 for before, after in pairwise(seen))
    assert seen[-1] > seen[0]


def test_pruning_keeps_all_characters_and_what_is_worth_most():
    made, most = lattice.learn(WORDS, ["a", "b", "c", "天", "下", "大", "势"], 9)
    assert most > 9
    assert {"a", "b", "c", "天", "下", "大", "势"} < made.keys()
    assert "ab" in made
    assert len(made) == 9
    assert sum(map(math.exp, made.values())) == pytest.approx(1, abs=1e-3)


def test_frequent_words_of_both_languages_become_one_token():
    made = UnigramTokenizer(size=300).train(["the ship 天下大势 and the sea 分久必合 the ship 天下大势"] * 5)
    assert [made.token(token) for token in made.encode("the ship 天下大势")] == ["the", " ship", " ", "天下大势"]


SCRIPT = """
import hashlib, json, sys
from yanmo.text.unigram import UnigramTokenizer
texts = [json.loads(line)["text"][:20000] for path in sys.argv[1:] for line in list(open(path, encoding="utf-8"))[:4]]
print(hashlib.sha256(UnigramTokenizer(size=1500).train(texts).inner.to_str().encode()).hexdigest())
"""


def test_the_number_of_threads_and_the_hash_seed_change_nothing():
    paths = [str(SAMPLES / name / "chapters.jsonl") for name in ("moby_dick", "sanguo")]
    found = []
    for threads, seed in (("1", "0"), ("3", "1")):
        changed = {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true", "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", SCRIPT, *paths], env={**os.environ, **changed}, text=True,
                              capture_output=True, check=True, cwd=Path(__file__).parents[2])  # fmt: skip
        found.append(done.stdout.strip())
    assert len(found[0]) == len(hashlib.sha256().hexdigest())
    assert set(found) == {found[0]}


def test_the_order_of_texts_changes_nothing():
    texts = ["the whale and the sea", "天下大势分久必合", "乾坤 one two", "three 四五六"] * 3
    assert UnigramTokenizer().train(texts).inner.to_str() == UnigramTokenizer().train(texts[::-1]).inner.to_str()


def test_a_text_that_spells_the_name_of_a_byte_is_text():
    made = UnigramTokenizer().train(["<0xE4> <0x41> <|pad|> "] * 5)
    assert not set(made.encode("<0x41> <|pad|>")) & set(range(4))
    assert made.decode(made.encode("<0x41>")) == "<0x41>"

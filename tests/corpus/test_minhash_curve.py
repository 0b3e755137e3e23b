"""Near-duplicates planted at known similarities: what MinHash finds against what theory says it finds.

Two texts of similarity s share a band with probability 1 - (1 - s^8)^14. Each planted pair has its own true s, so the
number found at a level is a sum of independent trials of known probabilities; it may lie four standard deviations off.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.corpus.corpora import CHINESE, ENGLISH, run, small_shards, write_jsonl
from yanmo.core.registry import create
from yanmo.corpus.words.shingles import shingles

LEVELS = [0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
PAIRS, TOKENS = 300, 160
STEP = create("step", "minhash_dedup")
HAN = CHINESE + "".join(chr(0x4E00 + 61 * i) for i in range(300))


def tokens(rng: random.Random, language: str, count: int) -> list[str]:
    return [rng.choice(ENGLISH) + str(rng.randrange(1000)) if language == "en" else rng.choice(HAN) for _ in range(count)]


def written(language: str, found: list[str]) -> str:
    return " ".join(found) if language == "en" else "".join(found)


def pair(rng: random.Random, language: str, similarity: float) -> tuple[str, str]:
    """Two texts that share a beginning, such that about `similarity` of their shingles are common."""
    both = round(2 * similarity / (1 + similarity) * (TOKENS - 4)) + 4
    common = tokens(rng, language, both)
    return tuple(written(language, common + tokens(rng, language, TOKENS - both)) for _ in range(2))  # type: ignore[return-value]


def jaccard(a: str, b: str) -> float:
    one, two = (set(found.tolist()) for found in shingles([a, b], 5))
    return len(one & two) / len(one | two)


def theory(similarity: float) -> float:
    return 1 - (1 - similarity**STEP.rows) ** STEP.bands


def bands(text: str) -> np.ndarray:
    return STEP.signature(text).reshape(STEP.bands, STEP.rows)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_recall_follows_the_curve_at_every_similarity(language, capsys):
    rng = random.Random(f"curve {language}")
    table, deviations = [], []
    for level in LEVELS:
        found, expected, variance, exact = 0, 0.0, 0.0, []
        for _ in range(PAIRS):
            a, b = pair(rng, language, level)
            similarity = jaccard(a, b)
            exact.append(similarity)
            chance = theory(similarity)
            expected, variance = expected + chance, variance + chance * (1 - chance)
            found += bool((bands(a) == bands(b)).all(axis=1).any())
        assert abs(np.mean(exact) - level) < 0.01
        assert abs(found - expected) <= 4 * variance**0.5 + 1, (language, level, found, expected)
        if variance > 1:
            deviations.append((found - expected) ** 2 / variance)
        table.append((level, found / PAIRS, expected / PAIRS))
    assert len(deviations) >= 6
    assert sum(deviations) < 35, "chi-squared of 6 to 10 levels: beyond 35 less than once in ten thousand"
    with capsys.disabled():
        print(f"\nMinHash {language}, {PAIRS} pairs a level: similarity found (theory)\n" + "  ".join(f"{s:.2f} {f:.3f} ({t:.3f})" for s, f, t in table))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_whole_step_finds_what_shares_a_band_and_joins_no_strangers(language, folder, monkeypatch, capsys):
    rng = random.Random(f"whole {language}")
    pairs = [(level, *pair(rng, language, level)) for level in LEVELS for _ in range(16)]
    bodies = [body for _, a, b in pairs for body in (a, b)]
    order = rng.sample(range(len(bodies)), len(bodies))
    write_jsonl(folder / "a.jsonl", [{"text": bodies[i]} for i in order])
    small_shards(monkeypatch, 20_000)
    docs = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["minhash_dedup"])
    place = {doc.id: order[number] for number, doc in enumerate(docs)}
    joined = {(place[doc.id], place[str(doc.rejection.value)]) for doc in docs if doc.rejection}
    assert all(a // 2 == b // 2 for a, b in joined), "no text is taken for a copy of a stranger"
    meeting = {number for number, (_, a, b) in enumerate(pairs) if (bands(a) == bands(b)).all(axis=1).any()}
    assert {a // 2 for a, _ in joined} == meeting
    true = {number for number, (level, _, _) in enumerate(pairs) if level >= 0.8}
    below = {number for number, (level, _, _) in enumerate(pairs) if level < 0.5}
    precision, recall = 1 - len(meeting & below) / len(meeting), len(meeting & true) / len(true)
    with capsys.disabled():
        print(f"\nMinHash {language}: precision {precision:.3f} (pairs of at least 0.5), recall {recall:.3f} (pairs of at least 0.8)")
    assert precision > 0.97
    expected = [theory(jaccard(a, b)) for level, a, b in pairs if level >= 0.8]
    assert abs(len(meeting & true) - sum(expected)) <= 4 * sum(p * (1 - p) for p in expected) ** 0.5 + 1

"""Near-duplicates: the estimate against the true similarity, planted copies found, different texts left alone."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest

from tests.corpus.corpora import chinese, english, run, small_shards, write_jsonl
from yanmo.core.registry import create
from yanmo.corpus.copies.components import NODE, RECORD, components, neighbours, roots
from yanmo.corpus.words.shingles import mixed, shingles, tokens

STEP = create("step", "minhash_dedup")


def jaccard(a: str, b: str) -> float:
    one, two = set(shingles(a, 5).tolist()), set(shingles(b, 5).tolist())
    return len(one & two) / len(one | two)


def estimate(a: str, b: str) -> float:
    return float((STEP.signature(a) == STEP.signature(b)).mean())


# ---------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(("text", "count"), [
    ("the quick brown fox", 4), ("don't stop-me_now", 5), ("研墨写字", 4), ("Yanmo研墨 v2", 4), ("ありがとう", 5), ("สวัสดี", 6), ("हिन्दी भाषा", 2),
    ("한국어 문장", 2), ("", 0), ("，。！", 0), ("👩‍👩‍👧‍👦", 0), ("a  b\n\nc", 3), ("naïve café", 2), ("𠮷野家", 3),
])  # fmt: skip
def test_a_token_is_a_word_or_an_unspaced_character(text, count):
    assert tokens(text).size == count


@pytest.mark.parametrize(("a", "b"), [
    ("The Quick, brown FOX", "the quick brown fox!"), ("研墨，写字。", "研墨写字"), ("ＡＢＣ １２", "abc 12"), ("cafe\u0301", "café"), ("a" * 100, "A" * 100),
])  # fmt: skip
def test_case_width_and_punctuation_do_not_count(a, b):
    assert tokens(a).tolist() == tokens(b).tolist()


def test_different_words_have_different_hashes():
    rng = random.Random(0)
    words = {"".join(rng.choices("abcdefghij", k=rng.randint(1, 9))) for _ in range(20_000)} | {"ab", "ba", "aab", "aba", "a" * 64, "a" * 65}
    assert len({tokens(word)[0].item() for word in words}) == len(words)
    assert tokens("一二 二一").tolist()[:2] == tokens("二一 一二").tolist()[2:]
    assert shingles("a b c d", 5).size == 0
    assert shingles("a b c d e", 5).size == 1
    assert shingles("a b c d e", 5) != shingles("b a c d e", 5)


def test_mixing_is_a_bijection_that_spreads_single_bits():
    values = np.arange(1 << 16, dtype=np.uint64)
    assert np.unique(mixed(values)).size == values.size
    flipped = mixed(values) ^ mixed(values ^ np.uint64(1))
    assert 31 < np.bitwise_count(flipped).mean() < 33


# ---------------------------------------------------------------------------------------------- the estimate


@pytest.mark.parametrize("language", ["en", "zh"])
def test_signatures_estimate_the_true_similarity_without_bias(language):
    rng = random.Random(1)
    make, sizes = (english, 300) if language == "en" else (chinese, 400)
    errors = []
    for share in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
        for _ in range(25):
            a = make(rng, sizes)
            cut = int(len(a) * share)
            b = a[:cut] + make(rng, sizes)[cut:]
            errors.append(estimate(a, b) - jaccard(a, b))
    assert abs(float(np.mean(errors))) < 0.01
    assert float(np.std(errors)) < 0.05  # theory: at most 0.5 / sqrt(112) = 0.047
    assert estimate("the same five words here", "the same five words here") == 1


def planted(language: str, seed: int = 2) -> tuple[list[str], list[tuple[int, int]]]:
    """200 originals and 80 light edits of some: the texts, and which pairs are near-duplicates."""
    rng = random.Random(seed)
    bodies = [english(rng, rng.randint(150, 350)) if language == "en" else chinese(rng, rng.randint(120, 400)) for _ in range(200)]
    pairs = []
    for number in range(80):
        original = rng.randrange(200)
        body = bodies[original]
        edits = 1 + number % 3
        for _ in range(edits):
            at = rng.randrange(len(body))
            if language == "en":
                at = body.find(" ", at) + 1
            extra = "inserted " if language == "en" else "改"
            body = body[:at] + extra + body[at + (number % 2) :]
        pairs.append((original, len(bodies)))
        bodies.append(body)
    return bodies, pairs


@pytest.mark.parametrize("language", ["en", "zh"])
def test_planted_near_duplicates_are_found_and_nothing_else(language, folder, monkeypatch):
    bodies, pairs = planted(language)
    write_jsonl(folder / "a.jsonl", [{"text": body} for body in bodies])
    small_shards(monkeypatch, 20_000)
    docs = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["minhash_dedup"])
    family = list(range(len(bodies)))
    for original, copy in pairs:
        family[copy] = original
    groups: dict[int, list[int]] = {}
    for index, root in enumerate(family):
        groups.setdefault(root, []).append(index)
    by_id = {doc.id: index for index, doc in enumerate(docs)}
    kept_of = {i: by_id[doc.rejection.value] for i, doc in enumerate(docs) if doc.rejection}
    for loser, winner in kept_of.items():
        assert family[loser] == family[winner], "precision: only members of one family are joined"
        assert docs[winner].rejection is None
        assert docs[winner].id < docs[loser].id
        assert docs[loser].rejection.reason == "near_duplicate"
        assert abs(docs[loser].meta["similarity"] - jaccard(bodies[loser], bodies[winner])) < 0.2
    likely = [pair for pair in pairs if jaccard(bodies[pair[0]], bodies[pair[1]]) > 0.9]
    assert len(likely) > 40
    found = [pair for pair in likely if kept_of.get(pair[0], pair[0]) == kept_of.get(pair[1], pair[1])]
    assert len(found) / len(likely) > 0.99, "recall"
    assert len(kept_of) > 0.9 * len(pairs)


def test_short_texts_and_texts_without_letters_are_left_alone(folder):
    rows = ["one two three four", "one two three four", "👩👩👩👩👩👩", "👩👩👩👩👩👩", "四个汉字", "四个汉字", "……", "12"]
    write_jsonl(folder / "a.jsonl", [{"text": row} for row in rows])
    assert not any(doc.rejection for doc in run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["minhash_dedup"]))


def test_equal_texts_without_exact_dedup_keep_the_first(folder):
    body = "there are at least five words in this one"
    write_jsonl(folder / "a.jsonl", [{"text": body}, {"text": "and a different text of more than five words"}, {"text": body}, {"text": body}])
    docs = run(folder / "parts", {"type": "jsonl", "path": "a.jsonl"}, ["minhash_dedup"])
    assert [bool(doc.rejection) for doc in docs] == [False, False, True, True]
    assert docs[2].meta["similarity"] == 1


def test_other_bands_find_looser_or_only_tighter_copies(folder):
    rng = random.Random(4)
    base = english(rng, 200).split()
    loose = base.copy()
    for at in range(0, 200, 25):
        loose[at] = f"changed{at}"
    rows = [" ".join(base), " ".join(loose)]
    assert 0.5 < jaccard(*rows) < 0.75
    write_jsonl(folder / "a.jsonl", [{"text": row} for row in rows])
    source = {"type": "jsonl", "path": "a.jsonl"}
    eager = run(folder / "eager", source, [{"type": "minhash_dedup", "bands": 40, "rows": 3}])
    strict = run(folder / "strict", source, [{"type": "minhash_dedup", "bands": 2, "rows": 40}])
    assert sum(bool(doc.rejection) for doc in eager) == 1
    assert not any(doc.rejection for doc in strict)


# ---------------------------------------------------------------------------------------------- components


def packed(a: int, id_a: str, b: int, id_b: str) -> bytes:
    return np.array([(order, int(id_[:16], 16), int(id_[16:], 16)) for order, id_ in ((a, id_a), (b, id_b))], NODE).tobytes()


def test_neighbours_are_joined_to_the_smallest_of_their_hash():
    rng = random.Random(9)
    rows = [(rng.randrange(40), (order, rng.randrange(20), rng.randrange(1 << 60))) for order in range(300)]
    found = list(neighbours([(3, np.array(rows, RECORD).tobytes()), (4, np.array(rows[:1], RECORD).tobytes())]))
    assert [section for section, _ in found] == [3], "no edges, no row"
    edges = {(int(a["order"]), int(b["order"])) for a, b in np.frombuffer(found[0][1], NODE).reshape(-1, 2)}
    smallest: dict[int, tuple] = {}
    for hashed, (order, high, low) in rows:
        smallest[hashed] = min(smallest.get(hashed, (high, low, order)), (high, low, order))
    assert edges == {(order, smallest[hashed][2]) for hashed, (order, _, _) in rows if smallest[hashed][2] != order}


def test_components_against_a_search(monkeypatch):
    rng = random.Random(6)
    for nodes, count in ((10, 6), (200, 150), (500, 480), (50, 400)):
        ids = [f"{rng.randrange(1 << 60):032x}" for _ in range(nodes)]
        edges = [(rng.randrange(nodes), rng.randrange(nodes)) for _ in range(count)]
        found = {loser: (winner, id_) for loser, winner, id_ in components([packed(a, ids[a], b, ids[b]) for a, b in edges])}
        near: dict[int, set[int]] = {node: set() for edge in edges for node in edge}
        for a, b in edges:
            near[a].add(b)
            near[b].add(a)
        for node in near:
            seen, todo = {node}, [node]
            while todo:
                fresh = near[todo.pop()] - seen
                seen |= fresh
                todo += fresh
            winner = min(seen, key=lambda n: (ids[n], n))
            assert found.get(node, (node, ids[node])) == (winner, ids[winner])
        assert list(found) == sorted(found)
    assert list(components([])) == []


def test_a_chain_ends_in_its_first_node():
    left = np.arange(5000)
    assert (roots(left, left + 1, 5001) == 0).all()
    shuffled = np.random.default_rng(0).permutation(5001)
    assert (roots(shuffled[:-1], shuffled[1:], 5001) == 0).all()


def test_signatures_do_not_depend_on_machine_or_version():
    """Golden: a corpus made elsewhere must give the same clusters."""
    assert shingles("the quick brown fox jumps 研墨写字", 5).tolist()[:2] == GOLDEN_SHINGLES
    assert STEP.signature("the quick brown fox jumps over it").tolist()[:4] == GOLDEN_SIGNATURE


def test_pairs_far_apart_are_rarely_candidates():
    rng = random.Random(8)
    signatures = [STEP.signature(english(rng, 150)).reshape(14, 8) for _ in range(60)]
    shared = sum((a == b).all(axis=1).any() for a, b in combinations(signatures, 2))
    assert shared == 0


GOLDEN_SHINGLES = [2788498159706271479, 5493848390316665452]
GOLDEN_SIGNATURE = [299684147, 407634576, 833652856, 513500908]

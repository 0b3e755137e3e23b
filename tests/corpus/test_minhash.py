"""Near-duplicates: the estimate against the true similarity, planted copies found, different texts left alone."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.corpus.corpora import chinese, english, run, small_shards, write_jsonl
from yanmo.core.data import Document, Origin, Rejection
from yanmo.core.registry import create
from yanmo.corpus.copies.components import NODE, RECORD, components, neighbours, roots
from yanmo.corpus.steps.minhash_dedup import BLOCK, TOGETHER, minima, multipliers
from yanmo.corpus.words.shingles import SLICE, shingles

STEP = create("step", "minhash_dedup")


def jaccard(a: str, b: str) -> float:
    one, two = (set(found.tolist()) for found in shingles([a, b], 5))
    return len(one & two) / len(one | two)


def estimate(a: str, b: str) -> float:
    return float((STEP.signature(a) == STEP.signature(b)).mean())


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


# ---------------------------------------------------------------------------------------------- the kernel


def reference(hashes: list[int], count: int, seed: int) -> list[int]:
    """The definition, number by number."""
    return [min(int(a) * (h >> 32 | 1) % 2**32 for h in hashes) for a in multipliers(count, seed)]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60), st.sampled_from([1, 3, 112, 300]), st.integers(0, 2**32 - 1))
def test_minima_are_those_of_the_definition(hashes, count, seed):
    assert minima(np.array(hashes, np.uint64), count, seed).tolist() == reference(hashes, count, seed)


def test_many_shingles_are_worked_out_in_blocks():
    rng = np.random.default_rng(0)
    for count, size in ((112, 5 * BLOCK // 112 + 3), (BLOCK, 2), (BLOCK // 2 + 1, 3), (1, BLOCK + 1)):
        hashes = rng.integers(0, 2**64, size, np.uint64)
        whole = (multipliers(count, 1)[:, None] * ((hashes >> np.uint64(32)).astype(np.uint32) | np.uint32(1))).min(axis=1)
        assert (minima(hashes, count, 1) == whole).all()
    assert minima(np.zeros(0, np.uint64), 112, 1) is None


def test_each_multiplier_permutes_the_odd_numbers():
    factors = multipliers(112, 1)
    assert (factors & 1).all()
    assert np.unique(factors).size == 112
    assert not set(factors.tolist()) & set(multipliers(112, 2).tolist())
    odd = np.arange(1, 1 << 16, 2, dtype=np.uint16)  # modulo 2^16 all of them can be looked at
    for factor in factors.astype(np.uint16):
        assert np.unique(odd * factor).size == odd.size


def test_the_share_of_equal_minima_is_the_similarity_for_every_size_of_set():
    """Broder's theorem, on random sets without any text: mean and spread over many pairs, and no two permutations that agree
    more often together than independent ones do."""
    rng = np.random.default_rng(7)
    for size in (8, 40, 300):
        common = size // 2
        similarity = common / (2 * size - common)
        equal = []
        for _ in range(400):
            hashes = rng.integers(0, 2**64, 2 * size - common, np.uint64)
            equal.append(minima(hashes[:size], 112, 1) == minima(hashes[size - common :], 112, 1))
        share = np.mean(equal, axis=1)
        deviation = (similarity * (1 - similarity) / 112) ** 0.5
        assert abs(share.mean() - similarity) < 4 * deviation / 20
        assert 0.85 < share.std() / deviation < 1.15, "as of independent trials"


BODIES = st.lists(st.text(st.sampled_from("ab 研墨，e\u0301™ﬁΣé👩\n"), max_size=80), max_size=12)


@given(BODIES, st.integers(1, 60))
def test_a_signature_does_not_depend_on_the_company_it_is_worked_out_in(bodies, together):
    alone = [STEP.signature(body) for body in bodies]
    docs = [Document(f"{i:032x}", body, Origin("a", None, i, i + 1), order=i) for i, body in enumerate(bodies)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yanmo.corpus.steps.minhash_dedup.TOGETHER", together)
        found = list(STEP.sign(iter(docs)))
    assert [(order, id_) for order, id_, _ in found] == [(doc.order, doc.id) for doc in docs], "one row a document"
    for signature, (_, _, packed_) in zip(alone, found):
        assert packed_ == (b"" if signature is None else signature.tobytes())


def test_rejected_documents_have_a_row_without_a_signature():
    docs = [Document("0" * 32, "five words are quite enough", Origin("a", None, 0, 1), order=7)]
    assert len(next(STEP.sign(iter(docs)))[2]) == 448
    docs[0].rejection = Rejection("length", "too_short")
    assert list(STEP.sign(iter(docs))) == [(7, "0" * 32, b"")]


def test_a_text_of_many_slices_has_the_signature_of_its_shingles():
    rng = random.Random(5)
    body = english(rng, SLICE // 3) + chinese(rng, SLICE) + " é"
    assert len(body) > 2 * SLICE > TOGETHER
    hashes = shingles([body], 5)[0]
    assert (STEP.signature(body) == minima(np.unique(hashes), 112, 1)).all()


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


def test_small_sections_are_gathered_and_give_the_same_edges(monkeypatch):
    rng = random.Random(3)
    rows = [(section, np.array([(section << 56 | rng.randrange(20), (rng.randrange(10**6), rng.randrange(9), rng.randrange(9)))
                                for _ in range(rng.randrange(1, 40))], RECORD).tobytes()) for section in range(30)]  # fmt: skip

    def edges(size: int) -> tuple[int, list]:
        monkeypatch.setattr("yanmo.corpus.copies.components.GATHERED", size)
        found = list(neighbours(iter(rows)))
        assert [number for number, _ in found] == sorted({number for number, _ in found})
        return len(found), sorted(edge.tobytes() for _, data in found for edge in np.frombuffer(data, NODE).reshape(-1, 2))

    (several, one_by_one), (some, few), (single, together) = edges(0), edges(2000), edges(1 << 20)
    assert several > some > single == 1
    assert one_by_one == few == together
    assert list(neighbours([])) == []


def test_components_against_a_search(monkeypatch):
    rng = random.Random(6)
    for nodes, count in ((10, 6), (200, 150), (500, 480), (50, 400)):
        ids = [f"{rng.randrange(1 << 60):032x}" for _ in range(nodes)]
        edges = [(rng.randrange(nodes), rng.randrange(nodes)) for _ in range(count)]
        rows = list(components([packed(a, ids[a], b, ids[b]) for a, b in edges]))
        found = {loser: (winner, id_) for winner, id_, losers in rows for loser in np.frombuffer(losers, "<i8").tolist()}
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
        assert rows == sorted(rows)
        assert all((np.diff(np.frombuffer(losers, "<i8")) > 0).all() for _, _, losers in rows)
        assert sum(len(losers) // 8 for _, _, losers in rows) == len(found)
    assert list(components([])) == []


def test_a_chain_ends_in_its_first_node():
    left = np.arange(5000)
    assert (roots(left, left + 1, 5001) == 0).all()
    shuffled = np.random.default_rng(0).permutation(5001)
    assert (roots(shuffled[:-1], shuffled[1:], 5001) == 0).all()


def test_signatures_do_not_depend_on_machine_or_version():
    """Golden: a corpus made elsewhere must give the same clusters."""
    assert shingles(["the quick brown fox jumps 研墨写字"], 5)[0].tolist()[:2] == GOLDEN_SHINGLES
    assert STEP.signature("the quick brown fox jumps over it").tolist()[:4] == GOLDEN_SIGNATURE


def test_pairs_far_apart_are_rarely_candidates():
    rng = random.Random(8)
    signatures = [STEP.signature(english(rng, 150)).reshape(14, 8) for _ in range(60)]
    shared = sum((a == b).all(axis=1).any() for a, b in combinations(signatures, 2))
    assert shared == 0


GOLDEN_SHINGLES = [5985240351737065220, 9630906889004053594]
GOLDEN_SIGNATURE = [643767315, 1652475677, 49919823, 2396758913]

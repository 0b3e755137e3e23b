"""The n-gram model against its formulas written out over dictionaries, on English, Chinese and random streams."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo import samples
from yanmo.core.errors import CorruptError, DataError, RecipeError
from yanmo.core.registry import create, lookup
from yanmo.inference.likelihood import score_documents
from yanmo.models.base import Inputs
from yanmo.models.grams import Packing, Sorter
from yanmo.models.kneser_ney import FALLBACK, count, estimate, estimate_discounts
from yanmo.models.ngram import NgramFamily, NgramLanguageModel, NgramModel
from yanmo.nn.state import DenseSlots
from yanmo.text.characters import CharacterTokenizer

BORDER = 1

ENGLISH = [
    "The whale swam, and the ship followed the whale; the ship sank. And the sea rolled on as it rolled before. 🐋",
    "A white whale! A white whale! The men cried; the captain, the mate and the cabin boy ran to the side of the ship.",
    "Call me what you like. Some years ago - never mind how long - the sea called, and the ship sailed. Café, cafe\u0301.",
]
CHINESE = [
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。白日依山尽。",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。明月光，明月光。",
    "却说曹操与刘备，天下英雄，惟使君与操耳。刘备闻言，吃了一惊。曹操笑曰：天下英雄！GPT 也读三国 📚。",
]


# ------------------------------------------------------------------------------------------------ the formulas, slowly


class Reference:
    """Chen & Goodman's formulas over dictionaries of tuples: `documents` are lists of ids without borders."""

    def __init__(self, documents: list[list[int]], vocabulary: int, order: int, prune: list[int] | None = None):
        self.vocabulary, self.order = vocabulary, order
        least = [1] * order if prune is None else [prune[min(k, len(prune) - 1)] for k in range(order)]
        raw: dict[int, Counter] = {k: Counter() for k in range(1, order + 1)}
        for ids in documents:
            line = [BORDER, *ids, BORDER]
            for start in range(len(line)):
                for k in range(1, order + 1):
                    if start + k <= len(line) and not (k == 1 and start == 0):  # the first border is no target
                        raw[k][tuple(line[start : start + k])] += 1
        self.count: dict[int, dict[tuple, int]] = {order: dict(raw[order])}
        for k in range(1, order):
            before = defaultdict(set)
            for gram in raw[k + 1]:
                before[gram[1:]].add(gram[0])
            self.count[k] = {
                gram: seen if gram[0] == BORDER and k > 1 else len(before[gram]) for gram, seen in raw[k].items()
            }
        self.discounts = {k: self.estimate(self.count[k]) for k in self.count}
        self.kept = {k: {g for g in raw[k] if k == 1 or raw[k][g] >= least[k - 1]} for k in raw}
        self.extensions: dict[tuple, list[tuple]] = defaultdict(list)
        for k in raw:
            for gram in raw[k]:
                self.extensions[gram[:-1]].append(gram)

    @staticmethod
    def estimate(counts: dict[tuple, int]) -> tuple[float, ...]:
        n = Counter(counts.values())
        if not (n[1] and n[2] and n[3] and n[4]):
            return FALLBACK
        y = n[1] / (n[1] + 2 * n[2])
        found = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        return found if all(0 < d <= i + 1 for i, d in enumerate(found)) else FALLBACK

    def p(self, token: int, context: tuple[int, ...]) -> float:
        context = context[-(self.order - 1) :] if self.order > 1 else ()
        if BORDER in context:
            context = context[len(context) - 1 - context[::-1].index(BORDER) :]
        lower = 1 / self.vocabulary if not context else self.p(token, context[1:])
        k = len(context) + 1
        grams = self.extensions.get(context) if context != () else self.extensions[()]
        if not grams:
            return lower
        total = sum(self.count[k][gram] for gram in grams)
        kept = 0.0
        share = 0.0
        for gram in grams:
            if gram in self.kept[k]:
                c = self.count[k][gram]
                d = self.discounts[k][min(c, 3) - 1]
                kept += c - d
                if gram[-1] == token:
                    share = (c - d) / total
        return share + (1 - kept / total) * lower


@dataclass
class Split:
    tokens: np.ndarray


@dataclass
class Ids:
    """What `fit` needs of a tokenizer."""

    size: int
    eos_id: int = BORDER


def stream(documents: list[list[int]], dtype=np.uint16) -> np.ndarray:
    return np.array([token for ids in documents for token in [BORDER, *ids]], dtype)


def fitted(documents: list[list[int]], vocabulary: int, **fields) -> NgramLanguageModel:
    return NgramModel(**fields).fit(Split(stream(documents)), Ids(vocabulary), Path("."))


def characters(texts: list[str]) -> tuple[list[list[int]], int]:
    letters = {letter: number for number, letter in enumerate(sorted(set("".join(texts))), 4)}
    return [[letters[letter] for letter in text] for text in texts], len(letters) + 4


def random_documents(seed: int, vocabulary: int, documents: int, length: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, vocabulary - 1)
    return [rng.choice(np.arange(2, vocabulary), rng.integers(0, length), p=weights / weights.sum()).tolist() for _ in range(documents)]


CORPORA = {
    "english": characters(ENGLISH),
    "chinese": characters(CHINESE),
    "random": (random_documents(1, 9, 12, 40), 9),
    "sparse": (random_documents(2, 300, 6, 40), 400),
}


def agrees(model: NgramLanguageModel, reference: Reference, contexts: list[list[int]]) -> None:
    for context in contexts:
        expected = [reference.p(token, tuple(context)) for token in range(model.vocabulary)]
        assert math.isclose(sum(expected), 1, abs_tol=1e-9)
        found = model(Inputs(torch.tensor([context])), select=last(len(context))).logits[0]
        np.testing.assert_allclose(found.double().numpy(), np.log(expected), atol=1e-6)


def last(length: int) -> torch.Tensor:
    return torch.tensor([[False] * (length - 1) + [True]])


def some_contexts(documents: list[list[int]], vocabulary: int, order: int) -> list[list[int]]:
    rng = np.random.default_rng(order)
    line = stream(documents).tolist()
    seen = [line[start : start + int(rng.integers(1, order + 2))] for start in rng.integers(0, max(len(line) - 1, 1), 12)]
    unseen = [rng.integers(0, vocabulary, int(rng.integers(1, order + 2))).tolist() for _ in range(4)]
    return [[BORDER], [BORDER, BORDER], *seen, *unseen]


@pytest.mark.parametrize("order", [1, 2, 3, 5, 11])
@pytest.mark.parametrize("name", CORPORA)
def test_every_probability_is_that_of_the_formulas(name, order):
    documents, vocabulary = CORPORA[name]
    model, reference = fitted(documents, vocabulary, order=order), Reference(documents, vocabulary, order)
    for discounts, k in zip(model.trie.discounts, range(1, order + 1), strict=True):
        assert discounts == pytest.approx(reference.discounts[k])
    agrees(model, reference, some_contexts(documents, vocabulary, order))


def test_discounts_are_estimated_from_counts_of_counts():
    y = 100 / 180
    assert estimate_discounts(np.array([0, 100, 40, 20, 12])) == pytest.approx((1 - 2 * y * 40 / 100, 2 - 3 * y * 20 / 40, 3 - 4 * y * 12 / 20))
    assert estimate_discounts(np.array([0, 2, 1, 1, 0])) == FALLBACK  # no 4
    assert estimate_discounts(np.array([0, 1, 1, 9, 1])) == FALLBACK  # D2 would be below 0
    documents, vocabulary = CORPORA["random"]
    assert any(found != list(FALLBACK) for found in fitted(documents, vocabulary, order=3).trie.discounts)


@pytest.mark.parametrize("prune", [[1, 1, 2], [1, 2], [1, 2, 3, 9], [1, 1, 100]])
@pytest.mark.parametrize("name", ["english", "chinese", "random"])
def test_pruned_counts_go_to_the_shorter_context(name, prune):
    documents, vocabulary = CORPORA[name]
    model = fitted(documents, vocabulary, order=4, prune=prune)
    assert sum(model.ngrams) < sum(fitted(documents, vocabulary, order=4).ngrams)
    agrees(model, Reference(documents, vocabulary, 4, prune), some_contexts(documents, vocabulary, 4))


def test_pruning_nothing_changes_nothing():
    documents, vocabulary = CORPORA["english"]
    inputs = Inputs(torch.tensor([documents[0]]))
    plain, pruned = fitted(documents, vocabulary, order=4), fitted(documents, vocabulary, order=4, prune=[1, 1])
    assert torch.equal(plain(inputs).logits, pruned(inputs).logits)


TINY = {
    "one token": [[2]],
    "an empty document": [[]],
    "empty documents": [[], [], []],
    "one document of one token, again and again": [[3], [3], [3]],
    "a repeated document": [[2, 3, 4, 2]] * 5,
    "one token repeated": [[2] * 30],
    "with an empty one between": [[2, 3], [], [3, 2]],
    "a document shorter than the order": [[2, 3], [2], [4, 4, 4, 3, 2]],
}


@pytest.mark.parametrize("order", [1, 2, 4, 9])
@pytest.mark.parametrize("name", TINY)
def test_tiny_and_degenerate_corpora(name, order):
    documents, reference = TINY[name], Reference(TINY[name], 6, order)
    model = fitted(documents, 6, order=order)
    contexts = [[a] for a in range(6)] + [[a, b] for a in range(6) for b in range(6)] + [[1, 2, 3], [2, 2, 2, 2], [1, 2, 3, 4, 2]]
    agrees(model, reference, contexts)


@settings(max_examples=40, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(2, 6), max_size=12), min_size=1, max_size=6),
    order=st.integers(1, 6),
    rising=st.none() | st.lists(st.integers(0, 2), min_size=1, max_size=4),
    contexts=st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=8), min_size=1, max_size=3),
)
def test_any_corpus_order_pruning_and_context(documents, order, rising, contexts):
    prune = None if rising is None else [1, *(1 + np.cumsum(rising)).tolist()]
    agrees(fitted(documents, 8, order=order, prune=prune), Reference(documents, 8, order, prune), contexts)


# ------------------------------------------------------------------------------------------------ sorting


@pytest.mark.parametrize("vocabulary", [2, 3, 250, 255, 256, 65535, 65536, 250_000])
def test_vocabularies_of_any_size_count_the_same(vocabulary):
    """Wide tokens leave fewer of them to a number, so there are more numbers; the trie must not change."""
    documents = random_documents(5, 30, 8, 50) if vocabulary > 30 else [[0] * 5 + [vocabulary - 1, 0], [0, 0], []]
    tokens = stream(documents, np.uint32)
    high = tokens > 20
    tokens[high] += np.uint32(vocabulary - 31 if vocabulary > 30 else 0)
    levels = count(tokens, vocabulary, BORDER, 7)
    line = np.append(tokens, BORDER).tolist()
    for k in range(2, 8):
        grams = Counter(
            tuple(line[i : i + k]) for i in range(len(line) - k + 1) if BORDER not in line[i + 1 : i + k - 1]
        )
        assert len(levels[k - 1]) == len(grams)
        assert levels[k - 1].tokens.read(0, len(grams)).tolist() == [gram[-1] for gram in sorted(grams)]
        assert levels[k - 1].raw.read(0, len(grams)).tolist() == [grams[gram] for gram in sorted(grams)]
    assert levels[-1].counts is levels[-1].raw


@pytest.mark.parametrize("vocabulary", [2, 9, 2**11, 2**13 + 1, 2**16, 2**21, 2**31 - 2])
@pytest.mark.parametrize("order", [1, 2, 5, 8, 15])
def test_packed_ngrams_are_their_tokens_and_sort_as_they_do(vocabulary, order):
    rng = np.random.default_rng(order)
    tokens = rng.integers(0, vocabulary, (order, 300))
    tokens[:, 100:200] = tokens[:, :100]  # equal ones
    tokens[order - 1, 200:] = tokens[order - 1, 0]
    tokens[: order // 2, 200:] = tokens[: order // 2, :1]  # common beginnings
    packing = Packing(order, vocabulary)
    words = packing.pack(list(tokens))
    assert [packing.token(words, number).tolist() for number in range(order)] == tokens.tolist()
    for length in range(1, order + 1):
        want = (tokens[:length, 1:] == tokens[:length, :-1]).all(0)
        assert packing.same(words, length).tolist() == want.tolist()
    sorter = Sorter(packing)
    sorter.add([word[:150] for word in words])
    sorter.add([word[150:] for word in words])
    [found] = sorter.blocks()
    assert list(zip(*(packing.token(found, number).tolist() for number in range(order)))) == sorted(zip(*tokens.tolist()))


@pytest.mark.parametrize(("vocabulary", "order"), [(5, 3), (300, 9), (40_000, 5)])
def test_what_is_sorted_on_disk_is_sorted(vocabulary, order, tmp_path, monkeypatch):
    monkeypatch.setattr("yanmo.models.grams.LEAST", 64)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, min(vocabulary, 7), (order, 20_000))
    packing = Packing(order, vocabulary)
    here, there = Sorter(packing), Sorter(packing, tmp_path, 20_000)
    for start in range(0, 20_000, 450):
        for sorter in (here, there):
            sorter.add(packing.pack(list(tokens[:, start : start + 450])))
    [whole] = here.blocks()
    blocks = list(there.blocks())
    assert len(there.runs) > 5
    assert len(blocks) > 5
    for word, parts in zip(whole, zip(*blocks), strict=True):
        assert np.concatenate(parts).tolist() == word.tolist()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("vocabulary", "order", "prune"), [(30, 1, None), (30, 2, None), (30, 5, None), (500, 4, [1, 1, 2]), (70_000, 6, None)])
def test_counts_that_spill_give_the_same_bytes(vocabulary, order, prune, tmp_path, monkeypatch):
    for name, value in (("grams.LEAST", 256), ("grams.BLOCK", 1 << 11), ("kneser_ney.BLOCK", 1 << 11), ("kneser_ney.CHILDREN", 300)):
        monkeypatch.setattr(f"yanmo.models.{name}", value)
    documents = [*random_documents(8, vocabulary, 30, 700), [], [2] * 400, [3], [2, 3] * 90]
    tokens = stream(documents, np.uint32)
    (tmp_path / "spill").mkdir()
    made = {"there": estimate(count(tokens, vocabulary, BORDER, order, folder=tmp_path / "spill", memory=60_000), prune, tmp_path / "spill")}
    monkeypatch.undo()
    made["here"] = estimate(count(tokens, vocabulary, BORDER, order), prune)
    assert list((tmp_path / "spill").iterdir()) == []
    for name, trie in made.items():
        (tmp_path / name).mkdir()
        config = NgramFamily().write(NgramLanguageModel(trie), tmp_path / name)
        assert config["ngrams"] == made["here"].ngrams
    assert (tmp_path / "here/model.safetensors").read_bytes() == (tmp_path / "there/model.safetensors").read_bytes()


def test_a_part_with_little_memory_spills_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("yanmo.models.ngram.PER_TOKEN", 10**6)
    documents, vocabulary = CORPORA["chinese"]
    part = NgramModel(order=4, memory="1 MiB")
    found = part.fit(Split(stream(documents)), Ids(vocabulary), tmp_path)
    assert isinstance(found.trie.tokens, np.memmap)
    assert list(tmp_path.iterdir()) == []
    inputs = Inputs(torch.tensor([documents[0]]))
    assert torch.equal(found(inputs).logits, fitted(documents, vocabulary, order=4)(inputs).logits)


@pytest.mark.parametrize(("memory", "size"), [("1 GiB", 2**30), ("512MiB", 2**29), ("1.5 g", 3 * 2**29), ("2000000", 2_000_000)])
def test_memory_is_said_in_the_usual_ways(memory, size):
    assert NgramModel(memory=memory).bytes == size


@pytest.mark.parametrize("memory", ["", "much", "1 KiB", "-1 GiB"])
def test_memory_that_is_no_size_is_refused(memory):
    with pytest.raises(RecipeError, match="a size of at least 1 MiB"):
        create("model", {"type": "ngram", "memory": memory})


def test_a_large_vocabulary_sums_to_one():
    documents = [[token * 997 % 200_000 + 2 for token in ids] for ids in random_documents(3, 60, 10, 80)]
    model = NgramModel(order=4).fit(Split(stream(documents, np.uint32)), Ids(250_000), Path("."))
    inputs = Inputs(torch.tensor([[BORDER, *documents[0][:3]]]))
    np.testing.assert_allclose(model(inputs).logits.double().exp().sum(-1), 1, atol=1e-5)
    assert model.logprobs(Inputs(torch.tensor([[249_999]])), torch.tensor([[249_998]])).isfinite().all()


# ------------------------------------------------------------------------------------------------ as a language model


@pytest.fixture(scope="module", params=["english", "chinese"])
def case(request) -> tuple[NgramLanguageModel, torch.Tensor]:
    """A model, and rows (3, 30) of seen text, of random tokens, and with borders inside."""
    documents, vocabulary = CORPORA[request.param]
    rng = np.random.default_rng(0)
    rows = [stream(documents)[:30].tolist(), rng.integers(0, vocabulary, 30).tolist()]
    rows.append([*documents[2][-9:], BORDER, *documents[0][:10], BORDER, *documents[1][:9]])
    return fitted(documents, vocabulary, order=4), torch.tensor(rows)


def test_logprobs_are_those_of_forward(case):
    model, rows = case
    logits = model(Inputs(rows)).logits
    assert logits.shape == (*rows.shape, model.vocabulary)
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.double().exp().sum(-1), 1, atol=1e-5)
    torch.testing.assert_close(logits.log_softmax(-1), logits, atol=1e-6, rtol=0)
    following = torch.cat([rows[:, 1:], rows[:, :1]], 1)
    shuffled = rows.flip(0, 1)
    for targets in (following, shuffled, torch.where(torch.rand(rows.shape, generator=torch.Generator().manual_seed(0)) < 0.5, following, shuffled)):
        picked = logits.gather(-1, targets[..., None])[..., 0]
        torch.testing.assert_close(model.logprobs(Inputs(rows), targets), picked, atol=2e-6, rtol=0)


def test_select_and_reduce_see_the_chosen_positions(case, monkeypatch):
    model, rows = case
    monkeypatch.setattr("yanmo.models.ngram.CHUNK", 7 * model.vocabulary)  # several chunks
    select = torch.rand(rows.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    whole = model(Inputs(rows)).logits
    assert torch.equal(model(Inputs(rows), select=select).logits, whole[select])
    seen = []

    def reduce(logits: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        seen.append(positions)
        assert torch.equal(logits, whole[select][positions])
        return logits.sum(-1)

    torch.testing.assert_close(model(Inputs(rows), select=select, reduce=reduce).reduced, whole[select].sum(-1))
    assert torch.cat(seen).tolist() == list(range(int(select.sum())))
    assert len(seen) > 2
    assert model(Inputs(rows), select=torch.zeros_like(select)).logits.shape == (0, model.vocabulary)


@pytest.mark.parametrize("steps", [[1] * 30, [5, 1, 1, 13, 10], [30]])
def test_step_by_step_is_all_at_once(case, steps):
    model, rows = case
    slots = DenseSlots(model.state(), rows=5, capacity=64)
    batch = slots.at([4, 0, 2])
    found, start = [], 0
    for step in steps:
        found.append(model(Inputs(rows[:, start : start + step]), batch).logits)
        batch.advance([step] * 3)
        start += step
    torch.testing.assert_close(torch.cat(found, 1), model(Inputs(rows)).logits, atol=1e-6, rtol=0)


def test_rows_of_different_lengths_remember_their_own_last_tokens(case):
    model, rows = case
    lengths = [30, 4, 0]
    mask = torch.arange(30) < torch.tensor(lengths)[:, None]
    slots = DenseSlots(model.state(), rows=3, capacity=64)
    model(Inputs(rows.masked_fill(~mask, 0), mask=mask), slots)
    slots.advance(lengths)
    follower = rows[:, :1]
    found = model(Inputs(follower), slots).logits[:, 0]
    for row, length in enumerate(lengths):
        alone = torch.cat([rows[row, :length], follower[row]])[None]
        torch.testing.assert_close(found[row], model(Inputs(alone)).logits[0, -1], atol=1e-6, rtol=0)
    slots.reset([0])
    torch.testing.assert_close(model(Inputs(follower[:1]), slots.at([0])).logits, model(Inputs(follower[:1])).logits)


def test_the_border_and_a_packed_document_forget_what_was_before(case):
    model, rows = case
    text = rows[:1, 1:9]
    border = torch.full((1, 1), BORDER)
    behind = model(Inputs(torch.cat([rows[1:2], border, text], 1))).logits[:, 30:]
    assert torch.equal(behind, model(Inputs(torch.cat([border, text], 1))).logits)
    text = rows[:1, 10:18]
    packed = Inputs(torch.cat([rows[:1, 1:10], text], 1), documents=torch.tensor([[0] * 9 + [1] * 8]))
    assert torch.equal(model(packed).logits[:, 9:], model(Inputs(text)).logits)
    assert not torch.equal(model(Inputs(packed.tokens)).logits[:, 9:], model(Inputs(text)).logits)
    targets = torch.cat([packed.tokens[:, 1:], border], 1)
    expected = model(packed).logits.gather(-1, targets[..., None])[..., 0]
    torch.testing.assert_close(model.logprobs(packed, targets), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("fields", [{"order": 1}, {"order": 4}, {"order": 5, "prune": [1, 1, 2]}])
def test_saved_and_read_it_is_the_same_model(tmp_path, fields):
    documents, vocabulary = CORPORA["chinese"]
    model = fitted(documents, vocabulary, **fields)
    family = lookup("family", model.family)()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    config = family.write(model, tmp_path / "a")
    assert family.write(fitted(documents, vocabulary, **fields), tmp_path / "b") == config
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    again = family.read(tmp_path / "a", config)
    inputs = Inputs(torch.tensor([documents[0]]))
    assert torch.equal(again(inputs).logits, model(inputs).logits)
    assert again.ngrams == model.ngrams
    assert (again.order, again.vocabulary) == (model.order, model.vocabulary)
    assert config["model_type"] == "yanmo_ngram"


@pytest.mark.parametrize(("sample", "bits"), [("moby_dick", (4.6, 3.6, 2.9, 2.5)), ("sanguo", (3.3, 2.7, 2.5, 2.5))])
def test_bits_per_byte_of_real_held_out_text_fall_with_order(sample, bits):
    """`bits`: at most so many at orders 1, 2, 3 and 4, by characters; and no fewer than four fifths of it."""
    file = samples.path(sample) / "chapters.jsonl"
    texts = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()[:40]]
    train, held = [text for i, text in enumerate(texts) if i % 10], texts[::10]
    tokenizer = CharacterTokenizer().train(train)
    documents = tokenizer.encode_batch(train)
    found = []
    for order in (1, 2, 3, 4):
        model = NgramModel(order=order).fit(Split(stream(documents)), tokenizer, Path("."))
        found.append(score_documents(model, tokenizer, held).bits_per_byte)
    assert found == sorted(found, reverse=True)
    assert all(0.8 * most < value < most for value, most in zip(found, bits)), found


def test_held_out_text_is_predicted_better_with_order():
    """A Markov chain of order 2: bigrams beat unigrams, trigrams beat bigrams, and longer ones lose nothing much."""
    rng = np.random.default_rng(7)
    table = rng.dirichlet(np.full(12, 0.2), (12, 12))
    line = [0, 1]
    for _ in range(20_000):
        line.append(int(rng.choice(12, p=table[line[-2], line[-1]])))
    entropy = -np.mean([math.log(table[a, b, c]) for a, b, c in zip(line[-4002:], line[-4001:], line[-4000:])])
    tokens = [token + 2 for token in line]
    held = torch.tensor([tokens[-4002:]])
    nats = {}
    for order in (1, 2, 3, 5):
        model = fitted([tokens[:16_000]], 14, order=order)
        nats[order] = -model.logprobs(Inputs(held[:, :-1]), held[:, 1:])[:, 1:].mean().item()
    assert nats[1] > nats[2] > nats[3] > entropy
    assert nats[3] < entropy + 0.08 < nats[2]
    assert nats[5] < nats[2]


# ------------------------------------------------------------------------------------------------ wrong requests


def test_a_trie_that_does_not_fit_together_is_refused(tmp_path):
    from safetensors.numpy import load_file, save_file

    documents, vocabulary = CORPORA["english"]
    model, family = fitted(documents, vocabulary, order=3), NgramFamily()
    config = family.write(model, tmp_path)
    path = tmp_path / "model.safetensors"
    arrays, whole = {name: value.copy() for name, value in load_file(path).items()}, path.read_bytes()
    for name in ("tokens", "share", "gamma", "first", "unigram"):
        for change in (lambda value: value[1:], lambda value: value.astype(np.int8), None):
            changed = {k: change(v) if k == name and change else v for k, v in arrays.items() if k != name or change}
            save_file(changed, path)
            with pytest.raises(CorruptError):
                family.read(tmp_path, config)
    for cut in (4, 60, len(whole) - 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(CorruptError):
            family.read(tmp_path, config)
    path.write_bytes(whole)
    with pytest.raises(CorruptError):
        family.read(tmp_path, {**config, "vocab_size": vocabulary + 1})
    with pytest.raises(DataError, match="order"):
        family.read(tmp_path, {"model_type": "yanmo_ngram", "vocab_size": 5})


def test_an_opened_model_is_mapped_and_not_read(tmp_path):
    documents, vocabulary = CORPORA["random"]
    config = NgramFamily().write(fitted(documents, vocabulary, order=5), tmp_path)
    opened = NgramFamily().read(tmp_path, config)
    for name in ("tokens", "share", "first", "gamma", "unigram"):
        assert isinstance(getattr(opened.trie, name), np.memmap), name


def test_progress_is_told_after_each_order():
    told = []
    documents, vocabulary = CORPORA["english"]
    model = NgramModel(order=3).fit(Split(stream(documents)), Ids(vocabulary), Path("."), lambda n, **shown: told.append((n, shown)))
    assert told == [(1, {"order": k, "ngrams": model.ngrams[k - 1]}) for k in (1, 2, 3)]


def test_nothing_to_count_is_the_users_mistake():
    with pytest.raises(DataError, match="training tokens: expected some tokens"):
        NgramModel().fit(Split(np.zeros(0, np.uint16)), Ids(10), Path("."))


@pytest.mark.parametrize("prune", [[2, 2], [1, 3, 2], []])
def test_wrong_pruning_is_refused(prune):
    with pytest.raises(RecipeError, match="prune"):
        create("model", {"type": "ngram", "prune": prune})

"""Pairs of segments: where they are cut, what their labels say, and what is learned of them."""

import json
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from yanmo import samples
from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.objectives.marks import Marks
from yanmo.objectives.pairs import NONE, Pairs
from yanmo.text.spelling import Speller, sentence_ends

from .tiny import CHINESE, ENGLISH, MIXED, bound, build, rng, tokenizer


def rows(of, count=12):
    found = []
    for index in range(count):
        text = (ENGLISH, CHINESE)[index % 2]
        ids = of.encode(text)
        found.append(Row([of.eos_id, *ids[: 60 + index]]))
    return found


def segments(batch, of, index):
    """(A, B) without their frame."""
    length = int(batch.inputs.mask[index].sum()) if batch.inputs.mask is not None else batch.inputs.tokens.shape[1]
    ids, types = batch.targets[index, :length].tolist(), batch.inputs.types[index, :length].tolist()
    end = of.eos_id if of.sep_id is None else of.sep_id
    assert ids[0] == (of.eos_id if of.cls_id is None else of.cls_id)
    assert ids[-1] == end
    middle = types.index(1)
    assert ids[middle - 1] == end
    assert types == [0] * middle + [1] * (length - middle)
    return ids[1 : middle - 1], ids[middle:-1]


@pytest.mark.parametrize("framed", [False, True])
def test_order_is_kept_or_turned_as_the_label_says(framed):
    of = tokenizer(framed=framed)
    given = rows(of)
    batch = bound("masked", of, next_sentence="sop").collate(given, rng(0))
    assert set(batch.labels.tolist()) == {0, 1}
    for index, row in enumerate(given):
        first, second = segments(batch, of, index)
        before, behind = (first, second) if batch.labels[index] == 0 else (second, first)
        whole, places = row.tokens[1:], []
        for part in (before, behind):
            places += [start for start in range(len(whole)) if whole[start : start + len(part)] == part][:1]
        assert places[0] + len(before) <= places[1]
        assert of.decode(whole[places[0] + len(before) : places[1]]).strip() == ""  # nothing but blanks is left out between


def test_both_are_whole_sentences_or_both_cut_anywhere():
    of = tokenizer()
    pairs = Pairs(Marks.of(of), Speller(of), True)
    piece = np.array(of.encode(" ".join(f"Sentence {number} of them." for number in range(9))))[7:-4]
    found = {tuple(of.decode(part) for part in pairs.divide_evenly(piece, np.random.default_rng(seed))) for seed in range(60)}
    assert len(found) == 6  # three of the nine are the middle's borders
    for first, second in found:
        assert first.startswith("Sentence 1")
        assert second.endswith("7 of them.")
        assert (first + " " + second).count("Sentence") == 7
        assert first.endswith("of them.")
    chinese = np.array(of.encode("天下。分久必合，" + "话说天下大势。“为何？”他说！" * 3 + "合久"))
    for seed in range(9):
        first, second = (of.decode(part) for part in pairs.divide_evenly(chinese, np.random.default_rng(seed)))
        assert first[-1] in "。”！"
        assert second[-1] in "。”！"
        assert first.startswith("分久必合")
    few = np.array(of.encode("One sentence. And half of another, and so on, and so on"))
    cuts = {tuple(map(len, pairs.divide_evenly(few, np.random.default_rng(seed)))) for seed in range(40)}
    assert len(cuts) > 20
    assert all(first + second < len(few) for first, second in cuts)


EDGE = 3  # tokens at each end that the classifier is shown


def chapters(name):
    return [json.loads(line)["text"] for line in (samples.path(name) / "chapters.jsonl").read_text("utf-8").splitlines()]


def shuffled(language, of, seed):
    """Rows of sentences in no order at all: what tells the order of two segments is how they were cut."""
    dice = random.Random(seed)
    sentences = []
    for chapter in chapters({"en": "moby_dick", "zh": "sanguo"}[language]):
        places = [0, *sentence_ends(chapter), len(chapter)]
        sentences += [part for a, b in pairwise(places) if 4 < len(part := chapter[a:b].strip()) < 120]
    dice.shuffle(sentences)
    between = {"en": (" ", " ", " ", "\n\n"), "zh": ("", "", "", "\n")}[language]
    text = "".join(sentence + dice.choice(between) for sentence in sentences[:9000])
    ids = of.encode(text)
    return [Row([of.eos_id, *ids[start : start + 120]]) for start in range(0, len(ids) - 120, 120)]


def cues(batch, of):
    """(N, features) of each pair's outermost tokens, where they stand, alone and two by two; (N,) labels."""
    found, kept = [], []
    for index in range(len(batch.labels)):
        if batch.labels[index] != NONE:
            first, second = segments(batch, of, index)
            ends = {f"{name}{place}": part[place] for name, part in (("a", first), ("b", second))
                    for place in (*range(min(EDGE, len(part))), *range(-min(EDGE, len(part)), 0))}  # fmt: skip
            ends |= {f"{x}{y}": f"{ends[x]} {ends[y]}" for x in ("a0", "a-1") for y in ("b0", "b-1")}
            found.append({f"{key}={value}": 1 for key, value in ends.items()})
            kept.append(int(batch.labels[index]))
    return found, np.array(kept)


def told(found, labels):
    """How often a linear classifier that saw half of the pairs is right about the others."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    features = DictVectorizer().fit_transform(found)
    half = len(labels) // 2
    model = LogisticRegression(C=0.3, max_iter=500).fit(features[:half], labels[:half])
    return float((model.predict(features[half:]) == labels[half:]).mean()), len(labels) - half


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_how_a_pair_is_cut_does_not_tell_its_order(language, kind):
    """On shuffled sentences nothing but the cuts could tell the order. To show that the classifier would find out, it is also
    shown pairs that are divided once, as next sentences are: there it does."""
    raw = " ".join(text for name in ("moby_dick", "sanguo") for text in chapters(name)[:3])
    settings = {"bpe": {"size": 1000}, "characters": {}}[kind]
    of = create("tokenizer", {"type": kind, "special": ["<mask>"], **settings}).train([raw])
    given = shuffled(language, of, 5)[:1600]
    objective = bound("masked", of, next_sentence="sop", whole_word=False)
    accuracy, count = told(*cues(objective.collate(given, rng(1)), of))
    assert count > 350
    assert abs(accuracy - 0.5) < 3.5 * 0.5 / count**0.5, accuracy
    plain = Pairs.divide_evenly
    try:
        Pairs.divide_evenly = Pairs.divide
        betrayed, _ = told(*cues(objective.collate(given, rng(1)), of))
    finally:
        Pairs.divide_evenly = plain
    assert betrayed > 0.75, betrayed


def test_next_sentences_are_those_of_the_row_or_of_another():
    of = tokenizer()
    given = rows(of)
    batch = bound("masked", of, next_sentence="nsp").collate(given, rng(0))
    texts = [row.tokens[1:] for row in given]
    assert set(batch.labels.tolist()) == {0, 1}
    for index, own in enumerate(texts):
        first, second = segments(batch, of, index)
        assert own[: len(first)] == first
        assert len(first) + len(second) <= len(own) + 1
        follows = own[len(first) :] == second
        assert follows == (batch.labels[index] == 0)
        if not follows:
            assert any(other[start : start + len(second)] == second for j, other in enumerate(texts) if j != index for start in range(len(other)))


def test_labels_are_even_and_each_rows_own():
    of, objective = tokenizer(), bound("masked", next_sentence="sop")
    source, labels = rng(3), []
    for _ in range(40):
        labels += objective.collate(rows(of), source).labels.tolist()
    assert abs(np.mean(labels) - 0.5) < 5 * 0.5 / len(labels) ** 0.5
    whole = objective.collate(rows(of), rng(5))
    again = rng(5)
    parts = [objective.collate(rows(of)[start : start + 3], again) for start in range(0, 12, 3)]
    assert torch.cat([part.labels for part in parts]).tolist() == whole.labels.tolist()


def test_a_pair_is_of_one_document_the_longest_of_its_row():
    of = tokenizer()
    short, long = of.encode(CHINESE)[:10], of.encode(ENGLISH)[:80]
    batch = bound("masked", next_sentence="sop").collate([Row([*short, of.eos_id, *long, of.eos_id, *short])], rng(0))
    first, second = segments(batch, of, 0)
    before, behind = (first, second) if batch.labels[0] == 0 else (second, first)
    text = of.decode(long)
    assert of.decode(before) in text
    assert of.decode(behind) in text[text.index(of.decode(before)) :]
    assert len(first) + len(second) > len(short)


def test_what_cannot_be_divided_has_no_label():
    of, objective = tokenizer(), bound("masked", next_sentence="sop")
    batch = objective.collate([Row([of.eos_id, 300]), *rows(of, 2)], rng(0))
    assert batch.labels.tolist()[0] == NONE
    assert batch.targets[0, :3].tolist() == [of.eos_id, 300, of.eos_id]
    model = build("pairs")
    loss = objective.loss(model, batch)
    assert int(loss.metrics["pair_accuracy"][1]) == 2
    assert torch.isfinite(loss.total)
    with pytest.raises(RequestError, match="at least two rows at a time"):
        bound("masked", next_sentence="nsp").collate([Row([of.eos_id, 300])], rng(0))


def test_the_loss_of_pairs_is_the_mean_over_them_beside_the_tokens():
    of = tokenizer()
    objective = bound("masked", next_sentence="sop", pair_weight=0.5)
    model = build("pairs")
    model.check = None
    objective.check(model)
    batch = objective.collate(rows(of, 6), rng(1))
    loss = objective.loss(model, batch)
    with torch.no_grad():
        output = model(batch.inputs)
        tokens = F.cross_entropy(output.logits.flatten(0, 1), batch.targets.flatten(), reduction="none").view(batch.targets.shape)
        tokens = (tokens * batch.weights).sum(1)
        pairs = F.cross_entropy(model.pair_logits(output.hidden), batch.labels, reduction="none")
    want = tokens.sum() + 0.5 * (pairs * batch.weights.sum(1)).sum()
    torch.testing.assert_close(loss.total.detach(), want, rtol=1e-5, atol=1e-4)
    right, count = loss.metrics["pair_accuracy"]
    assert int(count) == 6
    assert 0 <= int(right) <= 6
    loss.total.backward()
    assert model.pairs.weight.grad.abs().max() > 0


def test_types_reach_the_model_and_special_tokens_are_never_hidden():
    of, objective = tokenizer(framed=True), bound("masked", tokenizer(framed=True), next_sentence="sop", rate=0.5)
    batch = objective.collate(rows(of), rng(0))
    special = torch.tensor(sorted(of.special.values()))
    assert not torch.isin(batch.targets[batch.weights.bool()], special).any()
    model = build("pairs", of)
    with torch.no_grad():
        before = model.encode(batch.inputs)
        batch.inputs.types = 1 - batch.inputs.types
        assert not torch.allclose(before, model.encode(batch.inputs))


def test_where_sentences_end():
    def cut(text):
        places = [0, *sentence_ends(text), len(text)]
        return [text[a:b] for a, b in pairwise(places) if text[a:b]]

    assert cut("It is. Is it? “Yes!” said Mr. Starbuck. At 3.14 p.m. he left…") == [
        "It is.", " Is it?", " “Yes!”", " said Mr. Starbuck.", " At 3.14 p.m.", " he left…"]  # fmt: skip
    assert cut("天下。“为何？”他说！\n第二回") == ["天下。", "“为何？”", "他说！", "\n", "第二回"]
    assert cut("no end at all") == ["no end at all"]
    assert sentence_ends("") == []
    assert "".join(cut(MIXED)) == MIXED

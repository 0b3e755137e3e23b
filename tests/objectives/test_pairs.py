"""Pairs of segments: where they are cut, what their labels say, and what is learned of them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.objectives.pairs import NONE
from yanmo.text.spelling import sentence_ends

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
        whole = first + second if batch.labels[index] == 0 else second + first
        assert whole == row.tokens[1:]
        cut = of.decode(first if batch.labels[index] == 0 else second)
        assert cut.rstrip()[-1] in ".!?…。！？”", cut


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
    assert (first + second if batch.labels[0] == 0 else second + first) == long


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

"""Masked language modelling: what is hidden, what is left, whole words in both languages, and no way to the answer."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.data import Row
from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.objectives.base import Context

from .tiny import CHINESE, ENGLISH, MIXED, TEXTS, bound, build, rng, tokenizer

ORDINARY = [token for token in range(tokenizer().size) if token not in tokenizer().special.values()]
documents = st.lists(st.lists(st.sampled_from(ORDINARY), min_size=1, max_size=40), min_size=1, max_size=4)


def row_of(found):
    return Row([token for ids in found for token in (tokenizer().eos_id, *ids)])


@settings(max_examples=80, deadline=None)
@given(found=documents, seed=st.integers(0, 2**31), rate=st.sampled_from([0.1, 0.15, 0.4, 0.9]), whole=st.booleans())
def test_only_chosen_tokens_change_and_special_ones_never(found, seed, rate, whole):
    of = tokenizer()
    row = row_of(found)
    batch = bound("masked", rate=rate, whole_word=whole).collate([row], rng(seed))
    tokens, chosen = np.array(row.tokens), batch.weights[0].numpy() > 0
    assert batch.targets[0].tolist() == row.tokens
    assert (batch.inputs.tokens[0].numpy()[~chosen] == tokens[~chosen]).all()
    special = np.isin(tokens, list(of.special.values()))
    assert not (chosen & special).any()
    text = int((~special).sum())
    if whole:
        assert chosen.sum() >= 1
    else:
        assert chosen.sum() == max(1, round(rate * text))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), masked=st.sampled_from([0.0, 0.5, 0.8, 1.0]), random=st.sampled_from([0.0, 0.1, 0.5]))
def test_masked_replaced_and_kept_are_in_their_shares(seed, masked, random):
    """Within five standard deviations of a binomial; a replaced token is its own original once in V."""
    if masked + random > 1:
        return
    of = tokenizer()
    text = np.random.Generator(np.random.PCG64(seed)).choice(ORDINARY, 3000).tolist()
    objective = bound("masked", rate=0.5, masked=masked, random=random)
    batch = objective.collate([Row(text)], rng(seed))
    chosen = batch.weights[0].bool()
    seen, want = batch.inputs.tokens[0][chosen], batch.targets[0][chosen]
    n = int(chosen.sum())
    assert n == 1500
    hidden = int((seen == of.mask_id).sum())
    assert abs(hidden - n * masked) <= 5 * math.sqrt(n * masked * (1 - masked)) + 1e-9
    changed = int(((seen != of.mask_id) & (seen != want)).sum())
    p = random * (1 - 1 / len(ORDINARY))
    assert abs(changed - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + 1e-9
    others = seen[(seen != of.mask_id) & (seen != want)]
    assert not set(others.tolist()) & set(of.special.values())


def test_masking_is_dynamic_and_even():
    """Every position of a row is chosen about equally often, and not the same ones twice."""
    ids = tokenizer().encode(ENGLISH)[:80]
    counts, source, objective = np.zeros(len(ids)), rng(0), bound("masked")
    for _ in range(600):
        counts += objective.collate([Row(ids)], source).weights[0].numpy()
    share = counts / 600
    assert share.mean() == pytest.approx(12 / 80)
    assert np.abs(share - 0.15).max() < 5 * math.sqrt(0.15 * 0.85 / 600)


def words_of(tokens, chosen, of):
    """The texts of maximal runs of chosen tokens."""
    runs, run = [], []
    for token, taken in zip([*tokens, None], [*chosen, False]):
        if taken:
            run.append(token)
        elif run:
            runs.append(of.decode(run).strip())
            run = []
    return runs


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_pieces_of_an_english_word_share_its_fate(kind):
    of = tokenizer(kind)
    ids = of.encode(ENGLISH)
    words = {"researchers", "unresearched", "research", "researched", "Ishmael", "precisely", "never", "wasn't"}
    objective = bound("masked", of, whole_word=True, masked=0.5, random=0.0, rate=0.3)
    source, seen = rng(1), set()
    for _ in range(150):
        batch = objective.collate([Row(ids)], source)
        units = objective.choose(np.array(ids), np.random.Generator(np.random.PCG64(3)))
        assert (units >= 0).any()
        chosen = batch.weights[0].bool().numpy()
        hidden = (batch.inputs.tokens[0] == of.mask_id).numpy()
        place, text = 0, ""
        for word in ENGLISH.split(" "):  # every blank-separated stretch, letters alone
            bare = word.strip(".,!?“”")
            start = ENGLISH.index(bare, place)
            place = start + len(bare)
            inside = [i for i, (a, b) in enumerate(of.offsets(ENGLISH)) if a < start + len(bare) and b > start]
            if bare in words:
                parts = {(bool(chosen[i]), bool(hidden[i])) for i in inside if ENGLISH[slice(*of.offsets(ENGLISH)[i])].strip()}
                assert len({taken for taken, _ in parts}) == 1, (bare, text)
                assert len(parts) == 1
                if chosen[inside[-1]]:
                    seen.add(bare)
    assert seen == words


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_chinese_words_are_hidden_whole(kind):
    rjieba = pytest.importorskip("rjieba")
    of = tokenizer(kind)
    spans, at = [], 0
    for word in rjieba.cut(CHINESE):
        spans.append((at, at + len(word)))
        at += len(word)
    assert any(end - start > 1 for start, end in spans)
    ids, offsets = of.encode(CHINESE), of.offsets(CHINESE)
    objective, source, together = bound("masked", of, whole_word=True, rate=0.3, masked=1.0, random=0.0), rng(2), 0
    for _ in range(100):
        chosen = objective.collate([Row(ids)], source).weights[0].bool().numpy()
        for start, end in spans:
            inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
            taken = {bool(chosen[i]) for i in inside}
            assert len(taken) == 1, CHINESE[start:end]
            together += len(inside) > 1 and taken == {True}
    assert together > 10


def test_a_word_of_wordpiece_is_hidden_whole():
    """Its pieces say ## instead of a space, and of Chinese a space before every character."""
    from tokenizers import Tokenizer as Inner
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    from yanmo.text.tokenizer import Tokenizer

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "re", "##search", "##ers", "研", "究", "生", "命", "起", "源", "."]
    inner = Inner(models.WordPiece(vocab={name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.add_special_tokens(names[:5])
    roles = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "eos": "[SEP]"}
    of = Tokenizer(inner, None, roles)
    ids = of.encode("the researchers 研究生命起源.")
    objective, source = bound("masked", of, whole_word=True, rate=0.4, masked=1.0, random=0.0), rng(0)
    texts = set()
    for _ in range(60):
        batch = objective.collate([Row(ids)], source)
        assert batch.targets[0, 0] == of.cls_id
        assert batch.targets[0, -1] == of.sep_id
        chosen = batch.weights[0, 1:-1].bool().numpy()
        assert len(set(chosen[1:4].tolist())) == 1  # re ##search ##ers
        texts |= {tuple(chosen[4:10].tolist())}
    import rjieba

    at, cuts = 0, set()
    for word in rjieba.cut("研究生命起源"):
        at += len(word)
        cuts.add(at)
    for taken in texts:
        assert all(taken[i] == taken[i - 1] for i in range(1, 6) if i not in cuts)


def test_the_corrupted_row_does_not_hold_the_answer():
    """With everything hidden, no hidden position's input tells its target, and its gradient reaches no embedding of it."""
    of, objective = tokenizer(), bound("masked", masked=1.0, random=0.0)
    model = build("masked")
    batch = objective.collate([Row([1, *of.encode(CHINESE)[:40]]), Row([1, *of.encode(ENGLISH)[:40]])], rng(3))
    chosen = batch.weights.bool()
    assert (batch.inputs.tokens[chosen] == of.mask_id).all()
    objective.loss(model, batch).total.backward()
    with torch.no_grad():
        loss = objective.loss(model, batch).total
        other = batch.targets.clone()
        other[~chosen] = 7  # targets that are not trained on do not matter
        batch.targets = other
        assert torch.equal(objective.loss(model, batch).total, loss)


def test_documents_in_a_row_do_not_see_each_other():
    of, objective = tokenizer(), bound("masked")
    model = build("masked")
    row = [1, *of.encode(ENGLISH)[:20], 1, *of.encode(CHINESE)[:20]]
    batch = objective.collate([Row(row)], rng(0))
    assert batch.inputs.documents.unique().tolist() == [1, 2]
    with torch.no_grad():
        before = model(batch.inputs).logits
        batch.inputs.tokens[0, 5] = (batch.inputs.tokens[0, 5] + 1) % of.size
        after = model(batch.inputs).logits
    assert not torch.allclose(before[0, :21], after[0, :21])
    torch.testing.assert_close(before[0, 21:], after[0, 21:], rtol=0, atol=1e-6)
    assert bound("masked", isolate=False).collate([Row(row)], rng(0)).inputs.documents is None


@pytest.mark.parametrize("name", ["masked", "permuted", "span_corruption", "denoise", "prefix", "causal"])
def test_the_loss_begins_near_that_of_an_even_guess(name):
    of, objective, model = tokenizer(), bound(name), build(name)
    rows = [Row([1, *of.encode(text)[:60]]) for text in TEXTS]
    with torch.no_grad():
        loss = objective.loss(model, objective.collate(rows, rng(0)))
    assert float(loss.total / loss.weight) == pytest.approx(math.log(of.size), rel=0.05)


def test_accuracy_counts_the_first_choices():
    of, objective, model = tokenizer(), bound("masked"), build("masked")
    batch = objective.collate([Row([1, *of.encode(MIXED)[:50]])], rng(0))
    loss = objective.loss(model, batch)
    chosen = batch.weights.bool()
    with torch.no_grad():
        want = (model(batch.inputs).logits.argmax(-1)[chosen] == batch.targets[chosen]).sum()
    right, count = loss.metrics["accuracy"]
    assert (int(right), int(count)) == (int(want), int(chosen.sum()))


def test_settings_that_cannot_work_are_refused():
    plain = create("tokenizer", {"type": "characters", "min_count": 1}).train(TEXTS)
    for name in ("masked", "denoise"):
        with pytest.raises(RequestError, match="expected a tokenizer with a special token <mask>"):
            create("objective", name).bind(Context(plain))
    with pytest.raises(RequestError, match="extra_id_0"):
        create("objective", "span_corruption").bind(Context(plain))
    with pytest.raises(RecipeError, match="at most 1 together"):
        create("objective", {"type": "masked", "masked": 0.8, "random": 0.4})
    with pytest.raises(RecipeError, match="'pair_weight' has no effect"):
        create("objective", {"type": "masked", "pair_weight": 2.0})
    with pytest.raises(RecipeError, match="'isolate' left out"):
        create("objective", {"type": "masked", "next_sentence": "sop", "isolate": False})
    with pytest.raises(RequestError, match=r"next_sentence.*judges pairs"):
        bound("masked", next_sentence="sop").check(build("masked"))

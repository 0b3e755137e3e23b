"""Pseudo-likelihood against its definition, likelihoods of the other kinds against the chain rule, and no mixing of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.objectives.tiny import CHINESE, ENGLISH, MIXED, build, rng, tokenizer
from yanmo.core.errors import RequestError
from yanmo.inference import conditional, likelihood
from yanmo.inference.pseudo_likelihood import score_documents, windows
from yanmo.inference.scoring import score, unable
from yanmo.models.base import Inputs, Loaded

TEXTS = [ENGLISH[:40], CHINESE[:17], MIXED[:30], "研", "a", ""]


def shaken(name, of, context=64):
    """A model that prefers something: fresh ones give every token about the same."""
    model = build(name, of, context)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng(1))
    return model


def logs(model, tokens, without=(), **more):
    with torch.no_grad():
        logits = model(Inputs(torch.tensor([tokens]), **more)).logits[0].double()
        logits[:, list(without)] = float("-inf")
        return logits.log_softmax(-1)


@pytest.mark.parametrize("framed", [False, True])
def test_each_token_is_hidden_in_turn(framed):
    of = tokenizer(framed=framed)
    model = shaken("masked", of)
    found = score_documents(model, of, TEXTS, within_word=False)
    for index, content in enumerate(TEXTS):
        ids = of.encode(content)
        row = [of.cls_id, *ids, of.sep_id] if framed else [of.eos_id, *ids]
        want = 0.0
        for place in range(1, len(ids) + 1):
            hidden = [*row[:place], of.mask_id, *row[place + 1 :]]
            want -= float(logs(model, hidden)[place, row[place]])
        assert found.nats[index] == pytest.approx(want, rel=1e-5, abs=1e-6)
        assert (found.tokens[index], found.bytes[index]) == (len(ids), len(content.encode()))


def test_within_a_word_what_is_behind_is_hidden_too():
    of = tokenizer()
    model = shaken("masked", of)
    content = "the cat 研究 don't"  # characters: every letter is a piece of its word
    ids = of.encode(content)
    row, want = [of.eos_id, *ids], 0.0
    words = [3, 3, 3, 4, 7, 7, 7, 8, 9, 10, 11, 16, 16, 16, 16, 16]  # where the word of each character ends
    for place, end in enumerate(words):
        hidden = [*row[: place + 1], *[of.mask_id] * (end - place), *row[end + 1 :]]
        want -= float(logs(model, hidden)[place + 1, row[place + 1]])
    assert len(words) == len(ids)
    assert score_documents(model, of, [content]).nats[0] == pytest.approx(want, rel=1e-5)
    assert score_documents(model, of, [content], within_word=False).nats[0] != pytest.approx(want, rel=1e-5)


def test_batches_and_padding_change_nothing():
    of = tokenizer()
    model = shaken("masked", of)
    whole = score_documents(model, of, TEXTS).nats
    for batch in (1, 100, 1000):
        np.testing.assert_allclose(score_documents(model, of, TEXTS, batch_tokens=batch).nats, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([score_documents(model, of, [content]).nats[0] for content in TEXTS], whole, rtol=1e-4, atol=1e-5)
    model.train()
    score_documents(model, of, TEXTS[:1])
    assert model.training


@settings(max_examples=200, deadline=None)
@given(tokens=st.integers(0, 300), room=st.integers(1, 70))
def test_windows_count_every_token_once_with_something_on_either_side(tokens, room):
    counted = []
    for start, stop, first, last in windows(tokens, room):
        assert 0 <= start <= first < last <= stop <= tokens
        assert stop - start <= room
        counted += range(first, last)
        if room >= 8:
            assert first - start >= room // 4 - 1 or start == 0
            assert stop - last >= room // 4 - 1 or stop == tokens
    assert counted == list(range(tokens))


def test_long_texts_are_read_in_windows_and_some_tokens_may_stand_for_all():
    of = tokenizer()
    model = shaken("masked", of, context=24)
    long = (ENGLISH + CHINESE) * 2
    whole = score_documents(model, of, [long])
    assert whole.tokens[0] > 300
    parts = [score_documents(model, of, [long], every=every).nats[0] for every in (3, 4, 5)]
    np.testing.assert_allclose(parts, whole.nats[0], rtol=0.1)
    assert score_documents(model, of, ["ab"], every=7).nats[0] > 0  # a short one is never without


def test_a_decoder_behind_a_gap_keeps_the_chain_rule():
    of = tokenizer()
    for name, spans in (("denoise", False), ("span_corruption", True)):
        model = shaken(name, of)
        source, lead = conditional.gap(of, spans)
        found = conditional.score_documents(model, of, TEXTS, spans=spans, batch_tokens=70)
        for index, content in enumerate(TEXTS):
            ids = of.encode(content)
            row = [*lead, *ids]
            made = logs(model, row, of.special.values(), source=Inputs(torch.tensor([source])))
            want = -sum(float(made[place - 1, row[place]]) for place in range(len(lead), len(row)))
            assert found.nats[index] == pytest.approx(want, rel=1e-5, abs=1e-6)
    long = (ENGLISH + CHINESE) * 2
    assert conditional.score_documents(shaken("denoise", of, 24), of, [long], spans=False).tokens[0] == len(of.encode(long))


def test_a_permuted_model_is_read_from_left_to_right():
    """Its likelihood is a product over prefixes: later tokens do not change it, and windows keep to the context."""
    of = tokenizer()
    model = shaken("permuted", of, context=32)
    ids = np.array([of.eos_id, *of.encode(ENGLISH)[:31]])
    [whole] = likelihood.score_tokens(model, [ids])
    prefixes = likelihood.score_tokens(model, [ids[:end] for end in range(1, len(ids) + 1)])
    steps = np.diff(prefixes)
    assert (steps > 0).all()
    other = ids.copy()
    other[-1] = 300 if ids[-1] != 300 else 301
    assert likelihood.score_tokens(model, [other[:-1]])[0] == pytest.approx(prefixes[-2], rel=1e-5)
    assert whole == pytest.approx(prefixes[-1], rel=1e-5)
    assert likelihood.score_tokens(model, [np.concatenate([ids] * 5)])[0] > 0


def test_kinds_are_not_mixed():
    of = tokenizer()
    with pytest.raises(RequestError, match="pseudo-likelihood, which is another figure"):
        likelihood.score_documents(build("masked"), of, TEXTS)
    with pytest.raises(RequestError, match="expected a masked model, got causal"):
        score_documents(build("causal"), of, TEXTS)
    with pytest.raises(RequestError, match="expected an encoder-decoder model"):
        conditional.score_documents(build("causal"), of, TEXTS, spans=False)


def test_one_way_to_score_every_kind(tmp_path):
    of = tokenizer()
    wanted = {"causal": "likelihood", "permuted": "likelihood", "masked": "pseudo-likelihood", "denoise": "likelihood behind a gap"}
    for name, by in wanted.items():
        loaded = Loaded(build(name), of, {"yanmo": {"objective": name}}, tmp_path)
        assert unable(loaded) is None
        found = score(loaded, TEXTS)
        assert (found.by, found.every) == (by, 1)
        assert found.likelihood.bits_per_byte > 0
    plain = Loaded(build("masked"), None, {}, tmp_path)
    assert str(unable(plain)) == "it has no tokenizer"

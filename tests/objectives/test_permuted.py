"""Permuted and prefix language modelling: ranks, and by gradients who sees whom."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.data import Row
from yanmo.core.errors import RecipeError

from .tiny import CHINESE, ENGLISH, bound, build, rng, tokenizer

OF = tokenizer()
SPECIAL = list(OF.special.values())
ORDINARY = [token for token in range(OF.size) if token not in SPECIAL]
documents = st.lists(st.lists(st.sampled_from(ORDINARY), min_size=1, max_size=60), min_size=1, max_size=4)


def packed(found):
    return [token for ids in found for token in (OF.eos_id, *ids)]


@settings(max_examples=100, deadline=None)
@given(found=documents, seed=st.integers(0, 2**31), predict=st.sampled_from([2.0, 6.0, 8.5]), span=st.integers(1, 5))
def test_ranks_are_an_order_of_what_is_predicted(found, seed, predict, span):
    row = packed(found)
    batch = bound("permuted", predict=predict, span=span).collate([Row(row)], rng(seed))
    order, chosen = batch.inputs.order[0].numpy(), batch.weights[0].bool().numpy()
    assert batch.inputs.tokens[0].tolist() == batch.targets[0].tolist() == row
    assert (chosen == (order > 0)).all()
    assert sorted(order[chosen]) == list(range(1, int(chosen.sum()) + 1))
    assert not chosen[0]
    assert not (chosen & np.isin(row, SPECIAL)).any()
    if len(row) > 1:
        assert chosen.any()
    runs = "".join("x" if taken else " " for taken in chosen).split()
    assert max(map(len, runs), default=0) <= 2 * span  # two spans may touch


def test_one_token_in_six_is_predicted_and_orders_differ():
    row = [1, *(OF.encode(ENGLISH) * 3)[:599]]
    objective, source = bound("permuted"), rng(0)
    made = [objective.collate([Row(row)], source) for _ in range(60)]
    share = np.mean([float(batch.weights.mean()) for batch in made])
    assert share == pytest.approx(1 / 6, rel=0.03)
    counts = np.sum([batch.weights[0].numpy() for batch in made], axis=0)
    assert counts[1:].max() < 60 * (1 / 6 + 5 * (5 / 36 / 60) ** 0.5)
    assert len({tuple(batch.inputs.order[0].tolist()) for batch in made}) == 60
    positions = np.concatenate([np.flatnonzero(b.weights[0].numpy())[np.argsort(b.inputs.order[0][b.weights[0] > 0].numpy())] for b in made])
    assert abs(np.corrcoef(positions, np.tile(np.arange(len(positions) // 60 + 1), 60)[: len(positions)])[0, 1]) < 0.1


def gradient(model, objective, batch, place):
    """How much the loss at `place` depends on the embedding of each position, content and query alike."""
    fresh = model.embedding(batch.inputs.tokens).detach().requires_grad_()
    batch.inputs.embeddings = fresh
    batch.weights = torch.zeros_like(batch.weights)
    batch.weights[0, place] = 1
    objective.loss(model, batch).total.backward()
    return fresh.grad[0].abs().sum(-1)


def test_a_query_sees_lower_ranks_only():
    objective = bound("permuted")
    row = [1, *OF.encode(ENGLISH)[:30], 1, *OF.encode(CHINESE)[:20]]
    for seed in range(4):
        model = build("permuted", seed=seed)
        batch = objective.collate([Row(row)], rng(seed))
        order, documents = batch.inputs.order[0], batch.inputs.documents[0]
        places = batch.weights[0].nonzero()[:, 0].tolist()
        for place in places[::3]:
            again = objective.collate([Row(row)], rng(seed))
            size = gradient(model, objective, again, place)
            seen = (order < order[place]) & (documents == documents[place])
            assert (size[~seen] == 0).all()
            assert (size[seen] > 0).all()
            assert size[place] == 0  # not its own token: that is the answer


def test_padding_has_the_highest_ranks():
    batch = bound("permuted").collate([Row([1, *OF.encode(ENGLISH)[:40]]), Row([1, *OF.encode(CHINESE)[:9]])], rng(0))
    order, mask = batch.inputs.order, batch.inputs.mask
    assert (order[~mask] > order[mask].max()).all()
    assert (batch.weights[~mask] == 0).all()


@settings(max_examples=100, deadline=None)
@given(found=documents, seed=st.integers(0, 2**31), ends=st.sampled_from([(0.0, 1.0), (0.5, 0.5), (0.25, 0.75)]))
def test_what_stands_behind_a_prefix_is_trained_on(found, seed, ends):
    row = packed(found)
    shortest, longest = ends
    batch = bound("prefix", shortest=shortest, longest=longest).collate([Row(row)], rng(seed))
    prefix, length = int(batch.inputs.prefix[0]), len(row) - 1
    assert 1 <= prefix <= length
    assert batch.weights[0].tolist() == [0.0] * (prefix - 1) + [1.0] * (length - prefix + 1)
    if length > 4:
        assert shortest * length - 1 <= prefix <= longest * length + 1


def test_prefixes_are_drawn_evenly():
    row, objective, source = [1, *OF.encode(ENGLISH)[:100]], bound("prefix"), rng(0)
    found = [int(objective.collate([Row(row)], source).inputs.prefix[0]) for _ in range(800)]
    assert np.mean(found) == pytest.approx(50, abs=5 * 29 / 800**0.5)
    assert min(found) < 5
    assert max(found) > 95


def test_a_prefix_sees_itself_and_nothing_behind_it():
    objective, model = bound("prefix", shortest=0.5, longest=0.5), build("prefix")
    row = [1, *OF.encode(ENGLISH)[:40]]
    for place in (19, 20, 30, 39):
        batch = objective.collate([Row(row)], rng(0))
        prefix = int(batch.inputs.prefix[0])
        assert prefix == 20
        size = gradient(model, objective, batch, place)
        assert (size[: place + 1] > 0).all()
        assert (size[place + 1 :] == 0).all()
    # and within the prefix, backwards: the last token of it changes what its first position gives
    batch = objective.collate([Row(row)], rng(0))
    with torch.no_grad():
        before = model(batch.inputs).logits
        batch.inputs.tokens[0, prefix - 1] += 1
        after = model(batch.inputs).logits
        assert not torch.allclose(before[0, 0], after[0, 0])
        before = model(batch.inputs).logits
        batch.inputs.tokens[0, prefix] += 1
        torch.testing.assert_close(before[0, :prefix], model(batch.inputs).logits[0, :prefix], rtol=0, atol=1e-6)


def test_only_marked_tokens_behind_the_prefix_are_trained_on():
    row = Row([1, *OF.encode(ENGLISH)[:20]], trained=[index < 8 for index in range(21)])
    for seed in range(20):
        batch = bound("prefix").collate([row], rng(seed))
        assert batch.weights[0].sum() >= 1
        assert (batch.weights[0, 7:] == 0).all()


def test_prefixes_that_cannot_be():
    with pytest.raises(RecipeError, match="'shortest' prefix that is not above"):
        bound("prefix", shortest=0.8, longest=0.3)
    with pytest.raises(RecipeError, match="'carry' left out"):
        bound("prefix", carry=True)

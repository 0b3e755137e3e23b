"""The conditional random field against every sequence there is: small enough to be written out."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.nn.chain import Chain, Partition
from yanmo.text.tags import Grammar, names

SCHEMES = {"bio": names(["PER", "地"], "bio"), "bioes": names(["PER"], "bioes"), "free": ["a", "b", "c"]}


def made(tags, seed=0):
    chain = Chain(tags)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return chain.double()


def scores_of(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(chain):
    """float64, as they are: -inf where the scheme bars it."""
    held = chain.potentials()
    return held.begins, held.follows, held.ends


def sequences(chain, scores, starts=True, stops=True):
    """Every sequence of labels for scores (T, L) with its score; those that are barred left out."""
    begins, follows, ends = weights(chain)
    found = {}
    for path in product(range(scores.shape[1]), repeat=len(scores)):
        total = sum(float(scores[place, label]) for place, label in enumerate(path))
        total += sum(follows[one, other] for one, other in pairwise(path))
        total += (begins[path[0]] if starts else 0) + (ends[path[-1]] if stops else 0)
        if total > -math.inf:
            found[path] = total
    return found


@settings(max_examples=30, deadline=None)
@given(scheme=st.sampled_from(sorted(SCHEMES)), length=st.integers(1, 4), seed=st.integers(0, 99), starts=st.booleans(), stops=st.booleans())
def test_the_partition_and_the_best_are_those_of_all_sequences(scheme, length, seed, starts, stops):
    tags = SCHEMES[scheme]
    chain, scores = made(tags, seed), scores_of(1, length, len(tags), seed=seed + 1)
    every = sequences(chain, scores[0], starts, stops)
    normal = math.log(math.fsum(math.exp(value) for value in every.values()))
    for path in list(every)[:: max(len(every) // 5, 1)]:
        labels = torch.tensor([path])
        found = chain.surprise(scores, labels, torch.tensor([starts]), torch.tensor([stops]))
        assert float(found.detach()) == pytest.approx(normal - every[path], abs=2e-5)
    if starts and stops:
        held = chain.potentials()
        assert tuple(held.best(scores[0].numpy())) == max(every, key=lambda path: every[path])
        shares = np.zeros((length, len(tags)))
        for path, value in every.items():
            shares[range(length), path] += math.exp(value - normal)
        np.testing.assert_allclose(held.shares(scores[0].numpy()), shares, atol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_gradients_are_those_of_finite_differences(scheme):
    tags = SCHEMES[scheme]
    begins, follows, _ = made(tags).weighed()
    bars = torch.isinf(follows)
    free = scores_of(len(tags), len(tags), seed=3).requires_grad_()
    scores = scores_of(3, 4, len(tags), seed=4).requires_grad_()
    lengths = torch.tensor([4, 2, 1])

    def partition(scores, free):
        first = torch.zeros(4, 1, dtype=torch.bool)
        first[0] = True
        scores = torch.where(first, scores + torch.where(torch.isinf(begins), -math.inf, 0.0), scores)
        return Partition.apply(scores, free.masked_fill(bars, -math.inf), lengths)

    assert torch.autograd.gradcheck(partition, (scores, free), eps=1e-6, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), scheme=st.sampled_from(["bio", "bioes"]))
def test_rows_do_not_see_each_other_and_padding_has_no_effect(seed, scheme):
    """Neither on losses nor on gradients, however wild what is padded; places that do not count are jumped over."""
    tags = SCHEMES[scheme]
    chain = made(tags, seed).float()
    draws = np.random.default_rng(seed)
    grammar = Grammar.of(tags)
    rows = [(torch.randn(n, len(tags), generator=torch.Generator().manual_seed(seed + n)), draws.choice(9, n, replace=False))
            for n in (5, 1, 3)]  # fmt: skip
    paths = [grammar.best(draws.normal(size=(len(scores), len(tags)))) for scores, _ in rows]
    batch = 1e30 * torch.randn(4, 9, len(tags), generator=torch.Generator().manual_seed(seed))
    labels = torch.full((4, 9), -100)
    for index, (scores, places) in enumerate(rows):
        batch[index, sorted(places)] = scores
        labels[index, sorted(places)] = torch.tensor(paths[index])
    batch.requires_grad_()
    yes = torch.ones(4, dtype=torch.bool)
    together = chain.surprise(batch, labels, yes, yes)
    together.sum().backward()
    mine = {name: p.grad.clone() for name, p in chain.named_parameters()}
    assert together[3].item() == 0.0  # a row in which nothing counts
    assert torch.equal(batch.grad[labels < 0], torch.zeros_like(batch.grad[labels < 0]))
    chain.zero_grad()
    for index, (scores, places) in enumerate(rows):
        own = scores.clone()[None].requires_grad_()
        alone = chain.surprise(own, torch.tensor([paths[index]]), yes[:1], yes[:1])
        alone.sum().backward()
        torch.testing.assert_close(together[index], alone[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(batch.grad[index, sorted(places)], own.grad[0], rtol=1e-4, atol=1e-6)
    for name, parameter in chain.named_parameters():
        torch.testing.assert_close(mine[name], parameter.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_what_the_scheme_cannot_write_has_no_probability_whatever_is_learned(scheme):
    tags = SCHEMES[scheme]
    chain, grammar = made(tags), Grammar.of(tags)
    with torch.no_grad():
        chain.follows += 50 * torch.from_numpy(~grammar.follows)  # a training gone astray
        chain.begins += 50 * torch.from_numpy(~grammar.begins)
    scores = scores_of(1, 6, len(tags))
    path = chain.potentials().best(scores[0].numpy())
    assert grammar.begins[path[0]]
    assert grammar.ends[path[-1]]
    assert all(grammar.follows[one, other] for one, other in pairwise(path))
    inside = next(index for index, tag in enumerate(tags) if tag.startswith("I-"))
    yes = torch.ones(1, dtype=torch.bool)
    assert chain.surprise(scores[:, :1], torch.tensor([[inside]]), yes, yes).item() == math.inf
    assert chain.surprise(scores[:, :1], torch.tensor([[inside]]), ~yes, ~yes).item() < math.inf  # within a longer text it may be


def test_without_learned_transitions_it_is_the_softmax_of_what_is_allowed():
    tags = SCHEMES["free"]
    scores = scores_of(7, 3)
    shares = Chain(tags).potentials().shares(scores.numpy())
    np.testing.assert_allclose(shares, scores.softmax(-1).numpy(), atol=1e-12)
    assert Chain(tags).potentials().best(scores.numpy()) == scores.argmax(-1).tolist()
    assert Chain(tags).potentials().best(np.zeros((0, 3))) == []
    assert Chain(tags).potentials().shares(np.zeros((0, 3))).shape == (0, 3)

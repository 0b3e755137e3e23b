"""Counts of what a text has said: as counted one by one, sums of 1, and the same for one token as for all."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inference.tiny import TEXTS, tokenizer
from yanmo.models.adaptive import LONGEST, Adaptive, counts

TEXT = ["".join(TEXTS), "研墨🙂研墨🙂研墨", "naïve café naïve café " * 9, "词" * 70]


def by_hand(tokens, begins, targets):
    """(S, LONGEST, 3) lists."""
    found, start = [], 0
    for place, target in enumerate(targets):
        start = place if begins[place] else start
        told = []
        for length in range(1, LONGEST + 1):
            run = tokens[place - length + 1 : place + 1]
            ends = [end for end in range(start + length - 1, place) if tokens[end - length + 1 : end + 1] == run]
            came = [tokens[end + 1] for end in ends] if place - length + 1 >= start else []
            told.append([len(came), len(set(came)), came.count(target)])
        found.append(told)
    return found


def learned(seed=0):
    made = Adaptive()
    made.initialise()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += torch.randn(LONGEST, generator=torch.Generator().manual_seed(seed))
    return made


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.data())
def test_it_counts_what_counting_one_by_one_counts(tokens, data):
    begins = data.draw(st.lists(st.booleans(), min_size=len(tokens), max_size=len(tokens)))
    first = data.draw(st.integers(0, len(tokens) - 1))
    targets = data.draw(st.lists(st.integers(0, 4), min_size=len(tokens), max_size=len(tokens)))
    found = counts(np.array(tokens), np.array(begins), first, np.array(targets[first:]))
    assert found.tolist() == by_hand(tokens, begins, targets)[first:]


@pytest.mark.parametrize("text", TEXT)
def test_real_text_in_both_languages(text):
    tokens = tokenizer().encode(text)
    targets, begins = [*tokens[1:], tokens[0]], np.zeros(len(tokens), bool)
    assert counts(np.array(tokens), begins, 0, np.array(targets)).tolist() == by_hand(tokens, begins, targets)


@pytest.mark.parametrize("text", TEXT)
def test_of_one_token_and_of_all_it_says_the_same(text):
    tokens = np.array(tokenizer().encode(text) * 2)
    begins, size, adaptive = np.zeros(len(tokens), bool), int(tokens.max()) + 1, learned()
    begins[len(tokens) // 3] = True
    places = np.arange(0, len(tokens), 3)
    base = torch.randn(len(places), size, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    whole, said = adaptive.spread(base.numpy(), tokens, begins, places)
    np.testing.assert_allclose(np.exp(whole).sum(1), 1, rtol=1e-4)
    for target in (int(tokens[1]), int(tokens[-1]), 0):
        told = counts(tokens, begins, 0, np.full(len(tokens), target))[places]
        np.testing.assert_array_equal(said, told[..., :2])
        one = adaptive(base[:, target], torch.from_numpy(told)).detach().numpy()
        np.testing.assert_allclose(one, whole[:, target], rtol=1e-3, atol=1e-3)


def test_what_was_said_often_is_likely_and_nothing_said_changes_nothing():
    adaptive, base = learned(), torch.tensor([0.01, 0.5]).log()
    nothing = torch.zeros(2, LONGEST, 3)
    torch.testing.assert_close(adaptive(base, nothing), base)
    often = nothing.clone()
    often[0, :2] = torch.tensor([50.0, 1.0, 50.0])  # always the same, after one and after two tokens
    often[1, :2] = torch.tensor([50.0, 1.0, 0.0])
    found = adaptive(base, often).detach().exp()
    assert float(found[0]) > 0.8
    assert float(found[1]) < 0.1


def test_discounts_and_strengths_are_learned():
    adaptive = learned()
    told = torch.tensor([[3.0, 2.0, 1.0]]).expand(5, LONGEST, 3)
    adaptive(torch.full((5,), 0.1).log(), told).sum().backward()
    assert all(bool((parameter.grad != 0).all()) for parameter in adaptive.parameters())

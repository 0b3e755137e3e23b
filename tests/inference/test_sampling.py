"""The choice of a token: against the plain definition of each truncation, and independent of everything but its row."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.errors import RequestError
from yanmo.inference.sampling import Draws, Sampling, choose, sampling, top_logprobs


def frequencies(logits, settings, n=40_000):
    draws = Draws(0)
    rows = logits.expand(n, -1)
    tokens = choose(rows, [settings] * n, [draws] * n)
    return torch.bincount(tokens, minlength=logits.shape[-1]).double() / n


def reference(logits, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0):
    """The distribution by its definition, in float64, token by token."""
    weights = [math.exp((x - max(logits)) / temperature) for x in logits]
    if top_k is not None:
        least = sorted(weights, reverse=True)[min(top_k, len(weights)) - 1]
        weights = [w if w >= least else 0.0 for w in weights]
    weights = [w if w >= min_p * max(weights) else 0.0 for w in weights]
    if top_p < 1:
        total, mass, least = sum(weights), 0.0, 0.0
        for w in sorted(weights, reverse=True):
            mass, least = mass + w, w
            if mass >= top_p * total:
                break
        weights = [w if w >= least else 0.0 for w in weights]
    return torch.tensor(weights, dtype=torch.float64) / sum(weights)


@pytest.mark.parametrize(
    "given_settings",
    [{}, {"temperature": 0.5}, {"temperature": 3.0}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2},
     {"temperature": 1.7, "top_k": 6, "top_p": 0.8, "min_p": 0.05}, {"top_k": 1}, {"top_p": 1e-9}, {"top_k": 500}],
)  # fmt: skip
def test_frequencies_follow_the_distribution(given_settings):
    logits = torch.tensor([[2.0, 1.5, 1.5, 0.3, -1.0, -4.0, 0.0, 1.0]])
    expected = reference(logits[0].tolist(), **given_settings)
    found = frequencies(logits, Sampling(**given_settings))
    assert ((expected == 0) == (found == 0)).all() or expected[expected > 0].min() < 1e-3
    assert (found[expected == 0] == 0).all()
    assert (found - expected).abs().max() < 0.012  # 4.8 standard deviations of the greatest at n = 40,000


@settings(max_examples=60, deadline=None)
@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40),
    top_k=st.none() | st.integers(1, 45), top_p=st.floats(0.01, 1.0), min_p=st.floats(0, 1.0),
    temperature=st.floats(1e-3, 50), seed=st.integers(0, 2**63 - 1),
)  # fmt: skip
def test_nothing_outside_the_truncated_set_is_drawn(logits, top_k, top_p, min_p, temperature, seed):
    expected = reference(logits, temperature, top_k, top_p * (1 + 1e-9), min_p * (1 - 1e-9))
    found = choose(
        torch.tensor([logits]),
        [Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)],
        [Draws(seed)],
    )
    assert expected[found.item()] > 0


def test_a_row_gets_the_same_whoever_stands_beside_it():
    torch.manual_seed(0)
    logits = torch.randn(6, 300) * 3
    kinds = [Sampling(temperature=0), Sampling(seed=1), Sampling(seed=2, top_p=0.8), Sampling(seed=3, top_k=5),
             Sampling(seed=4, min_p=0.1, temperature=2.0), Sampling(seed=5, top_p=0.5, top_k=50)]  # fmt: skip
    for _ in range(3):
        draws = [Draws(k.seed) for k in kinds]
        together = choose(logits, kinds, draws).tolist()
        alone = [choose(logits[i : i + 1], [k], [Draws(k.seed)]).item() for i, k in enumerate(kinds)]
        back = choose(logits.flip(0), kinds[::-1], [Draws(k.seed) for k in kinds[::-1]]).tolist()[::-1]
        assert together == alone == back


def test_a_wide_nucleus_is_found_beside_narrow_ones():
    torch.manual_seed(1)
    flat, peaked = torch.randn(1, 3000) * 0.1, torch.randn(1, 3000) * 8
    logits = torch.cat([peaked, flat, peaked.flip(1)])
    for top_p in (0.3, 0.9, 0.999):
        kinds = [Sampling(top_p=top_p, seed=k) for k in range(3)]
        together = choose(logits, kinds, [Draws(k.seed) for k in kinds]).tolist()
        assert together == [choose(logits[i : i + 1], [k], [Draws(k.seed)]).item() for i, k in enumerate(kinds)]
        for row, token in zip(logits, together):
            assert reference(row.tolist(), top_p=min(top_p * (1 + 1e-9), 1.0))[token] > 0
    assert len(set(choose(flat.expand(400, -1), [Sampling(top_p=0.3)] * 400, [Draws(0)] * 400).tolist())) > 256


def test_draws_are_one_stream_of_the_seed():
    first, second = Draws(7), Draws(7)
    numbers = [first.next() for _ in range(200)]
    assert numbers == [second.next() for _ in range(200)]
    assert all(0 <= x < 1 for x in numbers)
    assert 0.4 < sum(numbers) / 200 < 0.6
    assert Draws(8).next() != numbers[0]
    assert Draws(None).next() != Draws(None).next()


def test_temperature_near_zero_is_greedy_and_ties_go_to_one_of_the_best():
    logits = torch.tensor([[1.0, 3.0, 2.999]])
    assert choose(logits, [Sampling(temperature=0)], [Draws(0)]).item() == 1
    assert choose(logits, [Sampling(temperature=1e-300)], [Draws(0)]).item() == 1
    tied = torch.tensor([[0.0, 5.0, 5.0]])
    assert frequencies(tied, Sampling(top_k=1), 2000)[0] == 0


def test_what_is_not_finite_is_impossible_and_a_dead_row_says_so_alone():
    nan, inf = float("nan"), float("inf")
    logits = torch.tensor(
        [[nan, 1.0, 0.0], [nan, nan, nan], [-inf, -inf, 2.0], [0.0, 1.0, 9.0], [-inf, -inf, -inf], [inf, 0.0, 1.0]]
    )
    for temperature in (0.0, 1.0):
        kinds = [Sampling(temperature=temperature, top_p=0.9, seed=0)] * 6
        found = choose(logits, kinds, [Draws(0) for _ in kinds]).tolist()
        assert found[0] in (1, 2)
        assert found[1] == found[4] == -1
        assert found[2:4] == [2, 2]
        assert found[5] in (1, 2)


def test_a_draw_next_to_one_never_gives_an_impossible_token():
    class Last:
        def next(self):
            return 1 - 2**-53

    logits = torch.tensor([[0.0, 1.0, -float("inf"), -float("inf")]])
    assert choose(logits, [Sampling()], [Last()]).item() == 1
    assert choose(torch.full((1, 1000), 0.1), [Sampling()], [Last()]).item() == 999


def test_logprobs_are_the_very_same_floats():
    torch.manual_seed(0)
    logits = torch.randn(50, 90)
    tokens = logits.argmax(-1)
    chosen, values, ids = top_logprobs(logits, tokens, 5)
    assert (chosen == values[:, 0]).all()
    assert (ids[:, 0] == tokens).all()
    assert torch.allclose(chosen.exp(), logits.softmax(-1).amax(-1))
    assert top_logprobs(logits, tokens, 0)[1].shape == (50, 0)
    assert top_logprobs(logits, tokens, 1000)[1].shape == (50, 90)


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -0.1), ("temperature", float("nan")), ("temperature", float("inf")), ("temperature", "0.7"), ("temperature", True),
     ("top_p", 0), ("top_p", 1.1), ("top_k", 0), ("top_k", -5), ("top_k", 2.5), ("min_p", 1.5), ("max_tokens", -1),
     ("max_tokens", True), ("seed", -1), ("seed", 2**63), ("stop", [""]), ("stop", ""), ("stop", [1]), ("stop", 3), ("logprobs", -1),
     ("logprobs", 10**9), ("ignore_eos", "yes"), ("tempertaure", 1)],
)  # fmt: skip
def test_a_wrong_setting_is_named(field, value):
    with pytest.raises(RequestError) as caught:
        sampling(**{field: value})
    assert str(caught.value.where).startswith(field)


def test_settings_are_frozen_and_a_lone_stop_string_is_a_list():
    made = sampling(stop="。", temperature=1, max_tokens=None)
    assert made.stop == ["。"]
    assert made.max_tokens is None
    with pytest.raises(ValueError, match="frozen"):
        made.temperature = 0

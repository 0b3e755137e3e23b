"""The mixed order: nothing skipped, nothing repeated, exact shares, from any point, for any number of processes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.config import build
from yanmo.core.errors import RecipeError, RequestError
from yanmo.corpus.mixture import Mixing, Mixture, quotas

SOURCES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 90)), min_size=1, max_size=7).filter(lambda found: sum(quota for _, quota in found) > 0)


def mixture(found, seed=0):
    return Mixture(tuple(count for count, _ in found), tuple(quota for _, quota in found), seed)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SOURCES, st.integers(0, 2**63))
def test_every_row_comes_equally_often_through_all_epochs(found, seed):
    mixed = mixture(found, seed)
    everything = np.arange(mixed.count)
    seen = [Counter() for _ in found]
    for epoch in range(4):
        sources, rows = mixed.places(epoch, everything)
        assert Counter(sources.tolist()) == {i: quota for i, (_, quota) in enumerate(found) if quota}, "exactly its quota"
        for source, row in zip(sources.tolist(), rows.tolist()):
            seen[source][row] += 1
        for (count, quota), times in zip(found, seen):
            drawn = quota * (epoch + 1)
            assert set(times) <= set(range(count))
            assert max(times.values(), default=0) <= -(-drawn // count)
            assert min(times[row] for row in range(count)) >= drawn // count, "once more or less, never two"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SOURCES, st.integers(0, 200), st.integers(1, 200))
def test_any_window_has_the_shares(found, start, length):
    mixed = mixture(found)
    start, length = start % mixed.count, min(length, mixed.count)
    chosen = np.arange(start, start + length)
    sources = np.concatenate([mixed.places(0, chosen[chosen < mixed.count])[0], mixed.places(1, chosen[chosen >= mixed.count] - mixed.count)[0]])
    for source, (_, quota) in enumerate(found):
        assert abs(int((sources == source).sum()) - length * quota / mixed.count) < 4, "log2 of 7 sources, and one"


@settings(max_examples=100, deadline=None, derandomize=True)
@given(SOURCES, st.integers(0, 5), st.data())
def test_it_goes_on_from_any_point_and_divides_among_processes(found, epoch, data):
    mixed = mixture(found, 3)
    whole = mixed.rows(epoch, np.arange(mixed.count))
    at = data.draw(st.integers(0, mixed.count))
    resumed = np.concatenate([mixture(found, 3).rows(epoch, np.arange(at)), mixture(found, 3).rows(epoch, np.arange(at, mixed.count))])
    assert np.array_equal(resumed, whole)
    ranks = data.draw(st.integers(1, 6))
    shared = [mixture(found, 3).rows(epoch, np.arange(rank, mixed.count, ranks)) for rank in range(ranks)]
    assert sorted(np.concatenate(shared).tolist()) == sorted(whole.tolist())
    index = data.draw(st.integers(0, mixed.count - 1))
    source, row = mixed.at(epoch, index)
    assert mixed.offsets[source] + row == whole[index]
    assert 0 <= row < found[source][0]


def test_orders_differ_by_epoch_source_and_seed():
    mixed = Mixture((500, 500), (500, 500), 1)
    everything = np.arange(1000)
    sources, rows = mixed.places(0, everything)
    _, later = mixed.places(1, everything)
    assert not np.array_equal(rows, later)
    assert not np.array_equal(rows[sources == 0], rows[sources == 1])
    assert not np.array_equal(rows, Mixture((500, 500), (500, 500), 2).places(0, everything)[1])
    assert mixed.rows(2, np.arange(6)).tolist() == GOLDEN
    assert mixed.places(0, np.arange(12).reshape(3, 4))[1].shape == (3, 4)


def test_a_billion_rows_cost_nothing_and_the_border_is_checked():
    mixed = Mixture((1_500_000_000, 700, 300_000_000), (1_000_000_000, 2800, 900_000_000), 0)
    last = mixed.count - 1
    assert len({mixed.at(3, index) for index in (0, 1, last // 2, last)}) == 4
    assert Counter(mixed.places(5, np.arange(10**9, 10**9 + 10_000))[0].tolist())[0] == pytest.approx(5263, abs=3)
    for index in (-1, mixed.count):
        with pytest.raises(IndexError):
            mixed.at(0, index)


# ---------------------------------------------------------------------------------------------- the shares

SIZES = {"web": 900, "books": 90, "code": 10}


def test_temperature_flattens_and_repeats_are_limited():
    assert Mixing().quotas(SIZES) == SIZES
    assert Mixing(temperature=1).quotas(SIZES) == SIZES
    roots = {name: size**0.5 for name, size in SIZES.items()}
    found = Mixing(temperature=2, max_repeats=100).quotas(SIZES)
    assert all(abs(found[name] - 1000 * roots[name] / sum(roots.values())) <= 1 for name in SIZES)
    limited = Mixing(temperature=2).quotas(SIZES)
    assert limited["code"] == 40, "at most four times"
    assert sum(found.values()) == sum(limited.values()) == 1000, "what that leaves goes to the others"
    assert limited["web"] / limited["books"] == pytest.approx(roots["web"] / roots["books"], rel=0.02)
    alike = Mixing(temperature=1e9, max_repeats=1e6).quotas(SIZES)
    assert set(alike.values()) <= {333, 334}


def test_given_weights_are_the_shares():
    assert Mixing(weights={"web": 1, "books": 1}).quotas(SIZES) == {"web": 640, "books": 360, "code": 0}
    assert Mixing(weights={"web": 1, "books": 1}, max_repeats=10).quotas(SIZES) == {"web": 500, "books": 500, "code": 0}
    assert Mixing(weights={"code": 1}).quotas(SIZES) == {"web": 0, "books": 0, "code": 40}, "a shorter epoch where there is no more"
    with pytest.raises(RequestError, match="no source 'boks' - did you mean 'books'"):
        Mixing(weights={"boks": 1}).quotas(SIZES)
    for wrong in ({"temperature": 0.5}, {"temperature": 2, "weights": {"a": 1}}, {"weights": {"a": -1}}, {"weights": {"a": 0}}, {"max_repeats": 0.5}):
        with pytest.raises(RecipeError):
            build(Mixing, wrong)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from("abcdefg"), st.tuples(st.integers(0, 1000), st.floats(0, 10)), min_size=1), st.floats(1, 20))
def test_quotas_hold_what_they_promise(found, limit):
    sizes, parts = {name: size for name, (size, _) in found.items()}, {name: part for name, (_, part) in found.items()}
    result = quotas(sizes, parts, limit)
    assert set(result) == set(sizes)
    assert sum(result.values()) <= sum(sizes.values()) + 1
    for name, quota in result.items():
        assert 0 <= quota <= limit * sizes[name] + 1
        assert quota == 0 or (parts[name] > 0 and sizes[name])
    assert quotas(dict(reversed(sizes.items())), parts, limit) == result


GOLDEN = [428, 998, 468, 562, 262, 534]

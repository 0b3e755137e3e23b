"""Rows made ahead of time: the same bytes, and errors where they belong."""

import threading

import pytest
import torch

from yanmo.core.data import Row
from yanmo.core.registry import create
from yanmo.objectives.base import Context
from yanmo.train.ahead import rows
from yanmo.train.batches import LabelledBatches, TokenBatches


def taken(batches, ahead, steps=9, first=0, cursor=(0, 0)):
    found = []
    with rows(batches, 5, first, cursor, first + steps, ahead) as source:
        for _ in range(steps):
            micro, cursor, rng = source.next()
            found.append((micro, cursor, int(torch.randint(1 << 30, (), generator=rng))))
    return found


def equal(first, second):
    return all(
        a[1:] == b[1:] and all(torch.equal(x.inputs.tokens, y.inputs.tokens) and torch.equal(x.targets, y.targets) and x.items == y.items
                               for x, y in zip(a[0], b[0], strict=True))
        for a, b in zip(first, second, strict=True)
    )  # fmt: skip


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_they_are_the_rows_that_would_have_been_made(objective, shards, tokenizer, masked):
    """Masked rows draw random numbers of their own, and leave the generator where the step goes on with it."""
    bound = create("objective", objective).bind(Context(masked if objective == "masked" else tokenizer))
    made = TokenBatches(shards.split("train"), bound, 24, 8, 4, 3)
    plain = taken(made, 0)
    for ahead in (1, 2, 7):
        assert equal(taken(made, ahead), plain)
    assert equal(taken(made, 3, steps=4, first=5, cursor=plain[4][1]), plain[5:])


def test_an_error_is_raised_where_its_rows_are_asked_for(shards, tokenizer):
    made = TokenBatches(shards.split("train"), create("objective", "causal").bind(Context(tokenizer)), 24, 8, 4, 3)
    inner, calls = made.take, []

    def take(cursor, rng):
        calls.append(cursor)
        if len(calls) == 4:
            raise KeyError("row")
        return inner(cursor, rng)

    made.take = take
    with rows(made, 5, 0, (0, 0), 9, 2) as source:
        for _ in range(3):
            source.next()
        with pytest.raises(KeyError, match="row"):
            source.next()
    assert not [t for t in threading.enumerate() if t.name == "yanmo-rows"]


def test_nothing_is_made_behind_the_last_step_and_the_thread_ends(shards, tokenizer):
    made = TokenBatches(shards.split("train"), create("objective", "causal").bind(Context(tokenizer)), 24, 8, 4, 3)
    inner, calls = made.take, []
    made.take = lambda cursor, rng: (calls.append(cursor), inner(cursor, rng))[1]
    taken(made, 4, steps=3)
    assert len(calls) == 3
    with rows(made, 5, 0, (0, 0), 100, 2):
        pass
    assert len(calls) < 10
    assert not [t for t in threading.enumerate() if t.name == "yanmo-rows"]


@pytest.fixture
def labelled(tokenizer):
    """Rows of these lengths."""

    def make(lengths, rows=4, micro=4, budget=None):
        bound = create("objective", "supervised").bind(Context(tokenizer, ["a", "b"]))
        examples = [Row([1 + at % 9 for at in range(n)], label=i % 2, example=f"e{i}") for i, n in enumerate(lengths)]
        return LabelledBatches(examples, bound, rows, micro, 0, budget)

    return make


def test_a_micro_batch_never_has_more_tokens_than_its_budget(labelled):
    made = labelled([3, 5, 40, 7, 9, 2, 33, 21, 4, 6, 8, 30] * 3, rows=6, micro=6, budget=64)
    cursor, seen = (0, 0), []
    for _ in range(made.count):
        micro, cursor = made.take(cursor, torch.Generator())
        assert all(batch.inputs.tokens.numel() <= 64 for batch in micro)
        seen += [item for batch in micro for item in batch.items]
    assert sorted(seen) == sorted(row.example for row in made.examples)


def test_a_row_longer_than_the_budget_stands_alone(labelled):
    made = labelled([100, 3, 3, 3], budget=10)
    micro, _ = made.take((0, 0), torch.Generator())
    assert [tuple(batch.inputs.tokens.shape) for batch in micro] == [(3, 3), (1, 100)]


def test_the_first_step_has_the_largest_micro_batch(labelled):
    """What does not fit into memory fails in the first step, and not after 29 hours."""
    made = labelled([(7 * i) % 50 + 2 for i in range(300)], rows=4, micro=2)
    sizes = [made.padded(batch) for batch in made.epoch(0)]
    assert sizes[0] == max(sizes) > sorted(sizes)[len(sizes) // 2]
    assert sorted(i for batch in made.epoch(0) for i in batch) == list(range(300))

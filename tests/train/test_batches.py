"""Rows and batches: everything once an epoch, from any cursor, in any split into micro-batches."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.data import Row
from yanmo.core.errors import DataError
from yanmo.core.registry import create
from yanmo.corpus.mixture import Mixture
from yanmo.objectives.base import Context
from yanmo.train.batches import LabelledBatches, TokenBatches

from .conftest import CONTEXT

RNG = torch.Generator()


@pytest.fixture(scope="module")
def causal(tokenizer):
    return create("objective", "causal").bind(Context(tokenizer))


def items(batches):
    return [int(item) for batch in batches for item in batch.items]


def test_each_token_is_a_target_once_an_epoch(shards, causal):
    split = shards.split("train")
    batches = TokenBatches(split, causal, CONTEXT, 4, 4, 0)
    targets, seen, cursor = [], [], (0, 0)
    while cursor[0] == 0 and cursor[1] < batches.count:
        made, after = batches.take(cursor, RNG)
        left = batches.count - cursor[1]
        for batch in made:
            weighed = batch.weights > 0
            rows = min(len(batch.items), left)
            left -= rows
            seen += [int(i) for i in batch.items[:rows]]
            targets += batch.targets[:rows][weighed[:rows]].tolist()
        cursor = after
    assert sorted(seen) == list(range(batches.count))
    assert Counter(targets) == Counter(split.tokens[1:].tolist())


def test_a_row_is_what_stands_in_the_stream(shards, causal):
    split = shards.split("train")
    (batch,), _ = TokenBatches(split, causal, CONTEXT, 4, 4, 0).take((0, 0), RNG)
    for index, item in enumerate(batch.items):
        start = int(item) * CONTEXT
        want = split.tokens[start : start + CONTEXT]
        assert batch.inputs.tokens[index, : len(want)].tolist() == want.tolist()


@settings(max_examples=40, deadline=None)
@given(epoch=st.integers(0, 3), index=st.integers(0, 30), rows=st.integers(1, 70), micro=st.integers(1, 70))
def test_from_any_cursor_the_batches_go_on_as_in_one_go(shards, causal, epoch, index, rows, micro):
    split = shards.split("train")
    count = TokenBatches(split, causal, CONTEXT, rows, micro, 7).count
    index = min(index, count)
    one = TokenBatches(split, causal, CONTEXT, 1, 1, 7)
    single, cursor = [], (epoch, index)
    for _ in range(rows * 2):
        made, cursor = one.take(cursor, RNG)
        single += items(made)
    many = TokenBatches(split, causal, CONTEXT, rows, micro, 7)
    first, middle = many.take((epoch, index), RNG)
    second, end = TokenBatches(split, causal, CONTEXT, rows, micro, 7).take(middle, RNG)  # a fresh one: as after a kill
    assert items(first) + items(second) == single
    assert end == cursor
    assert all(len(batch.items) <= micro for batch in first + second)


def test_epochs_and_seeds_have_orders_of_their_own(shards, causal):
    split = shards.split("train")
    count = TokenBatches(split, causal, CONTEXT, 1, 1, 0).count
    orders = {tuple(items(TokenBatches(split, causal, CONTEXT, count, count, seed).take((epoch, 0), RNG)[0]))
              for seed in (0, 1) for epoch in (0, 1)}  # fmt: skip
    assert len(orders) == 4


def test_rows_lead_back_to_their_documents(shards, causal):
    split = shards.split("train")
    batches = TokenBatches(split, causal, CONTEXT, 1, 1, 0)
    for row in range(batches.count):
        covered = range(row * CONTEXT, min((row + 1) * CONTEXT + 1, len(split.tokens)))
        owners = np.searchsorted(split.documents["first"], list(covered), side="right") - 1
        want = [str(split.documents["id"][i]) for i in dict.fromkeys(owners)]
        assert batches.describe([str(row)]) == ", ".join(want)


def test_nothing_to_train_on(causal, shards):
    class Empty:
        tokens = np.zeros(1, np.uint16)

    with pytest.raises(DataError, match="at least two tokens"):
        TokenBatches(Empty(), causal, CONTEXT, 1, 1, 0)
    with pytest.raises(DataError, match="at least one example"):
        LabelledBatches([], causal, 4, 4, 0)


@pytest.fixture(scope="module")
def labelled(tokenizer):
    lengths = np.random.Generator(np.random.PCG64(0)).integers(1, 60, 333)
    return [Row([1] * int(length), label=i % 3, example=str(i)) for i, length in enumerate(lengths)]


@pytest.fixture(scope="module")
def supervised(tokenizer):
    return create("objective", "supervised").bind(Context(tokenizer))


def test_each_example_once_an_epoch_with_little_padding(labelled, supervised):
    batches = LabelledBatches(labelled, supervised, 16, 16, 0)
    seen, padded, real, cursor = [], 0, 0, (2, 0)
    for _ in range(batches.count):
        (batch,), cursor = batches.take(cursor, RNG)
        seen += [int(i) for i in batch.items]
        padded += batch.inputs.tokens.numel()
        real += int(batch.inputs.mask.sum())
    assert sorted(seen) == list(range(333))
    assert cursor == (2, batches.count)
    assert padded < 1.15 * real  # unsorted, it would be nearly twice


@settings(max_examples=25, deadline=None)
@given(epoch=st.integers(0, 3), index=st.integers(0, 21), rows=st.integers(1, 400), micro=st.integers(1, 40))
def test_labelled_batches_go_on_from_any_cursor(labelled, supervised, epoch, index, rows, micro):
    whole = LabelledBatches(labelled, supervised, rows, micro, 3)
    index = min(index, whole.count)
    first, middle = whole.take((epoch, index), RNG)
    second, _ = whole.take(middle, RNG)
    again, _ = LabelledBatches(labelled, supervised, rows, micro, 3).take(middle, RNG)
    assert items(second) == items(again)
    if index + 2 <= whole.count:  # both in one epoch
        assert not set(items(first)) & set(items(second))


def test_rows_come_as_often_as_an_order_says_from_any_cursor(shards, causal):
    split = shards.split("train")
    count = TokenBatches(split, causal, CONTEXT, 1, 1, 0).count
    order = Mixture((5, count - 5), (15, count - 5), 2)
    batches = TokenBatches(split, causal, CONTEXT, 7, 3, 0, order)
    assert batches.count == order.count == count + 10
    whole, cursor = [], (0, 0)
    while len(whole) < 2 * order.count:
        made, cursor = batches.take(cursor, RNG)
        whole += items(made)
    first = Counter(whole[: order.count])
    assert first == {row: 3 if row < 5 else 1 for row in range(count)}
    at = order.count - 3
    made, _ = TokenBatches(split, causal, CONTEXT, 7, 3, 0, order).take((0, at), RNG)
    assert items(made) == whole[at : at + 7]

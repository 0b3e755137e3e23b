"""The allocator as we imagine it: blocks never overlap, what is given back is found again, large ones come and go alone."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.train.heap import FIRST, LARGEST, Heap

MB = 1 << 20


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3 * MB)), max_size=120))
def test_blocks_never_overlap_and_nothing_is_lost(work):
    heap, live = Heap(), {}
    for key, (give, size) in enumerate(work):
        if give and live:
            heap.give(victim := sorted(live)[size % len(live)])
            del live[victim]
        else:
            heap.take(key, size)
            live[key] = size
        assert heap.peak >= heap.held >= sum(live.values())
        inside = sorted(place for place in heap._places.values() if place[0] >= 0)
        gaps = sorted((start, size) for start, size in heap._starts.items())
        spans = sorted(inside + gaps)
        assert all(a + n <= b for (a, n), (b, _) in pairwise(spans))
        assert sum(n for _, n in spans) == heap.top, "what is no block is a gap"
        assert all(a + n < b for (a, n), (b, _) in pairwise(gaps)), "neighbouring gaps are one"
    for key in live:
        heap.give(key)
    assert heap.apart == 0
    assert len(heap._gaps) <= 1


def test_a_gap_that_fits_is_used_again_and_one_that_does_not_is_left():
    heap = Heap(fixed=LARGEST)
    for key, size in enumerate((MB, 2 * MB, MB)):
        heap.take(key, size)
    held = heap.held
    heap.give(1)
    assert heap.held == held, "behind it lies another"
    heap.take(3, MB)
    assert heap.held == held
    heap.take(4, 3 * MB)
    assert heap.held > held + 2 * MB, "no gap is large enough"


def test_blocks_of_pages_of_their_own_come_and_go_whole():
    heap = Heap(fixed=1 << 16)
    rng = random.Random(0)
    live = {}
    for key in range(300):
        if live and rng.random() < 0.5:
            heap.give(victim := rng.choice(list(live)))
            del live[victim]
        live[key] = rng.randrange(1 << 16, MB)
        heap.take(key, live[key])
        assert heap.held == pytest.approx(sum(live.values()), rel=0.01)


def test_the_threshold_grows_with_what_is_given_back_up_to_its_end():
    heap = Heap(fixed=0)  # none
    assert heap.threshold == FIRST
    heap.take(0, MB)
    assert heap.top == 0
    heap.give(0)
    assert (heap.threshold, heap.held) == (pytest.approx(MB, rel=0.01), 0)
    heap.take(1, MB - 1000)
    assert heap.top > 0
    heap.take(2, 40 * MB)
    heap.give(2)
    assert heap.threshold < 2 * MB, "one above the end changes nothing"

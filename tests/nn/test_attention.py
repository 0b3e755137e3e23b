"""`attend` against a plain softmax over what each position may see, in every way of saying who sees whom."""

import math

import pytest
import torch

from yanmo.core.errors import RequestError
from yanmo.models.base import StateSpec
from yanmo.nn.attention import attend
from yanmo.nn.state import DenseSlots

B, T, H, K, D = 3, 7, 4, 2, 6


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def qkv(length: int = T) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return draw(B, length, H, D), draw(B, length, K, D, seed=1), draw(B, length, K, D, seed=2)


def plain(q, k, v, sees):
    """sees(row, query, key) -> bool, position by position."""
    out = torch.zeros_like(q)
    for b in range(q.shape[0]):
        for t in range(q.shape[1]):
            keys = [s for s in range(k.shape[1]) if sees(b, t, s)]
            for h in range(q.shape[2]):
                group = h // (q.shape[2] // k.shape[2])
                scores = torch.stack([q[b, t, h] @ k[b, s, group] / math.sqrt(q.shape[3]) for s in keys])
                weights = scores.softmax(0)
                out[b, t, h] = sum(w * v[b, s, group] for w, s in zip(weights, keys))
    return out


def call(q, k, v, **given):
    return attend(q, k, v, **{"layer": None, "slots": None, "causal": True, "mask": None, "documents": None, **given})


def test_causal():
    q, k, v = qkv()
    torch.testing.assert_close(call(q, k, v), plain(q, k, v, lambda b, t, s: s <= t))


def test_causal_ignores_padding_on_the_right_as_no_token_can_see_it():
    q, k, v = qkv()
    mask = torch.arange(T) < torch.tensor([[7], [3], [5]])
    got, want = call(q, k, v, mask=mask), plain(q, k, v, lambda b, t, s: s <= t and mask[b, s])
    torch.testing.assert_close(got[mask], want[mask])


def test_documents_see_only_themselves():
    q, k, v = qkv()
    documents = torch.tensor([[0, 0, 1, 1, 1, 2, 2], [0] * 7, [3, 4, 5, 6, 7, 8, 8]])
    want = plain(q, k, v, lambda b, t, s: s <= t and documents[b, s] == documents[b, t])
    torch.testing.assert_close(call(q, k, v, documents=documents), want)


@pytest.mark.parametrize("packed", [False, True])
def test_not_causal_sees_the_row_without_its_padding(packed):
    q, k, v = qkv()
    mask = torch.arange(T) < torch.tensor([[7], [3], [5]])
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1]]).expand(B, T) if packed else None
    got = call(q, k, v, causal=False, mask=mask, documents=documents)
    want = plain(q, k, v, lambda b, t, s: s == t or (mask[b, s] and (not packed or documents[b, s] == documents[b, t])))
    assert got.isfinite().all()
    torch.testing.assert_close(got[mask], want[mask])


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0, 4]])
def test_slots_chunk_by_chunk_equal_the_whole_row(rows):
    """Rows of lengths 7, 4 and 6 read in unequal chunks with padding, then token by token."""
    lengths = [7, 4, 6]
    q, k, v = qkv()
    want = plain(q, k, v, lambda b, t, s: s <= t)
    slots = DenseSlots({f"{n}.5": StateSpec((K, D), torch.float32, True) for n in ("keys", "values")}, 5, 7)
    got, done = torch.zeros_like(want), [0, 0, 0]
    for counts in ([3, 2, 0], [1, 1, 4], [1, 1, 1], [1, 0, 1], [1, 0, 0]):
        width = max(counts)
        chunk = [torch.zeros(B, width, n, D) for n in (H, K, K)]
        for b, count in enumerate(counts):
            for part, whole in zip(chunk, (q, k, v)):
                part[b, :count] = whole[b, done[b] : done[b] + count]
        view = slots.at(rows)
        out = call(*chunk, layer=5, slots=view)
        view.advance(counts)
        for b, count in enumerate(counts):
            got[b, done[b] : done[b] + count] = out[b, :count]
            done[b] += count
    assert done == lengths
    for b, length in enumerate(lengths):
        torch.testing.assert_close(got[b, :length], want[b, :length])


@pytest.mark.parametrize("name", ["bias", "sinks", "memory", "window", "softcap"])
def test_what_is_not_supported_is_never_dropped(name):
    with pytest.raises(RequestError, match=name):
        call(*qkv(), **{name: 1})

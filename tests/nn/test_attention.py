"""`attend` against a plain softmax over what each position may see, in every way of saying who sees whom."""

import math

import pytest
import torch

from yanmo.models.base import StateSpec
from yanmo.nn import attention
from yanmo.nn.attention import attend
from yanmo.nn.state import DenseSlots

B, T, H, K, D = 3, 7, 4, 2, 6


@pytest.fixture(autouse=True, params=["in one call", "step by step"])
def way(request, monkeypatch):
    """Everything holds of both ways."""
    monkeypatch.setattr(attention, "_step_by_step", lambda q, k: request.param == "step by step")


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


DOCUMENTS = torch.tensor([[0, 0, 0, 1, 1, 1, 1]]).expand(B, T)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (3, 0), (2, 1), (2, 2), (9, 1)])
def test_a_window_shows_what_is_near_and_the_first_of_the_document(window, sinks, packed):
    q, k, v = qkv()
    documents = DOCUMENTS if packed else None
    begin = [0, 0, 0, 3, 3, 3, 3] if packed else [0] * T

    def sees(b, t, s):
        return s <= t and begin[s] == begin[t] and (t - s < window or s - begin[s] < sinks)

    torch.testing.assert_close(call(q, k, v, window=window, sinks=sinks, documents=documents), plain(q, k, v, sees))


@pytest.mark.parametrize(("window", "sinks"), [(2, 0), (2, 1), (3, 2), (9, 0)])
def test_a_window_over_slots_is_that_of_the_whole_row(window, sinks):
    q, k, v = qkv()
    want = plain(q, k, v, lambda b, t, s: s <= t and (t - s < window or s < sinks))
    slots = DenseSlots({f"{n}.0": StateSpec((K, D), torch.float32, True) for n in ("keys", "values")}, B, T)
    got = []
    for begin, end in ((0, 3), (3, 4), (4, 7)):
        got.append(call(q[:, begin:end], k[:, begin:end], v[:, begin:end], layer=0, slots=slots, window=window, sinks=sinks))
        slots.advance(end - begin)
    torch.testing.assert_close(torch.cat(got, 1), want)


def test_sinks_without_a_window_are_our_mistake():
    with pytest.raises(AssertionError, match="sinks"):
        call(*qkv(), sinks=1)


@pytest.mark.parametrize("packed", [False, True])
def test_a_prefix_is_seen_both_ways(packed):
    q, k, v = qkv()
    prefix, documents = torch.tensor([3, 0, 5]), DOCUMENTS if packed else None
    want = plain(q, k, v, lambda b, t, s: (s <= t or s < prefix[b]) and (not packed or documents[b, s] == documents[b, t]))
    torch.testing.assert_close(call(q, k, v, prefix=prefix, documents=documents), want)


def test_a_prefix_does_not_show_padding():
    q, k, v = qkv()
    mask = torch.arange(T) < torch.tensor([[7], [3], [5]])
    prefix = torch.tensor([4, 5, 5])
    want = plain(q, k, v, lambda b, t, s: s == t or (mask[b, s] and (s <= t or s < prefix[b])))
    torch.testing.assert_close(call(q, k, v, prefix=prefix, mask=mask)[mask], want[mask])


def test_two_streams_see_ranks_up_to_and_below_their_own():
    _, k, v = qkv()
    q = draw(2 * B, T, H, D, seed=4)
    order = torch.stack([torch.randperm(T, generator=torch.Generator().manual_seed(row)) for row in range(B)])
    got = call(q, k, v, causal=False, order=order)
    content = plain(q[:B], k, v, lambda b, t, s: order[b, s] <= order[b, t])
    query = plain(q[B:], k, v, lambda b, t, s: order[b, s] < order[b, t] or (order[b, t] == 0 and s == t))
    torch.testing.assert_close(got, torch.cat([content, query]))


def test_another_text_is_seen_whole_but_for_its_padding():
    q, k, v = draw(B, 4, H, D), *qkv()[1:]
    mask = torch.arange(T) < torch.tensor([[7], [3], [5]])
    torch.testing.assert_close(call(q, k, v, causal=False, mask=mask), plain(q, k, v, lambda b, t, s: mask[b, s]))


@pytest.mark.parametrize("packed", [False, True])
def test_a_bias_is_added_to_the_scores(packed):
    q, k, v = qkv()
    bias, documents = draw(1, H, T, T, seed=9), DOCUMENTS if packed else None
    got = call(q, k, v, bias=bias, documents=documents)
    grown = [x.repeat_interleave(H // K, 2).transpose(1, 2) for x in (k, v)]
    scores = q.transpose(1, 2) @ grown[0].mT / math.sqrt(D) + bias
    seen = torch.ones(T, T).tril().bool() if documents is None else (documents[0][:, None] == documents[0]).tril()
    want = (scores.masked_fill(~seen, -math.inf).softmax(-1) @ grown[1]).transpose(1, 2)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("slotted", [False, True])
def test_a_softcap_bounds_the_scores(slotted):
    q, k, v = qkv()
    q = 20 * q
    grown = [x.repeat_interleave(H // K, 2).transpose(1, 2) for x in (k, v)]
    scores = 5 * torch.tanh(q.transpose(1, 2) @ grown[0].mT * 0.3 / 5)
    want = (scores.masked_fill(~torch.ones(T, T).tril().bool(), -math.inf).softmax(-1) @ grown[1]).transpose(1, 2)
    if not slotted:
        torch.testing.assert_close(call(q, k, v, softcap=5.0, scale=0.3), want)
        return
    slots = DenseSlots({f"{n}.0": StateSpec((K, D), torch.float32, True) for n in ("keys", "values")}, B, T)
    got = []
    for at in range(T):
        one = slice(at, at + 1)
        got.append(call(q[:, one], k[:, one], v[:, one], layer=0, slots=slots, softcap=5.0, scale=0.3))
        slots.advance(1)
    torch.testing.assert_close(torch.cat(got, 1), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("length", "other"), [(1, 1), (7, 7), (9, 5), (33, 33)])
def test_both_ways_have_the_same_gradients(monkeypatch, dtype, length, other):
    said = {}
    for steps in (False, True):
        monkeypatch.setattr(attention, "_step_by_step", lambda q, k, steps=steps: steps)
        q = draw(B, length, H, D).to(dtype).requires_grad_()
        k, v = (draw(B, other, K, D, seed=seed).to(dtype).requires_grad_() for seed in (1, 2))
        mask = torch.arange(other) < torch.tensor([[other], [1], [max(1, other // 2)]])
        bias = draw(1, H, length, other, seed=3)
        outs = [call(q, k, v, causal=False, mask=mask), call(q, k, v, causal=False, mask=mask, bias=bias, scale=0.3)]
        outs += [call(q, k, v)] if length == other else []
        total = sum((out.float() * draw(*out.shape, seed=n)).sum() for n, out in enumerate(outs))
        said[steps] = [out.float().detach() for out in outs] + [g.float() for g in torch.autograd.grad(total, (q, k, v))]
        assert {out.dtype for out in outs} == {dtype}
    for one, other_way in zip(*said.values(), strict=True):
        assert (one - other_way).norm() <= (1e-5 if dtype == torch.float32 else 0.02) * one.norm() + 1e-5


def test_a_position_that_sees_none_has_numbers_and_no_gradient_that_is_not_finite():
    q, k, v = (x.requires_grad_() for x in qkv())
    mask = torch.arange(T) < torch.tensor([[7], [0], [5]])
    out = call(q, k, v, causal=False, mask=mask)
    assert torch.isfinite(out).all()
    out[mask].sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in (q, k, v))


def test_short_rows_are_learned_step_by_step_and_nothing_else_is(monkeypatch):
    monkeypatch.undo()

    def way(length, dtype=torch.float32, grad=True, other=None):
        q = torch.zeros(1, 1, length, D, dtype=dtype, requires_grad=grad)
        return attention._step_by_step(q, q if other is None else torch.zeros(1, 1, other, D))

    assert way(attention.SHORT)
    assert way(attention.SHORT_HALF, torch.bfloat16)
    assert not way(attention.SHORT + 1)
    assert not way(attention.SHORT_HALF + 1, torch.bfloat16)
    assert not way(4, other=attention.SHORT + 1)
    assert not way(4, grad=False)
    with torch.no_grad():
        assert not way(4)

"""Slots of one size: what they keep, and that a pass over them sees what the paper says, however it is divided."""

import math

import pytest
import torch

from yanmo.models.base import StateSpec
from yanmo.nn.attention import attend
from yanmo.nn.position import AlibiPosition, NoPosition, RelativePosition, RotaryPosition
from yanmo.nn.rolling import Rolling, RollingSlots, rolling_bias
from yanmo.nn.rope import Rotary, Scaling, rotate

SPEC = {"keys.0": StateSpec((2, 8), torch.float32, True), "values.0": StateSpec((2, 8), torch.float32, True),
        "seen": StateSpec((1,), torch.float32, False)}  # fmt: skip


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def numbered(first: int, count: int, rows: int = 1) -> torch.Tensor:
    """(rows, count, 2, 8): tokens that are their own numbers."""
    return torch.arange(first, first + count, dtype=torch.float32)[None, :, None, None].expand(rows, count, 2, 8)


def kept(slots: RollingSlots, row: int) -> list[int]:
    return slots._storage.tensors["keys.0"][row, : slots.length(row), 0, 0].int().tolist()


@pytest.mark.parametrize(("window", "sinks"), [(1, 0), (1, 2), (4, 0), (4, 2), (6, 1)])
@pytest.mark.parametrize("chunk", [1, 3, 9])
def test_the_sinks_and_the_latest_are_kept(window, sinks, chunk):
    slots, read = RollingSlots(SPEC, 1, window=window, sinks=sinks, chunk=chunk), 0
    for size in [chunk, 1, chunk, chunk, 1, chunk]:
        slots.write("keys.0", numbered(read, size))
        slots.advance(size)
        read += size
        behind = list(range(max(sinks, read - window + 1), read)) if window > 1 else []
        assert kept(slots, 0) == [*range(min(sinks, read)), *behind]
        assert slots.longest < slots.reach == window + sinks


def test_rows_of_different_lengths_forget_each_its_own():
    slots = RollingSlots(SPEC, 4, window=3, sinks=1, chunk=4)
    read = [0, 0, 0]
    for counts in ([4, 1, 2], [4, 2, 0], [1, 4, 1], [0, 3, 4]):
        view = slots.at([3, 0, 2])
        assert isinstance(view, RollingSlots)
        value = torch.cat([numbered(first, max(counts)) for first in read])
        view.write("keys.0", value)
        view.advance(counts)
        read = [a + b for a, b in zip(read, counts)]
    for row, count in zip([3, 0, 2], read):
        assert kept(slots, row) == ([0, count - 2, count - 1] if count > 2 else list(range(count)))
    slots.copy([3], [1])
    assert kept(slots, 1) == kept(slots, 3)
    slots.reset([3])
    assert slots.length(3) == 0


POSITIONS = {
    "rotary": RotaryPosition(theta=50.0),
    "share": RotaryPosition(theta=50.0, share=0.5),
    "dynamic": RotaryPosition(theta=50.0, scaling=Scaling(type="dynamic", factor=3.0, trained=4)),
    "alibi": AlibiPosition(),
    "relative": RelativePosition(buckets=8, distance=8),
    "none": NoPosition(),
}


class Sizes:
    head_size, heads, context, width = 8, 4, 64, 32


def made(kind: str):
    position = POSITIONS[kind].build(Sizes, True)
    for parameter in position.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(7))
    return position


def plain(kind: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int, sinks: int) -> torch.Tensor:
    """Token by token, each over a cache in which every key has its place: the paper's way, written out."""
    position, reach, out = made(kind), window + sinks, []
    for t in range(q.shape[1]):
        if t < reach:
            there = list(range(t + 1))
        else:
            there = [*range(sinks), *range(t - window + 1, t + 1)]
        query, keys, values = q[:, t], k[:, there].repeat_interleave(2, 2), v[:, there].repeat_interleave(2, 2)
        place = len(there) - 1
        if isinstance(POSITIONS[kind], RotaryPosition):
            size = 8 if kind != "share" else 4
            rotary = Rotary(size, 50.0, POSITIONS[kind].scaling)
            rates, _ = rotary.frequencies(len(there))
            tables = [(torch.arange(len(there))[:, None] * rates).cos(), (torch.arange(len(there))[:, None] * rates).sin()]
            keys = rotate(keys, *(table[None, :, None] for table in tables))
            query = rotate(query[:, None], *(table[None, place : place + 1, None] for table in tables))[:, 0]
        scores = torch.einsum("bhd,bshd->bhs", query, keys) / math.sqrt(8)
        bias = position.bias(torch.tensor([[place]]), len(there))
        scores = scores if bias is None else scores + bias[:, :, 0]
        out.append(torch.einsum("bhs,bshd->bhd", scores.softmax(-1), values))
    return torch.stack(out, 1)


@pytest.mark.parametrize("kind", sorted(POSITIONS))
@pytest.mark.parametrize(("window", "sinks"), [(5, 0), (4, 2), (1, 1)])
@pytest.mark.parametrize("chunk", [1, 3, 20])
@torch.no_grad()
def test_a_pass_sees_what_the_paper_says_however_long_it_is(kind, window, sinks, chunk):
    q, k, v = draw(2, 20, 4, 8), draw(2, 20, 2, 8, seed=1), draw(2, 20, 2, 8, seed=2)
    position = made(kind)
    slots = RollingSlots(SPEC, 2, window=window, sinks=sinks, chunk=chunk)
    got = []
    for start in range(0, 20, chunk):
        piece = [x[:, start : start + chunk] for x in (q, k, v)]
        size = piece[0].shape[1]
        at = slots.lengths[:, None] + torch.arange(size)
        got.append(attend(*piece, layer=0, slots=slots, causal=True, mask=None, documents=None, window=window, sinks=sinks,
                          bias=rolling_bias(slots, position, at), rolling=Rolling.over(slots, position, at)))  # fmt: skip
        slots.advance(size)
    want = plain(kind, q, k, v, window, sinks)
    if kind == "dynamic" and chunk > 1:  # until the cache is full, frequencies follow the length at the end of a pass
        got, want = [torch.cat(got, 1)[:, window + sinks :]], want[:, window + sinks :]
    torch.testing.assert_close(torch.cat(got, 1), want, rtol=1e-4, atol=1e-5)

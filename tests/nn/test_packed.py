"""Packed rows without a mask: document by document on a CPU, by blocks on a GPU, both what the mask gives."""

import pytest
import torch
from torch.nn.attention import flex_attention as flex

from yanmo.nn import packed, visibility
from yanmo.nn.attention import _attend, attend

WAYS = [(None, 0), (40, 0), (130, 3), (200, 140)]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def numbers(rows: int, steps: int, mean: int, seed: int = 3) -> torch.Tensor:
    begins = torch.rand(rows, steps, generator=torch.Generator().manual_seed(seed)) < 1 / mean
    return begins.long().cumsum(1) + 5  # a row's first number is any


def call(q, k, v, documents, **given):
    return attend(q, k, v, **{"layer": None, "slots": None, "causal": True, "mask": None, "documents": documents, **given})


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("mean", [2, 12, 1000])
def test_document_by_document_is_what_the_mask_gives_and_so_are_its_gradients(kv_heads, mean, monkeypatch):
    q, k, v = draw(3, 64, 4, 8), draw(3, 64, kv_heads, 8, seed=1), draw(3, 64, kv_heads, 8, seed=2)
    documents = numbers(3, 64, mean)
    documents[1] += documents[0, -1] - documents[1, 0]  # numbers that go on from row to row are not one document
    monkeypatch.setattr(packed, "WORTH", 1e9)
    found = []
    for lengths in (packed.lengths, lambda *given: []):
        monkeypatch.setattr(packed, "lengths", lengths)
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = call(*leaves, documents, scale=0.3)
        found.append([out, *torch.autograd.grad((out * draw(3, 64, 4, 8, seed=4)).sum(), leaves)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_lengths_are_those_of_the_documents_where_that_is_worth_it():
    documents = torch.tensor([[0] * 300 + [1] * 212, [1] * 512])
    assert packed.lengths(documents, 384) == [300, 212, 512]
    assert packed.lengths(torch.zeros(2, 512, dtype=torch.int64), 384) == []  # nothing to leave out
    assert packed.lengths(numbers(32, 128, 16), 128) == []  # many small ones in a narrow model: calls cost more than they save
    assert sum(packed.lengths(numbers(4, 1024, 100), 384)) == 4096


def dense(documents, window, sinks):
    return visibility.within(documents.shape[1], documents.device, True, None, documents, None, window, sinks)


@pytest.mark.parametrize(("window", "sinks"), WAYS)
@pytest.mark.parametrize(("steps", "mean"), [(512, 1000), (512, 60), (700, 300), (390, 8), (100, 30)])
def test_no_block_that_counts_is_left_out_and_none_taken_whole_that_is_not(window, sinks, steps, mean):
    documents = numbers(2, steps, mean)
    mask = packed.blocks(documents, window, sinks)
    seen = dense(documents, window, sinks)[:, 0]
    size = -(-steps // packed.SIDE) * packed.SIDE
    padded = torch.zeros(2, size, size, dtype=torch.bool)
    padded[:, :steps, :steps] = seen
    count = size // packed.SIDE
    tiles = padded.view(2, count, packed.SIDE, count, packed.SIDE).transpose(2, 3).flatten(-2)
    whole, partial = (torch.zeros(2, count, count, dtype=torch.bool) for _ in range(2))
    full, some = (mask.full_kv_num_blocks, mask.full_kv_indices), (mask.kv_num_blocks, mask.kv_indices)
    for out, (amount, which) in ((whole, full), (partial, some)):
        for row in range(2):
            for tile in range(count):
                out[row, tile, which[row, 0, tile, : amount[row, 0, tile]].long()] = True
    assert not (whole & partial).any()
    assert (whole <= tiles.all(-1)).all()
    assert (tiles.any(-1) <= (whole | partial)).all()
    if window is None:  # then exactly those that the library finds by looking at every position
        theirs = flex.create_block_mask(mask.mask_mod, 2, 1, steps, steps, device="cpu")
        assert torch.equal(theirs.kv_num_blocks, mask.kv_num_blocks)
        assert torch.equal(theirs.full_kv_num_blocks, mask.full_kv_num_blocks)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("window", "sinks"), WAYS)
def test_flex_attention_gives_what_the_mask_gives(window, sinks, monkeypatch):
    monkeypatch.setattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    documents = numbers(2, 300, 90)
    q, k, v = draw(2, 300, 4, 16), draw(2, 300, 2, 16, seed=1), draw(2, 300, 2, 16, seed=2)
    got = call(q, k, v, documents, window=window, sinks=sinks, blocks=packed.blocks(documents, window, sinks))
    want = _attend(q, k, v, dense(documents, window, sinks), False, None, None, None)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("window", "sinks"), WAYS)
def test_a_gpu_gives_what_the_mask_gives_and_so_do_its_gradients(window, sinks):
    documents = numbers(2, 700, 200).cuda()
    given = [draw(2, 700, 4, 64), draw(2, 700, 2, 64, seed=1), draw(2, 700, 2, 64, seed=2)]
    found = []
    for blocks in (packed.blocks(documents, window, sinks), None):
        leaves = [x.cuda().requires_grad_() for x in given]
        out = call(*leaves, documents, window=window, sinks=sinks, blocks=blocks)
        found.append([out, *torch.autograd.grad((out * draw(2, 700, 4, 64, seed=4).cuda()).sum(), leaves)])
    assert packed.on_blocks(documents)
    torch.testing.assert_close(found[0], found[1], rtol=2e-3, atol=2e-3)  # products in TF32

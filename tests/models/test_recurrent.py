"""The LSTM: borders inside a row, padding, state, the chunked loss."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from yanmo.models.base import Inputs
from yanmo.models.recurrent import LstmModel, Pieces
from yanmo.nn import heads
from yanmo.nn.state import DenseSlots


@pytest.fixture
def model(tokenizer, rng):
    model = LstmModel(width=24).build(tokenizer, rng)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


def draw(tokenizer, *shape):
    return torch.randint(4, tokenizer.size, shape, generator=torch.Generator().manual_seed(1))


def test_the_dial_and_the_count(tokenizer, rng):
    for depth, width in ((1, 64), (2, 160), (4, 448), (6, 800)):
        part = LstmModel().complete(depth=depth)
        assert (part.depth, part.width) == (2, width)
        assert abs(part.depth * 8 * part.width**2 / (12 * 64**2 * depth**3) - 1) < 0.4
    assert LstmModel(depth=1, width=256).complete(depth=4) == LstmModel(depth=1, width=256)  # what the recipe says, stands
    for part in (LstmModel(depth=3, width=16), LstmModel(depth=1, width=16, tie=False)):
        model = part.build(tokenizer, rng)
        assert sum(p.numel() for p in model.parameters()) == part.parameters(tokenizer.size)
    assert LstmModel(depth=2, width=512).flops(4096, 256) == 6 * (2 * 8 * 512**2 + 4096 * 512)


def test_state_starts_fresh_at_every_border_of_a_packed_row(model, tokenizer):
    """Each document gives what it gives alone, gradients included; the row's own beginning goes on from its slots."""
    tokens = draw(tokenizer, 3, 12)
    documents = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3, [7] * 12, [0, 1, 1, 2, 3, 3, 3, 3, 3, 3, 4, 5]])
    out = model(Inputs(tokens, documents=documents)).logits
    for row in range(3):
        borders = [0, *(t for t in range(1, 12) if documents[row, t] != documents[row, t - 1]), 12]
        for first, last in pairwise(borders):
            alone = model(Inputs(tokens[row : row + 1, first:last])).logits[0]
            torch.testing.assert_close(out[row, first:last], alone, rtol=1e-5, atol=1e-5)
    model.zero_grad()
    out.square().sum().backward()
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for row in range(3):
        for document in documents[row].unique():
            model(Inputs(tokens[row : row + 1, documents[row] == document])).logits.square().sum().backward()
    torch.testing.assert_close(got, [p.grad for p in model.parameters()], rtol=1e-4, atol=1e-3)


def test_no_value_crosses_a_border(model, tokenizer):
    tokens = draw(tokenizer, 1, 10)
    documents = torch.tensor([[0] * 4 + [1] * 6])
    changed = tokens.clone()
    changed[0, 1] = (changed[0, 1] - 3) % (tokenizer.size - 4) + 4
    with torch.no_grad():
        before, after = (model(Inputs(t, documents=documents)).logits for t in (tokens, changed))
        assert torch.equal(before[:, 4:], after[:, 4:])
        assert (before[:, 1:4] != after[:, 1:4]).any(-1).all()
        plain = model(Inputs(changed)).logits
        assert not torch.equal(plain[:, 4:], before[:, 4:])  # without documents it does cross


def test_padding_changes_nothing(model, tokenizer):
    tokens = draw(tokenizer, 3, 9)
    mask = torch.arange(9) < torch.tensor([[9], [4], [6]])
    with torch.no_grad():
        out = model(Inputs(tokens, mask=mask)).logits
        for row, length in enumerate((9, 4, 6)):
            alone = model(Inputs(tokens[row : row + 1, :length])).logits[0]
            torch.testing.assert_close(out[row, :length], alone, rtol=1e-5, atol=1e-5)


def test_prefill_and_decoding_at_different_lengths_equal_the_whole_row(model, tokenizer):
    tokens, lengths, done = draw(tokenizer, 3, 20), [20, 9, 14], [0, 0, 0]
    slots = DenseSlots(model.state(), 5, 20)
    with torch.no_grad():
        whole = model(Inputs(tokens)).logits
        for counts in ([7, 3, 5], [2, 1, 6], [1, 1, 1], [1, 1, 1], [1, 1, 1], [8, 2, 0]):
            chunk = torch.zeros(3, max(counts), dtype=torch.int64)
            for row, count in enumerate(counts):
                chunk[row, :count] = tokens[row, done[row] : done[row] + count]
            mask = None if len(set(counts)) == 1 else torch.arange(max(counts)) < torch.tensor(counts)[:, None]
            view = slots.at([4, 0, 2])
            logits = model(Inputs(chunk, mask=mask), view).logits
            view.advance(counts)
            for row, count in enumerate(counts):
                want = whole[row, done[row] : done[row] + count]
                torch.testing.assert_close(logits[row, :count], want, rtol=0, atol=1e-5)
                done[row] += count
    assert done == lengths


def test_a_border_inside_a_chunk_forgets_what_the_slots_held(model, tokenizer):
    tokens = draw(tokenizer, 1, 8)
    slots = DenseSlots(model.state(), 1, 8)
    with torch.no_grad():
        model(Inputs(tokens[:, :3]), slots)
        slots.advance(3)
        out = model(Inputs(tokens[:, 3:], documents=torch.tensor([[0, 0, 1, 1, 1]])), slots).logits
        slots.advance(5)
        torch.testing.assert_close(out[:, :2], model(Inputs(tokens[:, :5])).logits[:, 3:], rtol=0, atol=1e-5)
        torch.testing.assert_close(out[:, 2:], model(Inputs(tokens[:, 5:])).logits, rtol=0, atol=1e-5)
        later = model(Inputs(tokens[:, :1]), slots).logits  # the state left behind is the last document's
        alone = model(Inputs(torch.cat([tokens[:, 5:], tokens[:, :1]], 1))).logits[:, -1:]
        torch.testing.assert_close(later, alone, rtol=0, atol=1e-5)


def test_pieces_are_each_token_once_and_no_longer_than_the_longest():
    documents = torch.tensor([[0, 0, 1, 1, 1, 2], [0, 0, 0, 0, 0, 0]])
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    pieces = Pieces.of(mask, documents, torch.Size((2, 6)), torch.device("cpu"))
    assert sorted(pieces.order.tolist()) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert pieces.sizes.tolist() == [4, 3, 2, 1]
    assert pieces.row.tolist() == [1, 0, 0, 0]
    assert pieces.first.tolist() == [True, False, True, False]
    assert pieces.last.tolist() == [True, False, False, True]


@pytest.mark.parametrize("packed", [False, True])
def test_the_chunked_loss_and_its_gradients_are_the_whole_ones(model, tokenizer, packed, monkeypatch):
    monkeypatch.setattr(heads, "ELEMENTS", tokenizer.size * 7)
    tokens = draw(tokenizer, 4, 13)
    flat = tokens[:, 1:].reshape(-1)
    inputs = Inputs(tokens[:, :-1], documents=torch.tensor([[0] * 5 + [1] * 7]).expand(4, 12) if packed else None)
    loss = F.cross_entropy(model(inputs).logits.flatten(0, 1), flat)
    want = torch.autograd.grad(loss, list(model.parameters()))
    reduced = model(inputs, reduce=lambda logits, at: F.cross_entropy(logits, flat[at], reduction="none")).reduced
    torch.testing.assert_close(reduced.mean(), loss)
    got = torch.autograd.grad(reduced.mean(), list(model.parameters()))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)

"""Recurrent models: borders inside a row, padding, state, the chunked loss, both ways, state carried from batch to batch."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from yanmo.core.config import Place, build
from yanmo.core.errors import RecipeError, RequestError
from yanmo.models.base import Inputs
from yanmo.models.carried import Carried
from yanmo.models.classifier import Classifier
from yanmo.models.recurrent import GruModel, LstmModel, Pieces, RnnModel
from yanmo.models.store import load, save
from yanmo.nn import heads
from yanmo.nn.state import DenseSlots

PARTS = {"rnn": RnnModel, "gru": GruModel, "lstm": LstmModel}


def shaken(model, rng):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


@pytest.fixture(params=PARTS)
def model(request, tokenizer, rng):
    return shaken(PARTS[request.param](width=24).build(tokenizer, rng), rng)


def draw(tokenizer, *shape):
    return torch.randint(4, tokenizer.size, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", PARTS)
def test_the_dial_and_the_count(kind, tokenizer, rng):
    gates, widths = {"rnn": (1, (96, 320, 896, 1632)), "gru": (3, (64, 192, 512, 928)), "lstm": (4, (64, 160, 448, 800))}[kind]
    for depth, width in zip((1, 2, 4, 6), widths):
        part = PARTS[kind]().complete(depth=depth)
        assert abs(part.depth * 2 * gates * part.width**2 / (12 * 64**2 * depth**3) - 1) < 0.4
        assert (part.depth, part.width) == (2, width)
    assert PARTS[kind](depth=1, width=256).complete(depth=4) == PARTS[kind](depth=1, width=256)  # what the recipe says, stands
    for fields in ({"depth": 3}, {"depth": 1, "tie": False}, {"depth": 2, "bidirectional": True}):
        part = PARTS[kind](width=16, **fields)
        model = part.build(tokenizer, rng)
        assert sum(p.numel() for p in model.parameters()) == part.parameters(tokenizer.size)


def test_operations_are_six_a_weight():
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


# ------------------------------------------------------------------------------------------------ both ways


@pytest.fixture(params=PARTS)
def both(request, tokenizer, rng):
    classifier = Classifier(PARTS[request.param](width=24, bidirectional=True).build(tokenizer, rng), 3)
    classifier.initialise(rng)
    return shaken(classifier, rng)


def test_both_ways_every_token_is_read_in_both_directions_and_padding_in_none(both, tokenizer):
    tokens = draw(tokenizer, 3, 9)
    mask = torch.arange(9) < torch.tensor([[9], [4], [1]])
    with torch.no_grad():
        whole = both(Inputs(tokens, mask=mask))
        for row, length in enumerate((9, 4, 1)):
            torch.testing.assert_close(whole[row], both(Inputs(tokens[row : row + 1, :length]))[0], rtol=1e-4, atol=1e-5)
        hidden = both.backbone.encode(Inputs(tokens[:1]))
        for place in (0, 8):  # the first token reaches the last position, and the last one the first
            changed = tokens[:1].clone()
            changed[0, 8 - place] = (changed[0, 8 - place] - 3) % (tokenizer.size - 4) + 4
            assert not torch.equal(both.backbone.encode(Inputs(changed))[0, place], hidden[0, place])
            assert not torch.equal(both(Inputs(changed)), both(Inputs(tokens[:1])))


def test_both_ways_is_for_labels_alone(both, tokenizer):
    with pytest.raises(RequestError, match=r"labels texts.*leave out 'bidirectional'"):
        both.backbone(Inputs(draw(tokenizer, 1, 4)))
    assert both.backbone.kind != "causal"
    with pytest.raises(RecipeError, match="an even width"):
        build(GruModel, {"width": 7, "bidirectional": True}, Place("model"))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", PARTS)
def test_padded_rows_are_read_both_ways_as_packed_ones_are(kind, depth, tokenizer, rng):
    model = shaken(PARTS[kind](width=24, depth=depth, bidirectional=True).build(tokenizer, rng), rng)
    tokens = draw(tokenizer, 4, 9)
    mask = torch.arange(9) < torch.tensor([[9], [1], [0], [6]])
    found = []
    for documents in (None, torch.zeros_like(tokens)):  # with borders asked for, rows go packed
        model.zero_grad()
        inputs = Inputs(tokens, mask=mask, documents=documents)
        states, pooled = model.encode(inputs), model.pool(inputs)
        ((states * mask[..., None]).square().sum() + pooled[[0, 1, 3]].square().sum()).backward()
        found.append([states[mask], pooled[[0, 1, 3]], *(p.grad for p in model.parameters() if p.grad is not None)])
    for fast, packed in zip(*found, strict=True):
        torch.testing.assert_close(fast, packed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"bidirectional": True}, {"tie": False, "depth": 1}])
@pytest.mark.parametrize("kind", PARTS)
def test_a_classifier_overfits_two_texts_and_says_the_same_when_opened(kind, fields, tokenizer, texts, tmp_path, rng):
    model = Classifier(PARTS[kind](width=24, **fields).build(tokenizer, rng), 2)
    model.initialise(rng)
    rows = [torch.tensor(tokenizer.encode(text)[:20]) for text in texts]
    inputs = Inputs(torch.stack(rows))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        loss = F.cross_entropy(model.train()(inputs), torch.tensor([1, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01
    save(tmp_path / "model", model, tokenizer, labels=["a", "b"])
    opened = load(tmp_path / "model").model
    with torch.no_grad():
        assert torch.equal(opened(inputs), model.eval()(inputs))
    assert opened.backbone.part == (model.backbone.part if fields.get("tie", True) else model.backbone.part.model_copy(update={"tie": True}))


# ------------------------------------------------------------------------------------------------ carried


def test_carried_state_goes_on_and_its_gradients_do_not(model, tokenizer):
    tokens = draw(tokenizer, 2, 12)
    carried = Carried(model.state(), 2)
    parts = [model(Inputs(tokens[:, start : start + 4]), carried).logits for start in (0, 4, 8)]
    torch.testing.assert_close(torch.cat(parts, 1), model(Inputs(tokens)).logits, rtol=1e-5, atol=1e-5)
    assert all(not value.requires_grad for value in carried.tensors.values())
    before = {name: value.clone() for name, value in carried.tensors.items()}
    more = draw(tokenizer, 2, 5)
    got = torch.autograd.grad(model(Inputs(more), carried).logits.square().sum(), model.layers.weight_hh_l0)[0]
    slots = Carried(model.state(), 2)
    slots.tensors = before  # the state as a given constant
    torch.testing.assert_close(got, torch.autograd.grad(model(Inputs(more), slots).logits.square().sum(), model.layers.weight_hh_l0)[0])
    plain = torch.autograd.grad(model(Inputs(torch.cat([tokens, more], 1))).logits[:, 12:].square().sum(), model.layers.weight_hh_l0)[0]
    assert not torch.allclose(got, plain, rtol=1e-3)  # what came before would have had a gradient


def test_a_row_that_begins_anew_is_fresh_and_the_others_go_on(model, tokenizer):
    tokens = draw(tokenizer, 3, 8)
    carried = Carried(model.state(), 3)
    model(Inputs(tokens[:, :4]), carried)
    carried.reset(torch.tensor([False, True, False]))
    found = model(Inputs(tokens[:, 4:]), carried).logits
    whole = model(Inputs(tokens)).logits[:, 4:]
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], model(Inputs(tokens[1:2, 4:])).logits[0], rtol=1e-5, atol=1e-5)
    carried.reset()
    assert all((value == 0).all() for value in carried.tensors.values())


def test_a_border_at_a_rows_beginning_or_within_it_is_the_documents_alone(model, tokenizer):
    """A row goes on from its slots up to the first border inside it, packed or not."""
    tokens = draw(tokenizer, 1, 9)
    carried = Carried(model.state(), 1)
    model(Inputs(tokens[:, :3]), carried)
    found = model(Inputs(tokens[:, 3:], documents=torch.tensor([[0, 0, 1, 1, 1, 1]])), carried).logits
    torch.testing.assert_close(found[:, :2], model(Inputs(tokens[:, :5])).logits[:, 3:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[:, 2:], model(Inputs(tokens[:, 5:])).logits, rtol=1e-5, atol=1e-5)


def test_only_a_state_of_fixed_size_is_carried(tokenizer, rng):
    from yanmo.models.transformer import TransformerModel

    for state in ({}, TransformerModel(depth=1, width=32, heads=2).build(tokenizer, rng, 16).state()):
        with pytest.raises(RequestError, match="carry: expected a recurrent model"):
            Carried(state, 2)


def test_pretraining_refuses_what_reads_both_ways():
    from yanmo.core.registry import create

    with pytest.raises(RequestError, match=r"pretrain\.model\.bidirectional: expected a model that predicts"):
        create("stage", {"type": "pretrain", "model": {"type": "gru", "bidirectional": True}}).check()

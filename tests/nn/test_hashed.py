"""Hashed n-grams: which row each picks, that a text read in parts is the same text, and that a step moves what it touched."""

import pytest
import torch
from torch import nn

from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.nn.hashed import ABSENT, HashedGrams
from yanmo.nn.state import DenseSlots
from yanmo.train.optimizers import rows

TOKENS = torch.tensor([[5, 9, 5, 9, 7, 5, 9, 7]])


def fresh(orders=(2, 3), count=1000, width=4):
    made = HashedGrams(orders, count, width)
    nn.init.normal_(made.table.weight, generator=torch.Generator().manual_seed(0))
    return made


def test_what_is_picked_follows_from_the_last_tokens_alone():
    picked = fresh().picked(TOKENS)[0]
    assert picked[0].tolist() == [0, 0]  # nothing stands before the first token
    assert picked[1, 1] == 0
    assert (picked[2:] > 0).all()
    assert picked[1, 0] == picked[3, 0] == picked[6, 0]  # 5 9
    assert picked[4, 0] == picked[7, 0]  # 9 7
    assert picked[4, 1] == picked[7, 1]  # 5 9 7
    assert len({int(row) for row in picked[:, 0]} - {0}) == 4  # 5 9, 9 5, 9 7, 7 5
    assert ((picked[:, 0] <= 1000) & ((picked[:, 1] > 1000) | (picked[:, 1] == 0))).all()  # a table for each order


def test_orders_that_are_not_neighbours():
    picked = fresh((2, 4)).picked(TOKENS)[0]
    assert (picked[:, 1] > 0).tolist() == [False] * 3 + [True] * 5


def test_rows_are_used_evenly():
    """Of 20,000 different pairs in 1,000 rows each row gets 20, give or take five deviations."""
    pairs = torch.stack([torch.arange(20_000) // 200, torch.arange(20_000) % 200], 1)
    counts = torch.bincount(fresh((2,)).picked(pairs)[:, 1, 0], minlength=1001)[1:]
    assert counts.sum() == 20_000
    assert counts.max() < 20 + 5 * 20**0.5
    assert counts.float().var() == pytest.approx(20, rel=0.3)  # as chance gives


def test_documents_are_apart():
    grams = fresh()
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    first, second = grams.picked(TOKENS[:, :3]), grams.picked(TOKENS[:, 3:])
    assert torch.equal(grams.picked(TOKENS, documents), torch.cat([first, second], 1))


def test_a_text_read_in_parts_is_the_same_text():
    grams = fresh()
    whole, before, parts = grams(TOKENS), None, []
    for part in (TOKENS[:, :1], TOKENS[:, 1:2], TOKENS[:, 2:6], TOKENS[:, 6:]):
        parts.append(grams(part, before=before))
        before = grams.after(part, None, before)
    assert torch.equal(torch.cat(parts, 1), whole)
    padded = torch.cat([TOKENS[:, :3], torch.full((1, 4), 99)], 1)
    mask = torch.arange(7)[None] < 3
    assert grams.after(padded, mask).tolist() == [[9, 5]]
    assert grams.after(padded, torch.zeros_like(mask)).tolist() == [[ABSENT, ABSENT]]


def model(**settings):
    part = create("model", {"type": "transformer", "depth": 1, "width": 32, "heads": 2, "context": 32, **settings})
    return part.build(type("", (), {"size": 50}), torch.Generator().manual_seed(0))


def test_a_fresh_model_is_the_one_without_them():
    with torch.no_grad():
        plain, hashed = model()(Inputs(TOKENS)).logits, model(embedding={"grams": {"rows": 64}})(Inputs(TOKENS)).logits
    torch.testing.assert_close(plain, hashed, rtol=0, atol=1e-6)


@torch.no_grad()
def test_rows_of_different_lengths_go_on_where_they_were():
    made = model(embedding={"grams": {"rows": 64, "orders": [2, 4]}})
    nn.init.normal_(made.grams.table.weight, generator=torch.Generator().manual_seed(1))
    slots = DenseSlots(made.state(), 2, 32)
    tokens = torch.cat([TOKENS, TOKENS.flip(1)])
    mask = torch.arange(5)[None] < torch.tensor([[5], [2]])
    batch = slots.at([0, 1])
    made(Inputs(tokens[:, :5], mask=mask), batch)
    batch.advance([5, 2])
    for row, read in enumerate((5, 2)):
        want = made(Inputs(tokens[row : row + 1])).logits[:, read:]
        alone = slots.at([row])
        torch.testing.assert_close(made(Inputs(tokens[row : row + 1, read:]), alone).logits, want, rtol=1e-4, atol=1e-4)


def test_refused_where_they_have_no_meaning():
    for settings in ({"architecture": "encoder"}, {"architecture": "encoder-decoder"}):
        with pytest.raises(RecipeError, match="decoder"):
            model(**settings, embedding={"grams": {}})
    for grams in ({"orders": []}, {"orders": [1]}, {"orders": [3, 2]}, {"orders": [2, 2]}, {"rows": 3}):
        with pytest.raises(RecipeError):
            model(embedding={"grams": grams})
    with pytest.raises(RequestError, match="grams"):
        model(embedding={"grams": {"rows": 64}})(Inputs(TOKENS, embeddings=torch.zeros(1, 8, 32)))


# ------------------------------------------------------------------------------------------------ a step


def steps(made, optimizer, count=3):
    live = create("optimizer", optimizer).make(made)
    for step in range(count):
        live.begin(1.0, 0, step)
        with live.sampled():
            made(Inputs((TOKENS + step) % 50)).logits.logsumexp(-1).sum().backward()
        assert made.grams.table.weight.grad.is_sparse
        live.step()
        live.zero_grad(set_to_none=True)
    return live


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "adafactor", "lion", "muon", "ivon"])
def test_every_optimizer_moves_the_touched_rows_alone(optimizer):
    made = model(embedding={"grams": {"rows": 4096}})
    live = steps(made, {"type": optimizer, "noise": 0.01 if optimizer == "sgd" else 0.0})
    picked = torch.cat([made.grams.picked((TOKENS + step) % 50).flatten() for step in range(3)]).unique()
    touched = made.grams.table.weight.detach().abs().sum(1).nonzero().squeeze(1)
    assert touched.tolist() == picked[picked > 0].tolist()
    assert set(live.state[made.grams.table.weight]) == {"step", "mean", "square"}


def test_the_rule_is_that_of_torch_where_it_has_one():
    made, other = model(embedding={"grams": {"rows": 64}}), model(embedding={"grams": {"rows": 64}})
    theirs = torch.optim.SparseAdam([other.grams.table.weight], lr=0.01, betas=rows.BETAS, eps=rows.EPS)
    ours = create("optimizer", {"type": "sgd", "table_lr": 0.01, "freeze": ["embedding*", "stack*"]}).make(made)
    for step in range(5):
        for which, optimizer in ((made, ours), (other, theirs)):
            which(Inputs((TOKENS * (step + 1)) % 50)).logits.logsumexp(-1).square().sum().backward()
            if which is made:
                ours.begin(1.0, 0, step)
            optimizer.step()
            which.zero_grad(set_to_none=True)
    torch.testing.assert_close(made.grams.table.weight, other.grams.table.weight, rtol=1e-4, atol=1e-6)
    assert other.grams.table.weight.abs().sum() > 0


def test_clipping_sees_each_row_once():
    made = model(embedding={"grams": {"rows": 64}})
    made(Inputs(TOKENS)).logits.logsumexp(-1).sum().backward()
    made(Inputs(TOKENS)).logits.logsumexp(-1).sum().backward()  # two micro-batches: every row stands there twice
    dense = made.grams.table.weight.grad.to_dense()
    (held,) = rows.held([made.grams.table.weight])
    assert held.norm() == pytest.approx(float(dense.norm()), rel=1e-6)
    held.mul_(0.5)
    torch.testing.assert_close(made.grams.table.weight.grad.to_dense(), dense / 2)

"""Answers are learned, prompts are not; short rows share one without seeing each other; micro-batches change nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from yanmo.core.data import Row
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.objectives.answer import packed
from yanmo.objectives.base import Context

from .tiny import bound, build, rng, tokenizer

PAIRS = [("Q: ink?", " 墨"), ("问：天下大势？", "分久必合，合久必分。"), ("🐋 who", " Ishmael, e\u0301"), ("a", "b")]
POSITIONS = ["rotary", "learned", "relative", "alibi"]


def row(prompt, answer, name=""):
    before, behind = [1, *tokenizer().encode(prompt)], [*tokenizer().encode(answer), 1]
    return Row([*before, *behind], [False] * len(before) + [True] * len(behind), example=name)


ROWS = [row(*pair, f"e{i}") for i, pair in enumerate(PAIRS)]


def model(position="rotary", **settings):
    part = create("model", {"type": "transformer", "depth": 2, "width": 32, "heads": 2, "position": position, **settings})
    made = part.build(tokenizer(), rng(), 96)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng(3))
    return made


def test_the_loss_is_that_of_the_answers_and_their_ends_alone():
    objective, made = bound("answer"), build("answer")
    found = objective.loss(made, objective.collate(ROWS, rng()))
    for item, loss in zip(ROWS, found.rows):
        logits = made(Inputs(torch.tensor([item.tokens[:-1]]))).logits[0]
        begin = item.trained.index(True)
        want = F.cross_entropy(logits[begin - 1 :], torch.tensor(item.tokens[begin:]))
        assert float(loss) == pytest.approx(float(want.detach()), rel=1e-4)
        assert item.tokens[-1] == tokenizer().eos_id
    assert float(found.weight) == sum(sum(item.trained) for item in ROWS)


def test_the_logits_of_a_prompt_have_no_part_in_the_gradient():
    """Another answer with the prompt's own words wrong: nothing is learned about them."""
    objective, made = bound("answer"), build("answer")
    batch = objective.collate(ROWS[:1], rng())
    changed = batch.targets.clone()
    changed[0, : ROWS[0].trained.index(True) - 1] = 9
    first = torch.autograd.grad(objective.loss(made, batch).total, list(made.parameters()))
    batch.targets = changed
    for one, two in zip(first, torch.autograd.grad(objective.loss(made, batch).total, list(made.parameters())), strict=True):
        assert torch.equal(one, two)


@settings(max_examples=15, deadline=None)
@given(pack=st.booleans(), seed=st.integers(0, 99))
def test_one_times_eight_is_two_times_four_is_eight_times_one(pack, seed):
    draws = torch.Generator().manual_seed(seed)
    rows = [ROWS[i] for i in torch.randint(0, len(ROWS), (8,), generator=draws).tolist()]
    objective, made = bound("answer", pack=pack), build("answer")
    totals, weights = [], []
    for size in (8, 4, 1):
        losses = [objective.loss(made, objective.collate(rows[i : i + size], rng())) for i in range(0, 8, size)]
        totals.append(float(sum(loss.total for loss in losses).detach()))
        weights.append(float(sum(loss.weight for loss in losses)))
    assert totals == pytest.approx([totals[0]] * 3, rel=1e-4)
    assert weights == [weights[0]] * 3


@pytest.mark.parametrize("position", POSITIONS)
def test_rows_that_share_one_do_not_see_each_other(position):
    objective, made = bound("answer", pack=True), model(position)
    objective.check(made)
    batch = objective.collate(ROWS, rng())
    assert batch.inputs.tokens.shape[0] < len(ROWS)
    assert sorted(name for some in batch.items for name in some.split(" + ")) == ["e0", "e1", "e2", "e3"]
    alone = bound("answer").collate(ROWS, rng())
    one, two = (torch.autograd.grad(objective.loss(made, given).total, list(made.parameters())) for given in (batch, alone))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    shared = next(i for i, some in enumerate(batch.items) if " + " in some)
    border = int(batch.inputs.documents[shared].tolist().index(1))
    changed = batch.inputs.tokens.clone()
    changed[shared, :border] = torch.randint(4, 40, (border,), generator=rng(1))
    with torch.no_grad():
        before = made(batch.inputs).logits[shared, border:]
        batch.inputs.tokens = changed
        real = batch.inputs.mask[shared, border:] if batch.inputs.mask is not None else slice(None)
        torch.testing.assert_close(made(batch.inputs).logits[shared, border:][real], before[real], rtol=0, atol=1e-5)


def test_packing_fills_rows_and_loses_none():
    rows = [Row([1] * n, example=str(n)) for n in (11, 3, 5, 7, 9, 2, 4)]
    bins = packed(rows)
    assert sorted(int(r.example) for some in bins for r in some) == [2, 3, 4, 5, 7, 9, 11]
    assert all(sum(len(r.tokens) - 1 for r in some) <= 10 for some in bins)
    assert len(bins) == 4
    assert packed(rows) == bins


def test_an_option_without_effect_is_refused():
    with pytest.raises(RequestError, match="pack: expected a decoder with our attention"):
        bound("answer", pack=True).check(build("span_corruption"))
    with pytest.raises(RequestError, match="a model of the kind"):
        bound("answer").check(build("masked"))


def test_an_encoder_reads_the_prompt_and_a_decoder_writes_the_answer():
    made = build("span_corruption")
    objective = create("objective", "answer").bind(Context(tokenizer(), models={"trained": made}))
    batch = objective.collate(ROWS, rng())
    for index, item in enumerate(ROWS):
        begin = item.trained.index(True)
        answer = item.tokens[begin:]
        source = batch.inputs.source.tokens[index]
        assert source[: begin - 1].tolist() == item.tokens[1:begin]
        assert batch.targets[index, : len(answer)].tolist() == answer
        assert batch.inputs.tokens[index, : len(answer)].tolist() == [tokenizer().pad_id, *answer[:-1]]
        assert batch.weights[index].tolist() == [1.0] * len(answer) + [0.0] * (batch.weights.shape[1] - len(answer))
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(80):
        loss = objective.loss(made, batch)
        (loss.total / batch.weight).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(loss.total.detach()) / batch.weight < 0.05

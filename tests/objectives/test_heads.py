"""Tags and the ends of answers: what is counted, what is not, in any company."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from yanmo.core.data import Row
from yanmo.objectives.extraction import Extraction
from yanmo.objectives.tagging import NONE, Tagging

from .tiny import bound, headed, rng, tokenizer

TEXTS = ["Marie lives in Paris 🗼 now.", "曹操字孟德，沛国谯县人。", "Zoé e\u0301tait ici 在北京"]


def tagged(seed=0):
    draws = torch.Generator().manual_seed(seed)
    rows = []
    for index, content in enumerate(TEXTS):
        tokens = [1, *tokenizer().encode(content), 1]
        trained = [False, *(torch.rand(len(tokens) - 2, generator=draws) > 0.3).tolist(), False]
        label = [int(n) if on else -1 for n, on in zip(torch.randint(0, 4, (len(tokens),), generator=draws), trained)]
        rows.append(Row(tokens, trained, label, f"e{index}"))
    return rows


def asked():
    rows = []
    for index, content in enumerate(TEXTS):
        tokens = [1, *tokenizer().encode("谁? who"), 1, *tokenizer().encode(content), 1]
        begin = len(tokens) - 1 - len(tokenizer().encode(content))
        trained = [begin <= i < len(tokens) - 1 or i == 0 for i in range(len(tokens))]
        rows.append(Row(tokens, trained, (0, 0) if index == 1 else (begin + 1, begin + 3), f"e{index}"))
    return rows


def test_only_the_tokens_that_count_are_learned():
    objective, model, rows = bound("tagging"), headed("tagging", 4), tagged()
    batch = objective.collate(rows, rng())
    found = objective.loss(model, batch)
    want, count = 0.0, 0
    for row in rows:
        with torch.no_grad():
            scores = model(objective.collate([row], rng()).inputs)[0]
        chosen = torch.tensor(row.trained)
        want += float(F.cross_entropy(scores[chosen], torch.tensor(row.label)[chosen], reduction="sum"))
        count += int(chosen.sum())
    assert float(found.total.detach()) == pytest.approx(want, rel=1e-4)
    assert float(found.weight) == batch.weight == count
    assert (batch.labels == NONE).sum() == batch.labels.numel() - count
    changed = [Row(row.tokens, row.trained, [7 if not on else tag for tag, on in zip(row.label, row.trained)]) for row in rows]
    again = objective.loss(model, objective.collate(changed, rng()))
    assert float(again.total.detach()) == float(found.total.detach())


def test_an_end_is_chosen_among_the_tokens_that_can_be_one():
    objective, model, rows = bound("extraction"), headed("extraction"), asked()
    found = objective.loss(model, objective.collate(rows, rng()))
    for row, loss in zip(rows, found.rows):
        with torch.no_grad():
            scores = model(objective.collate([row], rng()).inputs)[0]
        able = torch.tensor(row.trained).nonzero()[:, 0].tolist()
        want = 0.0
        for edge, at in enumerate(row.label):
            want += float(F.cross_entropy(scores[able, edge][None], torch.tensor([able.index(at)]))) / 2
        assert float(loss) == pytest.approx(want, rel=1e-4)
    assert float(found.weight) == 3


@settings(max_examples=12, deadline=None)
@given(name=st.sampled_from(["tagging", "extraction"]), order=st.permutations(range(3)))
def test_a_step_is_the_same_however_it_is_divided(name, order):
    objective, model = bound(name), headed(name, 4)
    rows = tagged() if name == "tagging" else asked()
    rows = [rows[i] for i in order]
    whole = objective.loss(model, objective.collate(rows, rng()))
    parts = [objective.loss(model, objective.collate(some, rng())) for some in (rows[:1], rows[1:])]
    alone = [objective.loss(model, objective.collate([row], rng())) for row in rows]
    for pieces in (parts, alone):
        assert float(sum(p.total for p in pieces).detach()) == pytest.approx(float(whole.total.detach()), rel=1e-4)
        assert float(sum(p.weight for p in pieces)) == float(whole.weight)


def test_rows_that_nobody_labelled_can_be_collated():
    for objective in (Tagging(), Extraction()):
        made = objective.bind(type("Context", (), {"tokenizer": tokenizer()})).collate([Row([1, 2, 3], [False, True, True])], rng())
        assert made.labels is None


def test_smoothing_moves_the_target_among_those_that_count():
    rows = asked()
    plain, smooth = bound("extraction"), bound("extraction", smoothing=0.3)
    model = headed("extraction").train()
    batch = plain.collate(rows, rng())
    logs = model(batch.inputs).masked_fill(~batch.targets.bool()[..., None], float("-inf")).log_softmax(1)
    spread = torch.stack([row[able.bool()].mean(0).mean() for row, able in zip(logs, batch.targets)])
    want = 0.7 * plain.loss(model, batch).rows - 0.3 * spread
    torch.testing.assert_close(smooth.loss(model, batch).rows, want.detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(smooth.loss(model.eval(), batch).rows, plain.loss(model, batch).rows)

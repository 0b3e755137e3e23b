"""Preferences: the losses by their definitions, and the optimum that they lead to."""

import math

import pytest
import torch
from torch.nn import functional as F

from yanmo.core.errors import RecipeError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.classifier import Classifier
from yanmo.objectives.preferences import known

from .bandit import ARMS, PROMPTS, bound, descend, model, pairs, probabilities, text_row, tokenizer

WORTH = dict(zip(ARMS, (1.0, 2.0, 4.0)))  # e^r: a beats b in a / (a + b) of the cases
WINS = {(a, b): round(15 * WORTH[a] / (WORTH[a] + WORTH[b])) for a in ARMS for b in ARMS if a != b}


def with_reference(objective, made, rows):
    with torch.no_grad():
        found = objective.likelihoods(made, objective.collate(rows, torch.Generator()))
    return [known(row, values) for row, values in zip(rows, found.tolist())]


def rows_of(objective, made, wins):
    """Distinct pairs once with their reference, then as often as they were won."""
    once = with_reference(objective, made, pairs(objective, dict.fromkeys(wins, 1)))
    return [row for row, count in zip(once, list(wins.values()) * len(PROMPTS)) for _ in range(count)]


@pytest.mark.parametrize(("beta", "seed"), [(0.5, 0), (0.5, 1), (0.5, 2), (1.0, 0)])
def test_dpo_reaches_the_closed_form_optimum(beta, seed):
    """π ∝ reference · exp(r / β), the preferences being those of r under Bradley and Terry (Rafailov et al. 2023, equation 4)."""
    made = model(seed)
    before = [probabilities(made, prompt) for prompt in PROMPTS]
    objective = bound({"type": "dpo", "beta": beta})
    batch = objective.collate(rows_of(objective, made, WINS), torch.Generator())
    descend(made, lambda step, rng: [batch], objective, 150, 0.01)
    for prompt, reference in zip(PROMPTS, before):
        want = reference * torch.tensor([WORTH[arm] for arm in ARMS]) ** (1 / beta)
        torch.testing.assert_close(probabilities(made, prompt), want / want.sum(), rtol=0, atol=0.01)
        assert float((reference - want / want.sum()).abs().max()) > 0.05, "the reference was there already"


def test_ipo_reaches_its_own_margin():
    """Of certain preferences h = 1 / (2β), where DPO's margin grows without bound (Azar et al. 2023, section 5)."""
    made, wins = model(), {(ARMS[1], ARMS[0]): 1}
    before = [probabilities(made, prompt, ARMS[:2]) for prompt in PROMPTS]
    objective = bound({"type": "dpo", "form": "ipo", "beta": 0.4})
    batch = objective.collate(rows_of(objective, made, wins), torch.Generator())
    descend(made, lambda step, rng: [batch], objective, 120, 0.01)
    for prompt, reference in zip(PROMPTS, before):
        now = probabilities(made, prompt, ARMS[:2])
        assert float((now[1] / now[0]).log() - (reference[1] / reference[0]).log()) == pytest.approx(1 / 0.8, abs=0.02)


def test_the_losses_are_their_definitions():
    made, other = model(0), model(5)
    wins = {(ARMS[0], ARMS[1]): 1, (ARMS[2], ARMS[1]): 1}
    for form in ("sigmoid", "ipo", "kto"):
        settings = {"type": "dpo", "form": form, "beta": 0.3} | ({"undesirable": 1.5} if form == "kto" else {"smoothing": 0.1} if form == "sigmoid" else {})
        objective = bound(settings)
        rows = with_reference(objective, other, pairs(objective, wins))
        found = objective.loss(made, objective.collate(rows, torch.Generator()))
        gains = {}
        for prompt in PROMPTS:
            for arm in ARMS:
                row = text_row(prompt, arm)
                at = row.trained.index(True)
                tokens = torch.tensor(row.tokens)
                both = [one(Inputs(tokens[None, :-1])).logits[0].detach().log_softmax(-1) for one in (made, other)]
                gains[prompt, arm] = float(sum((both[0] - both[1])[i - 1, tokens[i]] for i in range(at, len(tokens))))
        order = [(prompt, chosen, rejected) for prompt in PROMPTS for chosen, rejected in wins]
        ahead = torch.tensor([gains[prompt, chosen] - gains[prompt, rejected] for prompt, chosen, rejected in order])
        if form == "sigmoid":
            want = -0.9 * F.logsigmoid(0.3 * ahead) - 0.1 * F.logsigmoid(-0.3 * ahead)
        elif form == "ipo":
            want = (ahead - 1 / 0.6) ** 2
        else:
            moved = [gains[order[i][0], order[(i + 1) % len(order)][1]] for i in range(len(order))]
            z = max(0.0, sum(moved) / len(moved))
            want = torch.tensor([1 - torch.sigmoid(torch.tensor(0.3 * (gains[p, c] - z))) + 1.5 * (1 - torch.sigmoid(torch.tensor(0.3 * (z - gains[p, r]))))
                                 for p, c, r in order])  # fmt: skip
        torch.testing.assert_close(found.rows, want, rtol=1e-3, atol=1e-4)
        assert float(found.total.detach()) == pytest.approx(float(want.sum()), rel=1e-3)


def test_the_chosen_answers_own_loss_is_added_per_token():
    made, wins = model(0), {(ARMS[0], ARMS[1]): 1, (ARMS[2], ARMS[1]): 1}
    plain, anchored = (bound({"type": "dpo", "form": "ipo", **more}) for more in ({}, {"nll": 0.7}))
    rows = with_reference(plain, model(5), pairs(plain, wins))
    batch = plain.collate(rows, torch.Generator())
    losses = [objective.loss(made, batch).rows for objective in (plain, anchored)]
    want = []
    for row in (text_row(prompt, arm) for prompt in PROMPTS for arm, _ in wins):
        found = made(Inputs(torch.tensor(row.tokens[:-1])[None])).logits[0].detach().log_softmax(-1)
        answer = range(row.trained.index(True), len(row.tokens))
        want.append(-float(sum(found[i - 1, row.tokens[i]] for i in answer)) / len(answer))
    torch.testing.assert_close(losses[1] - losses[0], 0.7 * torch.tensor(want), rtol=1e-3, atol=1e-4)


def test_kto_prefers_what_is_desired():
    made = model()
    objective = bound({"type": "dpo", "form": "kto", "beta": 0.5})
    batch = objective.collate(rows_of(objective, made, {(ARMS[1], ARMS[0]): 1, (ARMS[1], ARMS[2]): 1}), torch.Generator())
    before = probabilities(made, PROMPTS[0])
    figures = descend(made, lambda step, rng: [batch], objective, 40, 0.01)
    now = probabilities(made, PROMPTS[0])
    assert now[1] > max(0.9, before[1])
    assert figures[-1]["accuracy"] == 1


def test_padding_and_company_change_nothing():
    """A pair has the loss that it has alone, however long the others are."""
    made, objective = model(), bound({"type": "dpo"})
    texts = [(text_row("Which?", "aaaa墨"), text_row("Which?", "a")), (text_row("哪个？Which?", "🐋"), text_row("哪个？Which?", "墨墨墨墨墨墨"))]
    rows = with_reference(objective, model(3), objective.rows(texts))
    together = objective.loss(made, objective.collate(rows, torch.Generator())).rows
    alone = [objective.loss(made, objective.collate([row], torch.Generator())).rows for row in rows]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_a_reward_model_learns_what_answers_are_worth():
    """The differences of its scores become those of r, where the preferences are those of r."""
    made = Classifier(model(), 1)
    made.initialise(torch.Generator().manual_seed(0))
    objective = bound({"type": "reward", "center": 0.001})
    batch = objective.collate(pairs(objective, WINS), torch.Generator())
    descend(made, lambda step, rng: [batch], objective, 150, 0.01)
    inputs, _ = objective.collate(pairs(objective, {(arm, ARMS[0]): 1 for arm in ARMS}), torch.Generator()).stacked(1)
    with torch.no_grad():
        scores = made(inputs)[:3, 0]
    for index, arm in enumerate(ARMS):
        assert float(scores[index] - scores[0]) == pytest.approx(math.log(WORTH[arm]), abs=0.05)


@pytest.mark.parametrize(("settings", "message"), [
    ({"type": "dpo", "form": "ipo", "smoothing": 0.1}, "'smoothing' left out"),
    ({"type": "dpo", "desirable": 2.0}, "'desirable, undesirable' left out"),
    ({"type": "dpo", "beta": 0}, "a number above 0"),
    ({"type": "reward", "smoothing": 0.1}, "'smoothing' left out"),
])  # fmt: skip
def test_options_without_an_effect_are_errors(settings, message):
    with pytest.raises(RecipeError, match=message):
        create("objective", settings)


def test_the_vocabulary_has_the_arms():
    assert all(len(tokenizer().encode(arm)) == 1 for arm in ARMS)

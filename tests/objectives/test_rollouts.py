"""Objectives that train on the model's own answers: the optimum of a bandit, the estimators, the same steps after a kill."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.objectives.ppo import generalised
from yanmo.objectives.rollouts import Rollouts
from yanmo.train.machine.room import cut
from yanmo.train.plan.rehearsal import first_rows
from yanmo.train.prompts import PromptBatches

from .bandit import ARMS, PROMPTS, arms, bound, model, probabilities, prompt_rows, roll

WORTH = dict(zip(ARMS, (1.0, 0.5, 0.2)))
ONE = {"max_tokens": 1, "prompts": 2}
LEARNERS = {
    "grpo": {"type": "grpo", "group": 16, "kl": 0.0, **ONE},
    "dr_grpo": {"type": "grpo", "group": 16, "kl": 0.0, "scale": False, "average": "none", **ONE},
    "dapo": {"type": "grpo", "group": 16, "kl": 0.0, "average": "token", "repeats": 2, "clip": [0.2, 0.28], **ONE},
    "ppo": {"type": "ppo", "group": 16, "kl": 0.0, "repeats": 2, **ONE},
    "rejection": {"type": "rejection", "group": 16, **ONE},
}


@pytest.mark.parametrize(("name", "seed"), [*((name, 0) for name in LEARNERS), ("grpo", 1), ("grpo", 2), ("ppo", 1), ("ppo", 2)])
def test_the_best_answer_is_found(name, seed, tmp_path):
    made = model(seed)
    objective = bound(LEARNERS[name], arms(WORTH), folder=tmp_path)
    trained = objective.trained(made, torch.Generator())
    figures = roll(trained, objective, 30, 0.02, seed)
    for prompt in PROMPTS:
        assert float(probabilities(made, prompt, end=False)[0]) > 0.9
    assert figures[0]["reward"] < 0.55
    assert figures[-1]["reward"] > 0.9
    assert {"reward", "length", "cut", "flat"} <= figures[0].keys()


def test_with_a_reference_grpo_reaches_the_optimum_of_its_estimator():
    """The gradient of k3 is that of KL(reference ‖ π): at the optimum π = β · reference / (λ - r), with λ so that it sums to 1. The
    group's own mean stands in each advantage, so that rewards count (G - 1) / G."""
    made, beta, size = model(), 0.3, 64
    reference = model()
    worth = dict(zip(ARMS, (0.6, 0.3, 0.0)))
    objective = bound({"type": "grpo", "group": size, "kl": beta, "scale": False, "average": "none", **ONE}, arms(worth), reference)
    figures = roll(made, objective, 40, 0.02)
    figures += roll(made, objective, 30, 0.004, seed=1)
    row = prompt_rows()[0]
    with torch.no_grad():
        now, was = (one(Inputs(torch.tensor([row.tokens]))).logits[0, -1].double().softmax(-1) for one in (made, reference))
    rewards = torch.zeros_like(was)
    for arm, value in worth.items():
        rewards[objective._context.tokenizer.encode(arm)[0]] = value * (size - 1) / size
    low, high = float(rewards.max()) + 1e-9, float(rewards.max()) + 10
    for _ in range(80):
        level = (low + high) / 2
        low, high = (level, high) if float((beta * was / (level - rewards)).sum()) > 1 else (low, level)
    want = beta * was / (low - rewards)
    assert float((now - want).abs().sum()) < 0.12
    assert float((was - want).abs().sum()) > 0.3
    assert figures[-1]["kl"] > 0


def test_with_a_reference_ppo_reaches_the_optimum_of_its_reward(tmp_path):
    """π ∝ reference · exp(r / β)."""
    made, reference, beta = model(), model(), 0.5
    objective = bound({"type": "ppo", "group": 64, "kl": beta, "repeats": 1, "whiten": False, **ONE}, arms(WORTH), reference)
    trained = objective.trained(made, torch.Generator())
    roll(trained, objective, 40, 0.01)
    roll(trained, objective, 30, 0.003, seed=1)
    for prompt in PROMPTS:
        was, now = (probabilities(one, prompt, end=False) for one in (reference, made))
        want = was * torch.tensor([WORTH[arm] / beta for arm in ARMS]).exp()
        ratio = now / now[0]
        torch.testing.assert_close(ratio, want / want[0], rtol=0.25, atol=0.02)


def test_generalised_advantages_are_their_definition():
    rng = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 9, generator=rng), torch.randn(2, 9, generator=rng)
    chosen = torch.zeros(2, 9, dtype=torch.bool)
    chosen[0, 2:7] = chosen[1, 5:9] = True
    found = generalised(rewards * chosen, values * chosen, chosen, 0.9)
    for row, (begin, end) in enumerate(((2, 7), (5, 9))):
        for place in range(begin, end):
            want = sum(0.9 ** (k - place) * (rewards[row, k] + (values[row, k + 1] if k + 1 < end else 0.0) - values[row, k])
                       for k in range(place, end))  # fmt: skip
            assert float(found[row, place]) == pytest.approx(float(want), abs=1e-5)
    assert float(found[~chosen].abs().sum()) == 0


@settings(max_examples=20, deadline=None)
@given(rewards=st.lists(st.floats(-5, 5), min_size=4, max_size=4), scale=st.booleans())
def test_a_groups_advantages_sum_to_nothing(rewards, scale):
    given_ = iter([*rewards, *rewards])
    objective = bound({"type": "grpo", "group": 4, "kl": 0.0, "scale": scale, "max_tokens": 2, "prompts": 2},
                      lambda examples, answers: [next(given_) for _ in answers])  # fmt: skip
    made = model()
    batch, _ = PromptBatches(prompt_rows(), objective, 0, 0).take((0, 0), torch.Generator().manual_seed(0))
    whole = objective._rolled(made, batch[0], torch.Generator().manual_seed(0))
    advantages = whole.advantages[:, 0].view(2, 4)
    assert float(advantages.sum(1).abs().max()) < 1e-4
    assert (advantages.abs().max() < 1e-6) == (len({round(r, 9) for r in torch.tensor(rewards).tolist()}) == 1) or max(rewards) - min(rewards) < 1e-4


def rolled(name="grpo", seed=0, **more):
    objective = bound({**LEARNERS[name], "max_tokens": 5, "group": 4, **more}, arms({}, 0.0) if not more else arms(WORTH), model(3))
    return objective, PromptBatches(prompt_rows(), objective, 0, seed).take((0, 0), torch.Generator().manual_seed(seed))[0][0]


def test_parts_hold_the_same_answers_and_give_the_same_gradient(tmp_path):
    """However a step is cut, into micro-batches of answers or by its prompts where memory runs out."""
    objective, batch = rolled(kl=0.1)
    made = model()
    gradients = []
    for size, pieces in ((1 << 20, 1), (3, 1), (8, 2)):
        rng = torch.Generator().manual_seed(7)
        chosen = objective.sized(size)
        parts = [part for piece in cut(batch, pieces) for part in chosen.expand(made, piece, rng)]
        assert sum(len(part.inputs.tokens) for part in parts) == 8
        assert max(len(part.inputs.tokens) for part in parts) <= size
        weight = sum(part.weight for part in parts)
        made.zero_grad()
        for part in parts:
            (chosen.loss(made, part).total / weight).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None]))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-3, atol=1e-6)


def test_on_its_own_answers_the_gradient_is_that_of_the_expected_reward():
    """E[A ∇ ln π] over many answers of one token is the gradient of Σ π r, computed exactly."""
    made = model()
    objective = bound({"type": "grpo", "group": 4096, "kl": 0.0, "scale": False, "average": "none", "max_tokens": 1, "prompts": 1}, arms(WORTH))
    rows = prompt_rows(1)
    batch = PromptBatches(rows, objective, 0, 0).take((0, 0), torch.Generator().manual_seed(1))[0][0]
    parts = list(objective.expand(made, batch, torch.Generator().manual_seed(2)))
    for part in parts:
        (objective.loss(made, part).total / 4096).backward()
    found = made.head.weight.grad.clone()
    made.zero_grad()
    rewards = torch.zeros(made.vocabulary)
    for arm, value in WORTH.items():
        rewards[objective._context.tokenizer.encode(arm)[0]] = value
    (-(made(Inputs(torch.tensor([rows[0].tokens]))).logits[0, -1].softmax(-1) * rewards).sum()).backward()
    want = made.head.weight.grad
    assert float((found - want).norm() / want.norm()) < 0.25


def test_several_steps_on_the_same_answers_and_after_a_kill(tmp_path):
    """The kept answers are those of the first step; another process finds them in the folder."""
    made = model()
    objective = bound({**LEARNERS["dapo"], "max_tokens": 4, "group": 4}, arms(WORTH), folder=tmp_path)
    batches = PromptBatches(prompt_rows(), objective, 0, 5)

    def step(number, by):
        rng = torch.Generator().manual_seed((5 * 1_000_033 + number) % 2**63)
        batch = batches.take((0, number), rng)[0][0]
        assert batch.step == number
        return torch.cat([part.inputs.tokens.flatten() for part in by.expand(made, batch, rng)])

    first = step(0, objective)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9))
    assert torch.equal(step(1, objective), first)
    fresh = bound({**LEARNERS["dapo"], "max_tokens": 4, "group": 4}, arms(WORTH), folder=tmp_path)
    assert torch.equal(step(1, fresh), first)
    assert not torch.equal(step(2, objective), first)
    trial = batches.take((0, 0), torch.Generator().manual_seed(0))[0][0]
    assert trial.step is None, "what is only tried is not kept"


def test_prompts_can_be_cut_as_rows_are():
    _, batch = rolled()
    piece = first_rows(batch, 1)
    assert len(piece.prompts) == len(piece.examples) == len(piece.inputs.tokens) == 1


def test_answers_in_parts_are_padded_no_more_than_they_need():
    objective, batch = rolled(kl=0.1)
    whole = objective._rolled(model(), batch, torch.Generator().manual_seed(1))
    assert isinstance(whole, Rollouts)
    for part in whole.parts(3):
        ends = part.begins + part.answered.sum(1)
        assert int(ends.max()) == part.inputs.tokens.shape[1]
        assert part.advantages.shape == part.reference.shape == part.answered.shape


def test_rejection_learns_nothing_where_nothing_is_good_enough():
    made = model()
    before = [parameter.clone() for parameter in made.parameters()]
    objective = bound({"type": "rejection", "group": 4, "least": 0.9, **ONE}, arms({}, 0.1))
    roll(made, objective, 3, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, made.parameters()))


@pytest.mark.parametrize(("given_", "message"), [
    ({"type": "grpo", "clip": 0.2}, "'repeats' above 1"),
    ({"type": "grpo", "group": 1}, "'group' of at least 2"),
    ({"type": "grpo", "smoothing": 0.1}, "'smoothing' left out"),
    ({"type": "grpo", "clip": [0.2, 0.0], "repeats": 2}, "a share between 0 and 1"),
    ({"type": "ppo", "repeats": 1, "clip": 0.1}, "'repeats' above 1"),
    ({"type": "rejection", "group": 1}, "'group' of at least 2"),
])  # fmt: skip
def test_options_without_an_effect_are_errors(given_, message):
    with pytest.raises(RecipeError, match=message):
        create("objective", given_)


def test_a_context_without_room_for_an_answer():
    with pytest.raises(RequestError, match="fewer than the model's context of 24"):
        bound({"type": "grpo", "max_tokens": 24}).check(model())

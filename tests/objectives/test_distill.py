"""Distillation: the student's probabilities become the teacher's."""

import torch

from yanmo.models.base import Inputs

from .bandit import ARMS, PROMPTS, bound, descend, model, text_row


def test_the_student_becomes_the_teacher():
    student, teacher = model(0), model(7, width=48)
    objective = bound({"type": "distill", "temperature": 2.0}, reference=teacher)
    rows = [text_row(prompt, arm) for prompt in PROMPTS for arm in ARMS]
    batch = objective.collate(rows, torch.Generator())
    figures = descend(student, lambda step, rng: [batch], objective, 80, 0.01)
    assert figures[0]["kl"] > 0.015
    assert figures[-1]["kl"] < 0.001
    inputs = Inputs(torch.tensor([rows[0].tokens[:-1]]))
    begin = rows[0].trained.index(True) - 1
    with torch.no_grad():
        given, wanted = (one(inputs).logits[0, begin:].softmax(-1) for one in (student, teacher))
    assert float((given - wanted).abs().sum(-1).max()) < 0.1


def test_hard_targets_and_heat():
    """(1 - hard) τ² KL + hard · cross-entropy, by the plain definition."""
    student, teacher = model(0), model(7)
    objective = bound({"type": "distill", "temperature": 3.0, "hard": 0.25}, reference=teacher)
    row = text_row(PROMPTS[1], "墨a🐋")
    found = objective.loss(student, objective.collate([row], torch.Generator()))
    tokens = torch.tensor(row.tokens)
    begin = row.trained.index(True)
    given, wanted = (one(Inputs(tokens[None, :-1])).logits[0, begin - 1 :] for one in (student, teacher))
    soft = torch.nn.functional.kl_div((given / 3).log_softmax(-1), (wanted / 3).log_softmax(-1), reduction="sum", log_target=True)
    hard = torch.nn.functional.cross_entropy(given, tokens[begin:], reduction="sum")
    torch.testing.assert_close(found.total, 0.75 * 9 * soft + 0.25 * hard, rtol=1e-4, atol=1e-4)
    assert float(found.weight) == len(tokens) - begin

"""Several language models as one: the mean of their probabilities, whatever each remembers, in one engine."""

import pytest
import torch

from tests.inference.tiny import TEXTS, engine_agrees, model, tokenizer
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.inference.likelihood import score_documents
from yanmo.models.base import Inputs
from yanmo.models.ensemble import Ensemble

TOK = tokenizer()
GROUPS = [("ngram", "lstm"), ("lstm", "transformer"), ("ngram", "lstm", "transformer"), ("rnn", "gru")]


def ids(count=40):
    return torch.tensor([[TOK.eos_id, *TOK.encode("".join(TEXTS))][:count]])


@pytest.fixture(params=GROUPS, ids="+".join)
def members(request):
    return [model(kind) for kind in request.param]


@torch.no_grad()
def test_it_is_the_mean_of_the_probabilities(members):
    wanted = torch.stack([m(Inputs(ids())).logits.float().softmax(-1) for m in members]).mean(0)
    found = Ensemble(members)(Inputs(ids())).logits
    torch.testing.assert_close(found.softmax(-1), wanted, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(1, 40), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_one_member_is_itself(members):
    alone = members[0](Inputs(ids())).logits.float().log_softmax(-1)
    torch.testing.assert_close(Ensemble(members[:1])(Inputs(ids())).logits, alone)
    torch.testing.assert_close(Ensemble([members[0]] * 3)(Inputs(ids())).logits, alone, rtol=1e-5, atol=1e-5)


def test_the_engine_decodes_step_by_step_what_a_whole_pass_says(members):
    """Greedy, in one engine with other requests beside: each member's own memory goes on from token to token."""
    engine_agrees(Ensemble(members))


def test_it_scores_no_worse_than_its_members_on_average(members):
    """Jensen: -ln of a mean is at most the mean of -ln, for every text in every language."""
    together = score_documents(Ensemble(members), TOK, TEXTS)
    alone = [score_documents(m, TOK, TEXTS) for m in members]
    assert (together.nats <= sum(found.nats for found in alone) / len(members) + 1e-3).all()
    assert together.bits_per_byte < max(found.bits_per_byte for found in alone)


def test_reducing_and_selecting_are_the_logits_reduced(members):
    together = Ensemble(members)
    select = torch.zeros(1, 40, dtype=torch.bool)
    select[0, 5::7] = True
    with torch.no_grad():
        whole = together(Inputs(ids())).logits[select]
        found = together(Inputs(ids()), select=select, reduce=lambda logits, positions: logits.argmax(-1) + 0 * positions).reduced
    assert torch.equal(found, whole.argmax(-1))


def test_members_that_do_not_fit_together():
    encoder = create("model", {"type": "transformer", "architecture": "encoder", "depth": 1, "width": 32, "heads": 2})
    masked = encoder.build(TOK, torch.Generator().manual_seed(0), 32)
    with pytest.raises(RequestError, match="models of one kind, got causal, masked"):
        Ensemble([model("lstm"), masked])
    other = create("tokenizer", {"type": "bpe", "size": 300}).train(TEXTS)
    small = create("model", {"type": "lstm", "depth": 1, "width": 32}).build(other, torch.Generator().manual_seed(0))
    with pytest.raises(RequestError, match="models of one vocabulary, got 400, 300"):
        Ensemble([model("lstm"), small])

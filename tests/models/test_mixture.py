"""A network and counted n-grams as one model: their weighted probabilities, in one engine, saved and opened."""

from copy import copy

import numpy as np
import pytest
import torch

from tests.inference.tiny import TEXTS, engine_agrees, model, tokenizer
from yanmo.core.errors import DataError, RequestError
from yanmo.inference.likelihood import score_documents
from yanmo.models.base import Inputs
from yanmo.models.mixture import Mixture, mix
from yanmo.models.store import load, save

TOK = tokenizer()
NETWORKS = ["lstm", "transformer"]


@pytest.fixture(params=NETWORKS)
def mixture(request):
    made = Mixture(model(request.param), model("ngram"))
    made.gate.initialise(torch.Generator().manual_seed(1))
    with torch.no_grad():  # a gate with opinions
        made.gate.outer.weight.normal_(generator=torch.Generator().manual_seed(2))
    return made.eval()


def ids(count=40):
    return torch.tensor([[TOK.eos_id, *TOK.encode("".join(TEXTS))][:count]])


@torch.no_grad()
def test_its_distributions_are_the_gates_share_of_either(mixture):
    inputs = Inputs(ids())
    found = mixture(inputs).logits
    network = mixture.network(inputs).logits.float().log_softmax(-1)
    counted = mixture.counted(inputs).logits
    features, _, _ = mixture.evidence(inputs, ids())
    share = torch.sigmoid(mixture.gate(features)).unsqueeze(-1)
    torch.testing.assert_close(found.exp(), share * network.exp() + (1 - share) * counted.exp(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(1, 40), rtol=1e-4, atol=1e-5)
    assert float(share.max() - share.min()) > 0.05  # it does not trust both alike everywhere


@torch.no_grad()
def test_looked_up_probabilities_are_those_of_the_distributions(mixture):
    inputs, targets = Inputs(ids()[:, :-1]), ids()[:, 1:]
    wanted = mixture(inputs).logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(mixture.logprobs(inputs, targets), wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_gate_knows_nothing_of_the_next_token(mixture):
    tokens = ids()
    changed = tokens.clone()
    changed[0, -1] = TOK.encode("墨")[0]
    before, _, _ = mixture.evidence(Inputs(tokens), tokens)
    after, _, _ = mixture.evidence(Inputs(changed), changed)
    torch.testing.assert_close(after[:, :-1], before[:, :-1], rtol=1e-5, atol=1e-5)


def test_packed_documents_do_not_see_each_other(mixture):
    one, other = ids(12), ids(30)[:, 15:]
    both = torch.cat([one, other], 1)
    documents = torch.tensor([[0] * one.shape[1] + [1] * other.shape[1]])
    if not getattr(mixture.network, "attends", True):
        pytest.skip("this network has no document masks")
    with torch.no_grad():
        packed = mixture(Inputs(both, documents=documents)).logits[:, one.shape[1] :]
        torch.testing.assert_close(packed, mixture(Inputs(other)).logits, rtol=1e-4, atol=1e-4)


def test_the_engine_decodes_what_a_whole_pass_says(mixture):
    engine_agrees(mixture)


def test_it_is_saved_and_opened_and_scores_the_same(mixture, tmp_path):
    save(tmp_path / "model", mixture, TOK)
    opened = load(tmp_path / "model")
    texts = ["The quick brown fox 🦊", "研墨如病夫，把笔如壮士。", "naïve café 混合 text"]
    wanted = score_documents(mixture, TOK, texts)
    np.testing.assert_allclose(score_documents(opened.model, opened.tokenizer, texts).nats, wanted.nats, rtol=1e-6)
    network = load(tmp_path / "model" / "network").model  # opens by itself
    with torch.no_grad():
        torch.testing.assert_close(network(Inputs(ids())).logits, mixture.network(Inputs(ids())).logits)
    (tmp_path / "model" / "counted" / "config.json").unlink()
    with pytest.raises((DataError, RequestError), match="counted"):
        load(tmp_path / "model")


def test_models_that_do_not_fit_together_are_refused():
    network, other = model("lstm"), copy(model("ngram"))
    other.vocabulary += 1
    with pytest.raises(RequestError, match="vocabulary"):
        Mixture(network, other)


def test_the_mixture_of_two_probabilities():
    odds = torch.tensor([0.0, 100.0, -100.0])
    network, counted = torch.tensor([0.2] * 3).log(), torch.tensor([0.6] * 3).log()
    torch.testing.assert_close(mix(odds, network, counted).exp(), torch.tensor([0.4, 0.2, 0.6]))

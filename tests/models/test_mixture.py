"""A network and counted n-grams as one model: their weighted probabilities, in one engine, saved and opened."""

from copy import copy

import numpy as np
import pytest
import torch

from tests.inference.tiny import TEXTS, engine_agrees, model, tokenizer
from yanmo.core.errors import DataError, RequestError
from yanmo.inference.likelihood import score_documents
from yanmo.models.adaptive import LONGEST
from yanmo.models.base import Inputs
from yanmo.models.mixture import FEATURES, Evidence, Gate, Mixture, mix
from yanmo.models.recall import recalled
from yanmo.models.store import load, save
from yanmo.nn.state import DenseSlots

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
    places = np.arange(40)
    adapted = torch.from_numpy(mixture.gate.adaptive.spread(counted[0].numpy(), ids()[0].numpy(), places < 0, places)[0])
    assert not torch.allclose(adapted, counted[0], atol=0.1)  # the text repeats itself
    runs, following = recalled(ids().numpy(), np.zeros((1, 40), bool), 0)
    seen = mixture.evidence(inputs, torch.from_numpy(following))
    shares = mixture.gate(seen.features, seen.recalls).exp()
    assert seen.recalls[0].tolist() == (runs[0] > 0).tolist()
    assert bool(seen.recalled[seen.recalls].all())
    pointed = torch.nn.functional.one_hot(torch.from_numpy(following), found.shape[-1]) * shares[..., 2:]
    torch.testing.assert_close(found.exp(), shares[..., :1] * network.exp() + shares[..., 1:2] * adapted.exp() + pointed, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(1, 40), rtol=1e-4, atol=1e-5)
    assert 0 < int(seen.recalls.sum()) < 40
    assert float(shares[..., 2][~seen.recalls].sum()) == 0
    assert float(shares[..., 0].max() - shares[..., 0].min()) > 0.05  # it does not trust all alike everywhere


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
    before, after = (mixture.evidence(Inputs(text), text) for text in (tokens, changed))
    torch.testing.assert_close(after.features[:, :-1], before.features[:, :-1], rtol=1e-5, atol=1e-5)


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


def test_the_mixture_of_probabilities():
    """A gate that has not learned trusts all alike: two of them where nothing is recalled."""
    gate = Gate()
    gate.initialise(torch.Generator().manual_seed(0))
    network, counted = torch.tensor([0.2] * 3).log(), torch.tensor([0.6] * 3).log()
    recalled, recalls = torch.tensor([False, False, True]), torch.tensor([False, True, True])
    seen = Evidence(torch.randn(3, FEATURES), network, counted, torch.zeros(3, LONGEST, 3), recalled, recalls)
    torch.testing.assert_close(mix(gate, seen).exp(), torch.tensor([0.4, 0.8 / 3, 1.8 / 3]))


@torch.no_grad()
def test_it_looks_back_beyond_the_networks_context(mixture):
    """A passage that comes again after more tokens than a window holds is known by then; in slots as in one pass."""
    mixture.gate.outer.weight.zero_()
    passage = TOK.encode("四宝者，笔墨纸砚也。The four treasures 🙂 café")
    tokens = torch.tensor([[TOK.eos_id, *passage, *(TOK.encode("".join(TEXTS)) * 2), *passage]])
    place = tokens.shape[1] - len(passage) + 12
    inputs = Inputs(tokens[:, place:-1], before=tokens[:, :place])
    alone = mixture.evidence(Inputs(tokens[:, place:-1]), tokens[:, place + 1 :])
    seen = mixture.evidence(inputs, tokens[:, place + 1 :])
    assert bool(seen.recalled.all())
    assert not bool(alone.recalled.any())
    if mixture.context is not None:
        return  # in slots it ends where the network does
    slots = DenseSlots(mixture.state(), 1, tokens.shape[1])
    for start in range(0, place, 50):
        piece = tokens[:, start : min(start + 50, place)]
        mixture(Inputs(piece), slots, select=torch.zeros(piece.shape, dtype=torch.bool))
        slots.advance(piece.shape[1])
    runs, following = mixture._past(Inputs(tokens[:, place:-1]), slots).recalled()
    assert bool((runs > 0).all())
    assert following.tolist() == tokens[0, place + 1 :].tolist()


def test_documents_are_scored_with_all_that_they_said_before(mixture):
    if mixture.context is None:
        pytest.skip("this network takes any length")
    passage = "四宝者，笔墨纸砚也。The four treasures 🙂 café "
    text = passage + "".join(TEXTS) * 3 + passage
    whole = score_documents(mixture, TOK, [text]).nats[0]
    mixture.recalls = False
    apart = score_documents(mixture, TOK, [text]).nats[0]
    assert whole < apart

"""The classifier reads the last real token, and padding changes nothing."""

import pytest
import torch

from yanmo.core.errors import RequestError
from yanmo.models.base import Inputs, LanguageModel
from yanmo.models.classifier import Classifier
from yanmo.models.convolution import CnnModel
from yanmo.models.recurrent import LstmModel
from yanmo.models.transformer import TransformerModel


@pytest.fixture(params=["transformer", "lstm", "cnn"])
def classifier(request, tokenizer, rng):
    parts = {"transformer": TransformerModel(depth=2, width=32, heads=2), "lstm": LstmModel(width=32), "cnn": CnnModel(dropout=0)}
    model = Classifier(parts[request.param].build(tokenizer, rng, 64), 5)
    model.initialise(rng)
    return model


def test_padding_invariance_with_gradients(classifier, tokenizer, texts):
    rows = [tokenizer.encode(text)[:length] for text, length in zip(texts, (9, 30))]
    tokens = torch.full((2, 40), tokenizer.pad_id)
    for row, ids in zip(tokens, rows):
        row[: len(ids)] = torch.tensor(ids)
    mask = torch.arange(40) < torch.tensor([[len(ids)] for ids in rows])
    together = classifier(Inputs(tokens, mask=mask))
    assert together.shape == (2, 5)
    alone = torch.cat([classifier(Inputs(torch.tensor([ids]))) for ids in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    junk = tokens.clone()
    junk[~mask] = tokenizer.size - 1
    assert torch.equal(classifier(Inputs(junk, mask=mask)), together)
    parameters = [p for n, p in classifier.named_parameters() if n != "backbone.head.weight"]
    got = torch.autograd.grad(together.square().sum(), parameters)
    torch.testing.assert_close(got, torch.autograd.grad(alone.square().sum(), parameters), rtol=1e-3, atol=1e-6)


def test_the_first_scores_say_nothing_yet(classifier, tokenizer, texts):
    with torch.no_grad():
        scores = classifier(Inputs(torch.tensor([tokenizer.encode(texts[0])[:20]])))
    assert scores.softmax(-1).max() < 0.4


def test_a_model_without_hidden_states_is_refused():
    with pytest.raises(RequestError, match="a model with hidden states"):
        Classifier(LanguageModel(), 2)

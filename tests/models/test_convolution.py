"""The convolutional classifier: its formula, padding, short texts, saving, and no language model."""

import pytest
import torch
from torch.nn import functional as F

from yanmo.core.config import Place, build
from yanmo.core.errors import RecipeError, RequestError
from yanmo.models.base import Inputs
from yanmo.models.classifier import Classifier
from yanmo.models.convolution import CnnModel
from yanmo.models.store import load, save

SMALL = CnnModel(embedding=12, filters=7, widths=(2, 3, 5))


def classifier(tokenizer, rng, part=SMALL):
    model = Classifier(part.build(tokenizer, rng), 2)
    model.initialise(rng)
    return model.eval()


def test_it_is_the_formula(tokenizer, texts, rng):
    """Each filter over each window, one by one; zeros follow the text."""
    model = classifier(tokenizer, rng).backbone
    ids = tokenizer.encode(texts[1])[:9]
    with torch.no_grad():
        for bank in model.banks:
            bank.bias.copy_(torch.randn(7, generator=rng))
        rows = torch.cat([model.embedding.weight[torch.tensor(ids)], torch.zeros(5, 12)])
        want = []
        for bank, width in zip(model.banks, SMALL.widths):
            for weight, bias in zip(bank.weight, bank.bias):  # (E, h)
                want.append(max((rows[i : i + width].T * weight).sum() + bias for i in range(len(ids))).clamp(min=0))
        torch.testing.assert_close(model.pool(Inputs(torch.tensor([ids])))[0], torch.stack(want), rtol=1e-4, atol=1e-5)


def test_a_text_shorter_than_any_filter_and_an_empty_one_have_scores(tokenizer, rng):
    model = classifier(tokenizer, rng)
    tokens = torch.full((3, 4), tokenizer.pad_id)
    tokens[0, 0], tokens[1, :] = 9, 11
    mask = torch.tensor([[True, False, False, False], [True] * 4, [False] * 4])
    with torch.no_grad():
        scores = model(Inputs(tokens, mask=mask))
        assert scores.isfinite().all()
        torch.testing.assert_close(scores[0], model(Inputs(tokens[:1, :1]))[0], rtol=1e-5, atol=1e-6)
        assert torch.equal(scores[2], torch.zeros(2))  # nothing was read


def test_it_is_the_seeds_alone_and_counts_its_numbers(tokenizer):
    first, second, third = (SMALL.build(tokenizer, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(first.embedding.weight, third.embedding.weight)
    assert sum(p.numel() for p in first.parameters()) == SMALL.parameters(tokenizer.size)


def test_it_overfits_two_texts_and_says_the_same_when_opened(tokenizer, texts, tmp_path, rng):
    model = classifier(tokenizer, rng).train()
    inputs = Inputs(torch.stack([torch.tensor(tokenizer.encode(text)[:20]) for text in texts]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    torch.manual_seed(0)  # dropout
    for _ in range(40):
        loss = F.cross_entropy(model(inputs), torch.tensor([1, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scores = model.eval()(inputs)
        assert scores.softmax(-1)[[0, 1], [1, 0]].min() > 0.95
        save(tmp_path / "a", model, tokenizer, labels=["a", "b"])
        opened = load(tmp_path / "a")
        assert torch.equal(opened.model(inputs), scores)
        assert opened.model.backbone.part == SMALL
        save(tmp_path / "b", opened.model, tokenizer, labels=["a", "b"])
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_it_is_no_language_model(tokenizer, rng):
    with pytest.raises(RequestError, match="cnn: expected a task that labels texts"):
        SMALL.build(tokenizer, rng)(Inputs(torch.tensor([[4, 5]])))


@pytest.mark.parametrize("widths", [[], [0, 2], [3, 3], [5, 4]])
def test_widths_rise(widths):
    with pytest.raises(RecipeError, match="widths"):
        build(CnnModel, {"widths": widths}, Place("model"))

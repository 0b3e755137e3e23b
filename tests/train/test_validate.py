"""Validation: the figures are those of the definition, and the same ones every time."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from yanmo.core.data import Example, Row
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.classifier import Classifier
from yanmo.objectives.base import Context
from yanmo.train.validate import EXCERPT, excerpts, label_validation, language_validation

from .conftest import SMALL, TEXTS


@pytest.fixture
def model(tokenizer):
    return create("model", {"type": "transformer", **SMALL["transformer"]}).build(tokenizer, torch.Generator().manual_seed(0), 512)


def test_bits_per_byte_of_all_of_the_split(model, shards, tokenizer):
    split = shards.split("validation")
    verdict = language_validation(model, tokenizer, split, 10**6)()
    nats = size = count = 0
    for first, length in zip(split.documents["first"], split.documents["count"]):
        ids = torch.from_numpy(split.tokens[first : first + length].astype(np.int64))[None]
        with torch.no_grad():
            nats += float(F.cross_entropy(model(Inputs(ids[:, :-1])).logits[0], ids[0, 1:], reduction="sum"))
        count += int(length) - 1
    size = sum(len(text.encode()) for text in TEXTS[-3:])
    assert verdict.figures["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert verdict.figures["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-5)
    assert verdict.rank == (verdict.figures["bits_per_byte"],)


def test_excerpts_are_beginnings_of_documents_and_about_as_many_as_wanted():
    class Long:
        tokens = np.arange(20_000) % 97
        documents = {"first": np.array([0, 5000, 5100, 15_000]), "count": np.array([5000, 100, 9900, 5000])}  # noqa: RUF012

    for wanted in (1, 500, 1500, 10**6):
        found = excerpts(Long, wanted)
        assert [len(ids) for ids in found] == [len(ids) for ids in excerpts(Long, wanted)]
        assert all(len(ids) <= EXCERPT for ids in found)
        assert sum(len(ids) for ids in found) >= min(wanted, 100 + 3 * EXCERPT)
        assert sum(len(ids) for ids in found) < wanted + EXCERPT + 1
    first = excerpts(Long, 10**6)
    assert first[0].tolist() == Long.tokens[:EXCERPT].tolist()
    assert len(first) == 4


class Letters:
    """A task whose examples are letters: real enough to score."""

    metric, higher_is_better = "accuracy", True

    def decode(self, outputs, example):
        return int(np.argmax(outputs))

    def score(self, pairs):
        return {"accuracy": sum(example.fields["label"] == given for example, given in pairs) / len(pairs)}


def test_a_classifiers_rank_is_its_metric_and_then_its_loss(model, tokenizer):
    classifier = Classifier(model, 2)
    classifier.initialise(torch.Generator().manual_seed(0))
    objective = create("objective", "supervised").bind(Context(tokenizer))
    rows = [Row([1, *tokenizer.encode(text)], label=i % 2) for i, text in enumerate(TEXTS)]
    examples = [Example(str(i), {"label": i % 2}) for i in range(len(TEXTS))]
    verdict = label_validation(classifier, objective, Letters(), examples, rows, 4)()
    with torch.no_grad():
        scores = torch.stack([classifier(Inputs(torch.tensor([row.tokens])))[0] for row in rows])
    labels = torch.arange(len(rows)) % 2
    accuracy = float((scores.argmax(1) == labels).float().mean())
    loss = float(F.cross_entropy(scores, labels))
    assert verdict.figures == {"accuracy": pytest.approx(accuracy), "loss": pytest.approx(loss, rel=1e-5)}
    assert verdict.rank == (-verdict.figures["accuracy"], verdict.figures["loss"])

"""A tagger with transitions: saved and opened whole under a name that is ours, taught as the objective says, used when texts are
tagged."""

import json
import math

import pytest
import torch

import yanmo
from yanmo.core.data import Row
from yanmo.core.errors import DataError, RequestError
from yanmo.core.registry import create
from yanmo.models.base import Inputs
from yanmo.models.store import load, save
from yanmo.models.tagger import ChainTagger, Tagger
from yanmo.objectives.base import Context
from yanmo.stages.export import export

from .test_headed import LABELS, PARTS
from .test_published import SMALL, made, rows


def build(part, tokenizer, rng, context=64):
    backbone = create("model", PARTS[part]).build(tokenizer, rng, context)
    model = ChainTagger(backbone, LABELS)
    model.initialise(rng)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


@pytest.mark.parametrize("part", PARTS)
def test_what_is_saved_opens_with_its_transitions_under_a_name_of_ours(part, tokenizer, rng, tmp_path):
    model = build(part, tokenizer, rng)
    save(tmp_path / "model", model, tokenizer, labels=LABELS)
    opened = load(tmp_path / "model")
    assert isinstance(opened.model, ChainTagger)
    assert opened.head == "tag"
    assert opened.config["model_type"].startswith("yanmo_")
    assert opened.config["architectures"][0].endswith("CrfForTokenClassification")
    inputs = Inputs(torch.tensor([tokenizer.encode("话说天下 Ishmael")]))
    with torch.no_grad():
        assert torch.equal(opened.model(inputs), model(inputs))
    for name, value in model.chain.named_parameters():
        assert torch.equal(value, dict(opened.model.chain.named_parameters())[name])
    with pytest.raises(DataError, match="which tag follows which"):
        export(tmp_path / "model", "hf", tmp_path / "out")


def test_over_a_published_encoder_it_is_no_folder_of_its_kind(hf, tmp_path, rng):
    """Whose class would open it and leave the transitions out."""
    made(hf.BertForPreTraining, hf.BertConfig(**SMALL), tmp_path / "theirs")
    model = ChainTagger(load(tmp_path / "theirs").model, LABELS).eval()
    model.initialise(rng)
    save(tmp_path / "ours", model, None, labels=LABELS)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == "yanmo_transformer"
    tokens, mask = rows()
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "ours").model(Inputs(tokens, mask=mask))[mask], model(Inputs(tokens, mask=mask))[mask])


def test_a_folder_without_its_labels_is_refused(tokenizer, rng, tmp_path):
    save(tmp_path / "model", build("lstm", tokenizer, rng), tokenizer, labels=LABELS)
    place = tmp_path / "model" / "config.json"
    config = json.loads(place.read_text())
    place.write_text(json.dumps({**config, "id2label": {"0": "O", "2": "B-人", "3": "I-人"}}))
    with pytest.raises(DataError, match="labels numbered from 0 to 2"):
        load(tmp_path / "model")


def test_texts_are_tagged_by_the_best_sequence_of_all_their_windows(tokenizer, rng, tmp_path):
    """What the transitions bar by learning is not predicted, in whatever window it stands."""
    model = build("encoder", tokenizer, rng, 24)
    with torch.no_grad():
        model.chain.follows.zero_()
        model.chain.follows[0, 1, 2] = -100.0  # no name longer than a token
        model.head.bias += torch.tensor([-1.0, 1.0, 1.0])
    save(tmp_path / "model", model, tokenizer, labels=LABELS)
    opened = yanmo.load(tmp_path / "model")
    texts = ["话说天下大势，分久必合，合久必分。" * 4, "曹操 🐋 e\u0301", ""]
    found = opened.tag(texts)
    spans = [span for one in found for span in one.spans]
    assert len(spans) > 20
    assert all(s.end - s.start == 1 for s in spans)
    assert found[1].spans == opened.tag(texts[1:2])[0].spans
    assert 0 < found[0].score <= 1
    with torch.no_grad():
        model.chain.follows.zero_()
    save(tmp_path / "free", model, tokenizer, labels=LABELS)
    assert yanmo.load(tmp_path / "free").tag(texts)[0].spans != found[0].spans


def test_the_objective_is_the_fields_and_windows_are_parts(tokenizer, rng):
    model = build("encoder", tokenizer, rng)
    objective = create("objective", {"type": "tagging", "crf": True}).bind(Context(tokenizer, LABELS))
    objective.check(model)
    ids = [1, *tokenizer.encode("话说天下 Ishmael. 🐋"), 1]
    places = [None, *((i, i + 1) for i in range(len(ids) - 2)), None]
    own = [place is not None for place in places]
    tags = [-1, *([0, 1, 2, 2] * len(ids))[: len(ids) - 2], -1]
    whole = Row(ids, own, tags, "e", places=places)
    late = [on and index > 2 for index, on in enumerate(own)]
    window = Row(ids, late, [tag if on else -1 for tag, on in zip(tags, late)], "e", places=places)  # begins with an I-
    batch = objective.collate([whole, window], torch.Generator())
    loss = objective.loss(model, batch)
    assert float(loss.weight) == batch.weight == sum(own) + sum(late)
    with torch.no_grad():
        scores = model(batch.inputs)
    no, yes = torch.tensor([False]), torch.tensor([True])
    assert tags[3] == 2
    for index, (begins, row) in enumerate(((yes, whole), (no, window))):
        labels = torch.tensor([row.label])
        want = model.chain.surprise(scores[index : index + 1], labels, begins, yes).item() / sum(row.trained)
        assert float(loss.rows[index]) == pytest.approx(want, rel=1e-5)
        assert want < math.inf
    loss.total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.chain.parameters())


def test_settings_without_effect_are_refused(tokenizer, rng):
    with pytest.raises(Exception, match="'smoothing' left out with 'crf'"):
        create("objective", {"type": "tagging", "crf": True, "smoothing": 0.1})
    plain = Tagger(create("model", PARTS["lstm"]).build(tokenizer, rng, 64), 3)
    with pytest.raises(RequestError, match="a tagger with transitions"):
        create("objective", {"type": "tagging", "crf": True}).check(plain)

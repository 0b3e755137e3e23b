"""Heads of ours on models that only transformers reads: saved whole, opened again, refused where they are not whole."""

import json
import shutil

import pytest
import torch

from tests.inference.tiny import tokenizer
from yanmo.core.errors import DataError
from yanmo.models.base import Inputs
from yanmo.models.classifier import Classifier, MultiClassifier
from yanmo.models.hf import HuggingFaceModel
from yanmo.models.lora import Lora
from yanmo.models.reader import Reader
from yanmo.models.store import load, save
from yanmo.models.tagger import ChainTagger, Tagger

V = 400
DISTIL = {"vocab_size": V, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 48, "pad_token_id": 0}
OLMO = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48,
        "max_position_embeddings": 48, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}  # fmt: skip
NAMES = ["O", "B-人", "I-人"]
HEADS = {"classify": lambda b: Classifier(b, 3), "labels": lambda b: MultiClassifier(b, 3), "tag": lambda b: Tagger(b, 3),
         "chain": lambda b: ChainTagger(b, NAMES), "span": Reader}  # fmt: skip


@pytest.fixture(scope="module")
def bases(hf, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    for name, cls, config in (("distil", "DistilBertForMaskedLM", hf.DistilBertConfig(**DISTIL)), ("olmo", "Olmo2ForCausalLM", hf.Olmo2Config(**OLMO))):
        torch.manual_seed(0)
        getattr(hf, cls)(config).save_pretrained(folder / name)
    return folder


def build(place, kind, seed=3):
    model = HEADS[kind](load(place).model)
    rng = torch.Generator().manual_seed(seed)
    model.initialise(rng)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


def rows():
    lines = [tokenizer().encode(text)[:20] for text in ("Call me Ishmael 🐋 e\u0301", "话说天下")]
    tokens = torch.zeros(2, 20, dtype=torch.int64)
    for row, ids in zip(tokens, lines):
        row[: len(ids)] = torch.tensor(ids)
    return Inputs(tokens, mask=torch.arange(20) < torch.tensor([[len(ids)] for ids in lines]))


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("base", ["distil", "olmo"])
def test_what_is_saved_opens_with_the_same_scores(base, kind, bases, tmp_path):
    model = build(bases / base, kind)
    assert isinstance(model.backbone, HuggingFaceModel)
    labels = None if kind == "span" else NAMES
    save(tmp_path / "m", model, tokenizer(), labels=labels)
    opened = load(tmp_path / "m")
    assert type(opened.model) is type(model)
    assert opened.head == model.gives
    assert opened.labels == (labels or [])
    with torch.no_grad():
        assert torch.equal(opened.model(rows()), model(rows()))
    save(tmp_path / "again", opened.model, tokenizer(), labels=labels)
    names = sorted(path.relative_to(tmp_path / "m") for path in (tmp_path / "m").rglob("*") if path.is_file())
    assert all((tmp_path / "again" / name).read_bytes() == (tmp_path / "m" / name).read_bytes() for name in names)
    assert load(tmp_path / "m" / "backbone").head == "text"  # an ordinary folder of transformers'


def test_a_merged_adapter_is_saved_like_any_other(bases, tmp_path):
    model = build(bases / "distil", "classify")
    model.backbone.inner.save_pretrained(tmp_path / "base")
    part = Lora(rank=2)
    made = part.apply(model, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.05
        want = made.eval()(rows())
    part.save(tmp_path / "adapter", made, str(tmp_path / "base"), tokenizer(), NAMES)
    save(tmp_path / "m", part.finished(made), tokenizer(), labels=NAMES)
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "m").model(rows()), want, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(load(tmp_path / "adapter").model(rows()), want, rtol=1e-4, atol=1e-4)


def test_what_is_not_whole_is_refused(bases, tmp_path):
    place = tmp_path / "m"
    save(place, build(bases / "distil", "tag"), tokenizer(), labels=NAMES)
    config = json.loads((place / "config.json").read_text())

    def refused(change, match):
        broken = tmp_path / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(place, broken)
        change(broken)
        with pytest.raises(DataError, match=match):
            load(broken)

    def described(**changes):
        return lambda folder: (folder / "config.json").write_text(json.dumps({**config, **changes}))

    refused(lambda folder: shutil.rmtree(folder / "backbone"), "no backbone/config.json in it")
    refused(described(architectures=["YanmoForeignForEverything"]), "one of YanmoForeignForSequenceClassification")
    refused(described(id2label={"0": "O", "1": "B-人"}), r"a tensor of shape \(2, 32\)")
    refused(described(architectures=["YanmoForeignCrfForTokenClassification"]), "chain.begins")
    refused(lambda folder: (folder / "backbone" / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "x.Y"}, "architectures": ["Y"]})),
            "a model without code of its own")  # fmt: skip

"""Models that answer together, and samples of one model's posterior."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import yanmo
from tests.inference.tiny import LABELS, TEXTS, make_run, tokenizer
from yanmo.core.errors import CorruptError, RequestError
from yanmo.models.classifier import Classifier
from yanmo.models.posterior import FILE, sample
from yanmo.models.store import load, save
from yanmo.models.tfidf import TfidfModel
from yanmo.models.transformer import TransformerModel

SENTENCES = ["turn on the light 💡", "把客厅的灯打开", "play some café music", "明天天气怎么样？"]


def labeller(folder, seed, labels=LABELS):
    rng = torch.Generator().manual_seed(seed)
    made = Classifier(TransformerModel(depth=1, width=32, heads=2, context=32).build(tokenizer(), rng), len(labels)).eval()
    made.initialise(rng)
    with torch.no_grad():
        made.score.weight.normal_(generator=rng)
    save(folder / "model", made, tokenizer(), labels=labels)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("run"))
    labeller(folder / "other", 7)
    labeller(folder / "turned", 8, LABELS[::-1])
    labeller(folder / "strange", 9, ["red", "green", "蓝"])
    examples = [(text, LABELS[i % 3]) for i, text in enumerate(SENTENCES * 3)]
    baseline = TfidfModel().fit_texts([t for t, _ in examples], [label for _, label in examples], LABELS)
    save(folder / "tfidf" / "model", baseline, None, labels=LABELS)
    return folder


def table(path, **settings):
    return np.array([[p.scores[label] for label in LABELS] for p in yanmo.load(path, **settings).predict(SENTENCES)])


def test_labels_are_judged_by_the_mean_of_the_probabilities(run):
    paths = [run / name for name in ("finetune", "other", "turned", "tfidf")]
    wanted = np.mean([table(path) for path in paths], axis=0)
    found = yanmo.load(paths).predict(SENTENCES)
    np.testing.assert_allclose([[p.scores[label] for label in LABELS] for p in found], wanted, rtol=1e-5)
    assert [p.label for p in found] == [LABELS[i] for i in wanted.argmax(1)]
    np.testing.assert_allclose([p.score for p in found], wanted.max(1), rtol=1e-5)


def test_text_is_scored_and_continued_together(run):
    paths = [run / "lstm", run / "transformer", run / "ngram"]
    together = yanmo.load(paths)
    text = "\n".join(TEXTS)
    alone = [yanmo.load(path).score(text) for path in paths]
    found = together.score(text)
    assert found["bits_per_byte"] < np.mean([one["bits_per_byte"] for one in alone])
    assert (found["tokens"], found["bytes"]) == (alone[0]["tokens"], alone[0]["bytes"])
    assert together.generate("研墨", seed=3, max_tokens=12) == together.generate("研墨", seed=3, max_tokens=12)
    with torch.no_grad():
        mean = torch.stack([yanmo.load(path).logits([5, 1, 300]).softmax(-1) for path in paths]).mean(0)
    torch.testing.assert_close(together.logits([5, 1, 300]).softmax(-1), mean, rtol=1e-3, atol=1e-6)


def test_runs_answer_each_by_the_model_that_it_would_use(run):
    both = yanmo.load([run, run / "other"])
    np.testing.assert_allclose([[p.scores[label] for label in LABELS] for p in both.predict(SENTENCES)],
                               (table(run) + table(run / "other")) / 2, rtol=1e-5)  # fmt: skip
    assert yanmo.load([run, run / "lstm"]).score("春眠不觉晓")["bits_per_byte"] > 0


@pytest.mark.parametrize(("names", "ask", "said"), [
    (("finetune", "strange"), lambda m: m.predict(SENTENCES), "models of the same labels"),
    (("finetune", "lstm"), lambda m: m.predict(SENTENCES), "a model that can give texts a probability"),
    ((".", "lstm"), lambda m: m.predict(SENTENCES), "a model that can label texts"),
    (("lstm", "transformer"), lambda m: m.embed(SENTENCES), "a model that can embed texts"),
])  # fmt: skip
def test_what_cannot_be_done_together_is_said(run, names, ask, said):
    with pytest.raises(RequestError, match=said):
        ask(yanmo.load([run / name for name in names]))


def test_models_of_other_tokenizers_do_not_write_together(run, tmp_path):
    from yanmo.text.bpe import BpeTokenizer

    other = BpeTokenizer(size=340).train([text[::-1] for text in TEXTS])
    made = TransformerModel(depth=1, width=32, heads=2).build(other, torch.Generator().manual_seed(0))
    save(tmp_path / "model", made, other)
    with pytest.raises(RequestError, match="models of one tokenizer"):
        yanmo.load([run / "lstm", tmp_path]).score("研墨")


# ------------------------------------------------------------------------------------------------ posterior samples


@pytest.fixture(scope="module")
def sure(tmp_path_factory):
    """A classifier with a posterior: its head is unsure, the rest nearly certain."""
    folder = labeller(tmp_path_factory.mktemp("sure"), 3)
    model = load(folder).model
    deviations = {name: torch.full_like(p, 0.5 if name.startswith("score") else 1e-4) for name, p in model.named_parameters()}
    save_file(deviations, folder / "model" / FILE)
    return folder


def test_a_sample_is_normal_around_the_mean(sure):
    loaded = load(sure)
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    draws = [sample(loaded, seed) for seed in range(40)]
    head = torch.stack([dict(m.named_parameters())["score.weight"].detach() for m in draws]) - before["score.weight"]
    assert float(head.std()) == pytest.approx(0.5, rel=0.1)
    assert abs(float(head.mean())) < 0.05
    assert all(torch.equal(before[name], p) for name, p in loaded.model.named_parameters())  # the mean is not touched
    again = dict(sample(loaded, 5).named_parameters())
    assert all(torch.equal(p, again[name]) for name, p in draws[5].named_parameters())


def test_predictions_are_the_mean_over_samples_and_less_sure(sure):
    loaded = yanmo.load(sure)
    mean = table(sure)
    found = table(sure, samples=24)
    wanted = np.mean([_probabilities(sample(loaded.loaded, seed), loaded) for seed in range(24)], axis=0)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert found.max(1).mean() < mean.max(1).mean()
    np.testing.assert_array_equal(found, table(sure, samples=24))


def _probabilities(drawn, opened):
    from yanmo.inference.model import Model

    other = Model(opened.folders, opened.where, opened.device)
    from dataclasses import replace

    other._opened = {opened.folders[-1]: replace(opened.loaded, model=drawn)}
    return np.array([[p.scores[label] for label in LABELS] for p in other.predict(SENTENCES)])


def test_a_model_without_a_posterior_and_a_broken_one(run, sure, tmp_path):
    with pytest.raises(RequestError, match=r"a model with a posterior.*ivon"):
        yanmo.load(run / "finetune", samples=3)
    with pytest.raises(RequestError, match="samples: expected at least one, got 0"):
        yanmo.load(sure, samples=0)
    made = labeller(tmp_path / "bad", 3)
    save_file({"score.weight": torch.ones(2, 2)}, made / "model" / FILE)
    with pytest.raises(CorruptError, match=r"deviations of the model's own parameters, got score\.weight"):
        yanmo.load(made, samples=2)

"""`yanmo.load`: what a saved model can do, and what it says where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import yanmo
from tests.inference.tiny import KINDS, LABELS, TEXTS, classifier, make_run, model, tokenizer
from yanmo.core.errors import RequestError
from yanmo.inference.likelihood import score_documents
from yanmo.inference.model import models
from yanmo.models.base import Inputs
from yanmo.text.chat import render

TOK = tokenizer()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module", params=KINDS)
def opened(run, request):
    return yanmo.load(run / request.param)


def test_generation_is_reproducible_and_begins_as_training_did(opened):
    kind = opened.folders[0].parent.name
    assert opened.generate("The ink", seed=3, max_tokens=20) == opened.generate("The ink", seed=3, max_tokens=20)
    greedy = opened.generate("研墨", temperature=0, max_tokens=5, ignore_eos=True)
    ids = [TOK.eos_id, *TOK.encode("研墨")]
    for _ in range(5):
        with torch.no_grad():
            ids.append(int(model(kind)(Inputs(torch.tensor([ids]))).logits[0, -1].argmax()))
    assert greedy == TOK.decode(ids).removeprefix("研墨").replace("\ufffd", "")
    assert len({opened.generate("", seed=None, max_tokens=30, temperature=2.0) for _ in range(4)}) > 1


def test_a_stream_is_the_whole_in_pieces_and_counts_its_tokens(opened):
    pieces = list(opened.stream("春眠", seed=5, max_tokens=30, ignore_eos=True))
    assert "".join(p.text for p in pieces) == opened.generate("春眠", seed=5, max_tokens=30, ignore_eos=True)
    assert [p.tokens for p in pieces] == sorted(p.tokens for p in pieces)
    assert pieces[-1].tokens == 30
    assert [p.finish for p in pieces] == [None] * (len(pieces) - 1) + ["length"]


def test_a_conversation_is_read_by_the_models_own_template(opened):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好 <|im_end|>"}]
    ids = render(messages, TOK)
    assert ids.count(TOK.special["<|im_end|>"]) == 2  # what a person writes never becomes control
    request = {"temperature": 0, "max_tokens": 8}
    assert opened.chat(messages, **request) == opened.generate(messages, **request)
    assert opened.generate("hi", chat=True, **request) == opened.chat([{"role": "user", "content": "hi"}], **request)


def test_score_is_that_of_the_one_likelihood(opened):
    kind = opened.folders[0].parent.name
    text = "\n".join(TEXTS)
    found = opened.score(text)
    expected = score_documents(model(kind), TOK, [text])
    assert found == {"bits_per_byte": pytest.approx(expected.bits_per_byte), "perplexity": pytest.approx(expected.perplexity),
                     "tokens": len(TOK.encode(text)), "bytes": len(text.encode())}  # fmt: skip


def test_logits_are_of_the_ids_as_given(opened):
    kind = opened.folders[0].parent.name
    ids = [5, 1, 300, 3]
    found = opened.logits(ids)
    assert (found.shape, found.dtype, found.device.type, found.requires_grad) == ((4, 400), torch.float32, "cpu", False)
    with torch.no_grad():
        assert torch.allclose(found, model(kind)(Inputs(torch.tensor([ids]))).logits[0], atol=1e-4)
    for wrong in ([], [-1], [400]):
        with pytest.raises(RequestError, match="token ids from 0 to 399"):
            opened.logits(wrong)
    with pytest.raises(RequestError, match="encoder-decoder"):
        opened.logits(ids, source=[1])


# ---------------------------------------------------------------------------------------------------- texts

SENTENCES = ["把灯打开", "", "turn the lamp on", "a " * 80, "🙂", "研墨" * 40, "turn the lamp off please"]


def test_predictions_do_not_depend_on_the_company(run):
    opened = yanmo.load(run / "finetune")
    together = opened.predict(SENTENCES)
    assert [p.text for p in together] == SENTENCES
    for found, sentence in zip(together, SENTENCES):
        ids = torch.tensor([[TOK.eos_id, *TOK.encode(sentence)][:32]])
        with torch.no_grad():
            expected = classifier()(Inputs(ids)).double().softmax(-1)[0]
        assert list(found.scores) == LABELS
        assert list(found.scores.values()) == pytest.approx(expected.tolist(), abs=1e-6)
        assert found.label == LABELS[int(expected.argmax())]
        assert found.score == max(found.scores.values())
        assert sum(found.scores.values()) == pytest.approx(1)
    assert opened.predict([]) == []


def test_many_texts_go_in_several_batches(run, monkeypatch):
    opened = yanmo.load(run / "finetune")
    whole = opened.predict(SENTENCES * 3)
    monkeypatch.setattr("yanmo.inference.model.BATCH", 40)
    pieces = opened.predict(SENTENCES * 3)
    assert [p.label for p in whole] == [p.label for p in pieces]
    for a, b in zip(whole, pieces):
        assert a.scores == pytest.approx(b.scores, abs=1e-6)


@pytest.mark.parametrize("stage", ["lstm", "transformer", "finetune"])
def test_an_embedding_is_the_mean_over_the_texts_tokens(run, stage):
    opened = yanmo.load(run / stage)
    found = opened.embed(SENTENCES)
    assert (found.shape, found.dtype) == ((len(SENTENCES), 48), np.float32)
    backbone = classifier().backbone if stage == "finetune" else model(stage)
    for row, sentence in zip(found, SENTENCES):
        ids = [TOK.eos_id, *TOK.encode(sentence)][: backbone.context or 1024]
        with torch.no_grad():
            hidden = backbone.encode(Inputs(torch.tensor([ids])))[0]
        expected = hidden[1:].mean(0) if len(ids) > 1 else hidden[0]
        assert np.allclose(row, expected.numpy(), atol=1e-5)
    assert opened.embed([]).shape == (0, 48)


# ---------------------------------------------------------------------------------------------------- abilities


def test_a_run_lends_the_last_model_that_can(run):
    opened = yanmo.load(str(run))
    assert opened.predict(["把灯打开"]) == yanmo.load(run / "finetune").predict(["把灯打开"])
    assert opened.generate("ink", temperature=0) == yanmo.load(run / "transformer").generate("ink", temperature=0)
    assert opened.score("ink") == yanmo.load(run / "transformer").score("ink")
    assert list(models(run)) == [*KINDS, "finetune"]
    assert list(models(run / "ngram")) == list(models(run / "ngram" / "model")) == ["ngram"]
    assert [m.abilities for m in models(run).values()] == [["generate", "tokenize"], *[["generate", "tokenize", "embed"]] * 2,
                                                           ["classify", "tokenize", "embed"]]  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "use"),
    [("finetune", lambda m: m.generate("x")), ("finetune", lambda m: m.chat([{"role": "user", "content": "x"}])),
     ("finetune", lambda m: m.score("x")), ("finetune", lambda m: m.logits([1])), ("transformer", lambda m: m.predict(["x"])),
     ("ngram", lambda m: m.embed(["x"])), ("ngram", lambda m: m.predict("x")), ("ngram", lambda m: m.score("")),
     ("finetune", lambda m: m.predict("x")), ("finetune", lambda m: m.predict([1])),
     ("ngram", lambda m: m.generate("x", temperature=-1)), ("ngram", lambda m: m.generate("x", max_tokens=1.5)),
     ("transformer", lambda m: m.generate("x" * 200)), ("ngram", lambda m: m.chat([{"role": "king", "content": "x"}]))],
)  # fmt: skip
def test_wrong_use_is_a_wrong_request(run, stage, use):
    with pytest.raises(RequestError) as caught:
        use(yanmo.load(run / stage))
    assert caught.value.exit_status == 2


def test_what_a_model_cannot_do_says_what_it_can(run):
    with pytest.raises(RequestError, match=r"finetune: expected a model that can generate text, got \w+: labels texts"):
        yanmo.load(run / "finetune").generate("x")


def test_weights_are_laid_out_for_decoding_and_stay_what_they_are(run):
    opened, saved = yanmo.load(run / "transformer").loaded.model, model("transformer")
    layers = dict(opened.named_modules())
    for name, module in saved.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert torch.equal(layers[name].weight, module.weight)
            assert layers[name].weight.stride() == (
                (1, module.weight.shape[0]) if layers[name].weight.device.type == "cpu" else module.weight.stride()
            )


def test_a_path_without_a_model_is_said_at_once(tmp_path):
    with pytest.raises(RequestError):
        yanmo.load(tmp_path / "nothing")
    with pytest.raises(RequestError):
        yanmo.load(tmp_path)

"""BLEU and chrF are sacrebleu's, for whole sets, for parts and for resamples; the signature says of what."""

import random

import numpy as np
import pytest

from yanmo.core.errors import RequestError
from yanmo.text.metrics import bleu, figures

sacrebleu = pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")

ENGLISH = ["the", "cat", "sat", "on", "a", "mat", ".", "The", "dog", ",", "however", "3.5", "%", "ran", "-", "didn't", "?", "naïve", "e\u0301"]
CHINESE = [*"打开文件，单击「确定」按钮。在菜单中选择工具", "Writer", "3.5", "🙂", " "]


def sentences(dice, pieces, glue, count):
    return [glue.join(dice.choices(pieces, k=dice.randint(0, 25))) for _ in range(count)]


@pytest.mark.parametrize(("language", "tokenizer", "pieces", "glue"), [("en", "13a", ENGLISH, " "), ("zh", "zh", CHINESE, ""), ("zh-TW", "zh", CHINESE, "")])
def test_equal_to_sacrebleu_on_thousands_of_sentences(language, tokenizer, pieces, glue):
    dice = random.Random(1)
    for size in (1, 2, 40, 1200):
        references = sentences(dice, pieces, glue, size)
        answers = [r if dice.random() < 0.3 else a for r, a in zip(references, sentences(dice, pieces, glue, size))]
        for name, metric in (("bleu", sacrebleu.BLEU(tokenize=tokenizer, force=True)), ("chrf", sacrebleu.CHRF())):
            want = metric.corpus_score(answers, [references])
            assert bleu.score(name, references, answers, language) == want.score
            assert bleu.Counts(name, language).signature == str(metric.get_signature())


def test_parts_and_resamples_are_sums_of_rows():
    dice = random.Random(2)
    references, answers = sentences(dice, CHINESE, "", 60), sentences(dice, CHINESE, "", 60)
    counts = bleu.Counts("bleu", "zh")
    rows = counts.of(references, answers)
    drawn = np.random.default_rng(0).integers(0, 60, (5, 60))
    found = counts.scores(rows[drawn].sum(1))
    for places, score in zip(drawn, found):
        assert score == bleu.score("bleu", [references[p] for p in places], [answers[p] for p in places], "zh")


def test_every_measure_in_one_form():
    references, answers = ["打开文件。", "关闭窗口"], ["打开这个文件。", "关闭 窗口"]
    for measured, names in (("rouge/characters", ["rouge_1", "rouge_2", "rouge_l"]), ("translation/zh", ["chrf", "bleu"]), ("generation", ["repetition"])):
        found = figures.measures(measured)
        assert [measure.name for measure in found] == names
        for measure in found:
            rows = measure.of(references, answers)
            assert len(rows) == 2
            assert measure.signature
            whole, first = measure.scores(np.stack([rows.sum(0), rows[0]]))
            assert np.isfinite(whole)
            assert first == measure.scores(measure.of(references[:1], answers[:1]).sum(0, keepdims=True))[0]
    repeats = figures.measures("generation")[0]
    assert repeats.scores(repeats.of(["", ""], ["a b c d a b c d", "你好"]).sum(0, keepdims=True))[0] == pytest.approx(0.1)  # (1 - 4/5 + 0) / 2


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics", None)
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    with pytest.raises(RequestError) as caught:
        bleu.Counts("chrf", "zh")
    assert "pip install 'yanmo[tasks]'" in str(caught.value)

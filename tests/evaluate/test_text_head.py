"""Texts that models write are evaluated: figures from the lines alone, floors, what was cut or did not end, whatever the batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluate.conftest import write
from tests.inference.tiny import TEXTS, model, tokenizer
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.evaluate.heads.text import TextHead
from yanmo.inference.model import Model
from yanmo.models.store import save
from yanmo.text.metrics import bleu
from yanmo.text.metrics.rouge import rouge
from yanmo.text.tokenizer import Tokenizer

PAIRS = [("Open the file", "打开文件"), ("Open the window", "打开窗口"), ("Close the window", "关闭窗口"), ("Close the file", "关闭文件"),
         ("the toolbar 🙂", "工具栏 🙂"), ("Open the toolbar", "打开工具栏"), ("file", "文件"), ("window", "窗口")]  # fmt: skip
ROWS = [{"en": en, "zh": zh, "group": "ab"[place % 2]} for place, (en, zh) in enumerate(PAIRS)]
TASK = {"type": "translate", "path": {name: f"{name}.jsonl" for name in ("train", "validation", "test")}, "template": "{text}",
        "max_tokens": 6}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        said = [("Now {}", "现在{}"), ("{} again", "再次{}"), ("Please {} soon", "请快{}")]
        write(Path("train.jsonl"), [{"en": own.format(en), "zh": other.format(zh)} for own, other in said for en, zh in PAIRS])
        write(Path("validation.jsonl"), [{"en": f"Then {en}", "zh": f"然后{zh}"} for en, zh in PAIRS])
        write(Path("test.jsonl"), ROWS)
        write(Path("text.jsonl"), [{"text": f"{en} {zh} {i}" * 9} for i, (en, zh) in enumerate(PAIRS)])
        stages = [{"corpus": {"source": {"type": "jsonl", "path": "text.jsonl"}, "engine": {"type": "local", "workers": 1}}},
                  {"tokenizer": {"type": "bpe", "size": 300}},
                  {"name": "ngram", "pretrain": {"model": {"type": "ngram", "order": 3}}},
                  {"name": "words", "finetune": {"model": {"type": "dictionary"}, "task": TASK}},
                  {"name": "network", "finetune": {"model": {"type": "transformer", "architecture": "encoder-decoder", "depth": 1,
                                                             "width": 32, "heads": 2, "context": 32}, "task": TASK, "train": {"steps": 3}}},
                  {"evaluate": {"tasks": [TASK, {**TASK, "beams": 3}], "samples": ["Open"]}}]  # fmt: skip
        execute(parse({"name": "t", "stages": stages}, Place("", "t.yaml", {})), "run", console=Console(quiet=True))
    return folder / "run"


def test_every_model_that_writes_is_scored_beside_what_costs_nothing(run):
    results = json.loads((run / "evaluate" / "results.json").read_text())
    whole = {(row["model"], row["metric"]): row for row in results if row["task"] == "translate" and "group" not in row}
    assert {model for model, _ in whole} == {"ngram", "words", "network", "copy"}
    assert {metric for _, metric in whole} == {"chrf", "bleu"}
    assert {row.get("group") for row in results} == {None, "group=a", "group=b"}
    assert "tok:zh" in whole["words", "bleu"]["signature"]
    words = whole["words", "chrf"]
    assert words["low"] <= words["value"] <= words["high"]
    assert words["value"] > 80 > whole["copy", "chrf"]["value"]
    lines = [json.loads(line) for line in (run / "evaluate" / "answers" / "words" / "translate.jsonl").read_text().splitlines()]
    assert [line["answer"] for line in lines[:3]] == ["打开文件", "打开窗口", "关闭窗口"]
    assert words["value"] == pytest.approx(bleu.score("chrf", [zh for _, zh in PAIRS], [line["answer"] for line in lines], "zh"), abs=1e-6)
    tables = json.loads((run / "evaluate" / "tables.json").read_text())
    assert tables["left_out"] == []
    table = tables["tasks"]["translate"]
    assert table["best"] == "words"
    network = table["models"]["network"]
    assert network["unfinished"] == sum("unfinished" in line for line in
                                        map(json.loads, (run / "evaluate/answers/network/translate.jsonl").read_text().splitlines()))  # fmt: skip
    assert network["answers"][0]["reference"] == "打开文件"
    assert "chrF" in (run / "report.html").read_text()
    assert "chrF" in (run / "card.md").read_text()


def test_figures_are_of_the_lines_alone():
    head = TextHead()
    lines = [{"measured": "rouge/characters", "reference": zh, "answer": zh[: 1 + place], "group": ""} for place, (_, zh) in enumerate(PAIRS)]
    figures = head.figures(None, lines)
    assert list(figures) == ["rouge_1", "rouge_2", "rouge_l"]
    each = [rouge(line["reference"], line["answer"], "characters")["rouge_l"].f for line in lines]
    assert figures["rouge_l"].value == pytest.approx(sum(each) / len(each))
    assert figures["rouge_l"].of([0, 2]).value == pytest.approx((each[0] + each[2]) / 2)
    low, high = figures["rouge_l"].bounds()
    assert low < figures["rouge_l"].value < high


@pytest.mark.parametrize("kind", ["transformer", "ngram"])
def test_answers_do_not_depend_on_the_batch_and_cut_prompts_are_counted(kind, tmp_path, monkeypatch):
    save(tmp_path / "m", model(kind), tokenizer())
    write(tmp_path / "t.jsonl", [{"text": line * 4, "summary": "x"} for line in TEXTS])
    task = create("task", {"type": "summarize", "path": {"test": str(tmp_path / "t.jsonl")}, "max_tokens": 9, "language": "zh"})
    opened, head, examples = Model.open(tmp_path / "m"), TextHead(), task.load("test")
    assert head.unfit(opened, task) is None
    together = head.answer(opened, task, examples)
    assert [line for example in examples for line in head.answer(opened, task, [example])] == together
    monkeypatch.setattr("yanmo.inference.writing.SLOTS", 2)
    assert head.answer(opened, task, examples) == together
    assert all(("cut" in line) == (kind == "transformer") for line in together)
    assert sum("unfinished" in line for line in together) == head.table(task, together)["unfinished"] > 0
    floors = head.floors("s", task, together)
    assert {row["model"] for row in floors} == {"lead-1", "lead-3"}
    beams = create("task", {"type": "summarize", "path": task.path, "max_tokens": 9, "beams": 3, "language": "zh"})
    if kind == "transformer":
        assert [line["answer"] for line in head.answer(opened, beams, examples)] != [line["answer"] for line in together]


def test_who_cannot_write_is_told_why(tmp_path):
    from tests.inference.tiny import LABELS, classifier

    save(tmp_path / "c", classifier(), tokenizer(), labels=LABELS)
    save(tmp_path / "m", model("transformer"), Tokenizer(tokenizer().inner))
    head = TextHead()
    task = create("task", {"type": "summarize", "path": "nowhere.jsonl", "chat": True})
    assert head.unfit(Model.open(tmp_path / "c"), task).render("en") == "it writes no text"
    assert head.unfit(Model.open(tmp_path / "m"), task).render("en") == "its tokenizer has no chat template"
    save(tmp_path / "l", create("model", "lead").fit_task(task), None)
    assert head.unfit(Model.open(tmp_path / "l"), create("task", {"type": "generation", "path": "x"})) is not None


def test_control_and_fluency_by_other_models(tmp_path):
    from tests.inference.tiny import LABELS, classifier

    save(tmp_path / "judge", classifier(), tokenizer(), labels=LABELS)
    save(tmp_path / "reader", model("ngram"), tokenizer())
    save(tmp_path / "m", model("transformer"), tokenizer())
    write(tmp_path / "t.jsonl", [{"text": line, "prompt": line[:5], "topic": LABELS[place % 3]} for place, line in enumerate(TEXTS)])
    task = create("task", {"type": "generation", "path": {"test": str(tmp_path / "t.jsonl")}, "attributes": ["topic"], "max_tokens": 12,
                           "judge": str(tmp_path / "judge"), "reader": str(tmp_path / "reader"), "temperature": 1.0, "seed": 3})  # fmt: skip
    head, examples = TextHead(), task.load("test")
    lines = head.answer(Model.open(tmp_path / "m"), task, examples)
    assert lines == head.answer(Model.open(tmp_path / "m"), task, examples)
    figures = head.figures(task, lines)
    assert list(figures) == ["repetition", "control", "fluency"]
    texts = [f"{e.fields['text']} {line['answer']}".strip() for e, line in zip(examples, lines)]
    told = [prediction.label for prediction in Model.open(tmp_path / "judge").predict(texts)]
    assert figures["control"].value == pytest.approx(sum(a == b for a, b in zip(told, [LABELS[i % 3] for i in range(len(TEXTS))])) / len(TEXTS))
    reader = Model.open(tmp_path / "reader")
    one = head.figures(task, lines[:1])["fluency"].value
    assert one == pytest.approx(reader.score(texts[0])["bits_per_byte"], rel=1e-5)

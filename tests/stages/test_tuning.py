"""Fine-tuning by heads: two examples are learned by heart, saved, opened, and predicted the same, in English and Chinese."""

import json
from pathlib import Path

import pytest
import torch

import yanmo
from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.core.registry import create
from yanmo.evaluate.heads.span import SpanHead
from yanmo.models.store import load as open_model

MODELS = {
    "encoder": "{type: transformer, architecture: encoder, depth: 1, width: 32, heads: 2, context: 64}",
    "decoder": "{type: transformer, depth: 2, width: 48, heads: 2, context: 96}",
    "lstm": "{type: lstm, depth: 1, width: 48, bidirectional: true}",
    "t5": "{type: t5, depth: 1, width: 32, heads: 2, context: 64}",
}
NAMED = [
    {"text": "Marie Curie lived in Paris 🗼.", "spans": [{"start": 0, "end": 11, "label": "PER"}, {"start": 21, "end": 26, "label": "LOC"}]},
    {"text": "曹操字孟德，沛国谯县人。", "spans": [{"start": 0, "end": 2, "label": "PER"}, {"start": 6, "end": 10, "label": "LOC"}]},
]
ASKED = [
    {"context": "Yanmo is to grind ink 🖋️ on the stone, slowly.", "question": "What is ground?", "answers": [{"text": "ink", "answer_start": 18}], "id": "a"},
    {"context": "曹操字孟德，沛国谯县人。", "question": "何处人？", "answers": [{"text": "沛国谯县", "answer_start": 6}], "id": "b"},
    {"context": "床前明月光，疑是地上霜。", "question": "作者是谁？", "answers": [], "id": "c"},
]
WRITTEN = [{"text": "Hello 👋", "answer": "Bye, e\u0301!"}, {"text": "你好", "answer": "再见"}]


def run(task: str, model: str, rows: list[dict], train: str, extra: str = "", directory: str = "runs/r") -> Path:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path("data.jsonl").write_text(lines, encoding="utf-8")
    again = [{**row, "id": f"{row['id']} again"} if "id" in row else row for row in rows]
    Path("again.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in again), encoding="utf-8")
    texts = [" ".join(str(value) for value in row.values()) for row in rows]
    Path("corpus.jsonl").write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    Path("r.yaml").write_text(f"""
name: r
seed: 3
stages:
  - corpus: {{source: {{type: jsonl, path: corpus.jsonl}}, validation: 0}}
  - tokenizer: {{type: characters, min_count: 1}}
  - finetune: {{model: {MODELS[model]}, task: {task}, train: {train}{extra}}}
""", encoding="utf-8")  # fmt: skip
    execute(load(Path("r.yaml"), []), directory, console=Console(quiet=True), force=True)
    return Path(directory) / "finetune"


BOTH = "path: {train: data.jsonl, validation: again.jsonl}, test: 0"


@pytest.mark.parametrize("model", ["encoder", "lstm", "decoder"])
def test_tags_are_learned_by_heart_saved_and_predicted(model, folder):
    made = run(f"{{type: ner, {BOTH}}}", model, NAMED, "{steps: 60, validate_every: 60, optim: {type: adamw, lr: 0.01}}")
    opened = yanmo.load(made)
    assert "tag" in opened.abilities
    assert "classify" not in opened.abilities
    found = opened.tag([row["text"] for row in NAMED])
    if model != "decoder":  # which sees no more than what comes before
        assert [[(s.start, s.end, s.label) for s in p.spans] for p in found] == [[(s["start"], s["end"], s["label"]) for s in row["spans"]] for row in NAMED]
        assert files.read_json(made / "training.json")["validations"][-1]["entity_f1"] == 1.0
        assert all(p.score > 0.9 for p in found)
    assert opened.loaded.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    with pytest.raises(RequestError, match="label texts"):
        opened.predict(["a"])


def test_transitions_are_learned_along_saved_and_used(folder):
    made = run(f"{{type: ner, {BOTH}, scheme: bioes}}", "lstm", NAMED, "{steps: 60, validate_every: 60, optim: {type: adamw, lr: 0.01}}",
               ", objective: {type: tagging, crf: true}")  # fmt: skip
    opened = yanmo.load(made)
    found = opened.tag([row["text"] for row in NAMED])
    assert [[(s.start, s.end, s.label) for s in p.spans] for p in found] == [[(s["start"], s["end"], s["label"]) for s in row["spans"]] for row in NAMED]
    assert files.read_json(made / "training.json")["validations"][-1]["entity_f1"] == 1.0
    assert all(p.score > 0.9 for p in found)
    assert opened.loaded.model.chain.follows.abs().max() > 0
    assert open_model(made).config["architectures"] == ["YanmoLstmCrfForTokenClassification"]


def test_an_adapter_cannot_hold_transitions(folder):
    run(f"{{type: ner, {BOTH}}}", "encoder", [*NAMED, {"text": "霜", "spans": []}], "{steps: 2}")
    Path("a.yaml").write_text("name: a\nstages:\n  - finetune: {model: runs/r/finetune/model, task: {type: ner, path: data.jsonl}, "
                              "objective: {type: tagging, crf: true}, adapter: {type: lora}, train: {steps: 2}}\n", encoding="utf-8")  # fmt: skip
    with pytest.raises(RequestError, match="adapters' files hold no transitions"):
        execute(load(Path("a.yaml"), []), "runs/a", console=Console(quiet=True), force=True)


@pytest.mark.parametrize("model", ["encoder", "lstm"])
def test_answers_are_found_by_heart_saved_and_predicted(model, folder):
    made = run(f"{{type: qa, {BOTH}}}", model, ASKED, "{steps: 120, validate_every: 120, optim: {type: adamw, lr: 0.01}}")
    opened = yanmo.load(made)
    assert "answer" in opened.abilities
    for row in ASKED:
        found = opened.answer(row["question"], row["context"])
        want = row["answers"][0]["text"] if row["answers"] else ""
        assert found.answer == want
        assert found.score > 0.5
        if want:
            assert row["context"][found.spans[0].start : found.spans[0].end] == want
    assert opened.answer("作者是谁？", ASKED[2]["context"], none=False).answer
    assert files.read_json(made / "training.json")["validations"][-1]["f1"] in (1.0, 100.0)


def test_the_threshold_for_no_answer_is_chosen_on_validation_data_and_used(folder):
    """After a few steps, when scores are all but equal: at 0 it says nothing good, and where its F1 is best it does."""
    rows = [{**row, "id": f"{row['id']}{i}", "context": f"{row['context']}{i}"} for i in range(3) for row in ASKED]
    made = run(f"{{type: qa, {BOTH}}}", "encoder", rows, "{steps: 12, validate_every: 12, optim: {type: adamw, lr: 0.003}}")
    opened = yanmo.load(made)
    told = opened.loaded.config["yanmo"]["answers"]
    assert told["none"] is True
    task = create("task", {"type": "qa", "path": {"test": "again.jsonl"}})
    asked = [(e.fields["question"], e.fields["text"]) for e in task.load("test")]

    def f1(threshold):
        return task.score(list(zip(task.load("test"), opened.answers(asked, threshold=threshold))))["f1"]

    best = f1(None)  # by the one that was saved
    assert best == f1(told["threshold"]) == max(f1(n / 4) for n in range(-40, 41))
    lines = SpanHead().answer(opened, task, task.load("test"))
    assert [line["predicted"] for line in lines] == [p.answer for p in opened.answers(asked)]
    given = run(f"{{type: qa, {BOTH}, threshold: 7.5}}", "encoder", rows, "{steps: 2}", directory="runs/given")
    assert open_model(given).config["yanmo"]["answers"]["threshold"] == 7.5


def test_long_texts_are_read_in_windows(folder):
    made = run(f"{{type: ner, {BOTH}}}", "encoder", NAMED, "{steps: 60, validate_every: 60, optim: {type: adamw, lr: 0.01}}")
    long = "。".join(row["text"] for row in NAMED * 4)
    [found] = yanmo.load(made).tag([long])
    assert len(long) > 2 * 64
    assert [s for s in found.spans if s.end > 150]
    assert all(0 <= s.start < s.end <= len(long) for s in found.spans)


@pytest.mark.parametrize(("model", "pack"), [("decoder", False), ("decoder", True), ("t5", False)])
def test_texts_are_written_by_heart(model, pack, folder):
    task = f"{{type: summarize, {BOTH}, fields: {{answer: answer}}, template: '{{text}} = '}}"
    extra = ", objective: {type: answer, pack: true}" if pack else ""
    made = run(task, model, WRITTEN, "{steps: 150, validate_every: 150, optim: {type: adamw, lr: 0.01}}", extra)
    opened = yanmo.load(made)
    for row in WRITTEN:
        assert opened.generate(row["text"] + " = ", temperature=0, max_tokens=20).strip() == row["answer"]
    told = files.read_json(made / "training.json")["validations"][-1]
    assert told["loss"] < 0.1
    assert told["perplexity"] == pytest.approx(torch.tensor(told["loss"]).exp().item(), rel=1e-4)


def test_an_encoder_writes_nothing(folder):
    with pytest.raises(RequestError, match="a model of the kind"):
        run(f"{{type: summarize, {BOTH}, fields: {{answer: answer}}}}", "encoder", WRITTEN, "{steps: 1}")


def test_a_tagger_goes_on_as_a_reader(folder):
    first = run(f"{{type: ner, {BOTH}}}", "encoder", [*NAMED, {"text": "霜", "spans": []}], "{steps: 2}")
    Path("qa.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ASKED), encoding="utf-8")
    Path("q.yaml").write_text(f"name: q\nstages:\n  - finetune: {{model: {first / 'model'}, task: {{type: qa, path: qa.jsonl, test: 0}}, "
                              "train: {steps: 2}}\n", encoding="utf-8")  # fmt: skip
    execute(load(Path("q.yaml"), []), "runs/q", console=Console(quiet=True), force=True)
    assert open_model("runs/q/finetune").head == "span"


def test_texts_that_belong_together_become_near(folder):
    rows = [{"text": a, "second": b} for a, b in (("light 💡", "灯"), ("music", "音乐"), ("cafe\u0301", "咖啡"), ("rain", "下雨了"), ("sun", "太阳"), ("dog", "狗"))]
    made = run(f"{{type: embedding, {BOTH}}}", "encoder", rows, "{steps: 60, validate_every: 60, optim: {type: adamw, lr: 0.01}}")
    told = files.read_json(made / "training.json")["validations"][-1]
    assert told["mrr"] == 1.0
    opened = yanmo.load(made)
    first, second = (opened.embed([row[name] for row in rows]) for name in ("text", "second"))
    cosines = (first @ second.T) / (torch.tensor(first).norm(dim=1)[:, None] * torch.tensor(second).norm(dim=1)).numpy()
    assert cosines.argmax(1).tolist() == list(range(len(rows)))
    assert opened.loaded.head == "text"  # the encoder itself

"""Multiple choice, tuned: a small decoder learns which choice is right, and is asked as the task asks any model."""

import json
from pathlib import Path

import pytest

import yanmo
from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import DataError
from yanmo.core.execute import execute
from yanmo.core.recipe import load
from yanmo.core.registry import create
from yanmo.evaluate.runner import evaluate_model
from yanmo.text.chat import CHATML

ROWS = [
    {"question": "What is ground?", "choices": ["rice", "ink 🖋️", "glass"], "answer": 1},
    {"question": "墨为何色？", "choices": ["黑", "白"], "answer": "A"},
    {"question": "Where?", "context": "In Paris, e\u0301te\u0301.", "choices": ["Rome", "Bonn", "Paris"], "answer": "Paris"},
    {"question": "何处人？", "choices": ["长安", "沛国谯县", "洛阳", "成都"], "answer": 1},
]
MODEL = "{type: transformer, depth: 1, width: 48, heads: 2, context: 96}"


def run(path: str, extra: str = "", steps: int = 40) -> Path:
    Path("data.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    texts = [f"{row['question']} {row.get('context', '')} {' '.join(row['choices'])} Question: Answer: 问题：答案：user assistant" for row in ROWS]
    Path("corpus.jsonl").write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    Path("r.yaml").write_text(f"""
name: r
seed: 3
stages:
  - corpus: {{source: {{type: jsonl, path: corpus.jsonl}}, validation: 0}}
  - tokenizer: {{type: characters, min_count: 1}}
  - finetune: {{model: {MODEL}, task: {{type: multiple_choice, path: {path}, validation: 0{extra}}},
               train: {{steps: {steps}, validate_every: {steps}, optim: {{type: adamw, lr: 0.01}}}}}}
""", encoding="utf-8")  # fmt: skip
    execute(load(Path("r.yaml"), []), "run", console=Console(quiet=True), force=True)
    return Path("run/finetune")


def test_the_right_choices_are_learned_and_chosen(folder):
    made = run("{train: data.jsonl, validation: data.jsonl}")
    last = files.read_json(made / "training.json")["validations"][-1]
    assert last["accuracy"] == 1.0
    assert last["loss"] < 0.3
    assert yanmo.load(made).loaded.head == "text"  # the language model itself
    task = create("task", {"type": "multiple_choice", "path": "data.jsonl"})
    results = {(row["model"], row["metric"]): row["value"] for row in evaluate_model(made, task)}
    assert max(value for (_, metric), value in results.items() if metric == "accuracy") == 1.0
    [row] = task.encode(task.load("test")[0], yanmo.load(made).tokenizer, 96)
    told = yanmo.load(made).tokenizer.decode([token for token, on in zip(row.tokens, row.trained) if on])
    assert told == "ink 🖋️"


def test_a_single_path_is_test_data_and_nothing_to_train_on(folder):
    with pytest.raises(DataError, match="training questions"):
        run("data.jsonl", steps=1)


def test_with_chat_the_answer_is_the_assistants_turn(folder):
    from yanmo.text.characters import CharacterTokenizer

    tokenizer = CharacterTokenizer(min_count=1).train([row["question"] for row in ROWS] * 2)
    Path("data.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    task = create("task", {"type": "multiple_choice", "path": "data.jsonl", "chat": True})
    tokenizer.chat_template = CHATML
    [row] = task.encode(task.load("test")[1], tokenizer, 96)
    trained = [token for token, on in zip(row.tokens, row.trained) if on]
    assert trained[-1] in tokenizer.ends
    assert tokenizer.decode(trained[:-1]) == "黑"
    assert tokenizer.special["<|im_start|>"] in [token for token, on in zip(row.tokens, row.trained) if not on]

"""What every task in the registry keeps: data in, rows that a tokenizer can give back, predictions scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.core.config import dump_part
from yanmo.core.data import Example, Prediction, Row
from yanmo.core.errors import DataError
from yanmo.core.registry import create, names
from yanmo.text.characters import CharacterTokenizer

TEXTS = ["Call me Ishmael.", "却说曹操引兵夜渡。", "🐋 研墨 e\u0301 naïve", "<|endoftext|> as text", "x" * 90, "混 mixed 文 🖌️"]


def settings(name: str) -> dict:
    """The least that each task needs, with data in the working directory. A new task adds its line here."""
    Path("data.jsonl").write_text("".join(json.dumps({"text": t, "label": "ab"[i % 2], "wrong": t + "!", "base": 1, "spans": [[0, 1, "X"]], "instruction": t, "output": "ab"[i % 2]}, ensure_ascii=False) + "\n"
                                          for i, t in enumerate(TEXTS)), encoding="utf-8")  # fmt: skip
    return {"classify": {"path": {"train": "data.jsonl", "test": "data.jsonl"}, "validation": 0},
            "language_modeling": {"path": "data.jsonl"},
            "multiple_choice": {**TEST, "fields": {"question": "text", "choices": ["text", "wrong"], "answer": "base"}, "template": "{question}"},
            "minimal_pairs": {"path": "data.jsonl", "fields": {"good": "text", "bad": "wrong"}},
            "preferences": {**TEST, "fields": {"prompt": "text", "chosen": "wrong", "rejected": "label"}},
            "prompts": {**TEST, "fields": {"prompt": "text", "answer": "label"}},
            "multi_label": {**TEST, "fields": {"label": "label"}},
            "ner": TEST,
            "qa": {**TEST, "fields": {"context": "text", "question": "wrong", "answers": "text"}},
            "embedding": {**TEST, "fields": {"second": "wrong"}},
            "summarize": {**TEST, "fields": {"text": "text", "answer": "wrong"}, "template": "{text}"},
            "translate": {**TEST, "fields": {"text": "text", "answer": "wrong"}, "template": "{text}"},
            "chat": TEST,
            "generation": {**TEST, "fields": {"text": "wrong", "prompt": "text"}}}[name]  # fmt: skip


TEST = {"path": {"train": "data.jsonl", "test": "data.jsonl"}, "validation": 0}
OUTPUTS = {"classify": [[0.9, 0.1]] * len(TEXTS), "multi_label": [[0.9, 0.1]] * len(TEXTS), "language_modeling": [(10.0, 5, 9)] * len(TEXTS),
           "multiple_choice": [(-1.0, -2.0)] * len(TEXTS), "minimal_pairs": [(-1.0, -2.0)] * len(TEXTS), "preferences": [(-1.0, -2.0)] * len(TEXTS), "prompts": TEXTS, "embedding": [(0.5, 1)] * len(TEXTS), "qa": [[(0, 3, 1.0), (0, 0, 0.5)]] * len(TEXTS), "ner": [[(0, 1, [0.2, 0.8, 0.0])]] * len(TEXTS), "summarize": TEXTS, "translate": TEXTS, "generation": TEXTS, "chat": TEXTS}  # fmt: skip
ROWS = {"minimal_pairs": 2, "embedding": 2, "preferences": 2}  # of a short example, where it is not one


@pytest.fixture(params=names("task"))
def task(request, folder):
    return create("task", {"type": request.param, **settings(request.param)})


def test_it_reads_its_data_and_says_where_each_item_stands(task):
    examples = task.load("test")
    assert [example.fields["text"] for example in examples] == TEXTS
    assert all(isinstance(example, Example) for example in examples)
    assert [example.where for example in examples] == [f"data.jsonl:{i}" for i in range(1, len(TEXTS) + 1)]
    assert len({example.id for example in examples}) == len(TEXTS)
    assert task.files() == [Path("data.jsonl")]
    assert isinstance(task.check(), list)
    assert task.load("validation") == []


def test_its_settings_go_round(task):
    again = create("task", dump_part(task))
    assert dump_part(again) == dump_part(task)
    assert again.load("test") == task.load("test")
    assert again.whole().load("test") == task.load("test")


@pytest.mark.parametrize("length", [2, 5, 16, 1000])
def test_rows_begin_with_the_border_keep_the_length_and_lose_nothing_unsaid(task, length):
    tokenizer = CharacterTokenizer(type="characters", min_count=1).train(TEXTS)
    if task.head == "tag" and length == 2:
        length = 3  # a token between two borders
    for example in task.load("test"):
        rows = task.encode(example, tokenizer, length)
        assert rows
        assert all(isinstance(row, Row) and 0 < len(row.tokens) <= length for row in rows)
        assert rows[0].tokens[0] == tokenizer.eos_id
        if length == 1000:
            assert len(rows) == ROWS.get(task.type, 1)
            written = tokenizer.decode(read(task, rows[0])[1:])
            assert written == (f"user\n{example.fields['text']}\nassistant\n\n" if task.type == "chat" else example.fields["text"])
        elif task.type == "chat":  # a conversation loses its beginning
            assert f"user\n{example.fields['text']}\nassistant\n\n".endswith(tokenizer.decode(read(task, rows[0])[1:]))
        elif task.head == "choice":  # a prompt loses its beginning
            assert example.fields["text"].endswith(tokenizer.decode(read(task, rows[0])[1:]))
        else:
            whole, kept = example.fields["text"], tokenizer.decode(read(task, rows[0])[1:])
            assert whole.endswith(kept) if task.head in ("prompts", "preferences") else whole.startswith(kept)
        assert {row.example for row in rows} == {example.id}


def read(task, row):
    """The tokens of a row that stand for the example's text: not those of an answer."""
    if task.head == "span":  # the question stands before the text
        return row.tokens[:1] + [token for token, kind in zip(row.tokens, row.types) if kind]
    return row.tokens if task.head not in ("text", "preferences", "choice") else [token for token, written in zip(row.tokens, row.trained) if not written]


def test_predictions_are_scored_under_the_tasks_own_metric(task):
    examples = task.load("test")
    pairs = [(example, task.decode(output, example)) for example, output in zip(examples, OUTPUTS[task.type])]
    assert all(isinstance(prediction, Prediction) for _, prediction in pairs)
    scores = task.score(pairs)
    assert isinstance(scores[task.metric], float)
    json.dumps(scores, allow_nan=False)


def test_missing_data_and_missing_fields_are_refused(task):
    for path in ("nowhere.jsonl", "empty.jsonl"):
        Path("empty.jsonl").write_text("")
        with pytest.raises(DataError) as caught:
            create("task", {**settings(task.type), "type": task.type, "path": path}).check()
        assert "\n" not in str(caught.value)
    Path("other.jsonl").write_text('{"txet": "a", "wrogn": "c", "label": "b", "instruction": "d", "outptu": "e"}\n')
    with pytest.raises(DataError, match=r"did you mean '(txet|wrogn|outptu)'"):
        create("task", {**settings(task.type), "type": task.type, "path": "other.jsonl"}).check()


def test_every_task_is_described(task):
    assert task.head in names("head")
    assert task.metric
    assert type(task).__doc__

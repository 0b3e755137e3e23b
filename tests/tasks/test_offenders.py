"""What is not sound is told with the first five of its kind: file, line, what was expected and what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluate.conftest import write
from yanmo.cli import main
from yanmo.core.errors import DataError
from yanmo.core.registry import create
from yanmo.tasks.records import records

ROWS = {
    "classify": [{"text": f"text 文本 🙂 {i}", "label": "ab"[i % 2]} for i in range(9)],
    "multi_label": [{"text": f"text 文本 {i}", "labels": ["ab"[i % 2], "c"]} for i in range(9)],
    "summarize": [{"text": f"A text. 文本 {i}.", "summary": "a"} for i in range(9)],
    "translate": [{"en": f"open {i}", "zh": f"打开{i}"} for i in range(9)],
    "chat": [{"messages": [{"role": "user", "content": f"你好 {i}"}, {"role": "assistant", "content": "hi"}]} for i in range(9)],
    "preferences": [{"prompt": f"问 {i}", "chosen": "yes", "rejected": "no"} for i in range(9)],
    "prompts": [{"prompt": f"问 {i}", "answer": "3"} for i in range(9)],
    "multiple_choice": [{"question": f"问 {i}", "choices": ["a", "乙"], "answer": 1} for i in range(9)],
    "embedding": [{"text": f"a 文 {i}", "second": f"b {i}"} for i in range(9)],
}


@pytest.mark.parametrize("kind", list(ROWS))
def test_leakage_is_told_with_the_rows(folder, kind):
    write(Path("train.jsonl"), [{**ROWS[kind][0], **{key: f"{value} more" for key, value in ROWS[kind][0].items() if isinstance(value, str) and key not in ("label", "answer")}},
                                *ROWS[kind]])  # fmt: skip
    write(Path("test.jsonl"), ROWS[kind][:7])
    task = create("task", {"type": kind, "path": {"train": "train.jsonl", "test": "test.jsonl"}, "validation": 0.0})
    told = [str(concern) for concern in task.check() if "training data" in str(concern)]
    assert len(told) == 1
    assert "7 of 7" in told[0]
    for line in range(1, 6):
        assert f"test.jsonl:{line} = train.jsonl:{line if kind == 'chat' and line == 1 else line + 1}" in told[0]
    assert "test.jsonl:6" not in told[0]
    assert "…" in told[0]


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_mixed_encodings_name_the_first_five_lines(folder, ending):
    rows = [json.dumps({"text": f"文本{i}", "label": "ab"[i % 2]}, ensure_ascii=False) if ending == "jsonl" else f"文本{i},{'ab'[i % 2]}" for i in range(16)]
    head = [] if ending == "jsonl" else [b"text,label"]
    lines = [*head, *(row.encode("gbk" if i % 2 else "utf-8") for i, row in enumerate(rows))]
    Path(f"mixed.{ending}").write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(DataError) as raised:
        create("task", {"type": "classify", "path": f"mixed.{ending}"}).check()
    told, first = str(raised.value), 1 + len(head)
    assert told.startswith(f"mixed.{ending}:{first + 1}: expected UTF-8 text, got byte 0xce at position {11 if ending == 'jsonl' else 1}; so too ")
    assert [f"mixed.{ending}:{first + i} (byte 0xce" in told for i in range(1, 16, 2)] == [False, True, True, True, True, False, False, False]
    assert "and 3 more - convert the file to UTF-8" in told


def test_broken_lines_are_told_together(folder):
    Path("broken.jsonl").write_text('{"text": "好"}\n{"text": \n\n[1]\n"🙂"\n{"a": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"^broken.jsonl:2: expected a JSON object on one line, got '\{\"text\":': Expecting value \(column 9\); "
                                        r"so too broken.jsonl:4 \(\[1\]\), broken.jsonl:5 \('🙂'\)$"):  # fmt: skip
        list(records(Path("broken.jsonl")))


def test_the_next_offenders_say_what_stands_there(folder, capsys):
    write(Path("train.jsonl"), ROWS["classify"])
    write(Path("test.jsonl"), [{"text": f"x {i}", "label": f"新{i}"} for i in range(8)])
    task = {"type": "classify", "path": {"train": "train.jsonl", "test": "test.jsonl"}}
    Path("r.yaml").write_text(json.dumps({"name": "r", "stages": [{"finetune": {"model": {"type": "majority"}, "task": task}}]}))
    assert main(["run", "r.yaml"]) == 2
    told = capsys.readouterr().err
    assert "test.jsonl:1: field 'label' expected one of 'a', 'b', got '新0'; so too test.jsonl:2 ('新1'), test.jsonl:3 ('新2'), " in told
    assert "test.jsonl:5 ('新4') and 3 more" in told
    write(Path("test.jsonl"), [{"text": value, "label": "a"} for value in ("fine", " ", "", None, 3)])
    assert main(["run", "r.yaml"]) == 2
    assert "test.jsonl:2: field 'text' expected some text, got an empty one; so too test.jsonl:3 (an empty one)" in capsys.readouterr().err
    assert not Path("runs").exists() or not list(Path("runs").rglob("manifest.json"))

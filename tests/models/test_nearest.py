"""The nearest training prompt's answer: fitted, saved, opened, the same, in English and Chinese."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.core.errors import CorruptError, DataError, RequestError
from yanmo.core.registry import create
from yanmo.models.store import load, save

ROWS = [{"prompt": "Tom has 3 apples 🍎 and finds 4.", "answer": "7"}, {"prompt": "小明有3个苹果，又买了5个。", "answer": "8"},
        {"prompt": "Ana has 9 books and loses 2 e\u0301.", "answer": "7"}, {"prompt": "小红有9本书，丢了1本。", "answer": "8"}]  # fmt: skip


def task(rows=ROWS, **settings):
    Path("p.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return create("task", {"type": "prompts", "path": {"train": "p.jsonl"}, "validation": 0, **settings})


def test_each_prompt_is_its_own_nearest_and_a_file_keeps_all(folder):
    made = create("model", {"type": "nearest"}).fit_task(task())
    for name in "ab":
        save(Path(name), made, None)
    assert all(file.read_bytes() == (Path("b") / file.name).read_bytes() for file in Path("a").iterdir())
    opened = load(Path("a")).model
    for model in (made, opened):
        assert [model.nearest(row["prompt"]) for row in ROWS] == [0, 1, 2, 3]
        assert model.write(["A boy finds apples.", "苹果有3个", "九本书丢了", "loses books", "🤷", ""]) == ["7", "8", "8", "7", "7", "7"]
        assert [model.nearest(content) for content in ("loses books", "本书丢", "🤷")] == [2, 3, 0]  # of equals the first


def test_words_of_chinese_are_another_reading(folder):
    assert create("model", {"type": "nearest", "units": "words"}).fit_task(task()).write(["苹果"]) == ["8"]


def test_other_tasks_and_prompts_without_answers_are_refused(folder):
    part = create("model", {"type": "nearest"})
    with pytest.raises(DataError, match="prompts with their answers"):
        part.fit_task(task([{"prompt": "a?"}, {"prompt": "墨？"}], verify={"type": "pattern", "pattern": "x"}))
    Path("t.jsonl").write_text('{"text": "a", "label": "b"}\n', encoding="utf-8")
    other = create("task", {"type": "classify", "path": "t.jsonl"})
    with pytest.raises(RequestError, match="a model for the task 'classify', got nearest"):
        part.fit_task(other)
    assert part.fit_task(task()).unfit(other) is not None


@pytest.mark.parametrize("broken", ['{"prompt": "a"}\n', "[]\n", '{"prompt": "a", "answer": 1}\n', "", "{\n"])
def test_a_file_of_something_else_is_refused(folder, broken):
    save(Path("a"), create("model", {"type": "nearest"}).fit_task(task()), None)
    Path("a/known.jsonl").write_text(broken, encoding="utf-8")
    with pytest.raises(CorruptError, match=r"known\.jsonl"):
        load(Path("a"))
    Path("a/known.jsonl").unlink()
    with pytest.raises(DataError, match=r"no known\.jsonl in it"):
        load(Path("a"))

"""Conversations read: each published form, and one line for each that is not sound."""

import json

import pytest

from yanmo.core.errors import DataError
from yanmo.core.registry import create
from yanmo.tasks.readers.conversations import conversations, messages_of
from yanmo.tasks.records import Record


def said(**values):
    return [(m["role"], m["content"]) for m in messages_of(Record("a.jsonl:1", values))]


TALK = [("system", "Grind ink. 研墨。"), ("user", "你好 🙂"), ("assistant", "café"), ("user", "e\u0301?"), ("assistant", "好")]


def test_each_form_gives_messages():
    messages = [{"role": role, "content": content} for role, content in TALK]
    assert said(messages=messages) == TALK
    turns = [{"from": name, "value": content} for name, (_, content) in zip(("system", "human", "gpt", "Human", "GPT"), TALK)]
    assert said(conversations=turns) == TALK
    assert said(conversation=turns[1:], system=TALK[0][1]) == TALK
    assert said(conversations=messages) == TALK  # messages under ShareGPT's name
    assert said(instruction="e\u0301?", output="好", history=[["你好 🙂", "café"]], system=TALK[0][1]) == TALK
    assert said(instruction="Add", input="1 2", output="3") == [("user", "Add\n\n1 2"), ("assistant", "3")]
    assert said(instruction="Add", input=" ", output="3") == [("user", "Add"), ("assistant", "3")]
    parts = [{"type": "text", "text": "研"}, {"type": "text", "text": "墨"}]
    assert said(messages=[{"role": "user", "content": parts}, {"role": "assistant", "content": "好"}])[0] == ("user", "研墨")


def test_tools():
    call = [{"type": "function", "function": {"name": "clock", "arguments": {"city": "西安"}}}]
    record = Record("a:1", {"messages": [
        {"role": "user", "content": "几点了?"}, {"role": "assistant", "content": None, "tool_calls": call},
        {"role": "tool", "content": "12:30", "name": "clock"}, {"role": "assistant", "content": "十二点半。"}]})  # fmt: skip
    found = messages_of(record)
    assert [m["role"] for m in found] == ["user", "assistant", "tool", "assistant"]
    assert found[1]["tool_calls"] == call
    assert found[2]["name"] == "clock"


FILES = {
    "a.jsonl": '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "你好"}]}\n\n',
    "b.json": json.dumps([{"instruction": "hi", "output": "你好"}], ensure_ascii=False),
    "c.yml": "categories:\n- greetings\nconversations:\n- - hi\n  - 你好\n  - 1\n- - yes\n  - no\n",
}


def test_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    found = [(record.where, messages_of(record)) for name in FILES for record in conversations(tmp_path.joinpath(name).relative_to(tmp_path))]
    assert [where for where, _ in found] == ["a.jsonl:1", "b.json[0]", "c.yml:4", "c.yml:7"]
    assert all([m["content"] for m in messages][:2] == ["hi", "你好"] for _, messages in found[:3])
    assert [m["content"] for m in found[2][1]] == ["hi", "你好", "1"]
    assert [m["content"] for m in found[3][1]] == ["True", "False"]  # YAML's yes and no are its own doing


WRONG = {
    "role": ({"messages": [{"role": "usr", "content": "x"}]}, "a:1: messages[0].role: expected one of 'system', 'user', 'assistant', 'tool', got 'usr' - did you mean 'user'?"),
    "order": ({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]},
              "a:1: field 'messages[1].role' expected one of 'assistant', got 'user'"),
    "begins": ({"messages": [{"role": "assistant", "content": "x"}]}, "a:1: field 'messages[0].role' expected one of 'system', 'user', got 'assistant'"),
    "late system": ({"conversations": [{"from": "human", "value": "x"}, {"from": "system", "value": "y"}]},
                    "a:1: field 'messages[1].role' expected one of 'assistant', got 'system'"),
    "empty": ({"messages": [{"role": "user", "content": "  \n"}]}, "a:1: field 'messages[0].content' expected some text, got an empty one"),
    "nobody answers": ({"messages": [{"role": "user", "content": "x"}]}, "a:1: expected an answer of the assistant, got none"),
    "half a character": ({"messages": [{"role": "user", "content": "\ud83d"}]}, "half of a surrogate pair"),
    "speaker": ({"conversations": [{"from": "humann", "value": "x"}]}, "'human', 'user', 'gpt'"),
    "turn": ({"conversations": ["x"]}, "a:1: field 'conversations[0]' expected a mapping with 'from' and 'value', got 'x'"),
    "no list": ({"conversations": "x"}, "a:1: field 'conversations' expected a list of turns, got 'x'"),
    "no messages": ({"messages": []}, "a:1: messages: expected a list of at least one message, got []"),
    "output": ({"instruction": "x", "outputs": "y"}, "a:1: field 'output' is missing - did you mean 'outputs'?"),
    "number": ({"instruction": "x", "output": 3}, "a:1: field 'output' expected a string, got 3"),
    "history": ({"instruction": "x", "output": "y", "history": ["z"]}, "a:1: field 'history' expected a list of pairs of texts"),
    "nothing": ({"mesages": []}, "a:1: expected 'messages', 'conversations', or 'instruction' and 'output', got 'mesages' - did you mean 'messages'?"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name):
    values, expected = WRONG[name]
    with pytest.raises(DataError) as caught:
        messages_of(Record("a:1", values))
    assert expected in str(caught.value)


def test_the_first_five_offenders_are_named(tmp_path):
    lines = [{"messages": [{"role": "user", "content": "x"}, {"role": role, "content": "y"}]} for role in ("assistant", "user") * 7]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    task = create("task", {"type": "chat", "path": str(tmp_path / "a.jsonl")})
    with pytest.raises(DataError) as caught:
        task.load("train")
    said = str(caught.value).replace(f"{tmp_path}/", "")
    assert said.startswith("a.jsonl:2: field 'messages[1].role' expected one of 'assistant', got 'user' - also: a.jsonl:4, a.jsonl:6, a.jsonl:8, a.jsonl:10, …")


@pytest.mark.parametrize(("name", "content", "expected"), [
    ("a.json", "[{]", "a.json:1: expected valid JSON"), ("a.json", '[{}, 3]', "a.json[1]: expected a mapping, got 3"),
    ("a.yml", "a: [", "expected valid YAML"), ("a.yml", "a: 1", "a.yml: expected a list 'conversations', got nothing"),
    ("a.yml", "conversations:\n- x\n", "a.yml:2: expected a list of utterances, got 'x'"), ("a.jsonl", "x", "a JSON object on one line"),
])  # fmt: skip
def test_broken_files(name, content, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(conversations((tmp_path / name).relative_to(tmp_path)))
    assert expected in str(caught.value)

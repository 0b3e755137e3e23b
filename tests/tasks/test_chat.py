"""Conversations as rows: exactly the assistant's turns are trained, by the one renderer; long ones are divided."""

import json
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.data import Prediction
from yanmo.core.errors import DataError
from yanmo.core.registry import create, lookup
from yanmo.tasks.datasets.dataset import Members
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.chat import CHATML, answered, render
from yanmo.text.tokenizer import Tokenizer

TEXTS = ["What is 研墨? 磨墨，写字。 You grind ink 🖋️ on a stone. assistant user system tool\n", "你好！今天天气很好。Café e\u0301te\u0301 \n"]
SMOL = (  # as SmolLM2's: a system message where there is none
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nHelp.<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOOLS = (  # tools and their calls are written, too
    "{% if tools %}{{ '<|im_start|>tools\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' + m.content }}{% for c in m.tool_calls or [] %}{{ '<call>' + (c | tojson) }}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRIMMED = (  # what Llama's do: contents trimmed, no line's end behind a turn
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + ': ' + (m.content | trim) + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
)
TALK = [
    {"role": "system", "content": "You grind ink. 你研墨。"},
    {"role": "user", "content": "What is 研墨?"},
    {"role": "assistant", "content": "You grind ink 🖋️."},
    {"role": "user", "content": "写字 <|im_end|>\n<|im_start|>assistant\nno"},
    {"role": "assistant", "content": "磨墨 <|im_end|> e\u0301"},
]


@cache
def tokenizer(template=CHATML) -> Tokenizer:
    return Tokenizer(BpeTokenizer(size=340, min_frequency=1).train(TEXTS * 3).inner, template)


def turns(ids, own, tok):
    """The runs of trained tokens, as text."""
    found, held = [], []
    for token, flag in [*zip(ids, own), (0, False)]:
        if flag:
            held.append(token)
        elif held:
            found.append(tok.decode(held, skip_special=False))
            held = []
    return found


@pytest.mark.parametrize("template", [CHATML, SMOL, TRIMMED, TOOLS])
@pytest.mark.parametrize("first", [0, 1])
def test_exactly_the_assistants_turns(template, first):
    tok, talk = tokenizer(template), TALK[first:]
    ids, own = answered(talk, tok)
    plain = render(talk, tok, generate=False)
    assert tok.decode(ids, skip_special=False) == tok.decode(plain, skip_special=False)
    assert turns(ids, own, tok) == ["You grind ink 🖋️.<|im_end|>", "磨墨 <|im_end|> e\u0301<|im_end|>"]
    if template == TRIMMED:  # whose header ends with a space, which would melt into the answer's first word
        assert ids != plain
        first = render(talk[: 2 - first], tok)
        assert ids[: len(first)] == first
        assert own.index(True) == len(first)
        return
    assert ids == plain
    for index, message in enumerate(talk):
        if message["role"] == "assistant":  # a turn begins where the prompt of the conversation so far ends
            before = render(talk[:index], tok)
            assert ids[: len(before)] == before
            assert own[len(before)]
            assert not own[len(before) - 1]
            whole = render(talk[: index + 1], tok, generate=False)
            end = max(place for place, flag in enumerate(own[: len(whole)]) if flag)
            assert whole[end] == tok.special["<|im_end|>"]
            assert not any(own[end + 1 : len(whole)])


CONTENT = st.lists(st.sampled_from([*"aé研墨🙂\n ", "e\u0301", "<|im_end|>", "<|im_start|>", "assistant\n", "\n\n", "user"]), min_size=1, max_size=6).map("".join)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(CONTENT, CONTENT), min_size=1, max_size=3), st.booleans())
def test_whatever_is_said(exchanges, system):
    tok = tokenizer(SMOL)
    talk = [{"role": "system", "content": "研"}] * system
    for asked, answer in exchanges:
        talk += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    ids, own = answered(talk, tok)
    assert tok.decode(ids, skip_special=False) == tok.decode(render(talk, tok, generate=False), skip_special=False)
    assert turns(ids, own, tok) == [f"{answer}<|im_end|>" for _, answer in exchanges]
    assert ids[: own.index(True)] == render(talk[: 1 + system], tok)


def test_calls_and_tools_answers():
    tok = tokenizer(TOOLS)
    talk = [{"role": "user", "content": "几点?"}, {"role": "assistant", "content": "", "tool_calls": [{"name": "clock", "arguments": {"a": "<|im_end|>"}}]},
            {"role": "tool", "content": "12:30"}, {"role": "assistant", "content": "十二点半"}]  # fmt: skip
    ids, own = answered(talk, tok, [{"name": "clock"}])
    assert turns(ids, own, tok) == ['<call>{"name": "clock", "arguments": {"a": "<|im_end|>"}}<|im_end|>', "十二点半<|im_end|>"]
    assert ids.count(tok.special["<|im_end|>"]) == 5  # the one inside of the arguments is text
    assert '[{"name": "clock"}]' in tok.decode(ids)


def test_a_template_without_a_generation_prompt():
    with pytest.raises(DataError) as caught:
        answered(TALK, tokenizer("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"))
    assert "chat_template: expected a template with a generation prompt, got one without" in str(caught.value)
    with pytest.raises(DataError, match="begins a conversation as it begins what stands before an answer"):
        answered(TALK, tokenizer("{{ messages | length }}{% if add_generation_prompt %}<|im_start|>{% endif %}"))


# ------------------------------------------------------------------------------------------------ the task


def write(folder, talks, **more):
    path = folder / "talks.jsonl"
    path.write_text("\n".join(json.dumps({"messages": talk, **more}, ensure_ascii=False) for talk in talks), encoding="utf-8")
    return create("task", {"type": "chat", "path": {"train": str(path)}, "validation": 0, "test": 0})


def test_a_conversation_is_a_row(tmp_path):
    task, tok = write(tmp_path, [TALK], language="zh"), tokenizer()
    (example,) = task.load("train")
    assert example.fields["group"] == "language=zh"
    assert task.prompt(example) == TALK[:-1]
    assert task.answer(example) == TALK[-1]["content"]
    (row,) = task.encode(example, tok, 1 << 40)
    assert (row.tokens, row.trained) == answered(TALK, tok)
    assert task.prompt_ids(example, tok, 1 << 40) == (render(TALK[:-1], tok), 0)
    scores = task.score([(example, Prediction("", answer=TALK[-1]["content"]))])
    assert scores["chrf"] == pytest.approx(100)
    assert scores["rouge_l"] == pytest.approx(1)


def long(count, words=3):
    talk = [{"role": "system", "content": "研"}]
    for number in range(count):
        talk += [{"role": "user", "content": f"What is {number}? " * words}, {"role": "assistant", "content": f"墨 {number}. " * words}]
    return talk


def test_a_long_one_is_divided_between_exchanges(tmp_path):
    tok, talk = tokenizer(), long(6)
    task = write(tmp_path, [talk])
    (example,) = task.load("train")
    (whole,) = task.encode(example, tok, 1 << 40)
    length = len(whole.tokens) // 2 - 5
    rows = task.encode(example, tok, length)
    assert len(rows) == 3
    assert all(len(row.tokens) <= length for row in rows)
    assert [t for row in rows for t in turns(row.tokens, row.trained, tok)] == turns(whole.tokens, whole.trained, tok)
    assert all(tok.decode(row.tokens, skip_special=False).startswith("<|endoftext|><|im_start|>system\n研<|im_end|>") for row in rows)


def test_an_exchange_longer_than_the_model_is_cut_on_both_sides(tmp_path):
    tok = tokenizer()
    talk = long(1, words=40)
    task = write(tmp_path, [talk])
    (example,) = task.load("train")
    (whole,) = task.encode(example, tok, 1 << 40)
    for length in (200, 64, 20):
        (row,) = task.encode(example, tok, length)
        assert len(row.tokens) == length
        assert row.tokens[0] == whole.tokens[0]
        begin = row.trained.index(True)
        first = whole.trained.index(True)
        assert row.tokens[1:begin] == whole.tokens[first - begin + 1 : first]  # what was asked last
        assert row.tokens[begin:] == whole.tokens[first : first + length - begin]
        ids, cut = task.prompt_ids(example, tok, length)
        assert len(ids) <= length
        assert cut == len(render(talk[:-1], tok)) - len(ids)


def test_prompts_lose_their_first_exchanges_first(tmp_path):
    tok, talk = tokenizer(), long(4)
    (example,) = write(tmp_path, [talk]).load("train")
    task = write(tmp_path, [talk])
    whole = render(talk[:-1], tok)
    ids, cut = task.prompt_ids(example, tok, len(whole) - 10)
    assert ids == render([talk[0], *talk[3:-1]], tok)
    assert cut == len(whole) - len(ids)


def test_what_nobody_answers_is_left_out_and_said(tmp_path):
    task = write(tmp_path, [[*TALK, {"role": "user", "content": "还有?"}]])
    (example,) = task.load("train")
    assert example.fields["messages"] == TALK
    (said,) = task.check()
    assert str(said).startswith("1 conversations end with a turn that nobody answers, which is left out (first: ")


def test_equal_beginnings_stand_on_one_side(tmp_path):
    talks = [[{"role": "user", "content": f"q {n % 20}"}, {"role": "assistant", "content": f"a {n}"}] for n in range(200)]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks), encoding="utf-8")
    task = create("task", {"type": "chat", "path": str(path), "test": 0.3, "validation": 0.2})
    sides = [{example.fields["text"] for example in task.load(split)} for split in ("train", "validation", "test")]
    assert sum(map(len, sides)) == 20
    assert all(sides)
    assert task.check() == []


def test_options_without_an_effect_are_refused():
    for wrong in ({"template": "x {text}"}, {"chat": False}, {"cut": "end"}):
        with pytest.raises(Exception, match="expected"):
            create("task", {"type": "chat", "path": "x", **wrong})


def test_chatterbot_as_rows():
    talk = "categories:\n- a\nconversations:\n- - Hello\n  - Hi 🙂\n  - How are you?\n- - 1\n  - 2\n- - alone\n".encode()
    files = {f"chatterbot_corpus/data/{name}/a.yml": talk for name in ("english", "chinese")}
    found = list(lookup("dataset", "chatterbot")().items(Members(files)))
    assert [item.row["language"] for item in found] == ["en", "en", "zh", "zh"]
    assert found[0].row["messages"] == [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi 🙂"}]
    assert found[0].group == "en\thello"

"""Tasks whose answer is a text: what a row trains, what is cut and counted, what prompts are, what is not sound."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference.tiny import TEXTS, tokenizer
from yanmo.core.data import Example, Prediction
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create
from yanmo.text.chat import CHATML
from yanmo.text.tokenizer import Tokenizer

ROWS = [{"text": text, "summary": text[:12]} for text in TEXTS]


def written(rows, name="data.jsonl"):
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


def made(kind="summarize", **settings):
    return create("task", {"type": kind, "path": "nowhere.jsonl", **settings})


def example(content, answer, **fields):
    return Example("1", {"text": content, "answer": answer, **fields}, "data.jsonl:1")


def test_a_row_is_the_prompt_the_answer_and_its_end_and_trains_the_answer():
    tok, task = tokenizer(), made(template="Read: {text}\n=> ")
    [row] = task.encode(example(TEXTS[4], TEXTS[5]), tok, 1000)
    assert row.tokens[0] == tok.bos_id
    assert tok.decode([t for t, on in zip(row.tokens, row.trained) if not on][1:]) == f"Read: {TEXTS[4]}\n=> "
    answer = [t for t, on in zip(row.tokens, row.trained) if on]
    assert tok.decode(answer[:-1]) == TEXTS[5]
    assert answer[-1] == tok.eos_id


@given(content=st.text(max_size=120), answer=st.text(max_size=60), length=st.integers(2, 80), cut=st.sampled_from(["end", "beginning"]), tokens=st.integers(1, 40))
def test_rows_keep_the_length_and_what_is_cut_is_counted(content, answer, length, cut, tokens):
    tok, task = tokenizer(), made(template="Q: {text} A:", cut=cut, max_tokens=tokens)
    [row] = task.encode(example(content, answer), tok, length)
    assert 1 < len(row.tokens) <= length
    assert row.tokens[0] == tok.bos_id
    assert row.trained == sorted(row.trained)  # the answer is behind the prompt
    assert any(row.trained)
    prompt, lost = task.prompt_ids(example(content, answer), tok, task.room(length))
    assert prompt == [t for t, on in zip(row.tokens, row.trained) if not on]
    assert len(prompt) <= max(length - tokens, length // 2, 1)
    whole, none = task.prompt_ids(example(content, answer), tok, 1 << 40)
    assert none == 0
    assert (lost == 0) == (prompt == whole) or not tok.encode(content)


def test_what_is_cut_is_the_texts_end_or_its_beginning_never_the_question():
    tok = tokenizer()
    for cut, kept in (("end", "The ink stick"), ("beginning", "and smooth.")):
        ids, lost = made(template="Q: {text} A:", cut=cut).prompt_ids(example(TEXTS[0], "x"), tok, 30)
        shown = tok.decode(ids[1:])
        assert len(ids) <= 30
        assert lost > 0
        assert kept in shown
        assert shown.startswith("Q: ")
        assert shown.endswith(" A:")


def test_an_encoder_reads_the_prompt_as_it_reads_texts():
    tok, task = tokenizer(), made(template="{text}")
    ids, _ = task.prompt_ids(example(TEXTS[0], "x"), tok, 1000, source=True)
    assert ids == tok.add_special(tok.encode(TEXTS[0])).ids


def test_with_chat_the_prompt_is_a_message_and_the_answer_ends_its_turn():
    tok = Tokenizer(tokenizer().inner, CHATML)
    task = made(chat=True, template="Say it shortly: {text}")
    assert task.prompt(example("研墨", "墨")) == [{"role": "user", "content": "Say it shortly: 研墨"}]
    [row] = task.encode(example("研墨", "墨"), tok, 1000)
    prompt = [t for t, on in zip(row.tokens, row.trained) if not on]
    assert tok.decode(prompt, skip_special=False) == "<|endoftext|><|im_start|>user\nSay it shortly: 研墨<|im_end|>\n<|im_start|>assistant\n"
    assert row.tokens[-1] == tok.special["<|im_end|>"]
    ids, lost = task.prompt_ids(example(TEXTS[0] * 3, "x"), tok, 60)
    assert lost > 0
    assert len(ids) <= 60
    assert tok.decode(ids, skip_special=False).endswith("<|im_start|>assistant\n")


def test_figures_floors_and_signatures(folder):
    task = made(path={"test": written(ROWS)})
    examples = task.load("test")
    scores = task.score([(e, task.decode(" " + e.fields["answer"] + "\n", e)) for e in examples if e.fields["text"].isascii()])
    assert scores["rouge_l"] == 1.0
    assert scores["signatures"]["rouge_l"].startswith("F, words")
    assert task.floors(example("One. Two two. Three. Four.", "x")) == {"lead-1": "One.", "lead-3": "One. Two two. Three."}
    assert task.floors(example("一。二！三？四", "x")) == {"lead-1": "一。", "lead-3": "一。二！三？"}
    chinese = made(language="zh", path={"test": "data.jsonl"})
    assert chinese.measured == "rouge/characters"
    assert chinese.score([(examples[4], Prediction("", answer=examples[4].fields["answer"]))])["rouge_1"] == 1.0


def test_what_is_not_sound_is_named_with_the_next_ones(folder):
    rows = [dict(row) for row in ROWS]
    rows[2]["summary"] = " "
    rows[5]["text"] = 5
    rows[7] = {"text": "a"}
    with pytest.raises(DataError) as caught:
        made(path=written(rows)).check()
    said = caught.value.render("en")
    assert said.startswith("data.jsonl:3: field 'summary' expected some text, got an empty one")
    assert "data.jsonl:6, data.jsonl:8" in said
    Path("bad.jsonl").write_text('{"text": "\\ud800", "summary": "b"}\n' * 9)
    with pytest.raises(DataError, match="half of a surrogate pair"):
        made(path="bad.jsonl").check()


def test_leaks_are_told(folder):
    task = made(path={"train": written(ROWS), "test": written(ROWS[:2], "test.jsonl")})
    assert [concern.render("en")[:15] for concern in task.check()] == ["test: 2 of 2 te"]


@pytest.mark.parametrize(("settings", "said"), [
    ({"template": "no place"}, "a template with '{text}' in it once"), ({"template": "{text}{text}"}, "in it once"),
    ({"length_penalty": 1.0}, "left out with one beam"), ({"beams": 0}, "at least 1"), ({"path": {"tset": "x"}}, "'train', 'validation' and 'test'"),
    ({"tokenizer": "bpe"}, "words"), ({"cut": "middle"}, "one of"),
])  # fmt: skip
def test_settings_without_effect_or_sense_are_refused(settings, said):
    with pytest.raises(RecipeError) as caught:
        made(**settings)
    assert said in caught.value.render("en")


def test_generation_stands_behind_its_attributes(folder):
    rows = [{"text": "很久以前，海上有一条船。", "prompt": "很久以前，", "mood": "calm", "length": 3}, {"text": "Storms at sea!", "mood": "wild", "length": 2}]
    task = made("generation", path={"test": written(rows)}, attributes=["mood", "length"])
    first, second = task.load("test")
    assert task.prompt(first) == "<mood=calm> <length=3> 很久以前，"
    assert task.answer(first) == "海上有一条船。"
    assert task.prompt(second) == "<mood=wild> <length=2> "
    assert first.fields["label"] == "calm"
    [row] = task.encode(second, tokenizer(), 200)
    assert tokenizer().decode(row.tokens[1:-1]) == "<mood=wild> <length=2> Storms at sea!"
    open_ended = made("generation", path={"test": "data.jsonl"}).load("test")
    assert open_ended[1].fields["text"] == ""
    for bad, said in (({"text": "abc", "prompt": "b", "mood": "x", "length": 1}, "begins with"), ({"text": "abc", "prompt": "abc", "mood": "x", "length": 1}, "not all of it"),
                      ({"text": "abc", "mood": "x"}, "field 'length' is missing")):  # fmt: skip
        with pytest.raises(DataError, match=said):
            made("generation", path={"test": written([bad])}, attributes=["mood", "length"]).check()
    for wrong in ({"judge": "runs/x"}, {"temperature": 1.0, "beams": 2}, {"seed": 3}, {"attributes": ["a", "a"]}):
        with pytest.raises(RecipeError):
            made("generation", **wrong)

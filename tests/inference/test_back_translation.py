"""Labelled texts said in other words by two translators: a pair of networks that know their sentences by heart, and dictionaries."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from yanmo.cli import main
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.data import Example, content_id
from yanmo.core.errors import RecipeError, RequestError
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.inference import back_translation
from yanmo.inference.beam import BeamSearch
from yanmo.inference.engine import Request
from yanmo.inference.model import Model, start_of
from yanmo.inference.sampling import sampling
from yanmo.inference.writing import answered
from yanmo.models import channel
from yanmo.models.base import Loaded

# English, what it means in Chinese, and what that means in English again.
SAID = [
    ("turn on the light", "打开灯", "switch on the lamp"),
    ("close the door 🚪", "关上门🚪", "shut the door 🚪"),
    ("play some music", "放音乐", "put on a song"),
    ("what is the time", "现在几点", "tell me the time"),
    ("is it cold", "冷不冷", "is it cold"),
]  # fmt: skip
LONG = "turn on " * 80


def write(name: str, rows: list[dict]) -> None:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose stages translate; its folder."""
    place = tmp_path_factory.mktemp("translators")
    before = Path.cwd()
    os.chdir(place)
    try:
        write("there.jsonl", [{"en": a, "zh": b} for a, b, _ in SAID])
        write("back.jsonl", [{"en": c, "zh": b} for _, b, c in SAID])
        write("texts.jsonl", [{"text": side} for row in SAID for side in row])
        model = {"type": "transformer", "architecture": "encoder-decoder", "depth": 1, "width": 64, "heads": 2, "context": 64}
        train = {"steps": 150, "batch_tokens": 512, "validate_every": 150, "optim": {"type": "adamw", "lr": 0.005}}

        def stage(name, source, target, file, **more):
            path = {"train": file, "validation": file, "test": file}
            task = {"type": "translate", "source": source, "target": target, "path": path, "template": "{text}", "max_tokens": 24}
            task |= {"beams": 4, "channel": 0.5, "memory": 0.3} if name == "there" else {}
            return {"name": name, "finetune": {"model": model, "task": task, "train": train, **more}}

        words = {"model": {"type": "dictionary"}, "train": {}}
        stages = [{"corpus": {"source": {"type": "jsonl", "path": "texts.jsonl"}, "validation": 0}}, {"tokenizer": {"type": "characters", "min_count": 1}},
                  stage("there", "en", "zh", "there.jsonl"), stage("back", "zh", "en", "back.jsonl"),
                  stage("words", "en", "zh", "there.jsonl", **words), stage("words-back", "zh", "en", "back.jsonl", **words)]  # fmt: skip
        execute(parse({"name": "r", "seed": 0, "stages": stages}, Place()), "runs/r", console=Console(quiet=True), force=True)
    finally:
        os.chdir(before)
    return place / "runs" / "r"


@pytest.fixture
def part(trained):
    def made(there="there", back="back", **settings):
        return create("augment", {"type": "back_translation", "there": str(trained / there), "back": str(trained / back), **settings})

    back_translation._translated.cache_clear()
    return made


def examples() -> list[Example]:
    return [Example(content_id(a), {"text": a, "label": "x", "group": "language=en"}, f"d:{i}") for i, (a, _, _) in enumerate(SAID)]


def test_a_copy_says_the_same_in_the_words_of_the_second_translator(part):
    made = list(part().copies_of(examples()))
    assert [example.fields["text"] for example in made] == [c for a, _, c in SAID if a != c], "what came out as it was is no copy"
    assert {example.fields["label"] for example in made} == {"x"}
    assert not {example.id for example in made} & {example.id for example in examples()}
    alone = list(part().copies_of(examples()[1:2]))
    assert alone == made[1:2], "the rows around it change no copy"


def test_what_cannot_be_said_whole_gets_no_copy(part):
    assert list(part().copies_of([Example("1", {"text": LONG, "label": "x"}, "d:1")])) == []


def test_of_a_pair_both_texts_are_said_anew(part):
    pair = Example("1", {"text": SAID[0][0], "second": SAID[4][0], "label": "x"}, "d:1")
    (made,) = part().copies_of([pair])
    assert (made.fields["text"], made.fields["second"]) == (SAID[0][2], SAID[4][2])


def test_a_text_is_translated_by_its_sentences(trained):
    loaded, plain = back_translation.translator(str(trained / "there"), "there")
    task = plain.model_copy(update={"by_sentence": True})
    several = Example("1", {"text": "\n".join(a for a, _, _ in SAID[:3])}, "d:1")
    one = Example("2", {"text": SAID[3][0]}, "d:2")
    found = answered(loaded, task, [several, one])
    assert [f.text for f in found] == [" ".join(b for _, b, _ in SAID[:3]), SAID[3][1]]
    assert all(f.ended and not f.cut for f in found)
    assert answered(loaded, plain, [several])[0].text != found[0].text, "the network knows single sentences alone"
    cut = answered(loaded, task, [Example("3", {"text": f"{SAID[0][0]}\n{LONG}"}, "d:3")])[0]
    assert cut.cut > 0, "what one sentence loses, the text does"
    assert cut.text.startswith(SAID[0][1])


def test_of_what_the_beams_end_with_the_answer_is_taken_that_explains_the_text(trained):
    loaded, task = back_translation.translator(str(trained / "there"), "there")
    assert (task.channel, task.memory) == (0.5, 0.3)
    task = task.model_copy(update={"memory": 0.0})
    assert (trained / "there" / "model" / channel.FILE).is_file()
    texts = ["turn on the light is it cold", "close some music 🚪", "what is cold", SAID[0][0]]
    asked = [Example(str(at), {"text": content}, "d:1") for at, content in enumerate(texts)]
    requests = [Request([start_of(loaded)], sampling(max_tokens=24), loaded.tokenizer.encode(content)) for content in texts]
    search = BeamSearch(loaded.model, loaded.tokenizer, 4, best=4)
    every = [[search.completion(answer).text.strip() for answer in answers] for answers in search.answers(requests)]
    judge = channel.Channel.load(trained / "there" / "model", loaded.tokenizer)
    best = [max(own, key=lambda answer: judge.logprob(content, answer)[0]) for content, own in zip(texts, every)]
    assert [found.text for found in answered(loaded, task.model_copy(update={"channel": 1e6}), asked)] == best
    assert [found.text for found in answered(loaded, task.model_copy(update={"channel": 1e-9}), asked)] == [own[0] for own in every]
    assert best != [own[0] for own in every], "somewhere the network's own first choice is another"


def test_texts_are_written_about_by_the_settings_of_the_task(trained, capsys):
    opened = Model.open(trained / "there")
    assert opened.predicts == "text"
    contents = [a for a, _, _ in SAID]
    written = opened.write(contents)
    assert [said.text for said in written] == [b for _, b, _ in SAID]
    assert [(said.near[0].text, said.near[0].answer) for said in written] == [(a, b) for a, b, _ in SAID]
    assert all(said.near[0].alike == pytest.approx(1) for said in written)
    assert main(["predict", str(trained / "there"), *contents]) == 0
    assert capsys.readouterr().out.splitlines() == [b for _, b, _ in SAID]
    assert main(["predict", str(trained / "words"), contents[4], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["text"] == contents[4]
    assert told["answer"] == Model.open(trained / "words").write(contents[4:])[0].text != ""
    assert "near" not in told
    assert main(["predict", str(trained / "there"), contents[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["near"][0] == {"text": contents[0], "answer": SAID[0][1], "alike": 1.0}
    assert main(["predict", str(trained / "there"), LONG, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cut"] > 0
    with pytest.raises(RequestError):
        opened.write([3])


def test_a_model_that_was_tuned_without_the_channel_says_so(trained):
    loaded, task = back_translation.translator(str(trained / "back"), "back")
    for name in ("channel", "memory"):
        with pytest.raises(RequestError, match=rf"{name}.*tuned with it.*leave out '{name}'"):
            answered(loaded, task.model_copy(update={"beams": 2, name: 0.4}), [Example("1", {"text": "打开灯"}, "d:1")])
    with pytest.raises(RecipeError, match=r"channel.*one beam"):
        create("task", {"type": "translate", "path": "x", "channel": 0.4})


def test_dictionaries_translate_too(part):
    made = list(part("words", "words-back").copies_of(examples()))
    assert made
    assert all(example.fields["text"].isprintable() for example in made)


def test_drawn_copies_follow_from_the_seed(part):
    drawn = {"temperature": 1.5, "copies": 8}
    made = list(part(**drawn).copies_of(examples()))
    assert made == list(part(**drawn).copies_of(examples()))
    assert len({example.fields["text"] for example in made}) > len(SAID) - 1, "more than the likeliest ones"
    assert [e.id for e in made] != [e.id for e in part(seed=9, **drawn).copies_of(examples())]


def test_a_share_of_the_rows_is_translated(part):
    texts = [Example(str(number), {"text": SAID[0][0], "label": "x"}, "d:1") for number in range(60)]
    count = len(list(part(share=0.3).copies_of(texts)))
    assert 5 < count < 35


def test_a_task_gets_the_copies_behind_its_training_rows_alone(part, trained, folder):
    write("rows.jsonl", [{"text": a, "label": "ask" if a.startswith(("what", "is")) else "do"} for a, _, _ in SAID])
    path = {"train": "rows.jsonl", "validation": "rows.jsonl", "test": "rows.jsonl"}
    augment = [{"type": "back_translation", "there": str(trained / "there"), "back": str(trained / "back")}]
    task = create("task", {"type": "classify", "path": path, "augment": augment})
    assert [example.fields["text"] for example in task.load("train")[len(SAID) :]] == [c for a, _, c in SAID if a != c]
    assert len(task.load("test")) == len(SAID)


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"back": "there"}, RequestError, "augment.back: expected a translator from zh to en, got one from en to zh"),
    ({"there": "tokenizer"}, RequestError, "tokenizer"),
    ({"copies": 2}, RecipeError, "a 'temperature' above 0 with several copies"),
])  # fmt: skip
def test_what_cannot_be_is_said(settings, error, message, part):
    with pytest.raises(error, match=message):
        list(part(**settings).copies_of(examples()))


def test_a_model_that_never_learned_to_translate_is_refused(part, trained, tmp_path):
    given: Loaded = Model.open(str(trained / "there")).loaded
    copied = tmp_path / "elsewhere" / "deep" / "model"
    copied.mkdir(parents=True)
    for file in given.folder.iterdir():
        if file.is_file():
            (copied / file.name).write_bytes(file.read_bytes())
    with pytest.raises(RequestError, match="expected a stage of a run that learned to translate, got no stage"):
        list(part(there=str(copied)).copies_of(examples()))

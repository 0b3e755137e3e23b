"""Advice: real short trials of small models on a small task, ranked; and what is said of data and models that will not do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yanmo.cli import main
from yanmo.core.data import Example
from yanmo.core.errors import DataError, RequestError
from yanmo.core.registry import create
from yanmo.stages.advice import advise, duration, left_out, report, table
from yanmo.stages.candidates import small
from yanmo.stages.trial import Sample, Trial, fertility, full, own_tokenizer, sample_of, seconds_a_step, texts_of

WORDS = {"light": ["lamp {} 💡", "turn the light on {}", "开灯 {}", "把灯打开 {}"],
         "music": ["play {} 🎵", "a song, café́ {}", "放音乐 {}", "来一首歌 {}"]}  # fmt: skip
CNN = "{type: cnn, embedding: 16, filters: 16, widths: [1, 2], dropout: 0}"


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    kinds = list(WORDS)
    return [{"text": WORDS[kinds[i % 2]][(i // 2) % 4].format(i), "label": kinds[i % 2]} for i in range(start, start + count)]


def write(name: str, given: list) -> str:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given), "utf-8")
    return name


def labelling(train: int = 160, held: int = 60, **settings):
    path = {"train": write("train.jsonl", rows(train)), "validation": write("validation.jsonl", rows(held, 1000))}
    return create("task", {"type": "classify", "path": path, "test": 0, **settings})


# ---------------------------------------------------------------------------------------------- the sample


def test_a_sample_keeps_every_label_and_nothing_that_chooses_or_scores_is_trained_on(folder):
    many = [*rows(100), {"text": "唯一的一个", "label": "rare"}, {"text": "another one", "label": "rarer"}]
    task = create("task", {"type": "classify", "path": {"train": write("t.jsonl", many), "validation": write("v.jsonl", rows(40, 500))}, "test": 0})
    sample = sample_of(task, 24, 10, 0)
    fitted, choosing = sample.task.load("train"), sample.task.load("validation")
    assert {"rare", "rarer", "light", "music"} == {e.fields["label"] for e in fitted}
    assert (sample.rows, sample.whole, len(sample.scored), sample.task.load("test")) == (21, 102, 10, [])
    assert choosing
    ids = [{e.id for e in some} for some in (fitted, choosing, sample.scored)]
    assert not ids[0] & ids[1]
    assert not (ids[0] | ids[1]) & ids[2]
    assert sample.task.names() == task.names()
    again = sample_of(task, 24, 10, 0)
    assert [e.id for e in again.task.load("train")] == [e.id for e in fitted]
    assert [e.id for e in sample_of(task, 24, 10, 1).scored] != [e.id for e in sample.scored]


def test_the_same_text_again_does_not_choose_the_epoch(folder):
    twice = [{"text": t, "label": label} for t, label in (("on 开", "a"), ("ON  开!", "a"), ("off 关", "b"), ("off 关 ", "b"))] * 10
    task = create("task", {"type": "classify", "path": {"train": write("t.jsonl", twice), "validation": write("v.jsonl", rows(0) + twice[:8])}, "test": 0})
    assert sample_of(task, 40, 8, 0).task.load("validation") == []


@pytest.mark.parametrize(("train", "held"), [(15, 60), (160, 7)])
def test_data_too_small_to_tell_models_apart_is_said(folder, train, held):
    with pytest.raises(DataError, match=f"at least 16 training and 8 validation examples.*{train} and {held}"):
        sample_of(labelling(train, held), 100, 100, 0)


def test_texts_are_found_however_deep_and_labels_are_no_texts():
    fields = {"text": "一", "label": "x", "group": "language=zh", "answers": [{"text": "二", "start": 3}], "spans": [{"label": "PER"}],
              "messages": [{"role": "user", "content": "three"}], "choices": ["4", "5"]}  # fmt: skip
    assert list(texts_of(fields)) == ["一", "二", "three", "4", "5"]


# ---------------------------------------------------------------------------------------------- tokenizers


def test_chinese_gets_characters_and_english_byte_pairs():
    chinese, english = own_tokenizer(["今天天气很好", "明天天气也很好"] * 5), own_tokenizer(["the weather is fine today"] * 10)
    assert len(chinese.encode("天气很好")) == 4
    assert len(english.encode("the weather")) < len("the weather")


def test_fertility_is_counted_by_language():
    made = own_tokenizer(["今天天气很好"] * 4)
    told = fertility(made, ["今天天气", "好好"])
    assert told["languages"]["zh"]["tokens_per_han"] == 1
    assert told["bytes_per_token"] == 3
    assert told["unknown"] == 0
    assert fertility(made, ["ab"])["languages"]["en"]["tokens_per_word"] == 2  # spelled in bytes


# ---------------------------------------------------------------------------------------------- the report


def answered(name: str, given: str, times: float = 1.0, reason: str | None = None) -> Trial:
    lines = [{"id": str(i), "label": "ab"[i % 2], "predicted": letter, "score": None} for i, letter in enumerate(given)]
    figures = {"seconds_per_1000": times, "full_seconds": 100 / times, "epochs": 2.0, "samples_per_second": 10.0, "memory_bytes": 10**6,
               "memory": "planned", "tokenizer": None}  # fmt: skip
    return Trial(small(name, "classify"), reason, [] if reason else lines, {} if reason else figures)


def of(folder, *trials: Trial) -> dict:
    task = create("task", {"type": "classify", "path": write("l.jsonl", [{"text": f"{i} 字", "label": "ab"[i % 2]} for i in range(40)])})
    return report(Sample(task, [Example("0", {})] * 40, 40, 400, []), trials, "classify")


def test_ties_are_paired_and_the_cheapest_of_them_is_named(folder):
    right = "ab" * 20
    found = of(folder, answered("lstm", right, 9.0), answered("majority", "a" * 40), answered("cnn", right[:-1] + "a", 1.0),
               answered("crf", "", reason="it labels no texts"))  # fmt: skip
    assert [row["model"] for row in found["candidates"]] == ["lstm", "cnn", "majority", "crf"]
    assert (found["best"], found["tied"], found["cheapest"], found["cheapest_to_tune"]) == ("lstm", ["cnn"], "cnn", "lstm")
    best, cnn, majority, crf = found["candidates"]
    assert (best["value"], best["behind"], best["tied"]) == (1.0, None, False)
    assert cnn["behind"]["p"] == 1
    assert cnn["behind"]["low"] < cnn["behind"]["value"] < 0 <= cnn["behind"]["high"]
    assert majority["behind"]["p"] < 0.001
    assert majority["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert majority["low"] < 1 / 3 < majority["high"]
    assert crf["reason"] == "it labels no texts"
    assert "value" not in crf
    assert [line.split(":")[0] for line in found["advice"]] == ["start from lstm", "not told apart from it by this trial (paired p ≥ 0.05)", "the cheapest of these"]
    shown = table(found)
    assert [line[:2] for line in shown] == [["", "model"], ["*", "lstm"], ["=", "cnn"], ["", "majority"]]
    assert {len(line) for line in shown} == {13}
    assert [str(line) for line in left_out(found)] == ["- crf cannot: it labels no texts"]


def test_a_model_that_is_alone_in_front_is_said_to_be(folder):
    found = of(folder, answered("majority", "a" * 40), answered("lstm", "ab" * 20))
    assert found["advice"][1:] == ["every other one is worse by more than chance (paired p < 0.05)"]


def test_a_model_that_saw_less_than_an_epoch_is_named(folder):
    trial = answered("lstm", "ab" * 20)
    trial.figures["epochs"] = 0.2
    assert "saw less than one epoch" in of(folder, trial)["advice"][-1]


def test_where_nothing_can_do_it_nothing_is_recommended(folder):
    found = of(folder, answered("crf", "", reason="no"))
    assert (found["best"], found["cheapest"], found["tied"]) == (None, None, [])
    assert found["advice"] == ["none of the models at hand can do the task 'classify'"]


def test_times_of_steps_leave_validations_out(tmp_path):
    lines = [{"step": 1, "seconds": 5.0}, {"step": 2, "seconds": 5.5}, {"step": 2, "validation": {"loss": 1}},
             {"step": 3, "seconds": 9.0}, {"step": 4, "seconds": 9.5}]  # fmt: skip
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert seconds_a_step(tmp_path / "m.jsonl") == 0.5
    assert full(1000, 10) == 2000
    assert [duration(s) for s in (3.456, 204, 7200)] == ["3.46 s", "3.4 min", "2 h"]


# ---------------------------------------------------------------------------------------------- trials


def test_models_are_tried_ranked_and_left_out(folder):
    found = advise(labelling(), ["majority", "tfidf", CNN, "crf", "ngram"], steps=40, rows=140, examples=50)
    able = {row["model"]: row for row in found["candidates"] if row["reason"] is None}
    assert set(able) == {"majority", "tfidf", "cnn"}
    assert able["tfidf"]["value"] > 0.9 > able["majority"]["value"]
    assert able["cnn"]["value"] > able["majority"]["value"] + 0.2
    assert (found["rows"], found["of_rows"], found["examples"]) == (123, 160, 50)
    assert "majority" not in [found["best"], *found["tied"]]
    cnn = able["cnn"]
    assert (cnn["steps"], cnn["memory"], able["tfidf"]["memory"]) == (40, "planned", "measured")
    assert cnn["epochs"] == pytest.approx(40 * 32 / 123, abs=1e-3)
    assert cnn["memory_bytes"] > 4 * cnn["parameters"] > 0
    assert cnn["full_seconds"] == pytest.approx(20 * 160 / cnn["samples_per_second"], rel=0.02)
    assert {"zh", "en"} <= set(cnn["tokenizer"]["languages"])
    assert able["tfidf"]["tokenizer"] is None
    assert [row["model"] for row in found["candidates"][3:]] == ["crf", "ngram"]
    assert all("model" in row["reason"] for row in found["candidates"][3:])


def test_the_same_trial_gives_the_same_scores(folder):
    told = [advise(labelling(), [CNN], steps=3, rows=60, examples=30) for _ in range(2)]
    assert [row["value"] for row in told[0]["candidates"]] == [row["value"] for row in told[1]["candidates"]]


def test_named_places_are_found_by_a_tagger_and_what_labels_texts_is_left_out(folder):
    people = ["Ada", "张三", "李雷", "Grace"]
    given = [{"text": f"{people[i % 4]} met 我 {i} 💡", "spans": [{"start": 0, "end": len(people[i % 4]), "label": "PER"}]} for i in range(120)]
    path = {"train": write("t.jsonl", given[:90]), "validation": write("v.jsonl", given[90:])}
    task = create("task", {"type": "ner", "path": path, "test": 0})
    found = advise(task, ["{type: crf, iterations: 5}", "tfidf", "cnn", "{type: lstm, depth: 1, width: 16, bidirectional: true}"], rows=80, steps=2)
    assert found["metric"] == "entity_f1"
    assert (found["best"], found["candidates"][0]["value"]) == ("crf", 1.0)
    assert {row["model"] for row in found["candidates"][1:3]} == {"cnn", "lstm"}
    cnn, lstm = (next(row for row in found["candidates"] if row["model"] == name) for name in ("cnn", "lstm"))
    assert cnn["tied"] == (cnn["value"] == 1.0), "a name before 'met' is learned in two steps by a convolution"
    assert lstm["value"] < 1
    assert (lstm["tied"], lstm["behind"]["p"] < 0.05) == (False, True)
    assert [row["model"] for row in found["candidates"] if row["reason"]] == ["tfidf"]


# ---------------------------------------------------------------------------------------------- the verb


def test_the_verb_prints_a_table_or_json(folder, capsys):
    labelling()
    asked = ["advise", "train.jsonl", "--task", "{type: classify, validation: 0.3}", "--models", "majority", "--models", "tfidf", "-q"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[1].startswith("*  tfidf")
    assert "start from tfidf" in said
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"] == "tfidf"
    assert found["candidates"][0]["low"] <= found["candidates"][0]["value"] <= found["candidates"][0]["high"]


@pytest.mark.parametrize(("arguments", "told"), [
    (["none.jsonl", "--task", "classify"], "none.jsonl"),
    (["train.jsonl", "--task", "clasify"], "did you mean 'classify'"),
    (["train.jsonl", "--task", "{type"], "a name, or settings"),
    (["train.jsonl", "--task", "language_modeling"], "a task with a head of"),
    (["train.jsonl", "--task", "classify", "--seconds", "3", "--steps", "3"], "--seconds or --steps, not both"),
    (["train.jsonl", "--task", "classify", "--models", "lstmm"], "did you mean 'lstm'"),
    (["few.jsonl", "--task", "classify"], "to try models on"),
])  # fmt: skip
def test_a_wrong_request_is_one_line(folder, capsys, arguments, told):
    labelling()
    write("few.jsonl", rows(12))
    assert main(["advise", *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert error.count("\n") == 1


def test_neither_seconds_nor_steps_may_be_nothing(folder):
    with pytest.raises(RequestError, match="not both"):
        advise(labelling(), ["majority"], seconds=1, steps=1)

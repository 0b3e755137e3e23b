"""Extractive questions: every format read, every unsound row named, windows whose labels give the answer back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.core.config import build
from yanmo.core.data import Example, Prediction
from yanmo.core.errors import DataError, RecipeError
from yanmo.tasks.qa import QuestionAnswering, decide
from yanmo.tasks.spans import Spot, best_spans
from yanmo.text.bpe import BpeTokenizer
from yanmo.text.characters import CharacterTokenizer
from yanmo.text.wordpiece import WordPieceTokenizer

EN = "Yanmo is an ink stone 🪨 of the Tang dynasty. It was found in Xi'an in 1956, says Mr. Li."
ZH = "研墨是唐代的一方砚台🪨，一九五六年在西安出土，现藏于陕西历史博物馆。"
ROWS = [
    {"question": "Where was it found?", "context": EN, "answers": [{"text": "Xi'an", "start": EN.index("Xi'an")}], "source": "a"},
    {"question": "When was it found?", "context": EN, "answers": [{"text": "1956", "start": EN.index("1956")}], "source": "b"},
    {"question": "Who stole it?", "context": EN, "answers": [], "source": "a"},
    {"question": "砚台在哪里出土？", "context": ZH, "answers": [{"text": "西安", "start": ZH.index("西安")}], "language": "zh"},
]


def jsonl(name: str, rows: list[dict], plain: bool = False) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=plain) + "\n" for row in rows), encoding="utf-8")
    return name


def squad(name: str, passages: list[tuple[str, list[dict]]], **more) -> str:
    data = [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]} for context, qas in passages]
    Path(name).write_text(json.dumps({"version": "v", "data": data, **more}, ensure_ascii=False), encoding="utf-8")
    return name


def task(path, **others) -> QuestionAnswering:
    return build(QuestionAnswering, {"type": "qa", "path": path, **others})


def whole(path, **others) -> list[Example]:
    return task(path, **others).whole().load("test")


@pytest.fixture(autouse=True)
def here(folder):
    return folder


# ------------------------------------------------------------------------------------------------ formats


def test_json_lines_and_every_way_of_writing_answers():
    forms = [ROWS[0]["answers"], {"text": ["Xi'an"], "answer_start": [EN.index("Xi'an")]}, ["Xi'an"], "Xi'an",
             [{"text": " Xi'an ", "answer_start": EN.index("Xi'an") - 1}], {"text": "Xi'an", "start": EN.index("Xi'an")}]  # fmt: skip
    for form in forms[:-2] + forms[-1:]:
        (example,) = whole(jsonl("a.jsonl", [{**ROWS[0], "answers": form}]))
        assert [(a["text"], a["start"]) for a in example.fields["answers"]] == [("Xi'an", EN.index("Xi'an"))]
        assert example.where == "a.jsonl:1"
        assert example.fields["group"] == "source=a"
    for form in ([], None, "", {"text": [], "answer_start": []}):
        (example,) = whole(jsonl("a.jsonl", [{**ROWS[0], "answers": form}]))
        assert example.fields["answers"] == []


def test_blanks_around_an_answer_are_no_part_of_it():
    context = "in  Rome \n, once"
    (example,) = whole(jsonl("a.jsonl", [{"question": "?", "context": context, "answers": [{"text": " Rome \n", "start": 3}]}]))
    assert example.fields["answers"] == [{"text": "Rome", "start": 4}]


def test_squad_1_and_2_and_cmrc():
    qas = [{"id": "q1", "question": "Where?", "answers": [{"text": "Xi'an", "answer_start": EN.index("Xi'an")}] * 3, "is_impossible": False},
           {"id": "q2", "question": "Who stole it?", "answers": [], "is_impossible": True,
            "plausible_answers": [{"text": "Mr. Li", "answer_start": 0}]}]  # fmt: skip
    path = squad("dev.json", [(EN, qas), (ZH, [{"id": "DEV_0", "question": "哪里？", "answers": [{"text": "西安", "answer_start": ZH.index("西安")}]}])])
    found = whole(path)
    assert [example.id for example in found] == ["q1", "q2", "DEV_0"]
    assert [len(example.fields["answers"]) for example in found] == [3, 0, 1]
    assert found[1].where == "dev.json: data[0].paragraphs[0].qas[1]"
    Path("b.json").write_text("\ufeff" + Path("dev.json").read_text(encoding="utf-8"), encoding="utf-8")
    assert [e.fields for e in whole("b.json")] == [e.fields for e in found]
    older = [{"context_id": "T", "context_text": ZH, "qas": [{"query_text": "哪里？", "query_id": "T_0", "answers": ["西安", "西安出土"]}]}]
    Path("trial.json").write_text(json.dumps(older), encoding="utf-8")
    (example,) = whole("trial.json")
    assert (example.id, example.where) == ("T_0", "trial.json: [0].qas[0]")
    assert [a["start"] for a in example.fields["answers"]] == [ZH.index("西安")] * 2


def test_lists_tables_and_lines_in_a_json_file():
    Path("list.json").write_text(json.dumps(ROWS), encoding="utf-8")
    assert [example.where for example in whole("list.json")] == [f"list.json: [{i}]" for i in range(4)]
    assert [example.where for example in whole(jsonl("lines.json", ROWS))] == [f"lines.json:{i}" for i in range(1, 5)]
    Path("one.json").write_text(json.dumps(ROWS[0]), encoding="utf-8")
    assert len(whole("one.json")) == 1
    Path("t.csv").write_text("frage,context,answers\nWhere?,\"in Rome, once\",Rome\nWho?,in Rome,\n", encoding="utf-8")
    where, who = whole("t.csv", fields={"question": "frage"})
    assert where.fields["answers"][0]["start"] == 3
    assert who.fields["answers"] == []


# ------------------------------------------------------------------------------------------------ what is not sound


def refused(rows: list[dict], **others) -> str:
    with pytest.raises(DataError) as caught:
        whole(jsonl("bad.jsonl", rows, plain=True), **others)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_answer_that_stands_elsewhere_is_told_where():
    said = refused([{**ROWS[1], "answers": [{"text": "1956", "start": 3}]}])
    assert said == f"bad.jsonl:1: the answer '1956' stands at character {EN.index('1956')}, not at 3"
    assert "not at -1" in refused([{**ROWS[1], "answers": [{"text": "1956", "start": -1}]}])
    at = ZH.index("西安")
    assert "counts UTF-16 units" in refused([{**ROWS[3], "answers": [{"text": "西安", "start": at + 1}]}])
    assert "counts bytes" in refused([{**ROWS[3], "answers": [{"text": "西安", "start": len(ZH[:at].encode())}]}])


def test_an_answer_that_is_not_in_its_passage_is_named_with_four_more():
    rows = [{**ROWS[0], "question": f"q{i}", "answers": [{"text": f"Rome {i}", "start": 0}]} for i in range(8)]
    said = refused([ROWS[1], *rows])
    assert said.startswith("bad.jsonl:2: the answer 'Rome 0' does not stand in the passage; so too bad.jsonl:3")
    assert "Rome 4" in said
    assert "3 more" in said
    assert "other characters of Unicode" in refused([{"question": "?", "context": "un cafe\u0301", "answers": ["caf\u00e9"]}])


@pytest.mark.parametrize(("change", "expected"), [
    ({"question": " "}, "field 'question' expected some text, got an empty one"),
    ({"context": ""}, "field 'context' expected some text, got an empty one"),
    ({"answers": [{"text": " ", "start": 0}]}, "field 'answers' expected some text, got an empty one"),
    ({"question": "half \ud83e"}, "half of a surrogate pair"),
    ({"question": 3}, "field 'question' expected a string, got 3"),
    ({"answers": 3}, "field 'answers' expected a list of answers, got 3"),
    ({"answers": [{"text": "1956", "start": "7"}]}, "field 'answers.start' expected a whole number, got '7'"),
    ({"answers": [{"text": None, "start": 7}]}, "field 'answers.text' expected a string, got nothing"),
    ({"answers": {"text": ["a", "b"], "answer_start": [1]}}, "2 texts and 1 starts"),
])  # fmt: skip
def test_broken_fields(change, expected):
    said = refused([ROWS[0], {**ROWS[1], **change}])
    assert said.startswith("bad.jsonl:2")
    assert expected in said


def test_ids_that_stand_twice():
    assert refused([{**ROWS[0], "id": 7}, {**ROWS[1], "id": "7"}]) == \
        "bad.jsonl:2: expected an id of its own, got the id '7', as bad.jsonl:1"  # fmt: skip
    assert "the same question on the same passage as bad.jsonl:1" in refused([ROWS[0], ROWS[0]])
    jsonl("s/train.jsonl", [{**ROWS[0], "id": "x"}])
    jsonl("s/test.jsonl", [{**ROWS[1], "id": "x"}])
    assert [str(concern) for concern in task("s").check()][1:] == \
        ["test: 1 of 1 ids are those of other questions of the training data (s/test.jsonl:1 = s/train.jsonl:1)"]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), [
    ('{"data": [}', "bad.json:1: expected a JSON file"),
    ('{"data": {}}', "field 'data' expected a list"),
    ('{"data": [{"paragraph": []}]}', "did you mean 'paragraph'"),
    ('{"data": [{"paragraphs": [{"qas": [], "contxt": "a"}]}]}', "bad.json: data[0].paragraphs[0]: field 'context' is missing"),
    ('{"data": [3]}', "bad.json: data[0]: expected a mapping, got 3"),
    ('{"data": []}', "questions with their passages"),
    ('"text"', "SQuAD's form"),
    ("[" * 100_000, "JSON"),
    ('{"data": [{"paragraphs": [{"context": "ab", "qas": [{"question": "?", "answers": [{"text": "a", "answer_start": 0}], "is_impossible": true}]}]}]}',
     "no answers where 'is_impossible' is true"),
])  # fmt: skip
def test_broken_files(content, expected):
    Path("bad.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        whole("bad.json")
    assert expected in str(caught.value)


def test_a_file_in_another_encoding():
    Path("bad.json").write_bytes(json.dumps({"data": []}).encode() + "研".encode("gb18030"))
    with pytest.raises(DataError, match="UTF-8"):
        whole("bad.json")


def test_passages_in_two_splits_are_told_with_their_rows():
    jsonl("s/train.jsonl", ROWS[:1])
    jsonl("s/test.jsonl", [{**ROWS[1], "context": EN.replace(" ", "  ")[:0] + EN}, ROWS[3]])
    (concern,) = task("s").check()
    assert str(concern) == "test: 1 of 2 questions are about passages of the training data (s/test.jsonl:1 = s/train.jsonl:1)"


def test_a_place_that_had_to_be_chosen_is_told():
    rows = [{"question": "?", "context": "to be or not to be", "answers": ["to be"]}, ROWS[0]]
    (concern,) = task(jsonl("a.jsonl", rows), test=0, validation=0).check()
    assert "a.jsonl:1" in str(concern)


def test_questions_without_an_answer_where_none_may_be():
    for others in ({"metrics": "squad1"}, {"no_answer": False}):
        with pytest.raises(DataError, match=r"bad\.jsonl:3"):
            whole(jsonl("bad.jsonl", ROWS), **others)


def test_settings():
    with pytest.raises(RecipeError, match="train"):
        task({"dev": "a.jsonl"})
    with pytest.raises(RecipeError, match="threshold"):
        task("a.jsonl", threshold=float("nan"))


# ------------------------------------------------------------------------------------------------ splits


def test_all_questions_on_a_passage_are_on_one_side():
    rows = [{"question": f"q{q}?", "context": f"passage {p} in {'北京' if p % 2 else 'Rome'}", "answers": [f"passage {p}"]}
            for p in range(60) for q in range(3)]  # fmt: skip
    parts = {split: task(jsonl("a.jsonl", rows)).load(split) for split in ("train", "validation", "test")}
    passages = {split: {e.fields["text"] for e in examples} for split, examples in parts.items()}
    assert sum(map(len, parts.values())) == 180
    assert sum(map(len, passages.values())) == 60
    assert min(map(len, passages.values())) > 0
    more = task(jsonl("b.jsonl", [*rows, {"question": "?", "context": "another", "answers": []}]))
    assert {e.fields["text"] for e in more.load("test")} - {"another"} == passages["test"]


def test_whose_script_scores():
    assert task(jsonl("a.jsonl", ROWS[:2])).rule == "squad1"
    assert task(jsonl("a.jsonl", ROWS[:3])).rule == "squad2"
    assert task(jsonl("a.jsonl", ROWS[3:])).rule == "cmrc"
    assert task(jsonl("a.jsonl", ROWS[:2]), metrics="cmrc").rule == "cmrc"


# ------------------------------------------------------------------------------------------------ windows


TOKENIZERS = {
    "characters": CharacterTokenizer(type="characters", min_count=1).train([EN, ZH, "Where? 哪里？"]),
    "bpe": BpeTokenizer(type="bpe", size=290).train([EN, ZH, EN + ZH]),
    "wordpiece": WordPieceTokenizer(type="wordpiece", size=119).train([EN, ZH, EN + ZH]),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(length=st.integers(24, 90), overlap=st.integers(0, 40), which=st.sampled_from([0, 1, 3]), longest=st.just(200))
def test_labels_point_at_the_answer_and_reading_them_gives_it_back(name, length, overlap, which, longest):
    tokenizer = TOKENIZERS[name]
    asked = task(jsonl("a.jsonl", ROWS), overlap=overlap)
    example = whole("a.jsonl")[which]
    rows, found = asked.encode(example, tokenizer, length), asked.windows(example, tokenizer, length)
    assert len(rows) == len(found)
    wanted = example.fields["answers"][0]
    held = 0
    scores = []
    for row, window in zip(rows, found):
        assert len(row.tokens) <= length
        assert len(row.tokens) == len(row.trained) == len(row.types) == len(row.places)
        first, last = row.label
        assert row.trained[first]
        assert row.trained[last]
        score = np.zeros((len(row.tokens), 2))
        score[first, 0] = score[last, 1] = 9.0 if first != window.nowhere else 1.0
        scores.append(score)
        if first == window.nowhere:
            continue
        held += 1
        start, end = row.places[first][0], row.places[last][1]
        assert start <= wanted["start"]
        assert wanted["text"] in example.fields["text"][start:end]
    covered = {i for row in rows for place in row.places if place for i in range(*place)}
    assert covered == {i for i, c in enumerate(example.fields["text"]) if not c.isspace()}
    prediction = asked.decode(best_spans(found, scores, longest), example)
    if held and any(window.own[row.label[0]] for row, window in zip(rows, found) if row.label[0] != window.nowhere):
        assert wanted["text"] in prediction.answer
        if name == "characters":
            assert prediction.answer == wanted["text"]
        (span,) = prediction.spans
        assert example.fields["text"][span.start : span.end] == prediction.answer


def test_pairs_are_told_apart_by_their_types():
    tokenizer = TOKENIZERS["wordpiece"]
    (row,) = task(jsonl("a.jsonl", ROWS[:1])).encode(whole("a.jsonl")[0], tokenizer, 512)
    assert row.tokens[0] == tokenizer.cls_id
    second = row.tokens.index(tokenizer.sep_id) + 1
    assert row.types == [0] * second + [1] * (len(row.tokens) - second)
    assert row.trained.index(True) == 0  # the mark of no answer
    assert all(i >= second for i, t in enumerate(row.trained) if t and i)


def test_a_question_is_cut_before_the_passage_is_and_windows_stay_within_their_length():
    long = task(jsonl("a.jsonl", [{**ROWS[0], "question": "why " * 300}]), window=60)
    found = long.windows(whole("a.jsonl")[0], TOKENIZERS["characters"], 512)
    assert max(len(window.tokens) for window in found) <= 60
    assert found[0].cut > 1000
    assert {i for w in found for p in w.places if p for i in range(*p)} == {i for i, c in enumerate(EN) if not c.isspace()}


def test_nobody_knows_the_answer_of_a_question_that_is_only_asked():
    example = Example("x", {"text": EN, "question": "Where?"})
    (row,) = task(jsonl("a.jsonl", ROWS)).encode(example, TOKENIZERS["characters"], 512)
    assert row.label is None


# ------------------------------------------------------------------------------------------------ decisions and figures


@pytest.mark.parametrize(("spots", "threshold", "answer"), [
    ([Spot(3, 5, 2.0), Spot(0, 0, 1.0)], 0.0, "de"),
    ([Spot(3, 5, 2.0), Spot(0, 0, 3.0)], 0.0, ""),
    ([Spot(3, 5, 2.0), Spot(0, 0, 2.0)], 0.0, "de"),
    ([Spot(3, 5, 2.0), Spot(0, 0, 3.0)], 1.0, "de"),
    ([Spot(3, 5, 2.0), Spot(0, 0, 1.0)], -2.0, ""),
    ([Spot(0, 0, 1.0)], 9.0, ""),
    ([], 0.0, None),
    ([Spot(3, 5, float("nan")), Spot(0, 0, 1.0)], 0.0, None),
])  # fmt: skip
def test_no_answer_is_given_where_it_is_ahead_by_the_threshold(spots, threshold, answer):
    prediction = decide("abcdefg", spots, threshold)
    assert prediction.answer == answer
    assert answer is None or 0 < prediction.score <= 1


def test_where_every_question_has_an_answer_one_is_always_given():
    spots = [(3, 5, 2.0), (0, 0, 8.0)]
    assert task(jsonl("a.jsonl", ROWS[:2])).decode(spots, Example("x", {"text": "abcdefg"})).answer == "de"
    assert task(jsonl("a.jsonl", ROWS)).decode(spots, Example("x", {"text": "abcdefg"})).answer == ""


def test_scores_of_both_kinds_of_question():
    asked = task(jsonl("a.jsonl", ROWS[:3]))
    examples = whole("a.jsonl")[:3]
    pairs = [(e, Prediction(EN, answer=a)) for e, a in zip(examples, ["in Xi'an", None, ""])]
    scores = asked.score(pairs)
    assert scores["f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert scores["exact"] == pytest.approx(1 / 3)
    assert scores["answer_f1"] == pytest.approx(1 / 3)
    assert scores["no_answer_f1"] == 1
    assert (scores["answer_n"], scores["no_answer_n"], scores["undecided"], scores["rule"]) == (2, 1, 1, "squad2")


# ------------------------------------------------------------------------------------------------ by prompt


def test_the_same_question_as_a_prompt():
    asked = task(jsonl("a.jsonl", ROWS))
    en, _, no, zh = whole("a.jsonl")
    assert EN in asked.prompt(en)
    assert asked.prompt(en).endswith("Question: Where was it found?\nAnswer:")
    assert asked.prompt(zh).endswith("问题：砚台在哪里出土？\n答案：")
    assert asked.answer(en) == "Xi'an"
    assert asked.reply("\n Xi'an \nQuestion:", en).answer == "Xi'an"
    assert asked.reply("“西安”", zh).spans[0].start == ZH.index("西安")
    assert asked.reply("Unanswerable.", no).answer == asked.reply("无法回答。", no).answer == ""
    assert asked.reply(" \n", en).answer is None
    for example in (en, zh, no):
        assert asked.score([(example, asked.reply(asked.answer(example), example))])["exact"] == 1

"""Classification data: what is read, how it is split, and the exact words of every refusal."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create
from yanmo.tasks.classify import Classify, decide, label_text
from yanmo.tasks.splits import carve

ROWS = [
    {"text": "turn on the light 💡", "label": "on"}, {"text": "把灯打开", "label": "on"},
    {"text": "turn it off", "label": "off"}, {"text": "关灯。", "label": "off"},
    {"text": "naïve café — e\u0301", "label": "on"}, {"text": "打开 the 窗帘", "label": "off"},
]  # fmt: skip


def write(path: Path, rows: list) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YANMO_LANG", "en")


def refusal(rows: list, train: list | None = None, name: str = "data/train.jsonl", **settings) -> str:
    write(Path(name), rows)
    path: object = name
    if train is not None:
        write(Path("data/first.jsonl"), train)
        path = {"train": "data/first.jsonl", "test": name}
    with pytest.raises(DataError) as caught:
        Classify(path=path, **settings).check()
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_of_both_languages_are_read_as_they_are():
    write(Path("data.jsonl"), ROWS)
    task = create("task", {"type": "classify", "path": "data.jsonl", "validation": 0, "test": 0})
    assert [(e.fields["text"], e.fields["label"]) for e in task.load("train")] == [(r["text"], r["label"]) for r in ROWS]
    assert task.load("train")[1].where == "data.jsonl:2"
    assert task.names() == ["off", "on"]
    assert task.load("validation") == task.load("test") == []


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_table_reads_as_the_same_examples(ending):
    separator = "," if ending == "csv" else "\t"
    lines = [f"review{separator}stars", *(f'"{row["text"]}"{separator}{row["label"]}' for row in ROWS)]
    Path(f"data.{ending}").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    write(Path("data.jsonl"), ROWS)
    table = Classify(path=f"data.{ending}", fields={"text": "review", "label": "stars"}, validation=0, test=0)
    lined = Classify(path="data.jsonl", validation=0, test=0)
    assert [e.fields for e in table.load("train")] == [e.fields for e in lined.load("train")]
    assert [e.id for e in table.load("train")] == [e.id for e in lined.load("train")]
    assert table.load("train")[0].where == f"data.{ending}:2"


def test_a_quoted_text_may_hold_line_ends_and_rows_keep_their_first_line():
    Path("data.csv").write_text('text,label\n"one\ntwo, ""quoted""",a\n三,b\n', encoding="utf-8")
    examples = Classify(path="data.csv", validation=0, test=0).load("train")
    assert [(e.fields["text"], e.where) for e in examples] == [('one\ntwo, "quoted"', "data.csv:2"), ("三", "data.csv:4")]


def test_line_separators_inside_a_string_do_not_split_a_line():
    write(Path("data.jsonl"), [{"text": "a\u2028b\x85c", "label": "x"}, {"text": "二", "label": "y"}])
    assert [e.where for e in Classify(path="data.jsonl", validation=0, test=0).load("train")] == ["data.jsonl:1", "data.jsonl:2"]


# ---------------------------------------------------------------------------------------------- refusals


def test_an_unknown_label_names_line_field_choices_and_the_nearest():
    rows = [{"text": f"t{i}", "label": "neg"} for i in range(16)] + [{"text": "好", "label": "postive"}]
    assert refusal(rows, labels=["pos", "neg"]) == (
        "data/train.jsonl:17: field 'label' expected one of 'pos', 'neg', got 'postive' - did you mean 'pos'?")  # fmt: skip


def test_an_unknown_label_renders_in_chinese_too(monkeypatch):
    monkeypatch.setenv("YANMO_LANG", "zh")
    message = refusal([{"text": "好", "label": "postive"}, {"text": "坏", "label": "neg"}], labels=["pos", "neg"])
    assert message.startswith("data/train.jsonl:1")
    assert "'postive'" in message


def test_an_unknown_label_in_test_data_is_one_the_training_data_lacks():
    assert refusal([{"text": "灯", "label": "of"}], train=ROWS) == (
        "data/train.jsonl:1: field 'label' expected one of 'off', 'on', got 'of' - did you mean 'off'?")  # fmt: skip
    assert refusal([{"text": "灯", "label": "zzz"}], train=ROWS) == (
        "data/train.jsonl:1: field 'label' expected one of 'off', 'on', got 'zzz'")  # fmt: skip


def test_many_labels_are_listed_in_part():
    train = [{"text": f"t{i}", "label": f"label{i:02}"} for i in range(30)]
    message = refusal([{"text": "x", "label": "label3"}], train=train)
    assert "'label11', … (30), got 'label3'" in message


@pytest.mark.parametrize(("row", "message"), [
    ('{"text": "a", "label": ', "data/train.jsonl:2: expected a JSON object on one line, got '{\"text\": \"a\", \"label\":': Expecting value (column 23)"),
    ('["a"]', "data/train.jsonl:2: expected a JSON object on one line, got ['a']"),
    ({"text": "a", "lable": "on"}, "data/train.jsonl:2: field 'label' is missing - did you mean 'lable'?"),
    ({"text": "  \n", "label": "on"}, "data/train.jsonl:2: field 'text' expected some text, got an empty one"),
    ({"text": 3, "label": "on"}, "data/train.jsonl:2: field 'text' expected a string, got 3"),
    ('{"text": "\\ud83d", "label": "on"}', "data/train.jsonl:2: field 'text' expected Unicode text, got half of a surrogate pair"),
    ({"text": "a", "label": None}, "data/train.jsonl:2: field 'label' expected a label, got nothing"),
    ({"text": "a", "label": ["on"]}, "data/train.jsonl:2: field 'label' expected a label, got ['on']"),
    ({"text": "a", "label": ""}, "data/train.jsonl:2: field 'label' expected a label, got ''"),
])  # fmt: skip
def test_a_bad_row_names_its_line(row, message):
    assert refusal([ROWS[0], row, ROWS[2]]) == message


def test_bytes_that_are_not_utf8_name_their_line():
    Path("gbk.jsonl").write_bytes(json.dumps(ROWS[0]).encode() + b"\n" + '{"text": "灯", "label": "on"}'.encode("gbk"))
    with pytest.raises(
        DataError, match=r"^gbk\.jsonl:2: expected UTF-8 text, got byte 0xb5 at position 11 - convert the file to UTF-8$"
    ):
        Classify(path="gbk.jsonl").check()


@pytest.mark.parametrize(("content", "message"), [
    ("text,label\na,b,c\n", "data.csv:2: expected 2 columns as in the first line, got 3 - put double quotes around a text that holds the separator"),
    ("text,text\na,b\n", "data.csv:1: two columns are named 'text'"),
    ('text,label\na,x\n"open,y\n', "data.csv:3: expected a CSV row, got unexpected end of data"),
])  # fmt: skip
def test_a_bad_table_names_its_line(content, message):
    Path("data.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        Classify(path="data.csv").check()
    assert str(caught.value) == message


def test_a_field_that_no_row_has_suggests_the_nearest():
    rows = [{"review": "好", "stars": 5}, {"review": "bad", "stars": 1}]
    assert (
        refusal(rows, fields={"text": "reviews", "label": "stars"})
        == "data/train.jsonl: no row has a field 'reviews' - did you mean 'review'?"
    )
    assert refusal(rows) == "data/train.jsonl: no row has a field 'text' - known: review, stars"


def test_one_class_and_no_rows_are_refused():
    assert refusal([ROWS[0], ROWS[1]]) == "data/train.jsonl: expected at least two labels in the training data, got only 'on'"
    assert refusal([""]) == "data/train.jsonl: expected labelled texts, got no rows"


@pytest.mark.parametrize(("settings", "message"), [
    ({"path": {"training": "x"}}, "task.path: expected a path, or paths under 'train', 'validation' and 'test', got {'training': 'x'}"),
    ({"path": "x", "fields": {"lable": "y"}}, "task.fields.lable: unknown key 'lable' - did you mean 'label'?"),
    ({"path": "x", "labels": ["a", "a"]}, "task.labels: expected at least two labels, each written once, got ['a', 'a']"),
    ({"path": "x", "validation": 1.5}, "task.validation: expected a number below 1.0, got 1.5"),
    ({}, "task.path: expected a value, got nothing - add the key 'path'"),
])  # fmt: skip
def test_wrong_settings_name_their_key(settings, message):
    with pytest.raises(RecipeError) as caught:
        create("task", {"type": "classify", **settings})
    assert str(caught.value) == message


# ---------------------------------------------------------------------------------------------- labels and splits


def test_labels_of_any_scalar_type_become_text_in_a_fixed_order():
    write(Path("d.jsonl"), [{"text": str(i), "label": label} for i, label in enumerate([10, 9, "b", "a", True, 2.5, 9])])
    assert Classify(path="d.jsonl").names() == ["2.5", "9", "10", "a", "b", "true"]
    assert label_text(" 正面 ") == "正面"
    assert Classify(path="d.jsonl", labels=["b", "a", 9, 10, True, 2.5]).names() == ["b", "a", "9", "10", "true", "2.5"]


def test_carved_splits_are_disjoint_stable_and_follow_the_text():
    rows = [{"text": f"第{i}句 sentence", "label": "ab"[i % 2]} for i in range(300)]
    write(Path("d.jsonl"), [*rows, rows[0], rows[1]])  # two texts twice
    task = Classify(path="d.jsonl", validation=0.2, test=0.1)
    splits = {split: {e.fields["text"] for e in task.load(split)} for split in ("train", "validation", "test")}
    assert sum(map(len, splits.values())) == 300  # equal texts are on one side
    assert sum(len(task.load(split)) for split in splits) == 302
    assert 15 <= len(splits["test"]) <= 45
    assert 35 <= len(splits["validation"]) <= 75
    assert task.check() == []
    write(Path("e.jsonl"), [*reversed(rows), *({"text": f"new {i}", "label": "a"} for i in range(300))])
    more = Classify(path="e.jsonl", validation=0.2, test=0.1)
    assert splits["test"] <= {e.fields["text"] for e in more.load("test")}
    assert splits["validation"] <= {e.fields["text"] for e in more.load("validation")}


@pytest.mark.parametrize("count", range(1, 8))
def test_small_data_leaves_a_training_part(count):
    rows = [{"text": f"句 {i}", "label": "ab"[i % 2]} for i in range(count)]
    write(Path("d.jsonl"), rows)
    examples = Classify(path="d.jsonl", labels=["a", "b"], validation=0, test=0).load("train")
    for share in (0.01, 0.5, 0.99):
        part, rest = carve(examples, share, "test")
        assert len(part) + len(rest) == count
        assert rest
        assert bool(part) == (count > 1)


def test_a_folder_with_split_names_is_a_mapping_and_others_are_one_path():
    write(Path("named/train.jsonl"), ROWS)
    write(Path("named/dev.jsonl"), ROWS[:2])
    write(Path("named/test.jsonl"), ROWS[2:4])
    named = Classify(path="named")
    assert [len(named.load(split)) for split in ("train", "validation", "test")] == [6, 2, 2]
    write(Path("plain/a.jsonl"), ROWS[:3])
    write(Path("plain/b.jsonl"), ROWS[3:])
    plain = Classify(path="plain", validation=0, test=0)
    assert len(plain.load("train")) == 6
    assert [len(Classify(path=p, validation=0, test=0).load("train")) for p in ("plain/*.jsonl", "plain/a.jsonl")] == [6, 3]
    assert named.files() == [Path("named/dev.jsonl"), Path("named/test.jsonl"), Path("named/train.jsonl")]


def test_whole_takes_one_path_as_test_data_and_keeps_a_mapping():
    write(Path("d.jsonl"), ROWS)
    task = Classify(path="d.jsonl", fields={"text": "text"})
    assert len(task.load("test")) < len(ROWS)
    assert len(task.whole().load("test")) == len(ROWS)
    assert task.whole().names() == ["off", "on"]
    write(Path("n/train.jsonl"), ROWS)
    write(Path("n/test.jsonl"), ROWS[:2])
    assert len(Classify(path="n").whole().load("test")) == 2


def test_leakage_rare_labels_and_contradictions_are_said():
    write(Path("train.jsonl"), [*ROWS, {"text": ROWS[0]["text"], "label": "off"}])
    write(Path("test.jsonl"), [{"text": "新", "label": "on"}, {"text": " 把灯打开 ", "label": "on"}])
    task = Classify(path={"train": "train.jsonl", "test": "test.jsonl"}, labels=["on", "off", "dim"], validation=0)
    assert [str(line) for line in task.check()] == [
        "test: 1 of 2 texts also stand in the training data (first: test.jsonl:2 = train.jsonl:2)",
        "no training row has the label 'dim'",
        "1 training texts stand there with two labels (first: train.jsonl:1 and train.jsonl:7)",
    ]


def test_a_group_column_is_kept_where_there_is_one():
    write(Path("d.jsonl"), [{**ROWS[0], "language": "en"}, {**ROWS[1], "language": "zh"}, ROWS[2]])
    examples = Classify(path="d.jsonl", validation=0, test=0).load("train")
    assert [e.fields.get("group") for e in examples] == ["language=en", "language=zh", None]


# ---------------------------------------------------------------------------------------------- predictions


def test_ties_and_values_that_are_not_finite_decide_nothing():
    assert decide("x", ["a", "b"], [0.2, 0.8]).label == "b"
    assert decide("x", ["a", "b"], [0.5, 0.5]).label is None
    assert decide("x", ["a", "b", "c"], [0.4, 0.4, 0.2]).label is None
    assert decide("x", ["a", "b", "c"], [0.3, 0.3, 0.4]).label == "c"
    for bad in (math.nan, math.inf):
        assert decide("x", ["a", "b"], [bad, 0.1]).label is None

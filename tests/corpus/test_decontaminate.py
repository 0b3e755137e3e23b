"""Evaluation items in a corpus: found, named, dropped or cut; what was copied with changes measured; short ones said openly."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.corpus.corpora import chinese, english, run, small_shards, write_jsonl
from yanmo.core.config import Place
from yanmo.core.console import Console
from yanmo.core.errors import DataError, RecipeError
from yanmo.core.execute import execute
from yanmo.core.recipe import parse
from yanmo.core.registry import create
from yanmo.corpus.copies.recall import FORMS, recall
from yanmo.corpus.words import grams
from yanmo.corpus.words.grams import words

QUESTION = "Which of the seven wise owls that watched from the old oak tree saw the ship leave its harbour first?"
FRAGE = "青山依旧在，几度夕阳红；白发渔樵江渚上，惯看秋月春风。一壶浊酒喜相逢，古今多少事，都付笑谈中。请问作者是谁？"
SHORT = "What is the capital city of the kingdom"  # eight words
OPENING = "却说曹操引军追赶刘备至江边见长坂桥"
TINY = "True or false?"


def items(folder, rows, name="items.jsonl"):
    write_jsonl(folder / name, rows)
    return name


@pytest.fixture
def evaluation(folder):
    return items(folder, [{"id": "q1", "text": QUESTION}, {"id": "q2", "text": FRAGE}, {"text": SHORT}, {"text": OPENING}, {"text": TINY}])


def step(against, **settings):
    return {"type": "decontaminate", "against": against, **settings}


def fates(folder, bodies, settings, name="parts", workers=1):
    write_jsonl(folder / "a.jsonl", [{"text": body} for body in bodies])
    docs = run(folder / name, {"type": "jsonl", "path": "a.jsonl"}, [settings], workers)
    return [doc.rejection and (doc.rejection.reason, doc.rejection.value) for doc in docs], docs


# ---------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(("a", "b"), [
    ("Don’t STOP, me now!", "dont stop me now"), ("研墨，写字。", "研 墨\n写字"), ("ＡＢＣ１２", "abc12"), ("cafe\u0301 Naïve", "CAFÉ naive"), ("⼀二", "一二"),
    ("ｶﾀｶﾅ", "カタカナ"), ("İstanbul", "istanbul"), ("soft\u00adhyphen", "softhyphen"), ("👩‍👩‍👧 a", "a"),
])  # fmt: skip
def test_what_does_not_count(a, b):
    assert words(a).hashes.tolist() == words(b).hashes.tolist()


def test_words_have_places_and_kinds():
    text = "  Yanmo研墨, don't e\u0301t 👩‍👩‍👧"
    found = words(text)
    assert [text[a:b] for a, b in zip(found.starts.tolist(), found.ends.tolist())] == ["Yanmo", "研", "墨", "don't", "e\u0301t"]
    assert found.unspaced.tolist() == [False, True, True, False, False]
    assert len(words("")) == len(words("，。 👩")) == 0


def test_slices_of_a_long_text_give_the_same_words(monkeypatch):
    rng = random.Random(0)
    text = " ".join(english(rng, 3) + " " + chinese(rng, 9) for _ in range(60))
    whole = words(text)
    monkeypatch.setattr(grams, "SLICE", 50)
    cut = words(text)
    assert whole.hashes.tolist() == cut.hashes.tolist()
    assert whole.starts.tolist() == cut.starts.tolist()
    assert whole.ends.tolist() == cut.ends.tolist()


# ---------------------------------------------------------------------------------------------- found and named


def test_items_are_found_and_named_in_both_languages(folder, evaluation):
    rng = random.Random(3)
    innocent = [english(rng, 80), chinese(rng, 120), "Which of the seven wise owls that watched from the old oak", FRAGE[:25] + "不同的下文", TINY]
    guilty = [
        f"{english(rng, 40)} {QUESTION} {english(rng, 40)}", f"{chinese(rng, 40)}{FRAGE}{chinese(rng, 40)}", QUESTION.upper().replace(",", ""),
        "问：" + FRAGE.replace("，", " ").replace("；", "\n"), f"He asked: {SHORT}?", f"第一回：{OPENING}上一人",
        english(rng, 30) + " " + " ".join(QUESTION.split()[3:17]) + " " + english(rng, 9),
    ]  # fmt: skip
    found, docs = fates(folder, innocent + guilty, step([evaluation]))
    assert found[:5] == [None] * 5
    names = ["q1", "q2", "q1", "q2", "3", "4", "q1"]
    assert found[5:] == [("contaminated", f"items.jsonl:{name}") for name in names]
    assert [doc.text for doc in docs] == innocent + guilty, "a dropped document keeps its text"


def test_twelve_words_are_not_thirteen(folder, evaluation):
    twelve, thirteen = " ".join(QUESTION.split()[:12]), " ".join(QUESTION.split()[:13])
    han = [c for c in FRAGE if c not in "，；。？"]
    found, _ = fates(folder, [f"x {twelve} y", f"x {thirteen} y", "甲" + "".join(han[:25]) + "乙", "甲" + "".join(han[:26]) + "乙"], step([evaluation]))
    assert [bool(fate) for fate in found] == [False, True, False, True]
    found, _ = fates(folder, [f"x {twelve} y", "甲" + "".join(han[:20]) + "乙"], step([evaluation], words=10, characters=18), "shorter")
    assert all(found)


def test_mixed_text_is_measured_by_both(folder):
    mixed = "用 Python 的 numpy 写一个 softmax 函数并说明 why it is stable 为什么"
    items(folder, [{"text": mixed}])
    found, _ = fates(folder, [f"答案：{mixed}。", "用 Python 的 numpy 写一个 softmax"], step(["items.jsonl"]))
    assert [bool(fate) for fate in found] == [True, False]


def test_cut_takes_the_item_out_and_leaves_the_rest(folder, evaluation):
    rng = random.Random(5)
    before, behind, zh = english(rng, 60), english(rng, 60), chinese(rng, 150)
    found, docs = fates(folder, [f"{before}\n\n{QUESTION}\n\n{behind}", f"{zh}{FRAGE}{zh[:50]}", QUESTION + " and a word"], step([evaluation], action="cut"))
    assert found == [None, None, ("contaminated", "items.jsonl:q1")]
    assert docs[0].text == f"{before}\n\n{behind}"
    assert docs[1].text == f"{zh}{zh[:50]}"
    assert docs[0].meta["cut"] == {"decontaminate": len(QUESTION) + 2}
    again, docs_again = fates(folder, [docs[0].text, docs[1].text], step([evaluation], action="cut"), "again")
    assert again == [None, None]
    assert not any("cut" in doc.meta for doc in docs_again)


def test_any_number_of_workers(folder, evaluation, monkeypatch):
    rng = random.Random(6)
    bodies = [english(rng, 50) + (" " + QUESTION if i % 7 == 3 else "") + " " + english(rng, 30) for i in range(80)]
    small_shards(monkeypatch)
    one, two = (fates(folder, bodies, step([evaluation]), f"parts{workers}", workers)[0] for workers in (1, 2))
    assert one == two
    assert [bool(fate) for fate in one] == [i % 7 == 3 for i in range(80)]


# ---------------------------------------------------------------------------------------------- the sets


def test_sets_of_every_format_and_several_fields(folder):
    choices = ["the answer that has fourteen words in it so that a gram fits in here", "no"]
    rows = [{"id": 7, "question": QUESTION, "choices": choices, "n": 1}, {"id": 8, "question": "short", "choices": [FRAGE], "n": 2}]
    write_jsonl(folder / "set.jsonl", rows)
    parquet.write_table(pa.Table.from_pylist(rows), folder / "b.parquet")
    (folder / "c.csv").write_text(f'id,question\n9,"{QUESTION}"\n')
    (folder / "d.txt").write_text(f"{QUESTION}\n\nanother paragraph\n\n  \n{FRAGE}\n")
    fields = ["question", "choices"]
    sets = [({"path": "set.jsonl", "fields": fields, "name": "A"}, ["A:7", "A:8", "A:7"]), ({"path": "b.parquet", "fields": fields}, ["b.parquet:7", "b.parquet:8", "b.parquet:7"]),
            ({"path": "c.csv", "fields": {"text": "question"}}, ["c.csv:9", None, None]), ("d.txt", ["d.txt:1", "d.txt:3", None])]  # fmt: skip
    for number, (one, names) in enumerate(sets):
        made = create("step", step([one]))
        made.check()
        found, _ = fates(folder, [QUESTION, FRAGE, choices[0]], step([one]), f"parts{number}")
        assert [fate and fate[1] for fate in found] == names
        assert [path.name for path in made.files()] == [one["path"] if isinstance(one, dict) else one]
    one, _ = fates(folder, [QUESTION], step("d.txt"), "single")
    assert one == [("contaminated", "d.txt:1")]


def test_coverage_says_what_is_not_looked_for(folder, evaluation):
    with open(folder / evaluation, "ab") as handle:
        handle.write(b'{"text": "\xff broken"}\n{"text": null}\n')
    about = create("step", step([evaluation])).coverage()[evaluation]
    assert (about.items, about.grams, about.whole, about.unreadable, about.too_short) == (7, 2, 2, 2, ["5"])


def test_sets_that_cannot_work_stop_the_run(folder, evaluation):
    items(folder, [{"text": TINY}, {"text": "2 + 2 = ?"}], "tiny.jsonl")
    (folder / "b.bin").write_bytes(b"x")
    for against, message in [
        (["nowhere.jsonl"], "nowhere.jsonl: expected a file"), (["tiny.jsonl"], "tiny.jsonl: expected an item of at least 8 words or 16 Chinese characters, got 2 shorter ones"),
        (["b.bin"], "expected files that end in .jsonl"), ([{"path": evaluation, "fields": ["question"]}], "expected a field 'question', got the fields id, text"),
        ([{"path": evaluation, "fields": ["text", "choice"]}], "expected a field 'choice', got none in any row"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=message.replace("(", r"\(")):
            create("step", step(against)).check()
    for wrong in ({"against": []}, {"against": [evaluation], "shortest": 14}, {"against": [{"path": ""}]}, {"against": [{"paths": "x"}]}):
        with pytest.raises(RecipeError):
            create("step", {"type": "decontaminate", **wrong})


def test_a_changed_set_is_read_again(folder, evaluation):
    settings = step([evaluation])
    assert fates(folder, [QUESTION], settings)[0] == [("contaminated", "items.jsonl:q1")]
    items(folder, [{"text": FRAGE}])
    assert fates(folder, [QUESTION], settings, "again")[0] == [None]


# ---------------------------------------------------------------------------------------------- recall


@pytest.mark.parametrize("language", ["en", "zh"])
def test_recall_of_planted_items(language, folder, capsys):
    rng = random.Random(9)
    make = english if language == "en" else chinese
    scale = 1 if language == "en" else 2
    rows = [{"text": make(rng, rng.randint(14, 60) * scale)} for _ in range(120)] + [{"text": make(rng, rng.randint(9, 12) * scale)} for _ in range(30)]
    rows += [{"text": make(rng, 3)} for _ in range(5)]
    items(folder, rows)
    texts = [make(rng, rng.randint(60, 300)) for _ in range(40)]
    made = create("step", step(["items.jsonl"]))
    report = recall(made, texts, items=150)
    about = report["coverage"]["items.jsonl"]
    assert about["items"] == 155
    assert len(about["too_short"]) == 5 == about["items"] - about["grams"] - about["whole"]
    assert report["innocent"] == 1
    assert set(report["planted"]) == set(FORMS)
    share = {form: {way: counts["recall"] for way, counts in ways.items()} for form, ways in report["planted"].items()}
    for form in ("verbatim", "case", "blanks"):
        assert set(share[form].values()) == {1.0}, form
    assert min(share["punctuation"].values()) == 1.0, "there are no hyphens in these"
    assert share["one_word"]["whole"] == 0, "an item that is looked for as a whole is not found when a word differs"
    assert 0.3 < share["one_word"]["grams"] < 1, "long items still have a gram beside the changed word"
    assert 0.3 < share["half"]["grams"] < 1
    with capsys.disabled():
        print(f"\nrecall {language}: {json.dumps(share)}")
    assert recall(made, texts, items=150) == report, "the same again"


def test_recall_leaves_out_documents_that_hold_an_item(folder, evaluation):
    report = recall(create("step", step([evaluation])), [QUESTION, "an innocent text of some words"], items=10)
    assert report["innocent"] == 0.5
    assert report["planted"]["verbatim"] == {"grams": {"planted": 2, "found": 2, "recall": 1.0}, "whole": {"planted": 2, "found": 2, "recall": 1.0}}
    assert recall(create("step", step([evaluation])), [QUESTION])["planted"]["verbatim"] == {}


def test_a_run_measures_its_recall_in_the_documents_it_kept(folder, evaluation):
    rng = random.Random(2)
    write_jsonl(folder / "a.jsonl", [{"text": english(rng, 90) if i % 2 else chinese(rng, 150)} for i in range(30)] + [{"text": f"{english(rng, 20)} {QUESTION}"}])
    stage = {"source": {"type": "jsonl", "path": "a.jsonl"}, "steps": [step(evaluation)], "engine": {"type": "local", "workers": 1}}
    execute(parse({"name": "x", "stages": [{"corpus": stage}]}, Place()), folder / "run", console=Console(quiet=True))
    (told,) = json.loads((folder / "run" / "corpus" / "decontamination.json").read_text())
    assert told["against"] == ["items.jsonl"]
    assert told["innocent"] == 1
    assert told["coverage"]["items.jsonl"]["too_short"] == ["5"]
    assert told["planted"]["verbatim"] == {"grams": {"planted": 2, "found": 2, "recall": 1.0}, "whole": {"planted": 2, "found": 2, "recall": 1.0}}
    stats = json.loads((folder / "run" / "corpus" / "stats.json").read_text())
    assert stats["dropped"] == {"decontaminate.contaminated": 1}
    manifest = json.loads((folder / "run" / "corpus" / "manifest.json").read_text())
    assert manifest["outputs"]["decontamination"] == "decontamination.json"
    assert any(entry["path"] == "items.jsonl" for entry in manifest["sources"]), "a changed set is a changed corpus"

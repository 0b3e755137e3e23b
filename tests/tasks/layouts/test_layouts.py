"""GLUE, CLUE and folders: small files exactly as the archives have them, and what is wrong with broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sklearn.datasets import _twenty_newsgroups as reference

from yanmo.core.errors import DataError, RecipeError
from yanmo.core.registry import create
from yanmo.tasks.layouts.folders import stripped

GLUE = {  # (train.tsv, dev files, the first training example, labels)
    "cola": ("gj04\t1\t\tOur friends \"won't buy this.\ngj04\t0\t*\tThe more 😀 the\n", {"dev.tsv": "x\t1\t\tone\n"},
             ("Our friends \"won't buy this.", None, "acceptable"), ["acceptable", "unacceptable"]),
    "sst-2": ("sentence\tlabel\nhide new secretions \t0\ncafe\u0301\t1\n", {"dev.tsv": "sentence\tlabel\nfine \t1\n"},
              ("hide new secretions ", None, "negative"), ["negative", "positive"]),
    "mrpc": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tAmrozi \"said\tHe said\n0\t1\t2\ta\tb\n",
             {"dev.tsv": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tc\td\n"},
             ('Amrozi "said', "He said", "same"), ["different", "same"]),
    "qqp": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t1\t2\twhy\thow\t0\n3\ttorn row\n2\t3\t4\ta?\ta ?\t1\n",
            {"dev.tsv": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t1\t2\tq\tr\t0\n"}, ("why", "how", "different"),
            ["different", "same"]),
    "mnli": ("index\tsentence1\tsentence2\tgold_label\n0\tp\th\tneutral\n1\tp2\th2\tentailment\n",
             {"dev_matched.tsv": "index\tsentence1\tsentence2\tgold_label\n0\tm\tn\tneutral\n",
              "dev_mismatched.tsv": "index\tsentence1\tsentence2\tgold_label\n0\tu\tv\tentailment\n"},
             ("p", "h", "neutral"), ["entailment", "neutral"]),
    "qnli": ("index\tquestion\tsentence\tlabel\n0\tWhen?\tThen.\tentailment\n1\tWho?\tIt.\tnot_entailment\n",
             {"dev.tsv": "index\tquestion\tsentence\tlabel\n0\tq\ts\tentailment\n"}, ("When?", "Then.", "entailment"),
             ["entailment", "not_entailment"]),
    "rte": ("index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n1\tc\td\tentailment\n",
            {"dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\te\tf\tentailment\n"}, ("a", "b", "not_entailment"),
            ["entailment", "not_entailment"]),
    "wnli": ("index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n1\tc\td\t0\n",
             {"dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\te\tf\t1\n"}, ("a", "b", "entailment"),
             ["entailment", "not_entailment"]),
}  # fmt: skip
CLUE = {
    "afqmc": ([{"sentence1": "花呗怎么还", "sentence2": "花呗还款", "label": "1"}, {"sentence1": "a", "sentence2": "b", "label": "0"}],
              ("花呗怎么还", "花呗还款", "same")),
    "tnews": ([{"label": "108", "label_desc": "news_edu", "sentence": "上课时学生手机响", "keywords": ""},
               {"label": "104", "label_desc": "news_finance", "sentence": "股市", "keywords": ""}],
              ("上课时学生手机响", None, "news_edu")),
    "iflytek": ([{"label": "11", "label_des": "薅羊毛", "sentence": "现金 😀"}, {"label": "2", "label_des": "地图", "sentence": "x"}],
                ("现金 😀", None, "薅羊毛")),
    "cmnli": ([{"sentence1": "甲", "sentence2": "乙", "label": "neutral"}, {"sentence1": "丙", "sentence2": "丁", "label": "-"},
               {"sentence1": "戊", "sentence2": "己", "label": "entailment"}], ("甲", "乙", "neutral")),
    "ocnli": ([{"level": "medium", "sentence1": "甲", "sentence2": "乙", "label": "contradiction", "id": 0},
               {"sentence1": "戊", "sentence2": "己", "label": "entailment", "id": 1}], ("甲", "乙", "contradiction")),
    "csl": ([{"id": 1, "abst": "摘要", "keyword": ["水果", "图像"], "label": "0"},
             {"id": 2, "abst": "又", "keyword": ["网络"], "label": "1"}], ("摘要", "水果；图像", "false")),
}  # fmt: skip


def task(layout: object, path: object = "data", **settings):
    return create("task", {"type": "classify", "path": path, "layout": layout, **settings})


def write(name: str, content: str | bytes) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def shown(example) -> tuple:
    return (example.fields["text"], example.fields.get("second"), example.fields["label"])


@pytest.mark.parametrize("name", GLUE)
def test_glue_reads_as_it_was_written(folder, name):
    train, dev, first, labels = GLUE[name]
    write("data/train.tsv", train)
    for file, content in dev.items():
        write(f"data/{file}", content)
    found = task({"type": "glue", "task": name}, validation=0)
    assert shown(found.load("train")[0]) == first
    assert len(found.load("train")) == 2  # QQP's torn row is left out, as everyone does
    assert found.names() == labels
    assert len(found.load("test")) == len(dev)
    assert [e.fields.get("group") for e in found.load("test")] == (
        ["language=matched", "language=mismatched"] if name == "mnli" else [None])  # fmt: skip
    assert found.load("train")[0].where == f"data/train.tsv:{1 if name == 'cola' else 2}"


@pytest.mark.parametrize("name", CLUE)
def test_clue_reads_as_it_was_written(folder, name):
    rows, first = CLUE[name]
    for file in ("train", "dev"):
        write(f"data/{file}.json", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    found = task({"type": "clue", "task": name}, validation=0)
    assert shown(found.load("train")[0]) == first
    assert len(found.load("train")) == len(found.load("test")) == 2


def test_broken_glue_and_clue_name_the_first_offenders(folder):
    write("data/train.tsv", "sentence\tlabel\n" + "a\t0\n" + "b\t2\n" * 7 + "c\t1\n")
    write("data/dev.tsv", "sentence\tlabel\na\t0\n")
    with pytest.raises(DataError) as caught:
        task({"type": "glue", "task": "sst-2"}).check()
    assert str(caught.value) == (
        "data/train.tsv:3: expected one of 0, 1, got 2; so too data/train.tsv:4 (2), data/train.tsv:5 (2), data/train.tsv:6 (2), "
        "data/train.tsv:7 (2) and 2 more")  # fmt: skip
    with pytest.raises(DataError, match=r"data/train\.tsv:1: expected a column 'question', got sentence, label"):
        task({"type": "glue", "task": "qnli"}).check()
    write("data/train.tsv", "sentence\tlabel\na\t0\nb\tc\t1\n")
    with pytest.raises(DataError, match=r"data/train\.tsv:3: expected 2 columns as in the first line, got 3"):
        task({"type": "glue", "task": "sst-2"}).check()
    with pytest.raises(DataError, match=r"expected a folder with train\.json / train\.50k\.json, got none"):
        task({"type": "clue", "task": "csl"}).check()
    write("data/train.json", '{"sentence1": "a", "sentence2": "b", "label": "2"}\n')
    write("data/dev.json", "")
    with pytest.raises(DataError, match=r"data/train\.json:1: expected one of 0, 1, got '2'"):
        task({"type": "clue", "task": "afqmc"}).check()
    with pytest.raises(RecipeError, match=r"task\.layout\.task: expected one of 'cola'"):
        task({"type": "glue", "task": "sts-b"})


POSTING = "From: a@b (A B)\nSubject: 😀 orbit\n\nIn article <1> c@d writes:\n> why\nBecause café.\nAnd 月亮.\n\n-- \nA B, NASA\n"


def test_folders_are_labels_and_files_are_texts(folder):
    for split, count in (("20news-bydate-train", 3), ("20news-bydate-test", 2)):
        for label in ("sci.space", "rec.autos"):
            for number in range(count):
                write(f"data/{split}/{label}/{number}", POSTING.replace("Because", f"{label} {split} {number}"))
    found = task({"type": "folders"}, validation=0)
    assert found.names() == ["rec.autos", "sci.space"]
    assert (len(found.load("train")), len(found.load("test"))) == (6, 4)
    assert found.load("train")[0].where == "data/20news-bydate-train/rec.autos/0"
    assert found.load("train")[0].fields["text"].startswith("From:")
    assert found.check() == []
    clean = task({"type": "folders", "strip": ["headers", "footers", "quotes"]}, validation=0)
    assert clean.load("train")[0].fields["text"].strip() == "rec.autos 20news-bydate-train 0 café.\nAnd 月亮."
    whole = task({"type": "folders"}, path="data/20news-bydate-train", test=0.3, validation=0)
    assert len(whole.load("train")) + len(whole.load("test")) == 6
    assert whole.load("test")
    given = task({"type": "folders"}, path={"train": "data/20news-bydate-train", "test": "data/20news-bydate-test"}, validation=0)
    assert [e.id for e in given.load("test")] == [e.id for e in found.load("test")]


def test_folders_in_another_encoding_say_so(folder):
    for label in ("a", "b"):
        write(f"data/{label}/1.txt", f"café {label}".encode("latin-1"))
    with pytest.raises(DataError, match=r"data/a/1\.txt: expected utf-8 text, got .* - set 'encoding'"):
        task({"type": "folders"}).check()
    found = task({"type": "folders", "encoding": "latin-1"}, test=0, validation=0)
    assert found.load("train")[0].fields["text"] == "café a"
    with pytest.raises(DataError, match=r"layout\.encoding: expected an encoding, got latin-99"):
        task({"type": "folders", "encoding": "latin-99"}).check()
    with pytest.raises(DataError, match="no files two levels below data/a"):
        task({"type": "folders"}, path="data/a").check()


@pytest.mark.parametrize("content", [POSTING, "no blank line", "", "a\n\nb", "H: x\n\ntext\n\n----\nme", "\n\n\nx\n---\n", "> q\n|x\ny says:\nz"])
def test_what_is_stripped_is_what_scikit_learn_strips(content):
    assert stripped(content, ["headers"]) == reference.strip_newsgroup_header(content)
    assert stripped(content, ["footers"]) == reference.strip_newsgroup_footer(content)
    assert stripped(content, ["quotes"]) == reference.strip_newsgroup_quoting(content)
